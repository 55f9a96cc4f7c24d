"""Each answer that Kafka can give to a transactional producer, and what is done about it (DESIGN 4)."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from indexer.errors import FatalError, OutageError
from indexer.inflight import TopicPartition
from indexer.kafka.transactions import KafkaTransactionSink
from indexer.outputs import Output
from indexer.pipeline import Handled, Rewind

SOURCE = TopicPartition("in", 0)
OUTPUT = Output("out", 1, b"key", b"value", (("header", b"x"),))
HANDLED: Sequence[Handled[Sequence[Output]]] = [Handled(SOURCE, 7, (OUTPUT,))]
RETRIABLE = KafkaException(KafkaError(KafkaError._TIMED_OUT, "slow", False, True, False))
TIMED_OUT = KafkaException(KafkaError(KafkaError._TIMED_OUT, "slow"))
MUST_ABORT = KafkaException(KafkaError(KafkaError.UNKNOWN_MEMBER_ID, "who", False, False, True))
FATAL = KafkaException(KafkaError(KafkaError._FENCED, "fenced", True, False, False))
FENCED = KafkaException(KafkaError(KafkaError._FENCED, "fenced"))
INVALID_STATE = KafkaException(KafkaError(KafkaError.INVALID_TXN_STATE, "state", True, False, False))
UNKNOWN = KafkaException(KafkaError(KafkaError._FAIL, "no idea"))
TOO_LARGE = KafkaError(KafkaError.MSG_SIZE_TOO_LARGE, "large")


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Broker:
    """Scripts the answers of all producers: by call, first come first served."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.answers: dict[str, list[Exception]] = {}
        self.calls: list[str] = []
        self.producers: list[Producer] = []
        self.down = False
        self.hanging: threading.Event | None = None  # the next offsets are not answered before this

    def __call__(self, config: dict[str, Any]) -> Producer:
        self.producers.append(Producer(self, config))
        return self.producers[-1]

    def answer(self, call: str, *answers: Exception) -> None:
        self.answers[call] = list(answers)

    def answered(self, call: str) -> None:
        self.calls.append(call)
        self.clock.now += 1.0
        if self.answers.get(call):
            raise self.answers[call].pop(0)
        if self.down and call not in ("poll", "flush", "purge", "produce"):
            raise RETRIABLE


class Producer:
    def __init__(self, broker: Broker, config: dict[str, Any]) -> None:
        self._broker, self.config = broker, config
        self.produced: list[tuple[Any, ...]] = []
        self.delivery_error: KafkaError | None = None

    def init_transactions(self, timeout: float) -> None:
        self._broker.answered("init")

    def begin_transaction(self) -> None:
        self._broker.answered("begin")

    def produce(self, topic: str, value: Any, key: Any, partition: int, headers: Any) -> None:
        self._broker.answered("produce")
        self.produced.append((topic, value, key, partition, headers))

    def send_offsets_to_transaction(self, offsets: Any, metadata: bytes, timeout: float) -> None:
        self.offsets, self.metadata = offsets, metadata
        hanging, self._broker.hanging = self._broker.hanging, None
        if hanging is not None:
            hanging.wait(30)
        self._broker.answered("offsets")

    def flush(self, timeout: float) -> int:
        if self.delivery_error is not None:
            self.config["on_delivery"](self.delivery_error, Message())
        self._broker.answered("flush")
        return 0

    def commit_transaction(self, timeout: float) -> None:
        self._broker.answered("commit")

    def abort_transaction(self, timeout: float) -> None:
        self._broker.answered("abort")

    def poll(self, timeout: float) -> int:
        self._broker.answered("poll")
        return 0

    def purge(self) -> None:
        self._broker.answered("purge")


class Message:
    def topic(self) -> str:
        return "out"


class World:
    def __init__(self) -> None:
        self.clock = Clock()
        self.broker = Broker(self.clock)
        self.sink = KafkaTransactionSink({}, lambda: b"metadata", now=self.clock, make=self.broker, seconds=15)
        self.broker.calls.clear()

    def write(self) -> None:
        self.sink.write(HANDLED, {SOURCE: 8})


@pytest.fixture
def world() -> World:
    return World()


