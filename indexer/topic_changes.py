"""What has to happen so that Kafka's topics become the declared ones, as values; `indexer/kafka/admin.py` does it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from indexer.errors import UserError
from indexer.topics import Topic, Topics


@dataclass(frozen=True, slots=True)
class ExistingTopic:
    """A topic as Kafka describes it."""

    name: str
    id: str  # KIP-516: another one when a topic was deleted and made again
    partitions: int
    replication: int
    config: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Create:
    """A topic is missing."""

    topic: Topic
    replication: int
    config: Mapping[str, str]

    def __str__(self) -> str:
        return f"create {self.topic.name}: {self.topic.partitions} partitions, replication {self.replication}"


@dataclass(frozen=True, slots=True)
class Alter:
    """Settings of a topic differ: name → (is, declared)."""

    name: str
    settings: Mapping[str, tuple[str | None, str]]

    def __str__(self) -> str:
        settings = ", ".join(f"{key} {old} → {new}" for key, (old, new) in self.settings.items())
        return f"alter {self.name}: {settings}"


@dataclass(frozen=True, slots=True)
class Grow:
    """A topic whose records may be in any partition gets more of them."""

    name: str
    old: int
    new: int

    def __str__(self) -> str:
        return f"grow {self.name}: {self.old} → {self.new} partitions"


@dataclass(frozen=True, slots=True)
class Refused:
    """A difference that cannot be made good while the topic holds data."""

    name: str
    reason: str

    def __str__(self) -> str:
        return f"refused {self.name}: {self.reason}"


Change = Create | Alter | Grow | Refused


def replication_for(brokers: int) -> int:
    return min(3, brokers)


def changes(topics: Topics, existing: Mapping[str, ExistingTopic], brokers: int) -> list[Change]:
    """Return the changes that make Kafka's topics the declared ones, in the order of the declaration.

    - missing: Create, with min.insync.replicas 2 where there are three replicas
    - other settings: Alter
    - fewer partitions than declared, not striped: Grow
    - any other number of partitions: Refused, since every block number has its partition
    """
    found: list[Change] = []
    for topic in topics:
        there = existing.get(topic.name)
        if there is None:
            replication = replication_for(brokers)
            found.append(Create(topic, replication, config_of(topic, replication)))
        else:
            found += _of_existing(topic, there)
    return found


def _of_existing(topic: Topic, there: ExistingTopic) -> list[Change]:
    found: list[Change] = []
    if there.partitions < topic.partitions and not topic.striped:
        found.append(Grow(topic.name, there.partitions, topic.partitions))
    elif there.partitions != topic.partitions:
        found.append(Refused(topic.name, _partitions_differ(topic, there.partitions)))
    wanted = config_of(topic, there.replication)
    differing = {key: (there.config.get(key), value) for key, value in wanted.items() if there.config.get(key) != value}
    if differing:
        found.append(Alter(topic.name, differing))
    return found


def config_of(topic: Topic, replication: int) -> dict[str, str]:
    """Return the settings in Kafka of a topic with so many replicas."""
    # Fewer than two in-sync replicas would void exactly-once; with one or two replicas, two would stop all writes.
    return {**topic.config, "min.insync.replicas": "2" if replication >= 3 else "1"}


def _partitions_differ(topic: Topic, actual: int) -> str:
    if not topic.striped:
        return f"it has {actual} partitions and {topic.partitions} are declared; Kafka cannot take partitions away"
    return (
        f"it has {actual} partitions and {topic.partitions} are declared; each block number belongs to one, so the"
        f" number cannot change. Keep it (--partitions {actual}), or use another TOPIC_PREFIX"
    )


def common_partitions(topics: Topics, existing: Mapping[str, ExistingTopic], roles: tuple[str, ...]) -> int:
    """Return how many partitions every striped topic has.

    Raises UserError: TOPIC_MISSING for a missing one of `roles`, TOPIC_PARTITIONS when the striped ones differ.
    """
    for role in roles:
        if topics.name(role) not in existing:
            raise UserError(f"topic {topics.name(role)} is missing: run `indexer topics apply`", code="TOPIC_MISSING")
    counts = {
        topic.name: existing[topic.name].partitions for topic in topics if topic.striped and topic.name in existing
    }
    if len(set(counts.values())) > 1:
        shown = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise UserError(
            f"topics have different numbers of partitions ({shown}), but a block number must have the same partition"
            " in all of them: make them anew with another TOPIC_PREFIX",
            code="TOPIC_PARTITIONS",
        )
    return next(iter(counts.values()), 0)
