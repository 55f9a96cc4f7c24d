"""The options by which `indexer dlq` commands are told which letters are meant, and the confirmation before changes."""

from __future__ import annotations

import getpass
import socket
import sys
from datetime import UTC, datetime
from typing import Any

import click
from click.core import ParameterSource

from indexer.cli.numbers import ID, counted
from indexer.errors import UserError
from indexer.replay.selection import STATES, Selection, block_range, fingerprint, moment

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
canary_option = click.option(
    "--canary",
    type=counted(0),
    help="Replay this many first; stop if half of them die again. 0: none."
    "  [default: of more than 100 letters 20, which are waited for 15 s at most]",
)

_OPTIONS = (
    click.option("--id", "ids", type=ID, multiple=True, help="This letter; may be given several times."),
    click.option("--fingerprint", help="Letters of one kind: its first digits are enough."),
    click.option("--code", "codes", multiple=True, help="Letters with this error code; may be given several times."),
    click.option("--service", help="Letters of this service: decoder, persister."),
    click.option("--job", type=ID, help="Letters of this job."),
    click.option("--blocks", help="Letters about a block, or about a range such as 10-20."),
    click.option("--since", help="Letters that came at this time (2026-01-31T12:00, UTC) or later; or 2h ago."),
    click.option("--until", help="Letters that came before this time."),
)
_OF_STATE = click.option(
    "--state", type=click.Choice(STATES), default="open", show_default=True, help="What the letters are now."
)
_CONFIRMED = (
    click.option("--all", "everything", is_flag=True, help="All letters of that state."),
    click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing."),
    click.option("--yes", is_flag=True, help="Do not ask."),
)


def selecting(command: Any) -> Any:
    """Add the options that choose letters."""
    return _with((*_OPTIONS, _OF_STATE), command)


def changing(command: Any) -> Any:
    """Add the options that choose letters, and those that a command needs which changes them."""
    return _with((*_OPTIONS, _OF_STATE, *_CONFIRMED, json_option), command)


def _with(options: tuple[Any, ...], command: Any) -> Any:
    for option in reversed(options):
        command = option(command)
    return command


def selection(
    *,
    ids: tuple[int, ...] = (),
    fingerprint: str | None = None,
    codes: tuple[str, ...] = (),
    service: str | None = None,
    job: int | None = None,
    blocks: str | None = None,
    since: str | None = None,
    until: str | None = None,
    state: str = "open",
) -> Selection:
    """Return the selection that options ask for; raises UserError BAD_SELECTION."""
    first, last = (None, None) if blocks is None else block_range(blocks)
    now = datetime.now(UTC)
    return Selection(
        ids=ids,
        fingerprint=None if fingerprint is None else _fingerprint(fingerprint),
        codes=codes,
        service=service,
        job=job,
        first_block=first,
        last_block=last,
        since=None if since is None else moment("--since", since, now),
        until=None if until is None else moment("--until", until, now),
        state=state,
    )


_fingerprint = fingerprint


def not_everything_by_mistake(chosen: Selection, everything: bool) -> None:
    """Raise UserError where a command that changes letters was not told which."""
    if chosen.empty and not everything:
        raise UserError(
            "which letters? Give --id, --fingerprint, --code, --service, --job, --blocks, --since or --until; or --all",
            code="BAD_SELECTION",
        )


def given_beside(*names: str) -> list[str]:
    """Return the options of the present command, as they are spelled, that were given and are none of these names."""
    context = click.get_current_context()
    return [
        option.opts[0]
        for option in context.command.params
        if option.name not in names and context.get_parameter_source(option.name or "") is not ParameterSource.DEFAULT
    ]


def confirm(question: str, yes: bool, as_json: bool = False) -> None:
    """Ask on a terminal; elsewhere, and where a program reads the output, raise UserError unless --yes was given."""
    if yes:
        return
    if as_json or not sys.stdin.isatty():
        raise UserError(f"{question} Give --yes to confirm, or --dry-run to look first", code="NOT_CONFIRMED")
    click.confirm(question, abort=True)


def actor() -> str:
    """Return who gives the command, for the audit."""
    return f"{getpass.getuser()}@{socket.gethostname()}"
