"""What each stable error code means, what to do about it, and whether a letter that has it is worth replaying."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any


class Replay(StrEnum):
    """What a replay of a letter with this code may come to."""

    NOW = "now"  # it was a matter of time or of load
    FIXED = "fixed"  # once somebody mended the cause
    NEVER = "never"


class Seen(StrEnum):
    """How a code shows besides in a dead letter."""

    ENDS = "ends"  # the last line of a process, exit code 1
    FINDING = "finding"  # of an audit
    LINE = "line"  # of commands that look
    MARK = "mark"  # beside a row
    READY = "ready"  # on /readyz
    REFUSED = "refused"  # the one line of a command or service, exit code 2
    RETRIED = "retried"  # by ourselves: logs and metrics only
    WAITS = "waits"  # an outage


@dataclass(frozen=True, slots=True)
class Code:
    code: str
    section: str
    means: str
    do: str
    by: tuple[str, ...]  # who says it
    replay: Replay | None = None  # None: no dead letter has it
    seen: tuple[Seen, ...] = ()
    more: str = ""  # for the page alone
    run: tuple[str, ...] = ()  # commands

    @property
    def hint(self) -> str:
        return f"{self.means} {self.do}"


@dataclass(frozen=True, slots=True)
class Section:
    name: str
    about: str
    codes: tuple[Code, ...]


@cache
def sections() -> tuple[Section, ...]:
    """Return all codes as error_codes.toml groups them."""
    declared = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
    return tuple(
        Section(name, entry.pop("about"), tuple(_codes(name, entry.pop("by"), entry.pop("seen", []), entry)))
        for name, entry in declared.items()
    )


@cache
def codes() -> Mapping[str, Code]:
    """Return all codes by name."""
    return {code.code: code for section in sections() for code in section.codes}


def hint(code: str) -> str:
    """Return what `indexer dlq show` says about a code; one that we do not know is the name of an exception."""
    known = codes().get(code)
    return known.hint if known is not None else "Not an error that this release knows; read the message."


def worth_replaying(replay: Replay) -> list[str]:
    """Return the codes of letters for which a replay may come to this."""
    return sorted(code.code for code in codes().values() if code.replay is replay)


def _codes(section: str, by: list[str], seen: list[str], entries: Mapping[str, Mapping[str, Any]]) -> Iterator[Code]:
    for name, entry in entries.items():
        yield Code(
            name,
            section,
            entry["means"],
            entry["do"],
            tuple(entry.get("by", by)),
            Replay(entry["replay"]) if "replay" in entry else None,
            tuple(Seen(each) for each in entry.get("seen", seen)),
            entry.get("more", ""),
            tuple(entry.get("run", ())),
        )
