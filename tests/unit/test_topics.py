"""What the declared topics promise, and the laws of the partition rule."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import schemas
import services
from indexer.topics import (
    DECODED,
    DLQ,
    EVENTS,
    RETRY,
    STRIPE,
    WORK,
    load_topics,
    milliseconds,
    partition_of,
    splitmix64,
    stripe_of,
)

numbers = st.integers(0, 2**40)
partition_counts = st.integers(1, 64)


@given(numbers, partition_counts)
def test_neighbours_of_a_stripe_stay_together(number: int, partitions: int) -> None:
    first = stripe_of(number) * STRIPE

    assert len({partition_of(first + i, partitions) for i in range(STRIPE)}) == 1


@given(st.integers(0, 2**30), partition_counts)
def test_consecutive_stripes_take_turns(turn: int, partitions: int) -> None:
    first = turn * partitions

    met = [partition_of((first + i) * STRIPE, partitions) for i in range(partitions)]

    assert sorted(met) == list(range(partitions))


@pytest.mark.parametrize("step", [*range(1, 5001, 37), 12, 64, 128, 192, 384, 768, 64 * 60, 4608])
def test_a_sample_with_any_step_spreads(step: int) -> None:
    blocks = 6000

    load = Counter(partition_of(step * i, 12) for i in range(blocks))

    assert max(load.values()) < 1.25 * blocks / 12


def test_the_hash_is_the_published_splitmix64() -> None:
    assert splitmix64(0) == 0xE220A8397B1DCDAF


def test_partitions_never_change() -> None:
    assert [partition_of(n, 12) for n in (0, 63, 64, 768, 10_000, 43_114_000)] == [7, 7, 8, 5, 7, 6]


def test_names_carry_the_prefix_and_roles_do_not() -> None:
    topics = load_topics("dev.")

    assert topics.work == ["dev.blocks.work.high", "dev.blocks.work.normal", "dev.blocks.work.low"]
    assert topics.retry == ["dev.blocks.retry.5s", "dev.blocks.retry.1m", "dev.blocks.retry.10m"]
    assert (topics.decoded, topics.dlq, topics.events) == (
        "dev.blocks.decoded",
        "dev.blocks.dlq",
        "dev.pipeline.events",
    )
    assert topics[DECODED].role == "blocks.decoded"


def test_the_file_declares_the_topics_that_code_asks_for_and_no_others() -> None:
    assert set(load_topics().by_role) == {*WORK, *RETRY, DECODED, DLQ, EVENTS}


def test_only_services_that_exist_are_said_to_write_or_read_a_topic() -> None:
    existing = {each.parent.name for each in Path(services.__file__ or "").parent.glob("*/main.py")}

    for topic in load_topics():
        assert set(topic.producers) <= existing | {"cli"}
        assert set(topic.consumers) <= existing
    assert load_topics()[DECODED].producers == ("decoder", "producer")  # blocks, and rollbacks of the follower


def test_all_topics_but_the_events_have_equally_many_partitions() -> None:
    striped = [topic for topic in load_topics() if topic.role != EVENTS]

    assert {topic.partitions for topic in striped} == {12}
    assert all(topic.striped for topic in striped)


def test_another_number_of_partitions_goes_to_every_striped_topic() -> None:
    topics = load_topics(partitions=4)

    assert {topic.partitions for topic in topics if topic.striped} == {4}
    assert topics[EVENTS].partitions == 3


def test_a_dead_letter_has_room_for_a_record_and_its_headers() -> None:
    topics = load_topics()

    assert topics[DECODED].max_message_bytes == 32 * 2**20
    assert topics[DLQ].max_message_bytes == 32 * 2**20 + 64 * 2**10


def test_every_schema_of_a_topic_exists_and_dead_letters_go_to_a_topic() -> None:
    for topic in load_topics():
        assert all(schemas.latest(subject) for subject in topic.schemas)
        assert topic.dead_letters is None or topic.dead_letters in load_topics().by_role


def test_durations_have_units() -> None:
    assert (milliseconds("5s"), milliseconds("10m"), milliseconds("7d")) == (5_000, 600_000, 604_800_000)
    with pytest.raises(ValueError, match="not a duration"):
        milliseconds("soon")
