"""Which dead letters are meant; pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import Any

from indexer.errors import UserError

STATES = ("open", "quarantined")  # of letters that something can be done with
_SHORTEST_FINGERPRINT = 6
_AGO = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


@dataclass(frozen=True, slots=True)
class Selection:
    """Every condition that is given has to hold; None and the empty tuple are no conditions."""

    ids: tuple[int, ...] = ()
    fingerprint: str | None = None  # its first digits are enough
    codes: tuple[str, ...] = ()
    service: str | None = None
    job: int | None = None
    first_block: int | None = None
    last_block: int | None = None
    since: datetime | None = None  # of the time at which the letter was indexed
    until: datetime | None = None
    state: str = "open"
    replayed_at_most: int | None = None  # how often it was replayed before

    @property
    def empty(self) -> bool:
        """Whether nothing but the state is asked for."""
        return self == Selection(state=self.state)

    def parameters(self) -> dict[str, Any]:
        """Return the values for the conditions of a statement; None means no condition."""
        given = {each.name: getattr(self, each.name) for each in fields(self)}
        return {name: (list(value) or None) if isinstance(value, tuple) else value for name, value in given.items()}

    def in_words(self) -> dict[str, Any]:
        """Return what is asked for, as JSON values: what an audit keeps."""
        return {
            name: value.isoformat() if isinstance(value, datetime) else value
            for name, value in self.parameters().items()
            if value is not None
        }


def fingerprint(text: str) -> str:
    """Return the beginning of a fingerprint; raises UserError for what cannot be one."""
    if not re.fullmatch(r"[0-9a-f]{1,16}", text) or len(text) < _SHORTEST_FINGERPRINT:
        raise UserError(
            f"--fingerprint {text}: give {_SHORTEST_FINGERPRINT} to 16 hex digits, as `indexer dlq list` shows them",
            code="BAD_SELECTION",
        )
    return text


def block_range(text: str) -> tuple[int, int]:
    """Return the first and last block of `17` or `10-20`; raises UserError."""
    match = re.fullmatch(r"(\d{1,15})(?:-(\d{1,15}))?", text)
    first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
    if last < first:
        raise UserError(f"--blocks {text}: give a block or a range such as 10-20", code="BAD_SELECTION")
    return first, last


def moment(option: str, text: str, now: datetime) -> datetime:
    """Return the time that `2026-01-31`, `2026-01-31T12:00` (UTC unless it says otherwise) or `2h` ago means."""
    try:
        if ago := re.fullmatch(r"(\d{1,6})([smhd])", text):
            return now - timedelta(seconds=int(ago[1]) * _AGO[ago[2]])
        found = datetime.fromisoformat(text)
    except (ValueError, OverflowError):  # before the year 1
        raise UserError(
            f"{option} {text}: give a time such as 2026-01-31T12:00, or how long ago: 90s, 10m, 2h, 7d",
            code="BAD_SELECTION",
        ) from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
