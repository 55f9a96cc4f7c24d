"""The declared topics, and the one rule that says which partition a block belongs to."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from typing import Any

import schemas

STRIPE = 64  # neighbouring blocks that stay together, so that they can be fetched in one batch

WORK = ("blocks.work.high", "blocks.work.normal", "blocks.work.low")
RETRY = ("blocks.retry.5s", "blocks.retry.1m", "blocks.retry.10m")
DECODED = "blocks.decoded"
DLQ = "blocks.dlq"
EVENTS = "pipeline.events"

PERSISTER_GROUP, LETTER_GROUP = "persister", "persister-dlq"  # that keep positions in the database; without prefix

_UNITS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_MASK = 2**64 - 1


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic as it is declared in schemas/topics.toml."""

    role: str  # the name without prefix: what code asks for
    name: str  # the name in Kafka
    about: str
    key: str
    partitions: int
    striped: bool
    retention_ms: int
    cleanup: str
    compression: str
    max_message_bytes: int
    schemas: tuple[str, ...]
    producers: tuple[str, ...]
    consumers: tuple[str, ...]
    dead_letters: str | None  # a role
    delay: int = 0  # seconds that a record waits here (retry tiers)

    @property
    def config(self) -> dict[str, str]:
        """The topic's settings in Kafka, but for what depends on the number of brokers."""
        return {
            "cleanup.policy": self.cleanup,
            "compression.type": self.compression,
            "max.message.bytes": str(self.max_message_bytes),
            "retention.ms": str(self.retention_ms),
            # By the brokers' clocks: a record from a machine whose clock is ahead would be refused, or never deleted,
            # and one from a clock that is behind be deleted at once.
            "message.timestamp.type": "LogAppendTime",
            "unclean.leader.election.enable": "false",  # would void exactly-once (KAFKA-20716)
        }


@dataclass(frozen=True, slots=True)
class Topics:
    """All topics of a deployment, by role."""

    prefix: str
    by_role: Mapping[str, Topic]

    def __getitem__(self, role: str) -> Topic:
        return self.by_role[role]

    def __iter__(self) -> Iterator[Topic]:
        return iter(self.by_role.values())

    def name(self, role: str) -> str:
        """Return a topic's name in Kafka: prefix and role."""
        return self.by_role[role].name

    @property
    def names(self) -> list[str]:
        """The names in Kafka of all topics, in the order of the file."""
        return [topic.name for topic in self]

    @property
    def work(self) -> list[str]:
        """The names of the work topics, highest priority first."""
        return [self.name(role) for role in WORK]

    @property
    def retry(self) -> list[str]:
        """The names of the retry tiers, shortest delay first."""
        return [self.name(role) for role in RETRY]

    @property
    def decoded(self) -> str:
        return self.name(DECODED)

    @property
    def dlq(self) -> str:
        return self.name(DLQ)

    @property
    def events(self) -> str:
        return self.name(EVENTS)


def load_topics(prefix: str = "", partitions: int | None = None) -> Topics:
    """Return what schemas/topics.toml declares; `partitions` replaces the number of every striped topic."""
    declared = _declared()
    topics = (_topic(role, prefix, {**declared["defaults"], **own}) for role, own in declared["topics"].items())
    found = {topic.role: topic for topic in topics}
    if partitions is not None:
        found = {role: _with_partitions(topic, partitions) for role, topic in found.items()}
    return Topics(prefix, found)


@cache
def _declared() -> dict[str, Any]:
    return tomllib.loads((schemas.FOLDER / "topics.toml").read_text(encoding="utf-8"))


def _topic(role: str, prefix: str, entry: dict[str, Any]) -> Topic:
    entry["retention_ms"] = milliseconds(entry.pop("retention"))
    entry["dead_letters"] = entry["dead_letters"] or None
    entry |= {name: tuple(entry[name]) for name in ("schemas", "producers", "consumers")}
    return Topic(role=role, name=prefix + role, **entry)


def _with_partitions(topic: Topic, partitions: int) -> Topic:
    return replace(topic, partitions=partitions) if topic.striped else topic


def milliseconds(duration: str) -> int:
    """Return a duration such as `7d` or `90s` in milliseconds."""
    match = re.fullmatch(r"(\d+)([smhd])", duration)
    if match is None:
        raise ValueError(f"{duration!r} is not a duration such as 7d, 12h, 10m or 5s")
    return int(match[1]) * _UNITS[match[2]]


def stripe_of(number: int) -> int:
    """Return the stripe of a block number: 64 neighbours, starting at a multiple of 64."""
    return number // STRIPE


def partition_of(number: int, partitions: int) -> int:
    """Return the partition of a block number in every striped topic.

    - blocks of one stripe stay together
    - consecutive stripes take turns: P of them, from a multiple of P on, meet every partition once
    - each such round starts elsewhere, so that a sample with any step spreads
    """
    return partition_of_stripe(number // STRIPE, partitions)


@lru_cache(maxsize=8192)
def partition_of_stripe(stripe: int, partitions: int) -> int:
    """Return (stripe + hash(stripe ÷ P)) mod P."""
    return (stripe + splitmix64(stripe // partitions)) % partitions


def splitmix64(number: int) -> int:
    """Return the first output of the generator SplitMix64 seeded with `number` (Steele, Lea, Flood 2014).

    A hash that is the same in every process and language, unlike Python's own.
    """
    z = (number + 0x9E3779B97F4A7C15) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)
