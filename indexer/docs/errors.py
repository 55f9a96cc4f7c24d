"""The page docs/reference/errors.md, written from indexer/error_codes.toml.

Run: python -m indexer.docs.errors > docs/reference/errors.md
"""

from __future__ import annotations

import sys

from indexer.error_codes import Code, Replay, Section, sections

_INTRO = """# Errors

Written by `python -m indexer.docs.errors` from `indexer/error_codes.toml`; a test compares it with the code.

Every error has a stable code: it is in dead letters, in outcomes and metrics, and in the last line of a service that
ends. What the services do with an error goes by its kind ([architecture](../../ARCHITECTURE.md#errors)); what you
can do goes by its code. `indexer dlq show ID` prints the line of a letter's code.

The column *replay* is for codes that dead letters have: *now* means that the same again may succeed
(`indexer batch recover JOB --strategy selective` replays these), *once mended* that somebody has to mend the cause
first, *never* that no replay helps.
"""

_REPLAY = {None: "", Replay.NOW: "now", Replay.FIXED: "once mended", Replay.NEVER: "never"}


def page() -> str:
    """Return the page's text."""
    return "\n".join([_INTRO, *(line for section in sections() for line in _section(section))])


def _section(section: Section) -> list[str]:
    rows = [_row(code) for code in section.codes]
    head = ["| code | means | what to do | replay |", "| --- | --- | --- | --- |"]
    return [f"## {section.name.capitalize()}", "", section.about, "", *head, *rows, ""]


def _row(code: Code) -> str:
    return f'| <a id="{code.code}"></a>`{code.code}` | {code.means} | {code.do} | {_REPLAY[code.replay]} |'


if __name__ == "__main__":
    sys.stdout.write(page())
