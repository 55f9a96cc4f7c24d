"""What an audit was asked to do, so that it can be gone on with as it was begun; pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Asked:
    """The wishes of a command: a range whose ends may be left open, and what is compared besides."""

    first: int | None
    last: int | None
    sample: int
    balances: bool

    @property
    def named(self) -> bool:
        """Whether every height of the range is expected."""
        return self.first is not None and self.last is not None

    def to_json(self) -> dict[str, Any]:
        return {"from": self.first, "to": self.last, "sample": self.sample, "balances": self.balances}


def asked_of(report: Mapping[str, Any]) -> Asked:
    """Return what the report of an audit is the answer to; raises KeyError for that of an older release."""
    asked = report["asked"]
    return Asked(asked["from"], asked["to"], asked["sample"], asked["balances"])
