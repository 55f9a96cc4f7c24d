"""Work items through the handler, with a fetcher that a test directs."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import Any

import pytest

from indexer import codec
from indexer.deadletter import read_letter
from indexer.errors import FatalError, IndexerError, NotYetError, OutageError, TransientError
from indexer.inflight import Record
from indexer.outputs import Output
from indexer.pipeline import Handled
from indexer.records import Reason
from indexer.rpc.fetch import Fetched, Wanted
from services.decoder.fetch import BlockHandler
from services.decoder.handler import Decoder
from tests.unit.decoder.conftest import Fetch, record_of
from tests.unit.decoder.test_handler import as_record


@dataclass(frozen=True)
class InFlight:
    requests: int
    bytes: int


@dataclass(frozen=True)
class Asked:
    key: Hashable
    numbers: list[int]
    exclude: frozenset[str]
    urgent: bool


class MemoryFetcher:
    """Answers when the test says so; refuses what the real one would refuse."""

    def __init__(self, fetched: Fetch) -> None:
        self._fetched = fetched
        self._ready: list[tuple[Hashable, list[Fetched | IndexerError]]] = []
        self.open: list[Asked] = []
        self.asked: list[Asked] = []
        self.batch = 4
        self.bytes = 0
        self.full = False
        self.waits: list[float] = []
        self.closed = False

    @property
    def in_flight(self) -> InFlight:
        return InFlight(len(self.open), self.bytes)

    def room(self) -> int:
        return 0 if self.full else 100

    def suggested_batch(self) -> int:
        return self.batch

    def submit(
        self, key: Hashable, wanted: Sequence[Wanted], *, exclude: AbstractSet[str] = frozenset(), urgent: bool = False
    ) -> bool:
        assert wanted
        assert not self.full
        self.open.append(Asked(key, [each.number for each in wanted], frozenset(exclude), urgent))
        self.asked.append(self.open[-1])
        return True

    def completed(self, timeout: float) -> list[tuple[Hashable, list[Fetched | IndexerError]]]:
        self.waits.append(timeout)
        ready, self._ready = self._ready, []
        return ready

    def close(self) -> None:
        self.closed = True

    def answer(self, *results: Any, endpoint: str = "node-1", **altered: Any) -> None:
        """Answer the oldest request: with genuine blocks, altered ones, or the given results."""
        asked = self.open.pop(0)
        found = list(results) or [self._fetched(number, endpoint, **altered) for number in asked.numbers]
        self._ready.append((asked.key, found))


class Clock:
    now = 50.0

    def __call__(self) -> float:
        return self.now


class World:
    def __init__(self, decoder: Decoder, fetched: Fetch, **options: Any) -> None:
        self.clock = Clock()
        self.fetcher = MemoryFetcher(fetched)
        settings: dict[str, Any] = {"window": 50, "window_bytes": 10**9, "endpoints": 1} | options
        self.handler = BlockHandler(decoder, self.fetcher, clock=self.clock, now_ms=lambda: 1000, **settings)

    def submit(self, *numbers: int, **item: Any) -> list[Record]:
        records = [record_of(number, offset=number, **item) for number in numbers]
        self.handler.submit(records)
        return records

    def turn(self, times: int = 1, seconds: float = 0.0) -> list[Handled[Sequence[Output]]]:
        found: list[Handled[Sequence[Output]]] = []
        for _ in range(times):
            self.clock.now += seconds
            found += self.handler.completed(0.02)
        return found

    def warm_up(self) -> None:
        """Learn how large a block is."""
        self.submit(1)
        self.turn()
        self.fetcher.answer()
        self.turn(2)
        self.fetcher.asked.clear()


@pytest.fixture
def world(decoder: Decoder, fetched: Fetch) -> World:
    return World(decoder, fetched)


def topics(handled: Sequence[Handled[Sequence[Output]]]) -> list[str]:
    return [output.topic for each in handled for output in each.result]


def test_items_are_asked_for_and_come_back_as_records(world: World) -> None:
    world.submit(3, 4)
    world.turn()
    world.fetcher.answer()

    handled = world.turn(2)

    assert [each.offset for each in handled] == [3, 4]
    assert topics(handled) == ["t.blocks.decoded"] * 2
    assert all(each.size > 100 for each in handled)
    assert world.handler.tally.blocks == 2
    assert {"parse", "verify", "decode", "encode", "fetch"} <= set(world.handler.tally.seconds)


def test_items_are_asked_for_in_batches_of_the_suggested_size(world: World) -> None:
    world.warm_up()

    world.submit(*range(2, 12))
    world.turn()

    assert [asked.numbers for asked in world.fetcher.asked] == [[2, 3, 4, 5], [6, 7, 8, 9]]
    world.turn(seconds=0.02)
    assert world.fetcher.asked[-1].numbers == [10, 11]


def test_the_head_goes_alone_and_first_in_the_rate(world: World) -> None:
    world.warm_up()

    world.submit(2, 3)
    world.submit(4, reason=Reason.HEAD)
    world.turn(seconds=0.02)
    world.turn(seconds=0.02)

    assert [(asked.numbers, asked.urgent) for asked in world.fetcher.asked] == [([2, 3], False), ([4], True)]


def test_only_a_few_are_asked_for_until_the_size_of_a_block_is_known(world: World) -> None:
    world.submit(*range(1, 20))

    world.turn(5, seconds=0.02)

    assert [len(asked.numbers) for asked in world.fetcher.asked] == [8]


def test_no_more_is_asked_for_than_may_be_held(decoder: Decoder, fetched: Fetch) -> None:
    world = World(decoder, fetched, window_bytes=1000)
    world.warm_up()
    world.fetcher.bytes = 2000

    world.submit(2, 3, 4, 5, 6)
    world.turn(5, seconds=0.02)
    assert [asked.numbers for asked in world.fetcher.asked] == [[2, 3, 4, 5]]

    world.fetcher.answer()
    world.turn(20, seconds=0.02)
    assert world.fetcher.asked[-1].numbers == [6]


def test_nothing_is_asked_for_while_the_fetcher_is_full(world: World) -> None:
    world.fetcher.full = True
    world.submit(2)
    world.turn(3)
    assert world.fetcher.asked == []

    world.fetcher.full = False
    world.turn()
    assert len(world.fetcher.asked) == 1


def test_room_is_what_is_left_of_the_window(world: World) -> None:
    assert world.handler.room() == 50

    world.submit(*range(1, 11))
    assert world.handler.room() == 40

    world.turn()
    world.fetcher.answer()
    world.turn(2)
    assert world.handler.room() == 48


def test_decoding_is_done_in_slices(world: World) -> None:
    world.handler._clock = iter_clock = SteppingClock(0.005)
    world.submit(*range(1, 9))
    world.turn()
    world.fetcher.answer()

    counts = [len(world.turn()) for _ in range(10)]

    assert iter_clock.now > 0
    assert sum(counts) == 8
    assert max(counts) < 8


class SteppingClock:
    """Time passes whenever somebody looks."""

    def __init__(self, step: float) -> None:
        self.now, self._step = 0.0, step

    def __call__(self) -> float:
        self.now += self._step
        return self.now


def test_waiting_is_left_to_the_fetcher_unless_something_is_done(world: World) -> None:
    world.submit(1)
    world.turn()
    assert world.fetcher.waits[-1] == 0.02

    world.handler.submit([replace(record_of(2), value=b"garbage")])
    world.turn()
    assert world.fetcher.waits[-1] == 0.0


def test_bytes_that_are_no_work_item_are_dead_at_once(world: World) -> None:
    world.handler.submit([replace(record_of(2), value=b"garbage")])

    handled = world.turn()

    assert topics(handled) == ["t.blocks.dlq"]
    assert world.handler.tally.failures == {"NOT_AVRO": 1}


@pytest.mark.parametrize(
    ("error", "topic"),
    [(TransientError("x"), "t.blocks.retry.5s"), (NotYetError("x"), "t.blocks.retry.5s")],
)
def test_a_failure_of_one_block_leaves_its_neighbours_alone(
    world: World, fetched: Fetch, error: IndexerError, topic: str
) -> None:
    world.submit(1, 2)
    world.turn()
    world.fetcher.answer(error, fetched(2))

    assert sorted(topics(world.turn(2))) == ["t.blocks.decoded", topic]


def test_during_an_outage_the_item_stays_and_is_asked_for_again(world: World) -> None:
    world.submit(1)
    world.turn()
    for _ in range(5):
        world.fetcher.answer(OutageError("nobody answers", code="RPC_OUTAGE"))
        assert world.turn(2) == []
        assert world.handler.outage == "RPC_OUTAGE"
        world.turn(seconds=1.1)

    world.fetcher.answer()

    assert topics(world.turn(2)) == ["t.blocks.decoded"]
    assert world.handler.outage is None
    assert world.handler.tally.failures == {}


def test_an_outage_ends_with_the_last_item_that_needs_the_node(world: World) -> None:
    record = record_of(1)
    world.handler.submit([record])
    world.turn()
    world.fetcher.answer(OutageError("nobody answers", code="RPC_OUTAGE"))
    world.turn(2)

    world.handler.forget([record.source])

    assert world.handler.outage is None


def test_a_lone_endpoint_is_asked_once_more_for_a_block_that_is_not_genuine(world: World) -> None:
    world.submit(1)
    world.turn()
    world.fetcher.answer(gasUsed="0x1")
    assert world.turn(3) == []
    world.turn(seconds=1.1)
    assert world.fetcher.asked[-1].exclude == frozenset()

    world.fetcher.answer()

    assert topics(world.turn(2)) == ["t.blocks.decoded"]


def test_a_block_that_is_never_genuine_is_dead(world: World) -> None:
    world.submit(1)
    world.turn()
    world.fetcher.answer(gasUsed="0x1")
    world.turn(3)
    world.turn(seconds=1.1)
    world.fetcher.answer(gasUsed="0x1")

    handled = world.turn(2)

    assert topics(handled) == ["t.blocks.dlq"]
    letter = read_letter(as_record(handled[0].result[0]), "")
    assert (letter.stage, letter.attempts) == ("verify", 1)
    assert world.handler.tally.failures[letter.code] == 1


def test_another_endpoint_is_asked_for_a_block_that_is_not_genuine(decoder: Decoder, fetched: Fetch) -> None:
    world = World(decoder, fetched, endpoints=2)
    world.submit(1, 2)
    world.turn()
    world.fetcher.answer(fetched(1, "node-1", gasUsed="0x1"), fetched(2, "node-1"))

    assert topics(world.turn(3, seconds=0.02)) == ["t.blocks.decoded"]
    assert world.fetcher.asked[-1] == replace(world.fetcher.asked[-1], numbers=[1], exclude=frozenset({"node-1"}))
    world.fetcher.answer(endpoint="node-2")

    assert topics(world.turn(2)) == ["t.blocks.decoded"]


def test_a_block_that_no_endpoint_serves_genuinely_is_dead(decoder: Decoder, fetched: Fetch) -> None:
    world = World(decoder, fetched, endpoints=2)
    world.submit(1)
    world.turn()
    world.fetcher.answer(endpoint="node-1", gasUsed="0x1")
    world.turn(3)
    world.fetcher.answer(endpoint="node-2", gasUsed="0x1")

    assert topics(world.turn(3)) == ["t.blocks.dlq"]


@pytest.mark.parametrize("error", [OutageError("down"), TransientError("none other")])
def test_a_doubtful_block_is_tried_again_later_when_no_other_endpoint_can_be_asked(
    decoder: Decoder, fetched: Fetch, error: IndexerError
) -> None:
    world = World(decoder, fetched, endpoints=2)
    world.submit(1)
    world.turn()
    world.fetcher.answer(gasUsed="0x1")
    world.turn(3)
    world.fetcher.answer(error)

    assert topics(world.turn(3)) == ["t.blocks.retry.5s"]


def test_a_block_too_large_for_the_topic_is_dead_without_asking_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.decoder.handler.RECORD_LIMIT", 500)
    (record,) = world.submit(1)
    world.turn()
    world.fetcher.answer()

    (handled,) = world.turn(2)

    assert handled.result[0].value == record.value
    assert read_letter(as_record(handled.result[0]), "").code == "BLOCK_TOO_LARGE"


def test_a_node_of_another_chain_ends_the_process(world: World) -> None:
    world.submit(1)
    world.turn()
    world.fetcher.answer(FatalError("another chain", code="WRONG_CHAIN"))

    with pytest.raises(FatalError, match="another chain"):
        world.turn(2)


def test_a_superseded_item_leaves_without_any_record(world: World) -> None:
    world.submit(1, expected_hash=bytes(32), headers=(("x-retry-attempts", b"3"),))
    world.turn()
    world.fetcher.answer(NotYetError("another hash", code="RPC_OTHER_HASH"))

    (handled,) = world.turn(2)

    assert (handled.offset, list(handled.result)) == (1, [])


def test_what_was_fetched_for_a_partition_that_left_is_dropped(world: World) -> None:
    mine = world.submit(1, partition=0)[0]
    world.submit(2, partition=1)
    world.turn()

    world.handler.forget([mine.source])
    world.fetcher.answer()

    assert [each.source.partition for each in world.turn(3)] == [1]
    assert world.handler.room() == 50


def test_an_item_that_comes_again_after_a_rewind_is_not_settled_by_its_first_answer(world: World) -> None:
    world.warm_up()
    (record,) = world.submit(1)
    world.turn()
    world.handler.forget([record.source])
    world.submit(1)
    world.turn(seconds=0.02)
    first, second = world.fetcher.asked

    world.fetcher.answer()
    assert world.turn(2) == []
    world.fetcher.answer()

    assert [each.offset for each in world.turn(2)] == [1]
    assert first.key != second.key


def test_what_waits_is_forgotten_too(world: World) -> None:
    world.fetcher.full = True
    (record,) = world.submit(1)
    world.handler.submit([replace(record_of(2, offset=2), value=b"garbage")])

    world.handler.forget([record.source])
    world.fetcher.full = False

    assert world.turn(3) == []
    assert world.fetcher.asked == []


def test_closing_closes_the_fetcher(world: World) -> None:
    world.handler.close()

    assert world.fetcher.closed


def test_the_block_is_the_one_that_was_fetched(world: World) -> None:
    world.submit(5)
    world.turn()
    world.fetcher.answer()

    (handled,) = world.turn(2)

    assert codec.decode_record(handled.result[0].value or b"").header.number == 5  # type: ignore[union-attr]