def test_outputs_and_offsets_are_committed_in_one_transaction(world: World) -> None:
    world.write()

    (producer,) = world.broker.producers
    assert world.broker.calls == ["begin", "produce", "offsets", "flush", "commit"]
    assert producer.produced == [("out", b"value", b"key", 1, [("header", b"x")])]
    assert [(p.topic, p.partition, p.offset) for p in producer.offsets] == [("in", 0, 8)]
    assert producer.metadata == b"metadata"


def test_what_is_to_be_said_of_an_offset_goes_with_it(world: World) -> None:
    world.sink._describe = lambda source, offset: f"{source.topic} at {offset}"

    world.write()

    [told] = world.broker.producers[0].offsets
    assert (told.offset, told.metadata) == (8, "in at 8")


def test_a_group_that_we_left_is_told_before_anything_is_produced(world: World) -> None:
    def no_member() -> bytes:
        raise Rewind("no member")

    world.sink._group_metadata = no_member

    with pytest.raises(Rewind):
        world.write()

    assert world.broker.calls == []


@pytest.mark.parametrize("call", ["begin", "offsets", "commit"])
@pytest.mark.parametrize("answer", [RETRIABLE, TIMED_OUT], ids=["retriable", "timed out"])
def test_an_answer_that_may_still_come_is_waited_for_with_the_same_call(
    world: World, call: str, answer: KafkaException
) -> None:
    world.broker.answer(call, answer, answer)

    world.write()

    at = world.broker.calls.index(call)
    assert world.broker.calls[at : at + 5] == [call, "poll", call, "poll", call]
    assert len(world.broker.producers) == 1


@pytest.mark.parametrize("call", ["produce", "offsets", "commit"])
def test_a_transaction_that_must_be_aborted_is_flushed_aborted_and_rewound(world: World, call: str) -> None:
    world.broker.answer(call, MUST_ABORT)

    with pytest.raises(Rewind):
        world.write()

    assert world.broker.calls[-2:] == ["flush", "abort"]
    assert (world.sink.aborted, len(world.broker.producers)) == (1, 1)
    world.write()
    assert world.broker.calls[-1] == "commit"


@pytest.mark.parametrize("call", ["begin", "produce", "offsets", "flush", "commit"])
@pytest.mark.parametrize("answer", [FATAL, FENCED, UNKNOWN], ids=["fatal", "fenced", "unknown"])
def test_a_producer_in_an_unknown_state_is_replaced(world: World, call: str, answer: KafkaException) -> None:
    world.broker.answer(call, answer)

    with pytest.raises(Rewind):
        world.write()

    calls = world.broker.calls
    assert calls[calls.index("purge") :] == ["purge", "init", "begin", "offsets", "flush", "abort"]
    assert (world.sink.replaced, len(world.broker.producers)) == (1, 2)
    world.write()
    assert calls[-1] == "commit"


def test_what_a_lost_transaction_wrote_is_ended_by_aborting_another_in_its_partitions(world: World) -> None:
    world.broker.answer("commit", UNKNOWN)
    with pytest.raises(Rewind):
        world.write()
    replacement = world.broker.producers[1]
    assert [(p.topic, p.partition, p.offset) for p in replacement.offsets] == [("in", 0, 8)]
    world.broker.calls.clear()

    world.write()

    end_of_records = ["begin", "produce", "flush", "abort"]
    assert world.broker.calls == [*end_of_records, "begin", "produce", "offsets", "flush", "commit"]
    assert replacement.produced[0] == ("out", b"", b"", 1, [])
    world.broker.calls.clear()
    world.write()
    assert "abort" not in world.broker.calls


def test_the_transaction_before_a_lost_one_is_ended_too_where_its_inputs_come_again(world: World) -> None:
    world.write()
    world.broker.answer("commit", UNKNOWN)
    with pytest.raises(Rewind):
        world.sink.write([Handled(SOURCE, 8, (Output("out", 2, b"key", b"value"),))], {SOURCE: 9})
    replacement = world.broker.producers[1]

    world.write()

    assert [record[0:4] for record in replacement.produced] == [("out", b"", b"", 1), ("out", b"value", b"key", 1)]


