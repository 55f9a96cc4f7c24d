"""Every case of the loop, on doubles that refuse what Kafka and PostgreSQL would refuse."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest

from indexer.errors import FatalError, OutageError, TransientError
from indexer.inflight import Record, TopicPartition
from indexer.memory import MemoryBroker, MemoryHandler, MemorySink, MemorySource
from indexer.pipeline import Handled, Offsets, OwnershipLost, Pace, Pipeline, Rewind

P0, P1 = TopicPartition("work", 0), TopicPartition("work", 1)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class World:
    """A pipeline on doubles, with a clock that only a test moves."""

    handler: MemoryHandler = field(default_factory=MemoryHandler)
    pace: Pace = field(default_factory=Pace)
    starts: Offsets | None = None

    def __post_init__(self) -> None:
        self.broker = MemoryBroker({P0: [], P1: []})
        self.clock = Clock()
        self.source = MemorySource(self.broker, {"work": 1})
        self.sink = MemorySink(self.broker, self.starts)
        self.pipeline = Pipeline(self.source, self.handler, self.sink, self.clock, self.pace)
        self.source.subscribe(self.pipeline)

    def produce(self, *values: bytes, partition: int = 0) -> None:
        self.broker.produce("work", partition, *values)

    def held_up(self) -> str | None:
        return self.pipeline.progress.outage

    def step(self, times: int = 1, seconds: float = 0.0) -> None:
        for _ in range(times):
            self.clock.now += seconds
            self.pipeline.step()


def slow() -> World:
    return World(MemoryHandler(by_hand=True))


def test_results_and_offsets_are_written_together() -> None:
    world = World()
    world.produce(b"a", b"b")

    world.step()

    assert world.sink.writes == [([b"a", b"b"], {P0: 2})]
    assert world.broker.committed == {P0: 2}


def test_the_first_write_after_a_silence_is_at_once_the_next_one_waits() -> None:
    world = World()
    world.produce(b"a")
    world.step()
    world.produce(b"b")

    world.step(4, seconds=0.1)
    assert world.sink.stored == [b"a"]

    world.step(seconds=0.11)
    assert world.sink.stored == [b"a", b"b"]


def test_when_nothing_more_comes_nothing_is_waited_for() -> None:
    world = World(pace=Pace(seconds=1.0, company_seconds=0.4))
    world.produce(b"a")
    world.step()
    world.produce(b"b")
    world.step(seconds=0.1)
    world.produce(b"c")

    world.step(4, seconds=0.1)
    assert world.sink.stored == [b"a"]

    world.step(seconds=0.11)
    assert world.sink.stored == [b"a", b"b", b"c"]


def test_what_is_under_way_is_waited_for() -> None:
    world = World(MemoryHandler(by_hand=True), Pace(seconds=1.0, company_seconds=0.4))
    world.produce(b"a")
    world.step()
    world.handler.finish(b"a")
    world.step()
    world.produce(b"b", b"c")
    world.step(seconds=0.1)
    world.handler.finish(b"b")

    world.step(8, seconds=0.1)
    assert world.sink.stored == [b"a"]

    world.step(seconds=0.11)
    assert world.sink.stored == [b"a", b"b"]


def test_what_is_urgent_waits_less_and_takes_the_others_along() -> None:
    world = World(MemoryHandler(urgent={b"head"}))
    world.produce(b"a")
    world.step()
    world.produce(b"b", b"head")

    world.step(seconds=0.09)
    assert world.sink.stored == [b"a"]

    world.step(seconds=0.02)
    assert world.sink.stored == [b"a", b"b", b"head"]

    world.produce(b"c")
    world.step(4, seconds=0.1)
    assert world.sink.stored == [b"a", b"b", b"head"]


def test_what_is_in_hand_and_does_not_get_done_is_seen_by_health() -> None:
    world = slow()
    world.step(seconds=100)
    assert world.pipeline.progress.last_moved == world.clock.now
    world.produce(b"a", b"b")

    world.step(7, seconds=10)
    assert world.clock.now - world.pipeline.progress.last_moved == 70
    assert world.pipeline.progress.last_turn == world.clock.now

    world.handler.finish(b"a")
    world.step()
    assert world.pipeline.progress.last_moved == world.clock.now


def test_a_member_is_one_that_heard_its_part_until_it_lost_it() -> None:
    world = World()
    assert not world.pipeline.progress.member

    world.step()
    assert world.pipeline.progress.member

    world.source.lose(P0, P1)
    world.step()
    assert not world.pipeline.progress.member


def test_a_full_batch_does_not_wait() -> None:
    world = World(pace=Pace(results=2))
    world.produce(b"a")
    world.step()
    world.produce(b"b", b"c", b"d")

    world.step()

    assert [results for results, _ in world.sink.writes] == [[b"a"], [b"b", b"c"]]


def test_many_bytes_do_not_wait() -> None:
    world = World(pace=Pace(bytes=10))
    world.produce(b"a")
    world.step()
    world.produce(b"b" * 10)

    world.step()

    assert len(world.sink.writes) == 2


def test_a_slow_record_holds_back_its_partition_and_no_other() -> None:
    world = slow()
    world.produce(b"slow", b"quick")
    world.produce(b"other", partition=1)
    world.step()

    world.handler.finish(b"quick", b"other")
    world.step()

    assert world.sink.writes == [([b"other"], {P1: 1})]


def test_the_lowest_unfinished_offset_is_committed_while_later_ones_are_under_way() -> None:
    world = slow()
    world.produce(b"a", b"b", b"c")
    world.step()

    world.handler.finish(b"a", b"c")
    world.step()

    assert world.sink.writes == [([b"a"], {P0: 1})]


def test_markers_behind_the_last_record_are_committed_with_it() -> None:
    world = World()
    world.produce(b"a")
    world.broker.mark("work", 0)

    world.step(2)

    assert world.broker.committed == {P0: 2}


def test_markers_that_come_later_are_committed_in_a_silence() -> None:
    world = World()
    world.produce(b"a")
    world.step()
    world.broker.mark("work", 0)

    world.step(2, seconds=3)

    assert world.broker.committed[P0] == 2
    assert world.sink.stored == [b"a"]


def test_a_silence_in_which_nothing_moved_writes_nothing() -> None:
    world = World()
    world.produce(b"a")
    world.step()
    world.step(2, seconds=10)
    writes = len(world.sink.writes)

    world.step(10, seconds=10)

    assert len(world.sink.writes) == writes


def test_in_a_silence_the_sink_sees_that_its_store_is_another() -> None:
    world = World()
    world.produce(b"a")
    world.step()
    world.sink.fenced.add(P0)

    world.step(3, seconds=5)

    assert world.source.joined == 2
    assert world.pipeline.progress.rejoins == 1


def test_in_a_silence_an_outage_is_seen_and_its_end() -> None:
    world = World()
    world.produce(b"a")
    world.step()
    world.step(seconds=5)
    writes = world.pipeline.progress.writes
    world.sink.fail(*[OutageError("down", code="DATABASE_DOWN")] * 2)

    world.step(seconds=5)
    assert world.held_up() == "DATABASE_DOWN"
    world.step(seconds=0.5)
    assert world.held_up() == "DATABASE_DOWN"

    world.step(seconds=1)
    assert world.held_up() is None
    assert world.pipeline.progress.writes == writes


def test_no_more_is_polled_than_the_handler_has_room_for() -> None:
    world = World(MemoryHandler(by_hand=True, window=2))
    world.produce(b"a", b"b", b"c")

    world.step(2)

    assert world.handler.submitted == [b"a", b"b"]


def test_no_more_is_polled_than_may_be_under_way() -> None:
    world = World(MemoryHandler(by_hand=True), Pace(under_way=2))
    world.produce(b"a", b"b", b"c")

    world.step(2)
    world.handler.finish(b"b")
    world.step()

    assert world.handler.submitted == [b"a", b"b"]


def test_results_that_pile_up_behind_a_slow_record_stop_the_polling() -> None:
    world = World(MemoryHandler(by_hand=True), Pace(held_bytes=5))
    world.produce(b"slow", b"quick")
    world.step()

    world.handler.finish(b"quick")
    world.step()
    world.produce(b"more")
    world.step()

    assert b"more" not in world.handler.waiting


def test_a_rewind_brings_the_records_again() -> None:
    world = World()
    world.produce(b"a", b"b")
    world.sink.fail(Rewind("aborted"))

    world.step()
    assert world.sink.stored == []

    world.step(2)
    assert world.sink.stored == [b"a", b"b"]
    assert world.pipeline.progress.rewinds == 1


def test_a_rewind_drops_what_is_under_way_too() -> None:
    world = slow()
    world.produce(b"a", b"b")
    world.step()
    world.handler.finish(b"a")
    world.sink.fail(Rewind("aborted"))

    world.step(2)

    assert world.handler.submitted == [b"a", b"b", b"a", b"b"]


def test_a_rewind_that_fails_is_tried_again_and_nothing_is_written_before() -> None:
    world = World()
    world.produce(b"a")
    world.sink.fail(Rewind("aborted"))
    world.broker.down = True

    world.step(5, seconds=0.1)
    assert world.pipeline.progress.outage == "KAFKA_DOWN"
    assert len(world.sink.attempts) == 1

    world.broker.down = False
    world.step(20, seconds=0.5)
    assert world.sink.stored == [b"a"]
    assert world.pipeline.progress.outage is None


def test_lost_ownership_leads_to_joining_anew() -> None:
    world = World()
    world.produce(b"a")
    world.sink.fenced.add(P0)
    world.source.poll(0, 0)
    world.sink.fenced.add(P0)

    world.step(3)

    assert world.source.joined == 2
    assert world.sink.stored == [b"a"]
    assert world.pipeline.progress.rejoins == 1


@pytest.mark.parametrize("error", [OutageError("down", code="DATABASE_DOWN"), TransientError("deadlock")])
def test_an_outage_keeps_the_batch_and_the_membership(error: Exception) -> None:
    world = World()
    world.produce(b"a")
    world.sink.fail(error)
    world.step()
    world.produce(b"b")

    world.step(4, seconds=0.1)
    assert world.pipeline.progress.outage is not None
    assert world.handler.submitted == [b"a"]
    assert len(world.sink.attempts) == 1

    world.step(10, seconds=0.2)
    assert world.sink.attempts[0] == world.sink.attempts[1] == ([b"a"], {P0: 1})
    assert world.sink.stored == [b"a", b"b"]
    assert world.source.joined == 1
    assert world.held_up() is None


def test_the_very_same_write_is_tried_again() -> None:
    world = slow()
    world.produce(b"a", b"b")
    world.step()
    world.handler.finish(b"a")
    world.sink.fail(OutageError("down"))
    world.step()

    world.handler.finish(b"b")
    world.step(10, seconds=0.2)

    assert world.sink.attempts == [([b"a"], {P0: 1})] * 2 + [([b"b"], {P0: 2})]


def test_an_outage_of_hours_is_still_an_outage() -> None:
    world = World()
    world.sink.fail(*[OutageError("down")] * 2_000)
    world.produce(b"a")

    world.step(2_100, seconds=10.0)

    assert world.sink.stored == [b"a"]


def test_back_off_grows_to_its_limit() -> None:
    world = World(pace=Pace(back_off_seconds=1, most_back_off_seconds=4))
    world.produce(b"a")
    world.sink.fail(*[OutageError("down")] * 9)
    world.step()

    tried_at: list[float] = []
    for _ in range(40):
        before = len(world.sink.attempts)
        world.step(seconds=0.5)
        tried_at += [world.clock.now - 1000.0] * (len(world.sink.attempts) - before)

    assert tried_at[:5] == [1.0, 3.0, 7.0, 11.0, 15.0]


def test_a_revoke_writes_what_is_ready_and_drops_the_rest() -> None:
    world = slow()
    world.produce(b"a", b"b")
    world.step()
    world.handler.finish(b"a")

    world.source.revoke(P0)
    world.pipeline._collect()
    world.step()

    assert world.sink.writes == [([b"a"], {P0: 1})]
    assert world.handler.forgotten == {P0}
    assert world.pipeline.progress.assigned == {P1}


def test_a_revoke_writes_all_that_is_ready_whatever_the_limit_of_one_write() -> None:
    world = World(MemoryHandler(), Pace(results=2, seconds=100))
    world.produce(b"a")
    world.step()
    world.produce(b"b", b"c", b"d", b"e", b"f")
    world.step()

    world.source.revoke(P0)
    world.step()

    assert world.sink.stored == [b"a", b"b", b"c", b"d", b"e", b"f"]


def test_a_kept_partition_goes_on_after_a_revoke() -> None:
    world = slow()
    world.produce(b"a")
    world.produce(b"b", partition=1)
    world.step()

    world.source.revoke(P0)
    world.step()
    world.handler.finish(b"b")
    world.step()

    assert world.sink.stored == [b"b"]


def test_a_held_up_write_is_tried_once_more_at_a_revoke_and_then_dropped() -> None:
    world = World()
    world.produce(b"a")
    world.sink.fail(OutageError("down"), OutageError("still down"))
    world.step()

    world.source.revoke(P0, P1)
    world.step()

    assert len(world.sink.attempts) == 2
    assert (world.pipeline.progress.outage, world.broker.committed) == (None, {})


def test_only_what_left_is_taken_out_of_a_held_up_write() -> None:
    world = World()
    world.produce(b"a")
    world.produce(b"b", partition=1)
    world.sink.fail(OutageError("down"))
    world.step()

    world.source.lose(P0)
    world.step(10, seconds=0.2)

    assert world.sink.writes == [([b"b"], {P1: 1})]


def test_lost_partitions_are_dropped_without_a_write() -> None:
    world = World(pace=Pace(seconds=100))
    world.produce(b"a")
    world.step()
    world.produce(b"b")
    world.step()

    world.source.lose(P0)
    world.step(5, seconds=100)

    assert world.sink.stored == [b"a"]
    assert world.sink.owned == {P1}


def test_a_rewind_told_inside_a_revoke_is_obeyed_after_it() -> None:
    world = World(pace=Pace(seconds=100))
    world.produce(b"a", partition=1)
    world.step()
    world.produce(b"b", partition=1)
    world.step()
    world.sink.fail(Rewind("aborted"))

    world.source.revoke(P0)
    world.step()
    world.step(2, seconds=100)

    assert world.sink.stored == [b"a", b"b"]


def test_partitions_are_asked_for_again_while_the_sink_cannot_take_them_over() -> None:
    world = World()
    world.produce(b"a")
    world.sink.assignment_error = OutageError("down")
    world.step(3)
    assert world.handler.submitted == []

    world.sink.assignment_error = None
    world.step()

    assert world.sink.stored == [b"a"]


def test_the_sink_says_where_to_start() -> None:
    world = World(starts={P0: 1})
    world.produce(b"a", b"b")

    world.step()

    assert world.sink.writes == [([b"b"], {P0: 2})]


def test_a_fatal_error_ends_the_process_and_nothing_is_written_on_the_way_out() -> None:
    world = World()
    world.produce(b"a")
    world.sink.fail(FatalError("disk full"))

    with pytest.raises(FatalError, match="disk full"):
        world.pipeline.run(lambda: False)

    assert len(world.sink.attempts) == 1
    assert world.source.closed
    assert world.sink.closed
    assert world.handler.closed


def test_stopping_writes_what_is_ready_and_leaves_in_order() -> None:
    world = World(pace=Pace(seconds=100))
    world.produce(b"a", b"b")
    steps = iter([False, False, True])

    world.pipeline.run(lambda: next(steps))

    assert world.sink.stored == [b"a", b"b"]
    assert world.sink.owned == set()
    assert world.source.closed


def test_an_ownership_that_was_lost_is_told_once() -> None:
    world = World()
    world.produce(b"a")
    world.sink.fail(OwnershipLost("another epoch"))

    world.step(4)

    assert world.pipeline.progress.rejoins == 1


class Careful:
    """Takes records alone until told otherwise, and notes what it was told."""

    def __init__(self) -> None:
        self.careful, self.taken, self.passed = True, list[int](), list[int]()

    def alone(self) -> bool:
        return self.careful

    def take(self, record: Record) -> None:
        self.taken.append(record.offset)

    def done(self, source: TopicPartition, offset: int) -> None:
        self.passed.append(offset)


class Watch:
    def __init__(self) -> None:
        self.stopped, self.seen = False, list[object]()

    def held(self) -> bool:
        return self.stopped

    def stored(self, results: Sequence[object]) -> None:
        self.seen += results


def careful(handler: MemoryHandler | None = None) -> tuple[World, Careful]:
    world, caution = World(handler or MemoryHandler()), Careful()
    world.pipeline = Pipeline(world.source, world.handler, world.sink, world.clock, world.pace, caution=caution)
    world.source.subscribe(world.pipeline)
    return world, caution


def test_taken_alone_a_record_is_handled_after_its_offset_is_stored_and_before_the_next() -> None:
    world, caution = careful()
    world.produce(b"a", b"b")

    world.step(6)

    assert world.sink.writes == [([], {P0: 0}), ([b"a"], {P0: 1}), ([], {P0: 1}), ([b"b"], {P0: 2})]
    assert (caution.taken, caution.passed) == ([0, 1], [0, 1])


def test_a_record_whose_marker_cannot_be_stored_is_not_handled() -> None:
    world, _ = careful(MemoryHandler(by_hand=True))
    world.produce(b"a")
    world.sink.fail(OutageError("away"))

    world.step()
    assert world.handler.submitted == []

    world.step(3, seconds=1.0)
    assert world.sink.writes == [([], {P0: 0})]


def test_a_marked_record_that_leaves_with_its_partition_is_not_handled() -> None:
    world, _ = careful(MemoryHandler(by_hand=True))
    world.produce(b"a")
    world.sink.fail(Rewind("undone"))

    world.step(4)

    assert world.sink.writes[0] == ([], {P0: 0})
    assert world.sink.stored == []


def test_while_it_is_held_nothing_is_taken_and_the_membership_is_kept() -> None:
    world, watch = World(), Watch()
    world.pipeline = Pipeline(world.source, world.handler, world.sink, world.clock, world.pace, watch=watch)
    world.source.subscribe(world.pipeline)
    watch.stopped = True
    world.produce(b"a")

    world.step(3)
    assert (world.sink.writes, world.pipeline.progress.held) == ([], True)

    watch.stopped = False
    world.step()
    assert watch.seen == [b"a"]


def test_a_watch_hears_what_is_stored_and_not_what_the_store_refused() -> None:
    class Refusing(MemorySink):
        def write(self, handled: Sequence[Handled[bytes]], offsets: Offsets) -> Sequence[Handled[bytes]]:
            stored = super().write(handled, offsets)
            return [replace(each, result=b"letter") if each.result == b"bad" else each for each in stored]

    world, watch = World(), Watch()
    sink = Refusing(world.broker, None)
    world.pipeline = Pipeline(world.source, world.handler, sink, world.clock, world.pace, watch=watch)
    world.source.subscribe(world.pipeline)
    world.produce(b"good", b"bad")

    world.step()

    assert watch.seen == [b"good", b"letter"]
