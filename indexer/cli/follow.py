"""`indexer follow`: have the chain's head followed, and see how far it is."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from indexer.cli.numbers import BLOCK
from indexer.errors import UserError
from indexer.settings import Settings

if TYPE_CHECKING:
    from indexer.storage.following import Following
    from indexer.storage.jobs import Connection

_LOOK_SECONDS = 0.25
_ASK_SECONDS = 0.5  # between two questions to the node
_NOBODY = "nobody: start the services (`indexer batch process`)"
_LINE_SECONDS = 10.0  # between two lines of progress where no terminal is


@click.command("follow")
@click.option("--from", "first", type=BLOCK, help="First block.  [default: the head, or where it ended]")
@click.option("--confirmations", type=BLOCK, help="A block is final so many below the head.")
@click.option("--finalized", is_flag=True, help="Final is what the node calls finalized.  [default]")
@click.option("--once", is_flag=True, help="End when all up to the present head is stored and on the chain.")
@click.option("--no-wait", is_flag=True, help="End when the job is queued.")
@click.option("--go-on", is_flag=True, help="After a fork beyond the window: look again.")
@click.option("--rollback-to", type=BLOCK, help="… and first take back every block above this one.")
@click.option("--dry-run", is_flag=True, help="With --rollback-to: say what it would take back, and do nothing.")
@click.option("--yes", is_flag=True, help="With --rollback-to: do not ask.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON lines instead of text.")
def follow(
    first: int | None,
    confirmations: int | None,
    finalized: bool,
    once: bool,
    no_wait: bool,
    go_on: bool,
    rollback_to: int | None,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Follow the chain's head: every new block is stored, and what a fork replaces is taken back.

    The services do it (`indexer batch process`, or a cluster); this command queues the job, if none is, and shows how
    far it is. Ctrl-C ends the command; `indexer batch cancel JOB` ends the following.

    \b
    indexer follow                            from the head on
    indexer follow --from 1000000             what is final by a job of its own, then the head
    indexer follow --once --json              for scripts: wait until the present head is stored
    """
    from indexer.cli.batch import database
    from indexer.cli.rollback import roll_back
    from indexer.storage import following

    settings = Settings.from_env().require("database_url")
    if finalized and confirmations is not None:
        raise UserError("--finalized and --confirmations exclude each other", code="BAD_OPTIONS")
    if rollback_to is not None and not go_on:
        raise UserError("--rollback-to is for --go-on, after a fork beyond the window", code="BAD_OPTIONS")
    if dry_run and rollback_to is None:
        raise UserError("--dry-run is for --go-on --rollback-to", code="BAD_OPTIONS")
    with database(settings) as connection:
        connection.autocommit = True
        _nothing_that_would_be_ignored(connection, settings, first, confirmations, finalized=finalized)
        if rollback_to is not None:
            if not roll_back(connection, settings, rollback_to, dry_run=dry_run, yes=yes, as_json=as_json):
                return
        elif go_on:
            following.go_on(connection, settings.chain_id, None)
        _queue(connection, settings, first, None if finalized else confirmations)
        if no_wait:
            _say(_present(connection, settings), as_json)
            return
        _watch(connection, settings, once, as_json)


def _nothing_that_would_be_ignored(
    connection: Connection, settings: Settings, first: int | None, confirmations: int | None, *, finalized: bool
) -> None:
    """Raise UserError for what only a new job can be given, where the chain is followed."""
    from indexer.storage import following

    present = following.following(connection, settings.chain_id)
    if present is None:
        return
    given = []
    if first is not None:
        given.append("--from")
    if confirmations is not None and confirmations != present.confirmations:
        given.append("--confirmations")
    if finalized and present.confirmations is not None:
        given.append("--finalized")
    if given:
        raise UserError(
            f"chain {settings.chain_id} is followed by job {present.job}: without {', '.join(given)},"
            f" or `indexer batch cancel {present.job}` first",
            code="FOLLOWED",
        )


