"""The page docs/reference/errors.md, written from indexer/error_codes.toml.

Run: python -m indexer.docs.errors > docs/reference/errors.md
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from indexer.error_codes import Code, Replay, Section, Seen, sections

_INTRO = """# Errors

Written by `python -m indexer.docs.errors` from `indexer/error_codes.toml`; a test compares it with the code.

Every error has a stable code: it is in dead letters, in outcomes and metrics, on `/readyz`, and in the last line of a
service that ends. What the services do with an error goes by its kind ([architecture](../../ARCHITECTURE.md#errors));
what you can do goes by its code. `indexer dlq show ID` prints the two sentences of a letter's code, this page the rest.

A replay that is *now* may succeed as things are (`indexer batch recover JOB --strategy selective` replays these), *once
mended* when somebody mended the cause, *never* at all.
"""

_REPLAY = {None: "", Replay.NOW: "now", Replay.FIXED: "once mended", Replay.NEVER: "never"}
_SEEN = {
    Seen.ENDS: "as the last line of a process or command that ends with exit code 1; nothing was committed half",
    Seen.FINDING: "in the report of `indexer audit`",
    Seen.LINE: "as a line of `indexer dlq list` and `indexer batch status`",
    Seen.MARK: "as a mark in the table `transaction_processing`",
    Seen.READY: "on `/readyz`, which answers 503, while `/healthz` stays green",
    Seen.REFUSED: "as the one line of a command or service that ends with exit code 2; nothing was done",
    Seen.RETRIED: "in logs and metrics only: it is tried again, and counts against nothing",
    Seen.WAITS: "on `/readyz` and in logs, while the service waits and takes nothing; nothing is dead-lettered",
}
_LETTER = "in dead letters and their metrics"
_COMMANDS = {
    Replay.NOW: (
        ("indexer dlq list --code {}", "how many, of which blocks, since when"),
        ("indexer dlq replay --code {} --dry-run", "what would be asked for again"),
        ("indexer dlq replay --code {}", "of one job: `indexer batch recover JOB`"),
    ),
    Replay.FIXED: (
        ("indexer dlq list --code {}", "how many, of which blocks, since when"),
        ("indexer dlq show ID", "the whole message, headers and body of one"),
        ("indexer dlq replay --code {} --canary 10", "when it is mended: ten first, then all"),
    ),
    Replay.NEVER: (
        ("indexer dlq list --each --code {}", "each with where it came from"),
        ("indexer dlq drop --code {} --note WHY", "when nobody needs them any more"),
    ),
}


def page() -> str:
    """Return the page's text."""
    index = [f"- [{_title(section)}](#{section.name}): {len(section.codes)} codes" for section in sections()]
    return "\n".join([_INTRO, *index, "", *(line for section in sections() for line in _section(section))])


def _section(section: Section) -> Iterator[str]:
    yield from (f"## {_title(section)}", "", section.about, "")
    yield from ("| code | means | replay |", "| --- | --- | --- |")
    yield from (
        f"| [`{code.code}`](#{code.code.lower()}) | {code.means} | {_REPLAY[code.replay]} |" for code in section.codes
    )
    yield ""
    for code in section.codes:
        yield from _code(code)


def _code(code: Code) -> Iterator[str]:
    yield from (f'<a id="{code.code}"></a>', "", f"### {code.code}", "")
    yield from (f"**What it means.** {code.means}", "")
    yield from (f"**What to do.** {code.do} {code.more}".rstrip(), "")
    if commands := list(_commands(code)):
        yield from ("```sh", *commands, "```", "")
    yield from (f"**Where it shows.** {_where(code)}", "")
    if code.replay:
        yield from (f"**Replay.** {_REPLAY[code.replay].capitalize()}.", "")


def _commands(code: Code) -> Iterator[str]:
    """Yield what to type: of a letter what finds and replays it, and what its entry names besides."""
    yield from code.run
    if code.replay is None:
        return
    lines = [(command.format(code.code), says) for command, says in _COMMANDS[code.replay]]
    width = max(len(command) for command, _ in lines)
    yield from (f"{command:<{width}}  # {says}" for command, says in lines)


def _where(code: Code) -> str:
    places = ([_LETTER] if code.replay else []) + [_SEEN[seen] for seen in code.seen]
    return f"Said by {_listed(code.by)}. It shows {'; or '.join(places)}."


def _listed(names: tuple[str, ...]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _title(section: Section) -> str:
    return section.name.capitalize()


if __name__ == "__main__":
    sys.stdout.write(page())