def test_where_a_transaction_that_counts_may_hang_nothing_is_aborted(world: World) -> None:
    world.write()
    second = Handled(SOURCE, 8, (OUTPUT, Output("out", 2, b"key", b"value")))
    world.broker.answer("commit", UNKNOWN)
    with pytest.raises(Rewind):
        world.sink.write([second], {SOURCE: 9})
    replacement = world.broker.producers[1]

    world.sink.write([second], {SOURCE: 9})

    assert [(record[0], record[3], record[1]) for record in replacement.produced][:2] == [
        ("out", 2, b""),
        ("out", 1, b"value"),
    ]


def test_a_lost_transaction_whose_inputs_do_not_come_again_was_committed_and_its_records_stay(world: World) -> None:
    world.broker.answer("commit", UNKNOWN)
    with pytest.raises(Rewind):
        world.write()
    world.broker.calls.clear()

    world.sink.write([Handled(SOURCE, 8, (OUTPUT,))], {SOURCE: 9})

    assert world.broker.calls == ["begin", "produce", "offsets", "flush", "commit"]


@pytest.mark.parametrize(
    "between",
    [
        pytest.param(([], {SOURCE: 7}), id="positions alone"),
        pytest.param(([Handled(TopicPartition("in", 3), 2, (Output("out", 3, b"key", b"value"),))], {}), id="others"),
    ],
)
def test_a_write_that_says_nothing_of_a_lost_transaction_leaves_it_in_mind(
    world: World, between: tuple[list[Handled[Sequence[Output]]], dict[TopicPartition, int]]
) -> None:
    handled, offsets = between
    world.broker.answer("commit", UNKNOWN)
    with pytest.raises(Rewind):
        world.write()

    world.broker.calls.clear()

    world.sink.write(handled, offsets or {TopicPartition("in", 3): 3})

    assert "abort" not in world.broker.calls
    world.write()
    assert world.broker.calls.count("abort") == 1
    assert world.broker.producers[-1].produced[-2][0:4] == ("out", b"", b"", 1)


def test_offsets_that_a_group_refuses_have_ended_what_hung_all_the_same(world: World) -> None:
    world.broker.answer("offsets", UNKNOWN, MUST_ABORT)

    with pytest.raises(Rewind):
        world.write()

    assert world.broker.calls[-3:] == ["offsets", "flush", "abort"]
    assert world.sink.replaced == 1


def test_a_lost_transaction_is_kept_in_mind_until_another_one_ended_it(world: World) -> None:
    world.broker.answer("commit", UNKNOWN)
    world.broker.answer("abort", UNKNOWN, UNKNOWN)
    for _ in range(2):
        with pytest.raises(OutageError, match="lost transaction"):
            world.write()

    with pytest.raises(Rewind):
        world.write()

    assert world.broker.producers[-1].offsets[0].offset == 8
    world.write()
    assert world.broker.producers[-1].produced[0] == ("out", b"", b"", 1, [])


def test_a_producer_that_cannot_abort_is_replaced(world: World) -> None:
    world.broker.answer("commit", MUST_ABORT)
    world.broker.answer("abort", INVALID_STATE)

    with pytest.raises(Rewind):
        world.write()

    assert len(world.broker.producers) == 2


