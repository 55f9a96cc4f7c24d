"""What options select."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from indexer.errors import UserError
from indexer.replay.selection import Selection, block_range, fingerprint, moment

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def test_a_selection_of_nothing_but_a_state_is_empty() -> None:
    assert Selection().empty
    assert Selection(state="quarantined").empty
    assert not Selection(job=0).empty
    assert not Selection(ids=(1,)).empty


def test_what_is_not_asked_for_is_no_condition() -> None:
    parameters = Selection(codes=("NOT_AVRO",), first_block=0).parameters()

    assert parameters["codes"] == ["NOT_AVRO"]
    assert parameters["first_block"] == 0
    assert parameters["ids"] is None
    assert parameters["job"] is None


def test_an_audit_keeps_what_was_asked_for() -> None:
    assert Selection(job=3, since=NOON).in_words() == {
        "job": 3,
        "since": "2026-01-31T12:00:00+00:00",
        "state": "open",
    }


@pytest.mark.parametrize(("text", "pair"), [("17", (17, 17)), ("10-20", (10, 20)), ("0", (0, 0))])
def test_blocks_are_one_or_a_range(text: str, pair: tuple[int, int]) -> None:
    assert block_range(text) == pair


@pytest.mark.parametrize("text", ["20-10", "x", "-5", "1-", "9" * 16])
def test_other_blocks_are_a_users_mistake(text: str) -> None:
    with pytest.raises(UserError, match="--blocks"):
        block_range(text)


@pytest.mark.parametrize(
    ("text", "then"),
    [
        ("2026-01-31T11:00", datetime(2026, 1, 31, 11, tzinfo=UTC)),
        ("2026-01-31", datetime(2026, 1, 31, tzinfo=UTC)),
        ("2026-01-31T12:00+01:00", datetime(2026, 1, 31, 11, tzinfo=UTC)),
        ("90m", datetime(2026, 1, 31, 10, 30, tzinfo=UTC)),
        ("1d", datetime(2026, 1, 30, 12, tzinfo=UTC)),
    ],
)
def test_a_time_is_a_moment_or_how_long_ago(text: str, then: datetime) -> None:
    assert moment("--since", text, NOON) == then


@pytest.mark.parametrize("text", ["yesterday", "999999d", "2026-13-01"])  # 999,999 days are more than there were
def test_another_time_is_a_users_mistake(text: str) -> None:
    with pytest.raises(UserError, match=f"--since {text}"):
        moment("--since", text, NOON)


def test_a_fingerprint_may_be_shortened_but_not_to_nothing() -> None:
    assert fingerprint("3f2a91c0") == "3f2a91c0"
    for text in ("3f2a", "nothex!!", "0" * 17):
        with pytest.raises(UserError, match="fingerprint"):
            fingerprint(text)
