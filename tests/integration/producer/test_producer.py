"""The producer on a real broker and a real database."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from confluent_kafka import Consumer, KafkaException, TopicPartition

from indexer import codec
from indexer.jobs.ranges import Ranges
from indexer.kafka.admin import KafkaAdmin
from indexer.records import BlockWorkItem, Reason
from indexer.settings import Settings
from indexer.storage import engine, following, jobs
from indexer.storage.jobs import Connection, NewJob
from indexer.topics import WORK, load_topics, partition_of
from services.producer import room
from services.producer.lag import LagReader
from services.producer.loop import ProducerLoop
from services.producer.publisher import Publisher
from tests.support.bars import at_most
from tests.support.rows import insert_blocks
from tests.support.waiting import wait_for

pytestmark = pytest.mark.integration
PARTITIONS = 12


@contextmanager
def producer(settings: Settings, owner: str = "one") -> Iterator[ProducerLoop]:
    topics = load_topics(settings.topic_prefix)
    work = dict(zip(("high", "normal", "low"), topics.work, strict=True))
    with engine.connect(settings, "producer", autocommit=True) as connection:
        publisher = Publisher(settings, work, PARTITIONS)
        yield ProducerLoop(settings, connection, publisher, LagReader(settings), owner, PARTITIONS, time.monotonic)


def turn(loop: ProducerLoop, until: object, seconds: float = 60.0) -> None:
    """Turn the loop until the condition holds."""

    def step() -> bool:
        loop.step()
        return bool(until())  # type: ignore[operator]

    wait_for(step, seconds)


def queue(database: Connection, first: int, last: int, **options: object) -> int:
    return jobs.create_job(database, NewJob(43114, Ranges.of([(first, last + 1)]), **options))  # type: ignore[arg-type]


def published(settings: Settings, topic: str = WORK[1]) -> list[tuple[int, BlockWorkItem]]:
    """Return (partition, item) of everything on a work topic."""
    name = settings.topic_prefix + topic
    consumer = Consumer(
        {"bootstrap.servers": settings.kafka_bootstrap_servers, "group.id": "test", "enable.auto.commit": False}
    )
    ends = {p: watermarks(consumer, name, p) for p in range(PARTITIONS)}
    consumer.assign([TopicPartition(name, p, low) for p, (low, high) in ends.items() if high > low])
    expected = sum(high - low for low, high in ends.values())
    found: list[tuple[int, BlockWorkItem]] = []
    while len(found) < expected:
        message = consumer.poll(10)
        assert message is not None
        assert message.error() is None
        found.append((message.partition(), codec.decode_work_item(message.value())))
    consumer.close()
    return found


def watermarks(consumer: Consumer, topic: str, partition: int) -> tuple[int, int]:
    """Return the low and high offsets; a leader that was only just elected may not answer yet."""

    def ask() -> tuple[int, int] | None:
        try:
            return consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=5)
        except KafkaException:
            return None

    return wait_for(ask)


def numbers(settings: Settings, topic: str = WORK[1]) -> list[int]:
    return sorted(item.number for _, item in published(settings, topic))


def store(database: Connection, job_id: int, low: int, high: int) -> None:
    """Set the bits of heights low to high, as the persister does."""
    for number in range(low, high + 1):
        database.execute(
            "UPDATE job_coverage SET stored = stored | (1::bigint << %s)::bit(64) WHERE job_id = %s AND stripe = %s",
            (number % 64, job_id, number // 64),
        )


def test_every_wanted_block_is_published_once_at_its_partition(deployment: Settings, database: Connection) -> None:
    job = queue(database, 5, 700, window_blocks=10_000)

    with producer(deployment) as loop:
        turn(loop, lambda: jobs.job_status(database, 43114, job).published == 696)
        loop.close()

    found = published(deployment)
    assert sorted(item.number for _, item in found) == list(range(5, 701))
    assert all(partition == partition_of(item.number, PARTITIONS) for partition, item in found)
    assert {(item.chain_id, item.job_id, item.reason) for _, item in found} == {(43114, job, Reason.BACKFILL)}


def test_the_window_bounds_what_is_under_way_and_moves_on(deployment: Settings, database: Connection) -> None:
    job = queue(database, 0, 9_999, window_blocks=1)

    with producer(deployment) as loop:
        turn(loop, lambda: jobs.under_way(database, job) >= 64 * PARTITIONS)
        for _ in range(5):
            loop.step()
        assert jobs.under_way(database, job) == 64 * PARTITIONS
        store(database, job, 0, 127)
        turn(loop, lambda: jobs.job_status(database, 43114, job).published == 64 * PARTITIONS + 128)
        loop.close()


def test_a_job_whose_blocks_are_all_resolved_is_done(deployment: Settings, database: Connection) -> None:
    job = queue(database, 10, 99)

    with producer(deployment) as loop:
        turn(loop, lambda: jobs.job_status(database, 43114, job).published == 90)
        store(database, job, 10, 99)
        turn(loop, lambda: jobs.job_status(database, 43114, job).state == "done")

    status = jobs.job_status(database, 43114, job)
    assert (status.stored, status.dead, status.remaining, status.lease_owner) == (90, 0, 0, None)
    assert status.message == "ended with 90 stored, 0 dead of 90"


def test_what_is_stored_already_is_not_published(deployment: Settings, database: Connection) -> None:
    insert_blocks(database, range(30, 60))
    job = queue(database, 20, 69)

    with producer(deployment) as loop:
        turn(loop, lambda: jobs.job_status(database, 43114, job).published == 50)
        loop.close()

    assert numbers(deployment) == [*range(20, 30), *range(60, 70)]
    assert jobs.job_status(database, 43114, job).stored == 30


def test_a_job_whose_blocks_are_all_stored_is_done_without_a_record(deployment: Settings, database: Connection) -> None:
    insert_blocks(database, range(100, 200))
    job = queue(database, 100, 199)

    with producer(deployment) as loop:
        turn(loop, lambda: jobs.job_status(database, 43114, job).state == "done")

    assert numbers(deployment) == []


def test_a_repair_publishes_what_is_stored_too(deployment: Settings, database: Connection) -> None:
    insert_blocks(database, range(100, 120))
    job = queue(database, 100, 119, reason="repair")

    with producer(deployment) as loop:
        turn(loop, lambda: jobs.job_status(database, 43114, job).published == 20)
        loop.close()

    assert {item.reason for _, item in published(deployment)} == {Reason.REPAIR}
    assert numbers(deployment) == list(range(100, 120))


def test_levels_have_topics_of_their_own(deployment: Settings, database: Connection) -> None:
    queue(database, 1, 10, priority="high")
    low = queue(database, 11, 20, priority="low")

    with producer(deployment) as loop:
        turn(loop, lambda: jobs.job_status(database, 43114, low).published == 10)
        loop.close()

    assert numbers(deployment, WORK[0]) == list(range(1, 11))
    assert numbers(deployment, WORK[2]) == list(range(11, 21))


def test_a_producer_that_died_before_publishing_is_made_good_by_the_next(
    deployment: Settings, database: Connection
) -> None:
    short = replace(deployment, lease_seconds=0.5)
    job = queue(database, 0, 127)
    with engine.connect(short, "producer", autocommit=True) as connection:  # recorded, and dead before publishing
        jobs.take_leases(connection, 43114, "dead", 0.5, 1)
        lease = jobs.renew_lease(connection, job, "dead", None, 0.5)
        assert lease is not None
        blocks = jobs.job_blocks(connection, job)
        jobs.open_stripes(connection, lease, "dead", 43114, [blocks.stripe(0)], {"index": 1})
    store(database, job, 0, 9)

    with producer(short, "next") as loop:
        turn(loop, lambda: jobs.unpublished(database, job) == [] and jobs.under_way(database, job) == 118)
        loop.close()

    assert numbers(deployment) == list(range(10, 128))


def test_a_job_has_one_producer_at_a_time(deployment: Settings, database: Connection) -> None:
    job = queue(database, 0, 9_999, window_blocks=1)

    with producer(deployment, "one") as one, producer(deployment, "two") as two:
        turn(one, lambda: jobs.under_way(database, job) > 0)
        for _ in range(5):
            two.step()
            one.step()
        assert jobs.job_status(database, 43114, job).lease_owner == "one"
        one.close()
        turn(two, lambda: jobs.job_status(database, 43114, job).lease_owner == "two")
        two.close()

    assert len(numbers(deployment)) == len(set(numbers(deployment)))


def test_a_producer_that_lost_its_lease_changes_nothing(deployment: Settings, database: Connection) -> None:
    job = queue(database, 0, 999)
    jobs.take_leases(database, 43114, "old", 30, 1)
    lease = jobs.renew_lease(database, job, "old", None, 30)
    assert lease is not None
    database.execute("UPDATE processing_jobs SET lease_owner = 'new', lease_epoch = lease_epoch + 1")

    opened = jobs.open_stripes(database, lease, "old", 43114, [Ranges.of([(0, 64)]).stripe(0)], {"index": 1})

    assert opened is None
    assert jobs.under_way(database, job) == 0
    assert jobs.renew_lease(database, job, "old", lease.lease_epoch, 30) is None
    assert not jobs.finish_job(database, lease, "old", "done", "")


LARGE = 1_500  # ranges, of which a producer has room for one job here


@pytest.fixture
def little_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(room._MOST, False, 2 * LARGE - 1)


def queue_large(database: Connection, ranges: int = LARGE) -> int:
    blocks = Ranges.of([(number, number + 1) for number in range(0, 2 * ranges, 2)])
    return jobs.create_job(database, NewJob(43114, blocks, window_blocks=10_000))


def taken(database: Connection, job: int) -> bool:
    return jobs.job_status(database, 43114, job).lease_owner is not None


def store_all(database: Connection, job: int) -> None:
    database.execute("UPDATE job_coverage SET stored = wanted WHERE job_id = %s", (job,))


def finish(loop: ProducerLoop, database: Connection, job: int) -> None:
    """Turn the loop until the job is done; what it published is stored at once."""

    def done() -> bool:
        store_all(database, job)
        return jobs.job_status(database, 43114, job).state == "done"

    turn(loop, done)


@pytest.mark.usefixtures("little_room")
def test_a_second_large_job_waits_and_a_small_one_behind_it_does_not(
    deployment: Settings, database: Connection
) -> None:
    first, second, small = queue_large(database), queue_large(database), queue(database, 0, 9)

    with producer(deployment) as loop:
        turn(loop, lambda: taken(database, first) and taken(database, small))
        finish(loop, database, small)
        time_of_two_looks = time.monotonic() + 0.6
        turn(loop, lambda: time.monotonic() > time_of_two_looks)
        assert jobs.job_status(database, 43114, second).state == "queued"
        with producer(deployment, "two") as other:
            turn(other, lambda: taken(database, second))
            other.close()
        finish(loop, database, first)
        finish(loop, database, second)


@pytest.mark.usefixtures("little_room")
def test_a_large_job_that_is_paused_makes_room_and_goes_on_when_there_is_some(
    deployment: Settings, database: Connection
) -> None:
    first, second = queue_large(database), queue_large(database)

    with producer(deployment) as loop:
        turn(loop, lambda: jobs.under_way(database, first) > 0)
        jobs.wish(database, 43114, first, "pause")
        turn(loop, lambda: taken(database, second))
        assert jobs.unpublished(database, first) == []
        jobs.wish(database, 43114, first, "resume")
        finish(loop, database, second)
        finish(loop, database, first)


@pytest.mark.usefixtures("little_room")
def test_a_large_job_that_waits_is_cancelled_at_once(deployment: Settings, database: Connection) -> None:
    first, second = queue_large(database), queue_large(database)

    with producer(deployment) as loop:
        turn(loop, lambda: taken(database, first))
        jobs.wish(database, 43114, second, "cancel")
        turn(loop, lambda: jobs.job_status(database, 43114, second).state == "cancelled")
        assert jobs.job_status(database, 43114, first).state == "running"
        loop.close()


def test_a_job_with_thousands_of_ranges_is_counted_once_and_taken(deployment: Settings, database: Connection) -> None:
    job, ordinary = queue_large(database, 100_000), queue(database, 0, 99)

    assert jobs.waiting(database, 43114, []) == [(job, None), (ordinary, 1)]
    assert jobs.waiting(database, 43114, [ordinary]) == [(job, None), (ordinary, None)]
    assert jobs.range_count(database, job) == 100_000
    with producer(deployment) as loop:
        turn(loop, lambda: taken(database, job) and taken(database, ordinary))
        loop.close()


def test_pause_resume_and_cancel_act_within_a_second(deployment: Settings, database: Connection) -> None:
    job = queue(database, 0, 9_999, window_blocks=1)
    with producer(deployment) as loop:
        turn(loop, lambda: jobs.under_way(database, job) == 64 * PARTITIONS)

        jobs.wish(database, 43114, job, "pause")
        loop.step()
        store(database, job, 0, 127)
        turn(loop, lambda: True)
        paused_at = jobs.job_status(database, 43114, job).published
        loop.step()
        assert jobs.job_status(database, 43114, job).published == paused_at == 64 * PARTITIONS

        jobs.wish(database, 43114, job, "resume")
        turn(loop, lambda: jobs.job_status(database, 43114, job).published > paused_at, seconds=at_most(1))

        jobs.wish(database, 43114, job, "cancel")
        loop.step()
        drained = jobs.job_status(database, 43114, job).published
        store(database, job, 128, drained - 1)
        turn(loop, lambda: jobs.job_status(database, 43114, job).state == "cancelled", seconds=at_most(1))


def test_settings_act_while_a_job_runs(deployment: Settings, database: Connection) -> None:
    job = queue(database, 0, 9_999, window_blocks=1)
    with producer(deployment) as loop:
        turn(loop, lambda: jobs.under_way(database, job) == 64 * PARTITIONS)

        jobs.change_job(database, 43114, job, {"window_blocks": 64 * PARTITIONS + 640, "priority": "high"})
        turn(loop, lambda: jobs.under_way(database, job) == 64 * PARTITIONS + 640, seconds=at_most(1))
        loop.close()

    assert len(numbers(deployment, WORK[0])) == 640


def test_protocol_11_what_was_lost_on_the_way_is_published_again_while_nothing_lags(
    deployment: Settings, database: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    behind = seen_behind(monkeypatch)
    impatient = replace(deployment, republish_seconds=0.3)
    job = queue(database, 0, 63)
    with producer(impatient) as loop:
        turn(loop, lambda: jobs.job_status(database, 43114, job).published == 64)
        turn(loop, lambda: not jobs.unpublished(database, job))
        store(database, job, 0, 31)
        turn(loop, lambda: jobs.overdue(database, job, 0.3))
        behind.clear()
        of_its_blocks = {partition_of(0, PARTITIONS)}
        turn(loop, lambda: behind.count(of_its_blocks) > 1)  # overdue, but the decoders have read nothing: they lag
        assert len(numbers(deployment)) == 64

        read_everything(deployment)
        turn(loop, lambda: len(numbers(deployment)) >= 96)
        loop.close()

    again = numbers(deployment)
    assert [n for n in again if n < 32] == list(range(32))  # what is stored is not asked for again


def seen_behind(monkeypatch: pytest.MonkeyPatch) -> list[set[int] | None]:
    """Return a list that fills with what the producers hear of partitions where somebody lags."""
    found: list[set[int] | None] = []
    own = LagReader.lagging

    def lagging(self: LagReader, *asked: Any) -> set[int] | None:
        found.append(own(self, *asked))
        return found[-1]

    monkeypatch.setattr(LagReader, "lagging", lagging)
    return found


def read_everything(settings: Settings) -> None:
    """Commit the ends of the work topics for the decoders' group."""
    consumer = Consumer(
        {
            "bootstrap.servers": settings.kafka_bootstrap_servers,
            "group.id": settings.topic_prefix + "decoder",
            "enable.auto.commit": False,
        }
    )
    ends = [TopicPartition(settings.topic_prefix + WORK[1], p) for p in range(PARTITIONS)]
    for each in ends:
        each.offset = watermarks(consumer, each.topic, each.partition)[1]
    consumer.commit(offsets=ends, asynchronous=False)
    consumer.close()


