"""Up to which height what is stored is the node's, whatever holes there are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.cli.rollback import highest_common


def common(heights: set[int], fork: int, most: int, head: int = 10_000) -> tuple[int | None, int]:
    """The highest height that both have where the node has other blocks from `fork` on, and how often it was asked."""
    asked = []

    def known(most: int) -> tuple[int, list[bytes]] | None:
        below = [number for number in heights if number <= most]
        return (max(below), [b"%d" % max(below)]) if below else None

    def theirs(number: int) -> bytes | None:
        asked.append(number)
        return None if number > head else b"other" if number >= fork else b"%d" % number

    return highest_common(known, theirs, most), len(asked)


@given(st.sets(st.integers(0, 200), max_size=50), st.integers(0, 210), st.integers(0, 210), st.integers(0, 210))
def test_it_is_the_highest_that_is_known_below_the_fork(heights: set[int], fork: int, most: int, head: int) -> None:
    expected = max((number for number in heights if number < fork and number <= min(most, head)), default=None)

    assert common(heights, fork, most, head)[0] == expected


def test_a_node_is_asked_once_where_it_agrees_and_seldom_where_not() -> None:
    assert common(set(range(5000)), 4000, 3999) == (3999, 1)

    found, asked = common(set(range(5000)), 17, 4999)
    assert found == 16
    assert asked <= 15


@pytest.mark.parametrize("hashes", [[b"ours", b"theirs"], [b"ours"], []])
def test_rows_and_headers_that_differ_agree_with_nobody(hashes: list[bytes]) -> None:
    assert highest_common(lambda most: (5, hashes) if most >= 5 else None, lambda number: b"theirs", 9) is None
