"""Any forks inside the window, deaths and laggards among them, end with a fresh index of the chain that won."""

from __future__ import annotations

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.persister.rows import COLUMNS, ZERO_ADDRESS
from tests.simulation.forks import WINDOW, ForkWorld, Step, fresh, played, recomputed, settled
from tests.simulation.laws import PARTITIONS
from tests.simulation.of_rows import Values

EXAMPLES = int(os.environ.get("FORK_EXAMPLES", "25"))

WHO = st.sampled_from(("follower", "decoder", "persister", ""))  # "": everybody
TURNS = st.tuples(st.just("turn"), WHO, st.integers(1, 8))
ALL_TURN = st.tuples(st.just("turn"), st.just(""), st.integers(1, 8))
FORK = st.tuples(st.just("fork"), st.integers(1, WINDOW), st.integers(1, WINDOW + 2))
OTHERS: st.SearchStrategy[Step] = st.one_of(
    TURNS,
    TURNS,
    ALL_TURN,
    ALL_TURN,
    st.tuples(st.just("grow"), st.integers(1, 4)),
    st.tuples(st.just("lag"), st.integers(0, 3)),
    st.tuples(st.sampled_from(("miss", "heal"))),
    st.tuples(st.just("kill"), WHO),
    st.tuples(st.just("strike"), st.sampled_from(("kill", "freeze", "cut")), st.integers(1, 40)),
    st.tuples(st.just("wait"), st.sampled_from((1.0, 10.0, 700.0))),
)
FORKS = st.lists(st.tuples(FORK, st.lists(OTHERS, max_size=12)), max_size=10)  # what happens after each

EVERYBODY: Step = ("turn", "", 8)
CASES: dict[str, list[Step]] = {
    "one block": [("fork", 1, 1), EVERYBODY],
    "all that is not final": [("fork", WINDOW, WINDOW + 3), EVERYBODY],
    "a shorter branch": [("grow", 3), EVERYBODY, ("fork", 6, 2), EVERYBODY],
    "two in a row": [("fork", 3, 4), ("turn", "follower", 3), ("fork", 5, 6), EVERYBODY],
    "one while everything stood still": [("kill", ""), ("fork", 5, 6), ("grow", 40), EVERYBODY],
    "one while a persister was frozen with blocks in its hands": [
        ("strike", "freeze", 1, "persister.before-transaction"), ("grow", 2), EVERYBODY, ("fork", 4, 5), EVERYBODY,
    ],
    "one while a persister was frozen within its transaction": [
        ("strike", "freeze", 1, "persister.between-copy-and-commit"), ("grow", 2), EVERYBODY, ("fork", 4, 5), EVERYBODY,
    ],
    "one that a laggard missed": [
        ("miss",), ("fork", 4, 5), EVERYBODY, ("heal",), ("turn", "", 3), ("miss",), EVERYBODY,
    ],
}  # fmt: skip


def assert_is_a_fresh_index(world: ForkWorld) -> None:
    other = fresh(world)

    assert world.rows() == other.rows()
    assert world.outcomes() == other.outcomes()
    assert world.balances() == other.balances() == recomputed(world)


@settings(max_examples=EXAMPLES)
@given(st.integers(0, 99), FORKS)
def test_any_sequence_of_forks_ends_with_the_rows_and_balances_of_a_fresh_index(
    seed: int, forks: list[tuple[Step, list[Step]]]
) -> None:
    steps = [step for fork, others in forks for step in (fork, *others)]

    assert_is_a_fresh_index(settled(played(seed, steps)))


@pytest.mark.parametrize("native", [0, 1])
@pytest.mark.parametrize("case", CASES)
def test_a_fork_ends_with_a_fresh_index(case: str, native: int) -> None:
    world = settled(played(native, CASES[case]))

    assert world.database.tables["rollbacks"] != {}
    assert_is_a_fresh_index(world)


def test_a_slow_block_of_the_losing_branch_never_comes_back() -> None:
    asked: list[Step] = [("grow", 3), ("turn", "follower", 2), ("turn", "decoder", 1)]

    world = settled(played(0, [*asked, ("fork", 5, 6), ("turn", "follower", 3), EVERYBODY]))

    assert world.slow_blocks() > 0
    assert_is_a_fresh_index(world)


def test_a_lagging_node_is_no_fork() -> None:
    world = settled(played(0, [("lag", 3), EVERYBODY, ("grow", 2), ("lag", 2), EVERYBODY, ("lag", 0), EVERYBODY]))

    assert world.database.tables["rollbacks"] == {}
    assert_is_a_fresh_index(world)


def test_blocks_that_a_dead_follower_recorded_and_did_not_tell_are_there_within_seconds() -> None:
    """The rows of the losing branch still set their bits when its successor looks for what was not told."""
    dies: list[Step] = [("strike", "kill", PARTITIONS + 1, "before a record is sent"), ("turn", "follower", 2)]
    succeeded: list[Step] = [("wait", 5.0), ("turn", "follower", 1), ("turn", "persister", 2), ("turn", "follower", 2)]

    world = played(0, [("fork", 5, 8), *dies, *succeeded, EVERYBODY, EVERYBODY])

    assert world.faults == {"follower kill before a record is sent": 1}
    assert world.is_stored()


def test_the_blocks_carry_all_that_moves_balances() -> None:
    world = settled(played(0, [("grow", 30), EVERYBODY]))

    transfers = [dict(zip(COLUMNS["token_transfers"], row, strict=True)) for row in all_of(world, "token_transfers")]
    assert {row["standard"] for row in transfers} == {b"erc20", b"erc721", b"erc1155"}
    assert {row["kind"] for row in transfers} == {b"transfer", b"deposit", b"withdrawal"}
    assert any(row["from_address"] == ZERO_ADDRESS for row in transfers)
    assert any(row["to_address"] == ZERO_ADDRESS and row["kind"] == b"transfer" for row in transfers)
    created = COLUMNS["transactions"].index("receipt_contract_address")
    assert any(row[created] for row in all_of(world, "transactions"))
    assert all(all_of(world, table) for table in COLUMNS)


def all_of(world: ForkWorld, table: str) -> list[Values]:
    return [row for rows in world.rows()[table].values() for row in rows]