def test_protocol_12_a_block_that_is_being_rolled_back_is_not_marked_stored(
    deployment: Settings, database: Connection, migrated: Settings
) -> None:
    insert_blocks(database, range(0, 10))
    job = queue(database, 0, 9)
    jobs.take_leases(database, 43114, "one", 30, 1)
    lease = jobs.renew_lease(database, job, "one", None, 30)
    assert lease is not None
    opened: list[object] = []

    with engine.connect(migrated, "rollback") as rollback:
        rollback.execute("DELETE FROM blocks WHERE number >= 5")
        stripes = [Ranges.of([(0, 10)]).stripe(0)]
        thread = threading.Thread(
            target=lambda: opened.append(jobs.open_stripes(database, lease, "one", 43114, stripes, None))
        )
        thread.start()
        wait_for(lambda: _waits_for_a_lock(migrated), what="the producer waits for the deleted rows")
        rollback.commit()
        thread.join(10)

    assert opened == [[type(stripes[0])(0, 0b1111100000)]]


def _waits_for_a_lock(settings: Settings) -> bool:
    with psycopg.connect(settings.database_url) as connection:
        row = connection.execute("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'").fetchone()
    return bool(row and row[0])


def test_protocol_13_a_cancelled_job_publishes_again_what_is_missing_in_its_window(
    deployment: Settings, database: Connection
) -> None:
    impatient = replace(deployment, republish_seconds=0.3)
    job = queue(database, 0, 63)
    with producer(impatient) as loop:
        turn(loop, lambda: jobs.job_status(database, 43114, job).published == 64)
        turn(loop, lambda: not jobs.unpublished(database, job))
        jobs.wish(database, 43114, job, "cancel")
        read_everything(deployment)

        turn(loop, lambda: len(numbers(deployment)) >= 128)
        store(database, job, 0, 63)
        turn(loop, lambda: jobs.job_status(database, 43114, job).state == "cancelled")


