"""What the pipeline expects of a Source, asked of the double in memory and of Kafka under every group protocol."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from typing import Any, Protocol

import pytest

from indexer.errors import OutageError
from indexer.inflight import Record, TopicPartition
from indexer.kafka import config
from indexer.kafka.source import KafkaSource
from indexer.memory import MemoryBroker, MemorySource
from indexer.pipeline import Offsets, Source
from indexer.settings import Settings
from tests.support.kafka_topics import TestKafka


class Heard:
    """A listener that remembers; `starts` and `error` are its answers to an assignment."""

    def __init__(self) -> None:
        self.owned: set[TopicPartition] = set()
        self.events: list[str] = []
        self.starts: Offsets = {}
        self.error: Exception | None = None
        self.on_revoke: Callable[[], None] = lambda: None

    def assigned(self, sources: Collection[TopicPartition]) -> Offsets:
        if self.error is not None:
            raise self.error
        self.owned |= set(sources)
        self.events.append("assigned")
        return {source: offset for source, offset in self.starts.items() if source in sources}

    def revoked(self, sources: Collection[TopicPartition]) -> None:
        self.on_revoke()
        self.owned -= set(sources)
        self.events.append("revoked")

    def lost(self, sources: Collection[TopicPartition]) -> None:
        self.owned -= set(sources)
        self.events.append("lost")


class World(Protocol):
    topic: str

    def source(self) -> Source: ...
    def produce(self, partition: int, *values: bytes) -> None: ...
    def mark(self, partition: int) -> None: ...
    def commit(self, partition: int, offset: int) -> None: ...


class InMemory:
    topic = "work"

    def __init__(self) -> None:
        self.broker = MemoryBroker({TopicPartition("work", 0): [], TopicPartition("work", 1): []})

    def source(self) -> Source:
        return MemorySource(self.broker, {"work": 1})

    def produce(self, partition: int, *values: bytes) -> None:
        self.broker.produce("work", partition, *values)

    def mark(self, partition: int) -> None:
        self.broker.mark("work", partition)

    def commit(self, partition: int, offset: int) -> None:
        self.broker.committed[TopicPartition("work", partition)] = offset

    def close(self) -> None:
        pass


class OnKafka:
    def __init__(self, servers: str, prefix: str, protocol: str, assignor: str) -> None:
        self.settings = Settings(
            kafka_bootstrap_servers=servers,
            topic_prefix=prefix,
            group_protocol=protocol,
            session_timeout_seconds=6.0,
        )
        self._assignor = assignor
        self.topic = prefix + "work"
        self.kafka = TestKafka(servers)
        self.kafka.create(self.topic)
        self._sources: list[KafkaSource] = []

    def source(self, topics: dict[str, int] | None = None, **options: Any) -> KafkaSource:
        settings = config.consumer(self.settings, "group", self._assignor)
        self._sources.append(KafkaSource(settings, topics or {self.topic: 1}, **options))
        return self._sources[-1]

    def produce(self, partition: int, *values: bytes) -> None:
        self.kafka.produce(self.topic, partition, *values)

    def mark(self, partition: int) -> None:
        self.kafka.produce_in_transaction(self.topic, partition, b"never seen", abort=True)

    def commit(self, partition: int, offset: int) -> None:
        """Commit as a member would, whoever that is at the moment."""
        if live := [each for each in self._sources if each._next]:
            consumer = live[0]._consumer
            consumer.commit(offsets=[_kafka_partition(self.topic, partition, offset)], asynchronous=False)
        else:
            self.kafka.commit(self.settings.topic_prefix + "group", self.topic, partition, offset)

    def close(self) -> None:
        for source in self._sources:
            source._listener = Heard()
            source.close()


def _kafka_partition(topic: str, partition: int, offset: int) -> Any:
    from confluent_kafka import TopicPartition as KafkaPartition

    return KafkaPartition(topic, partition, offset)


PROTOCOLS = [("classic", "range"), ("classic", "cooperative-sticky"), ("consumer", "range")]
ON_KAFKA = [pytest.param(each, marks=pytest.mark.integration, id="-".join(each)) for each in PROTOCOLS]


@pytest.fixture(params=[pytest.param(None, id="memory"), *ON_KAFKA])
def world(request: pytest.FixtureRequest) -> Iterator[Any]:
    if request.param is None:
        yield InMemory()
        return
    made = OnKafka(request.getfixturevalue("kafka"), request.getfixturevalue("topic_prefix"), *request.param)
    yield made
    made.close()


def polled(source: Source, count: int, seconds: float = 20.0, most: int = 100) -> list[Record]:
    """Poll until `count` records came, and a little longer for any that must not come."""
    found: list[Record] = []
    deadline = time.monotonic() + seconds
    while len(found) < count and time.monotonic() < deadline:
        found += source.poll(most, 0.1)
    for _ in range(3):
        found += source.poll(most, 0.05)
    return found


def values(records: list[Record]) -> list[bytes]:
    return [record.value or b"" for record in records]


def joined(world: World, listener: Heard | None = None) -> Source:
    source = world.source()
    source.subscribe(listener or Heard())
    return source


def poll_until(source: Source, happened: Callable[[], object], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, "not in time"
        source.poll(0, 0.05)


def test_a_new_group_starts_at_the_oldest_record(world: World) -> None:
    world.produce(0, b"a", b"b")

    assert values(polled(joined(world), 2)) == [b"a", b"b"]


def test_a_group_goes_on_where_it_committed(world: World) -> None:
    world.produce(0, b"a", b"b", b"c")
    world.commit(0, 2)

    assert values(polled(joined(world), 1)) == [b"c"]


def test_the_listener_says_where_to_start(world: World) -> None:
    world.produce(0, b"a", b"b", b"c")
    world.commit(0, 2)
    listener = Heard()
    listener.starts = {TopicPartition(world.topic, 0): 1}

    assert values(polled(joined(world, listener), 2)) == [b"b", b"c"]


def test_records_come_in_order_each_once_and_no_more_than_asked_for(world: World) -> None:
    world.produce(0, *(b"%d" % n for n in range(10)))
    world.produce(1, *(b"%d" % n for n in range(10)))
    source = joined(world)
    batches: list[list[Record]] = []

    deadline = time.monotonic() + 20
    while sum(map(len, batches)) < 20 and time.monotonic() < deadline:
        batches.append(list(source.poll(3, 0.1)))

    found = [record for batch in batches for record in batch]
    assert max(map(len, batches)) <= 3
    for partition in (0, 1):
        assert [r.offset for r in found if r.partition == partition] == list(range(10))


def test_without_room_nothing_is_returned_and_nothing_is_lost(world: World) -> None:
    world.produce(0, b"a", b"b")
    source = joined(world)

    for _ in range(20):
        assert source.poll(0, 0.05) == []

    assert values(polled(source, 2)) == [b"a", b"b"]


def test_the_position_is_after_what_was_returned_not_after_what_was_fetched(world: World) -> None:
    world.produce(0, b"a", b"b", b"c")
    listener = Heard()
    source = joined(world, listener)
    poll_until(source, lambda: listener.owned)
    for _ in range(10):
        source.poll(0, 0.02)

    first: list[Record] = []
    while not first:
        first += source.poll(1, 0.1)

    assert source.position(TopicPartition(world.topic, 0)) == 1


def test_the_position_steps_past_transaction_markers(world: World) -> None:
    world.produce(0, b"a")
    world.mark(0)
    source = joined(world)

    polled(source, 1)

    end = 2 if isinstance(world, InMemory) else world.kafka.end(world.topic, 0)  # type: ignore[attr-defined]
    poll_until(source, lambda: source.position(TopicPartition(world.topic, 0)) == end)


def test_the_position_of_a_partition_that_is_not_ours_is_unknown(world: World) -> None:
    source = joined(world)

    assert source.position(TopicPartition(world.topic, 7)) is None


def test_the_position_is_right_inside_a_revoke(world: World) -> None:
    world.produce(0, b"a", b"b")
    listener = Heard()
    source = joined(world, listener)
    first: list[Record] = []
    while not first:
        first = list(source.poll(1, 0.1))
    seen: list[int | None] = []
    listener.on_revoke = lambda: seen.append(source.position(TopicPartition(world.topic, 0)))

    source.rejoin()

    assert seen[0] == 1


def test_a_rewind_brings_back_what_was_not_committed(world: World) -> None:
    world.produce(0, b"a", b"b", b"c")
    source = joined(world)
    polled(source, 3)
    world.commit(0, 1)

    source.rewind()

    assert source.position(TopicPartition(world.topic, 0)) in (1, None)
    assert values(polled(source, 2)) == [b"b", b"c"]


def test_a_rewind_without_committed_offsets_starts_at_the_oldest_record(world: World) -> None:
    world.produce(0, b"a", b"b")
    source = joined(world)
    polled(source, 2)

    source.rewind()

    assert values(polled(source, 2)) == [b"a", b"b"]


def test_a_rewind_forgets_what_was_fetched_ahead(world: World) -> None:
    world.produce(0, b"a", b"b", b"c")
    source = joined(world)
    while not source.poll(1, 0.1):
        pass

    source.rewind()

    assert values(polled(source, 3)) == [b"a", b"b", b"c"]


def test_joining_anew_is_heard_as_a_revocation_and_an_assignment(world: World) -> None:
    world.produce(0, b"a")
    listener = Heard()
    source = joined(world, listener)
    polled(source, 1)
    world.commit(0, 1)
    listener.events.clear()

    source.rejoin()
    world.produce(0, b"b")

    assert values(polled(source, 1)) == [b"b"]
    assert next(event for event in listener.events if event != "assigned") in ("revoked", "lost")
    assert listener.events[-1] == "assigned"
    assert len(listener.owned) == 2


def test_a_listener_that_cannot_take_over_is_asked_again(world: World) -> None:
    world.produce(0, b"a")
    listener = Heard()
    listener.error = OutageError("the database is down")
    source = joined(world, listener)
    for _ in range(40):
        assert source.poll(10, 0.05) == []

    listener.error = None

    assert values(polled(source, 1)) == [b"a"]


def test_closing_revokes(world: World) -> None:
    listener = Heard()
    source = world.source()
    source.subscribe(listener)
    poll_until(source, lambda: len(listener.owned) == 2)
    if not isinstance(world, InMemory):
        world._sources.clear()  # type: ignore[attr-defined]

    source.close()

    assert listener.owned == set()