def _queue(connection: Connection, settings: Settings, first: int | None, confirmations: int | None) -> None:
    """Queue the job unless the chain is followed."""
    from indexer.cli import node
    from indexer.storage import following

    if following.following(connection, settings.chain_id) is not None:
        return
    ended = following.continues_at(connection, settings.chain_id)
    if ended is not None and first is not None and first != ended:
        raise UserError(
            f"chain {settings.chain_id} was followed up to block {ended - 1} and goes on there: without --from;"
            " other blocks are for `indexer batch queue`",
            code="FOLLOWED_BEFORE",
        )
    begin = ended if ended is not None else node.head(settings) if first is None else first
    if confirmations is None and settings.confirmations >= 0:
        confirmations = settings.confirmations
    following.start(connection, settings.chain_id, begin, confirmations)


def _watch(connection: Connection, settings: Settings, once: bool, as_json: bool) -> None:
    from indexer.cli import node

    goal = _Goal(connection, settings, node.head(settings)) if once else None
    terminal, told_at, last = sys.stderr.isatty() and not as_json, float("-inf"), None
    while True:
        now = _present(connection, settings)
        reached = goal is not None and goal.reached(now)
        due = time.monotonic() - told_at >= (_LOOK_SECONDS if terminal else _LINE_SECONDS)
        if reached or (due and (terminal or now != last)):
            told_at, last = time.monotonic(), now
            if terminal:
                click.echo(f"\r\x1b[K{_line(now)}", err=True, nl=reached)
            else:
                _say(now, as_json)
        if reached:
            return
        if once and now.paused:
            raise UserError(now.paused, code="CHAIN_PAUSED")
        time.sleep(_LOOK_SECONDS)


class _Goal:
    """The node's head when the command began, or where a shorter branch ends by now; reached when the hash is ours."""

    def __init__(self, connection: Connection, settings: Settings, head: int) -> None:
        self._connection, self._settings, self._head = connection, settings, head
        self._said: tuple[int, str | None] | None = None
        self._ask_at = float("-inf")

    def reached(self, now: Following) -> bool:
        from indexer.cli import node
        from indexer.storage.auditing import hash_at

        trusted = -1 if now.canonical_to is None else now.canonical_to
        if trusted < min(self._head, now.tip) or time.monotonic() < self._ask_at:  # the tip may move on without end
            return False
        self._ask_at = time.monotonic() + _ASK_SECONDS
        url, head = node.answering(self._settings)
        number = min(self._head, head)
        if trusted < number:
            return False
        theirs = node.hash_at(url, number)
        if theirs is not None and theirs == hash_at(self._connection, self._settings.chain_id, number):
            return True
        self._say_once(number, now.followed_by)
        return False

    def _say_once(self, number: int, followed_by: str | None) -> None:
        if self._said == (number, followed_by):
            return
        self._said = number, followed_by
        who = "waiting for the follower" if followed_by else f"followed by {_NOBODY}"
        click.echo(f"block {number} is not the node's: a fork that was not followed yet; {who}", err=True)


def _present(connection: Connection, settings: Settings) -> Following:
    from indexer.storage import following

    found = following.following(connection, settings.chain_id)
    if found is None:
        raise UserError(f"chain {settings.chain_id} is no longer followed: the job was cancelled", code="NOT_FOLLOWED")
    return found


def _say(now: Following, as_json: bool) -> None:
    click.echo(json.dumps(asdict(now)) if as_json else _line(now))


def _line(now: Following) -> str:
    if now.paused:
        return f"job {now.job}: PAUSED: {now.paused}"
    who = now.followed_by or _NOBODY
    return (
        f"job {now.job}: {now.state}, seen to {now.tip}, on the chain to {_height(now.canonical_to)},"
        f" final to {_height(now.finalized_to)}, {now.forks} forks; followed by {who}"
    )


def _height(number: int | None) -> str:
    return "–" if number is None else str(number)
