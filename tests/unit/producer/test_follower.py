"""The follower on tables and topics in memory: killed anywhere, it ends with the winning chain (PROTOCOL 5, 6, 8)."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.errors import OutageError
from indexer.records import BlockWorkItem, Reason, Rollback
from services.producer.follower import Follower, LeaseLost
from tests.unit.producer.chain_model import KilledError, MemoryNode, World


@dataclass(slots=True)
class Run:
    """A chain, its indexer and the follower's process, which may end and start again."""

    node: MemoryNode = field(default_factory=MemoryNode)
    world: World = field(default_factory=World)
    now: float = 0.0
    follower: Follower = field(init=False)

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        self.follower = Follower(self.node, self.world, self.world, lambda: self.now)

    def step(self, steps: int = 1) -> None:
        for _ in range(steps):
            self.now += max(self.follower.step(), 0.05)

    def calm(self) -> None:
        """Let everything have its effect."""
        for _ in range(60):
            self.step()
            self.world.work()
            self.now += 1.0

    def items(self) -> list[BlockWorkItem]:
        """What lies in the work topics."""
        return [each for topic in self.world.topics for each in topic if isinstance(each, BlockWorkItem)]

    def hashes(self) -> list[bytes]:
        return [each.hash for each in self.node.blocks]

    def stored(self) -> list[bytes]:
        assert sorted(self.world.rows) == list(range(len(self.world.rows)))
        return [self.world.rows[number][0] for number in sorted(self.world.rows)]


def test_every_block_up_to_the_head_is_published_once_with_hash_and_generation() -> None:
    run = Run()
    run.node.grow(5)

    run.step(4)

    items = sorted(run.items(), key=lambda each: each.number)
    assert {each.reason for each in items} == {Reason.HEAD}
    assert [each.number for each in items] == list(range(6))
    assert [each.expected_hash for each in items] == run.hashes()


def test_rule_6_a_rollback_is_in_every_partition_before_an_item_of_the_new_generation() -> None:
    run = Run()
    run.node.grow(8)
    run.calm()
    run.node.fork(3, 5)

    run.step(5)

    for topic in run.world.topics:
        assert isinstance(topic[0], Rollback)
        assert all(each.generation == 1 for each in topic)
    reorged = {each.number for each in run.items() if each.reason is Reason.REORG}
    assert reorged == {6, 7, 8}


def test_rule_6_a_rollback_is_sent_again_with_back_off_until_every_partition_applied_it() -> None:
    run = Run()
    run.node.grow(8)
    run.calm()
    run.node.fork(2, 3)
    run.step(5)
    for topic in run.world.topics[:2]:
        topic[:] = [each for each in topic if isinstance(each, BlockWorkItem)]  # two partitions lose theirs

    until = run.now + 300
    while run.now < until:
        run.step()
    for topic in run.world.topics:
        assert 6 <= sum(isinstance(each, Rollback) for each in topic) <= 12  # after 1, 2, 4 … 60 s
    run.calm()
    assert run.world.applied == [1, 1, 1]
    assert run.stored() == run.hashes()


def test_rule_8_a_fork_far_below_is_found_after_a_long_stop() -> None:
    run = Run(node=MemoryNode(window=20))
    run.node.grow(30)
    run.calm()
    run.node.fork(15, 100)

    run.start()
    run.calm()

    assert run.world.rollbacks[0].from_number == 16
    assert run.stored() == run.hashes()


def test_rule_8_stored_rows_that_are_not_the_headers_are_a_new_generation() -> None:
    run = Run()
    run.node.grow(5)
    run.calm()
    run.world.rows[4] = (b"another", 0)

    run.calm()

    assert run.world.rollbacks[0].from_number == 4
    assert run.stored() == run.hashes()


def test_rule_8_canonical_rises_only_over_rows_whose_hash_is_the_headers() -> None:
    run = Run()
    run.node.grow(5)
    run.step(6)
    assert run.world.canonical_to == -1  # nothing is stored yet

    run.world.work()
    run.world.rows[3] = (b"another", 0)
    run.world.settle(run.world.read(), None)  # type: ignore[arg-type]

    assert run.world.canonical_to == 2


