"""Stored offsets that do not fit Kafka's logs are told, each with its way out."""

from __future__ import annotations

import pytest

from indexer.audit.findings import Findings, Kind
from indexer.audit.positions import Deployment, Log, Position, compare, unread


def told(position: Position, *logs: Log) -> list[str]:
    findings = Findings()
    assert compare([position], dict.fromkeys([("t", 0)], logs[0]) if logs else {}, findings) == 1
    return findings.wrong[Kind.POSITION].examples if findings.wrong else []


def at(offset: int, topic_id: str = "id") -> Position:
    return Position("persister", "t", 0, topic_id, offset)


@pytest.mark.parametrize("offset", [5, 7, 9])
def test_an_offset_within_the_log_is_well(offset: int) -> None:
    assert told(at(offset), Log("id", 5, 9)) == []


def test_a_group_that_has_not_begun_reads_an_empty_log_from_wherever_it_begins() -> None:
    assert told(at(0), Log("id", 5, 5)) == []


@pytest.mark.parametrize(
    ("position", "logs", "text"),
    [
        (at(4), [Log("id", 5, 9)], "offset 4 is gone, the log begins at 5"),
        (at(4), [Log("id", 5, 5)], "offset 4 is gone, the log begins at 5"),
        (at(10), [Log("id", 5, 9)], "offset 10 is beyond the log's end, 9"),
        (at(7, "old"), [Log("id", 5, 9)], "deleted and made again: `indexer db forget-offsets"),
        (at(7), [], "the topic is gone"),
    ],
)
def test_what_does_not_fit_is_told(position: Position, logs: list[Log], text: str) -> None:
    (problem,) = told(position, *logs)

    assert problem.startswith("persister, t[0]: ")
    assert text in problem


def test_positions_of_other_deployments_are_not_ours() -> None:
    ours = Deployment(["persister", "persister-dlq"], ["blocks.decoded", "blocks.dlq"])
    positions = [
        Position(group, topic, 0, "", 0)
        for group, topic in (
            ("persister", "blocks.decoded"),
            ("persister-dlq", "blocks.dlq"),
            ("b-persister", "b-blocks.decoded"),
            ("persister", "b-blocks.decoded"),
        )
    ]

    assert [ours.has(each) for each in positions] == [True, True, False, False]


def test_what_is_not_read_yet_is_counted_from_the_oldest_record_on() -> None:
    positions = [Position("persister", "decoded", p, "a", 5) for p in range(4)]
    logs = {("decoded", 0): Log("a", 0, 5), ("decoded", 1): Log("a", 0, 7), ("decoded", 2): Log("a", 8, 9)}

    assert unread(positions, logs) == 2 + 1
