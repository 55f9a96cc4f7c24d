"""What is done about each difference between Kafka's topics and the declared ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from indexer.docs.topics import page
from indexer.errors import UserError
from indexer.topic_changes import (
    Alter,
    Create,
    ExistingTopic,
    Grow,
    Refused,
    changes,
    common_partitions,
    config_of,
)
from indexer.topics import DECODED, EVENTS, WORK, load_topics

TOPICS = load_topics("t.")
ROLES = tuple(TOPICS.by_role)


def as_declared(replication: int = 1) -> dict[str, ExistingTopic]:
    """Kafka's topics, exactly as declared."""
    return {
        each.name: ExistingTopic(
            each.name, f"id-{each.role}", each.partitions, replication, config_of(each, replication)
        )
        for each in TOPICS
    }


def changed(role: str, **what: object) -> dict[str, ExistingTopic]:
    there = as_declared()
    return {**there, TOPICS.name(role): replace(there[TOPICS.name(role)], **what)}


def test_topics_as_declared_need_nothing() -> None:
    assert changes(TOPICS, as_declared(), brokers=1) == []


@pytest.mark.parametrize(("brokers", "replication", "insync"), [(1, 1, "1"), (2, 2, "1"), (3, 3, "2"), (5, 3, "2")])
def test_a_missing_topic_is_created_as_safely_as_the_brokers_allow(brokers: int, replication: int, insync: str) -> None:
    there = as_declared(replication)
    del there["t.blocks.decoded"]

    (create,) = changes(TOPICS, there, brokers)

    assert isinstance(create, Create)
    assert (create.topic.name, create.topic.partitions, create.replication) == ("t.blocks.decoded", 12, replication)
    assert create.config["min.insync.replicas"] == insync
    assert create.config["max.message.bytes"] == "33554432"
    assert str(create) == f"create t.blocks.decoded: 12 partitions, replication {replication}"


def test_a_different_setting_is_altered() -> None:
    config = {**as_declared()["t.blocks.dlq"].config, "retention.ms": "1000"}

    (alter,) = changes(TOPICS, changed("blocks.dlq", config=config), brokers=1)

    assert alter == Alter("t.blocks.dlq", {"retention.ms": ("1000", "2592000000")})
    assert str(alter) == "alter t.blocks.dlq: retention.ms 1000 → 2592000000"


def test_settings_that_nobody_declared_are_left_alone() -> None:
    config = {**as_declared()["t.blocks.dlq"].config, "segment.ms": "1000"}

    assert changes(TOPICS, changed("blocks.dlq", config=config), brokers=1) == []


def test_more_brokers_do_not_demand_replicas_that_a_topic_does_not_have() -> None:
    assert changes(TOPICS, as_declared(replication=1), brokers=3) == []


@pytest.mark.parametrize("partitions", [6, 24])
def test_another_number_of_partitions_of_blocks_is_refused_with_a_way_out(partitions: int) -> None:
    (refused,) = changes(TOPICS, changed(DECODED, partitions=partitions), brokers=1)

    assert isinstance(refused, Refused)
    assert f"--partitions {partitions}" in refused.reason
    assert str(refused).startswith("refused t.blocks.decoded: ")


def test_the_topic_of_events_grows_but_never_shrinks() -> None:
    grow = changes(TOPICS, changed(EVENTS, partitions=1), brokers=1)
    shrink = changes(TOPICS, changed(EVENTS, partitions=9), brokers=1)

    assert [*map(str, grow)] == ["grow t.pipeline.events: 1 → 3 partitions"]
    assert isinstance(grow[0], Grow)
    assert isinstance(shrink[0], Refused)
    assert "cannot take partitions away" in shrink[0].reason


def test_services_learn_the_common_number_of_partitions() -> None:
    assert common_partitions(TOPICS, as_declared(), ROLES) == 12


def test_a_missing_topic_stops_those_who_use_it_and_no_others() -> None:
    there = as_declared()
    del there["t.pipeline.events"]

    assert common_partitions(TOPICS, there, WORK) == 12
    with pytest.raises(UserError) as raised:
        common_partitions(TOPICS, there, ROLES)

    assert str(raised.value) == "topic t.pipeline.events is missing: run `indexer topics apply`"
    assert raised.value.code == "TOPIC_MISSING"


def test_unequal_numbers_of_partitions_stop_everybody() -> None:
    with pytest.raises(UserError, match=r"t\.blocks\.decoded 6") as raised:
        common_partitions(TOPICS, changed(DECODED, partitions=6), WORK)

    assert raised.value.code == "TOPIC_PARTITIONS"


def test_the_reference_page_says_what_is_declared() -> None:
    written = Path(__file__).parents[2] / "docs" / "reference" / "topics.md"

    assert written.read_text(encoding="utf-8") == page(), "run python -m indexer.docs.topics > docs/reference/topics.md"