def test_a_shorter_branch_is_believed_when_it_is_told_twice() -> None:
    run = Run()
    run.node.grow(8)
    run.calm()
    kept = list(run.node.blocks)

    run.node.fork(3, 1)
    run.step()
    shorter, run.node.blocks = run.node.blocks, kept  # the next answer comes from the other node
    run.step(3)
    assert run.world.rollbacks == []

    run.node.blocks = shorter
    run.calm()
    assert run.stored() == run.hashes()


def test_a_fork_beyond_the_window_pauses_the_chain_until_a_person_decides() -> None:
    run = Run(node=MemoryNode(window=3))
    run.node.grow(20)
    run.calm()
    run.node.final = 0  # what the node called final was not
    run.node.fork(10, 30)
    run.node.final = 37

    run.calm()
    assert run.world.paused == "below 17"
    asked = run.node.asked
    run.calm()
    assert run.node.asked == asked
    assert run.world.rollbacks == []

    run.world.paused, run.world.rollback_to = None, 10
    run.calm()
    assert run.stored() == run.hashes()


def test_a_long_gap_is_left_to_a_job_without_gap_or_overlap() -> None:
    run = Run()
    run.node.grow(1000)

    run.step(4)

    assert run.world.jobs == [(0, 990)]
    assert sorted(each.number for each in run.items()) == list(range(990, 1001))


def test_confirmations_say_what_is_final() -> None:
    run = Run(world=World(confirmations=2))
    run.node.grow(9)

    run.calm()

    assert run.world.finalized_to == 7


def test_a_job_that_is_paused_looks_at_nothing() -> None:
    run = Run(world=World(wish="paused"))
    run.node.grow(9)

    run.calm()

    assert run.node.asked == 0


def test_a_follower_whose_lease_is_gone_does_nothing_and_goes_on_later() -> None:
    run = Run()
    run.node.grow(3)
    lost = [True]

    def kill(place: str) -> None:
        if place == "before record" and lost:
            lost.pop()
            raise LeaseLost("another's")

    run.world.kill = kill
    run.calm()

    assert not lost
    assert run.stored() == run.hashes()


def test_what_was_recorded_and_not_told_comes_before_anything_new() -> None:
    run = Run()
    run.node.grow(8)
    run.calm()
    run.node.fork(2, 4)
    away = [True]

    def kill(place: str) -> None:
        if place == "rollback" and away:
            raise OutageError("away")

    run.world.kill = kill
    for _ in range(3):
        with pytest.raises(OutageError):
            run.step(5)
    assert [len(topic) for topic in run.world.topics] == [0, 0, 0]

    away.clear()
    run.step(4)
    assert all(isinstance(topic[0], Rollback) for topic in run.world.topics)


Action = st.one_of(
    st.tuples(st.just("grow"), st.integers(1, 6)),
    st.tuples(st.just("fork"), st.integers(1, 12), st.integers(1, 12)),
    st.tuples(st.just("step"), st.integers(1, 6)),
    st.tuples(st.just("work"), st.integers(1, 4)),
    st.tuples(st.just("lose"), st.integers(0, 2)),
    st.tuples(st.just("kill"), st.integers(0, 25)),
)


@given(st.lists(Action, max_size=40))
def test_any_forks_and_deaths_end_with_the_winning_chain(actions: list[tuple[str, int]]) -> None:
    run = Run()
    countdown = [-1]

    def kill(place: str) -> None:
        countdown[0] -= 1
        if countdown[0] == 0:
            raise KilledError(place)

    run.world.kill = kill
    for name, *numbers in actions:
        if name == "grow":
            run.node.grow(numbers[0])
        elif name == "fork":
            run.node.fork(numbers[0], numbers[1])
        elif name == "work":
            run.world.work(numbers[0])
        elif name == "lose":  # a rollback that Kafka no longer has is sent again
            topic = run.world.topics[numbers[0]]
            topic[:] = [each for each in topic if not isinstance(each, Rollback)]
        elif name == "kill":
            countdown[0] = numbers[0] + 1
        else:
            try:
                run.step(numbers[0])
            except KilledError:
                run.start()
    run.world.kill = lambda place: None
    run.start()
    run.calm()

    assert run.stored() == run.hashes()
    assert [run.world.headers[n][0] for n in sorted(run.world.headers)] == run.node.blocks[min(run.world.headers) :]
    assert run.world.canonical_to == run.node.head
    assert run.world.paused is None