def test_a_call_that_never_returns_is_left_behind_with_its_producer(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("indexer.kafka.transactions._CALL_SECONDS", 0.05)
    returns = world.broker.hanging = threading.Event()
    world.sink = KafkaTransactionSink({}, lambda: b"metadata", now=world.clock, make=world.broker, seconds=0)
    old = world.broker.producers[-1]

    with pytest.raises(Rewind, match="sending offsets: no return"):
        world.write()

    world.write()
    assert world.broker.producers[-1] is not old
    assert world.broker.producers[-1].produced
    assert world.sink.replaced == 1
    returns.set()


def test_no_definite_answer_in_time_replaces_the_producer(world: World) -> None:
    world.broker.answer("commit", *[RETRIABLE] * 20)

    with pytest.raises(Rewind):
        world.write()

    assert len(world.broker.producers) == 2
    assert world.broker.calls.count("commit") < 20


def test_while_no_broker_answers_it_is_an_outage_and_then_a_rewind(world: World) -> None:
    world.broker.down = True
    for _ in range(3):
        with pytest.raises(OutageError):
            world.write()

    world.broker.down = False
    with pytest.raises(Rewind):
        world.write()
    world.write()

    assert world.broker.calls[-1] == "commit"
    assert world.sink.replaced == 1


def test_more_than_three_lost_producers_in_a_minute_end_the_process(world: World) -> None:
    for _ in range(3):
        world.broker.answer("commit", FENCED)
        with pytest.raises(Rewind):
            world.write()
    world.broker.answer("commit", FENCED)

    with pytest.raises(FatalError, match="under the same slot"):
        world.write()


def test_lost_producers_now_and_then_do_not(world: World) -> None:
    for _ in range(10):
        world.clock.now += 30
        world.broker.answer("commit", FENCED)
        with pytest.raises(Rewind):
            world.write()


def test_a_full_queue_is_polled_until_it_has_room(world: World) -> None:
    world.broker.answer("produce", BufferError(), BufferError())

    world.write()

    assert world.broker.calls[1:6] == ["produce", "poll", "produce", "poll", "produce"]


def test_a_queue_that_stays_full_costs_the_producer(world: World) -> None:
    world.broker.answer("produce", *[BufferError()] * 50)

    with pytest.raises(Rewind):
        world.write()

    assert len(world.broker.producers) == 2


def test_a_record_that_the_client_refuses_for_its_size_ends_the_process(world: World) -> None:
    world.broker.answer("produce", KafkaException(TOO_LARGE))

    with pytest.raises(FatalError, match="indexer topics diff"):
        world.write()

    assert world.broker.calls[-1] == "abort"


def test_a_record_that_the_broker_refuses_for_its_size_ends_the_process(world: World) -> None:
    world.broker.producers[0].delivery_error = TOO_LARGE
    world.broker.answer("commit", MUST_ABORT)

    with pytest.raises(FatalError, match="indexer topics diff"):
        world.write()


def test_records_that_we_purged_ourselves_are_no_failure(world: World) -> None:
    world.broker.producers[0].delivery_error = KafkaError(KafkaError._PURGE_QUEUE, "purged")

    world.write()

    assert world.sink._refused is None


def test_closing_between_writes_leaves_nothing_open(world: World) -> None:
    world.write()
    world.broker.calls.clear()

    world.sink.close()

    assert world.broker.calls == []


@pytest.mark.parametrize("answer", [None, FATAL])
def test_closing_after_an_error_in_mid_transaction_aborts_it(world: World, answer: Exception | None) -> None:
    world.broker.answer("offsets", ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        world.write()
    world.broker.answer("abort", *[answer] if answer else [])

    world.sink.close()
    world.sink.close()

    assert world.broker.calls[-2:] == ["flush", "abort"]


@pytest.mark.parametrize(("answer", "error"), [(RETRIABLE, OutageError), (MUST_ABORT, FatalError)])
def test_a_start_without_transactions_is_told(answer: KafkaException, error: type[Exception]) -> None:
    clock = Clock()
    broker = Broker(clock)
    broker.answer("init", *[answer] * 50)

    with pytest.raises(error):
        KafkaTransactionSink({}, lambda: b"", now=clock, make=broker, seconds=15)


def test_partitions_start_at_the_groups_offset_and_are_given_up_without_ado(world: World) -> None:
    assert world.sink.assigned([]) == {}
    world.sink.revoked([])
    assert world.broker.calls == []


def test_the_first_partitions_end_what_a_predecessor_left_hanging_in_the_offsets(world: World) -> None:
    assert world.sink.assigned([SOURCE]) == {}
    assert world.broker.calls == ["begin", "offsets", "flush", "abort"]

    world.sink.revoked([SOURCE])
    assert world.sink.assigned([SOURCE]) == {}

    assert len(world.broker.calls) == 4


def test_a_lost_producer_is_replaced_before_partitions_are_taken_over(world: World) -> None:
    world.sink.assigned([SOURCE])
    world.broker.down = True
    for _ in range(2):
        with pytest.raises(OutageError):
            world.write()
    with pytest.raises(OutageError):
        world.sink.assigned([SOURCE])
    world.broker.down = False
    world.broker.calls.clear()

    world.sink.assigned([SOURCE])

    assert world.broker.calls == ["init", "begin", "offsets", "flush", "abort"]
    with pytest.raises(Rewind):
        world.write()  # of a partition that stayed: it may have been committed
    world.write()
    assert world.broker.calls[-1] == "commit"
