"""The page docs/reference/topics.md, written from schemas/topics.toml.

Run: python -m indexer.docs.topics > docs/reference/topics.md
"""

from __future__ import annotations

import sys

import schemas
from indexer.checksum import CHECKSUM
from indexer.topics import STRIPE, Topic, load_topics

_INTRO = f"""# Topics and schemas

Written by `python -m indexer.docs.topics` from `schemas/topics.toml` and `schemas/ids.json`; a test compares them.

`indexer topics apply` creates the topics and alters what differs, `diff` only compares (exit code 1 when something
differs), `describe` shows declaration, existing topic and topic id. Names get `TOPIC_PREFIX` in front.

The replication factor is 3, or the number of brokers when there are fewer; with three replicas
`min.insync.replicas` is 2.

A record about block *n* goes to the same partition number P of every topic marked *striped*: with s = n ÷ {STRIPE} and
N partitions, P = (s + splitmix64(s ÷ N)) mod N. Runs of {STRIPE} neighbours stay together, consecutive runs take turns,
and a sample with any step spreads. So their numbers of partitions are equal and never change.
"""

_HEADERS: list[tuple[str, ...]] = [
    (f"`{CHECKSUM}`", "records of `blocks.decoded`", "CRC-32 of the value, 8 hex digits: what a persister compares"),
    ("`x-retry-*`", "retry tiers", "attempts so far, when the next is due, the first failure, where the item began"),
    ("`x-dlq-*`, `__streams.errors.*`", "dead letters", "where the record began, what failed and why (KIP-1034)"),
    ("`x-dlq-replay-count`, `x-dlq-run-id`", "what is replayed", "how often, and in which run"),
]
_HEADINGS = ("topic", "carries", "schema", "written by", "read by", "dead letters to")
_LIMITS = ("topic", "key", "partitions", "retention", "largest record", "compression", "cleanup", "delay")


def page() -> str:
    """Return the page's text."""
    topics = list(load_topics())
    return "\n".join(
        [
            _INTRO,
            *_table(_HEADINGS, [_flow(each) for each in topics]),
            "",
            *_table(_LIMITS, [_limits(each) for each in topics]),
            "",
            "## Headers",
            "",
            "Values are text. Other headers are handed on from a work item to its block and its dead letter.",
            "",
            *_table(("header", "on", "says"), _HEADERS),
            "",
            "## Schema ids",
            "",
            "Every value is a zero byte, the id in four bytes, then Avro (see `schemas/README.md`).",
            "",
            *_table(("id", "schema", "version", "record"), [_schema(*known) for known in schemas.declared()]),
            "",
        ]
    )


def _flow(topic: Topic) -> tuple[str, ...]:
    return (
        f"`{topic.role}`",
        topic.about,
        ", ".join(f"`{each}`" for each in topic.schemas),
        ", ".join(topic.producers),
        ", ".join(topic.consumers) or "no service",
        f"`{topic.dead_letters}`" if topic.dead_letters else "",
    )


def _limits(topic: Topic) -> tuple[str, ...]:
    return (
        f"`{topic.role}`",
        f"`{topic.key}`",
        f"{topic.partitions}{', striped' if topic.striped else ''}",
        f"{topic.retention_ms // 86_400_000} d",
        f"{topic.max_message_bytes:,} bytes",
        topic.compression,
        topic.cleanup,
        f"{topic.delay} s" if topic.delay else "",
    )


def _schema(subject: str, version: int) -> tuple[str, ...]:
    schema = schemas.load(subject, version)
    name = f"{schema.definition['namespace']}.{schema.definition['name']}"
    return str(schema.id), f"[`{subject}`](../../schemas/{subject}/{version}.avsc)", str(version), f"`{name}`"


def _table(headings: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (headings, ("---",) * len(headings), *rows)]


if __name__ == "__main__":
    sys.stdout.write(page())