@pytest.mark.bar
def test_ten_thousand_items_are_published_within_a_second(deployment: Settings, database: Connection) -> None:
    KafkaAdmin(deployment).await_leaders(load_topics(deployment.topic_prefix))  # as `topics apply` does
    with producer(deployment) as loop:
        loop.step()  # connected, the brokers known
        job = queue(database, 1, 10_000, window_blocks=20_000)
        turn(loop, lambda: jobs.job_status(database, 43114, job).started_at is not None)

        started = time.monotonic()
        while (pause := loop.step()) == 0 or jobs.unpublished(database, job):
            time.sleep(pause)  # as long as the service does
            assert time.monotonic() - started < 60
        seconds = time.monotonic() - started

    assert len(numbers(deployment)) == 10_000
    assert seconds < at_most(1.0)


def test_what_a_fork_takes_back_from_a_running_job_is_published_again(
    deployment: Settings, database: Connection
) -> None:
    job = queue(database, 0, 127)

    with producer(deployment) as loop:
        turn(loop, lambda: jobs.unpublished(database, job) == [] and jobs.under_way(database, job) == 128)
        store(database, job, 0, 99)
        database.execute(
            "UPDATE job_coverage SET stored = 0::bit(64), published_at = NULL WHERE job_id = %s AND stripe = 1", (job,)
        )
        turn(loop, lambda: len(numbers(deployment)) == 128 + 64)
        loop.close()

    found = numbers(deployment)
    twice = [number for number in range(128) if found.count(number) == 2]
    assert twice == list(range(64, 128))


def test_while_a_head_is_followed_little_is_under_way_whatever_the_window(
    deployment: Settings, database: Connection
) -> None:
    job = queue(database, 0, 9_999, window_blocks=5_000, batch_size=5_000)
    database.execute(
        "UPDATE processing_jobs SET state = 'running', lease_owner = 'x', lease_until = now() + interval '1 hour'"
        " WHERE id = %s",
        (following.start(database, 43114, 10_000, None),),
    )

    with producer(deployment) as loop:
        turn(loop, lambda: jobs.under_way(database, job) > 0)
        for _ in range(5):
            loop.step()
        assert jobs.under_way(database, job) == 128
        loop.close()
