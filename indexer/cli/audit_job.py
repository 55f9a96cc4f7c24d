"""An audit as a job: it keeps what it found portion by portion, hears wishes, and can be gone on with when it ended."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from indexer.cli.selecting import given_beside
from indexer.errors import IndexerError, UserError
from indexer.faults import hook
from indexer.settings import Settings

if TYPE_CHECKING:
    from indexer.audit.plan import Asked
    from indexer.audit.run import Audit
    from indexer.storage import audits
    from indexer.storage.engine import Connection

_SAY_SECONDS = 5.0
_NOTE_SECONDS = 1.0  # between two portions that are kept
_LOOK_SECONDS = 1.0  # between two looks whether it is still wanted
_GO_ON_HOURS = 24.0  # what was interrupted longer ago tells of another day's database
_BESIDE = {"resumed": ("second_node", "as_json"), "paused": ("as_json",), "cancelled": ("as_json",)}


class AuditStoppedError(IndexerError):
    """Somebody paused or cancelled the audit while it ran."""

    code = "AUDIT_STOPPED"


@dataclass(frozen=True, slots=True)
class Begun:
    """Where an audit begins, or goes on."""

    asked: Asked
    first: int
    last: int
    start: int  # all below was looked at
    report: Mapping[str, Any]  # of what was looked at

    @property
    def anew(self) -> bool:
        return self.start == self.first


def nothing_else_beside(option: str) -> None:
    """Raise UserError for options that say nothing about an audit which exists already."""
    given = given_beside(option, *_BESIDE[option])
    if given:
        raise UserError(f"an audit keeps what it was begun with: no {', '.join(given)} here", code="BAD_OPTIONS")


def tell(verb: str, audit: int) -> None:
    """Pause or cancel an audit that runs here or elsewhere."""
    from indexer.storage import audits, engine

    settings = Settings.from_env().require("database_url")
    with engine.connect(settings, "cli", autocommit=True) as connection:
        state = audits.wish(connection, settings.chain_id, audit, verb)
    click.echo(f"audit {audit}: {state}")


def taken_up(connection: Connection, chain_id: int, audit: int) -> Begun:
    """Take an audit up where it ended."""
    from indexer.audit.plan import asked_of
    from indexer.storage import audits

    found = audits.take_up(connection, chain_id, audit)
    if found.report is None or "asked" not in found.report:
        audits.interrupt(connection, audit)
        raise UserError(f"audit {audit} is of an older release: begin another", code="JOB_STATE")
    click.echo(f"audit {audit} goes on at block {found.next_number:,} of {found.to_number:,}", err=True)
    return Begun(asked_of(found.report), found.from_number, found.to_number, found.next_number, found.report)


def interrupted(connection: Connection, chain_id: int, asked: Asked) -> int | None:
    """Return the audit that the same command left half-done."""
    from indexer.storage import audits

    return audits.interrupted(connection, chain_id, asked.to_json(), _GO_ON_HOURS)


class Progress:
    """Says how far an audit is on standard error and, of a job, in its row."""

    def __init__(
        self, connection: Connection, run: Audit, begun: Begun, job: int | None, raise_if_asked: Callable[[], None]
    ) -> None:
        self._connection, self._run, self._begun = connection, run, begun
        self._job, self._raise_if_asked = job, raise_if_asked
        self._said_at = self._looked_at = time.monotonic()
        self._noted_at = float("-inf")

    def report(self) -> dict[str, Any]:
        return self._run.report(self._begun.first, self._begun.last) | {"asked": self._begun.asked.to_json()}

    def reached(self, number: int) -> None:
        """Hear how far it is, and keep it; raises as `look`."""
        self._keep(number)
        self.look()
        now = time.monotonic()
        if now - self._said_at >= _SAY_SECONDS:
            self._said_at = now
            share = 100 * (number - self._begun.first) / (self._begun.last - self._begun.first + 1)
            click.echo(f"at block {number:,} ({share:.1f} %), {self._run.findings.count:,} findings", err=True)

    def look(self) -> None:
        """Raise KeyboardInterrupt or AuditStoppedError when it is to end."""
        from indexer.storage import audits

        self._raise_if_asked()
        now = time.monotonic()
        if self._job is not None and now - self._looked_at >= _LOOK_SECONDS:
            self._looked_at = now
            self._stop_unless(audits.wanted(self._connection, self._job))

    def done(self, report: Mapping[str, Any]) -> None:
        from indexer.storage import audits

        if self._job is not None:
            count = self._run.findings.count
            self._stop_unless(audits.end(self._connection, self._job, self._begun.last + 1, count, report))

    @contextlib.contextmanager
    def interruptible(self) -> Iterator[None]:
        """Say in the row that the audit was asked to end."""
        import psycopg

        from indexer.storage import audits

        try:
            yield
        except KeyboardInterrupt:
            if self._job is not None:
                with contextlib.suppress(psycopg.Error):  # who looks sees that nobody holds it
                    audits.interrupt(self._connection, self._job)
                click.echo(f"`indexer audit --resume {self._job}` goes on with it", err=True)
            raise

    def _keep(self, number: int) -> None:
        from indexer.storage import audits

        now = time.monotonic()
        due = now - self._noted_at >= _NOTE_SECONDS or number > self._begun.last
        if self._job is not None and number == self._run.whole_to and due:
            self._noted_at = self._looked_at = now
            count = self._run.findings.count
            self._stop_unless(audits.note(self._connection, self._job, number, count, self.report()))
            hook("audit.after-portion")

    def _stop_unless(self, wanted: bool) -> None:
        from indexer.storage import audits

        if wanted or self._job is None:
            return
        found = audits.recorded(self._connection, self._run.rules.chain_id, self._job)
        how = f": `indexer audit --resume {self._job}` goes on" if found.state == "paused" else ""
        raise AuditStoppedError(f"audit {self._job} was {found.state} at block {found.next_number:,}{how}")


def line(audit: audits.Audit) -> str:
    """Return what `batch status` says of an audit."""
    ended = audit.state in ("interrupted", "paused")
    return (
        f"audit {audit.id}  {audit.state:<10} blocks {audit.from_number}–{audit.to_number}, {audit.share:.1f} %,"
        f" done to {audit.next_number - 1}, {audit.findings:,} findings"
        + (f"; `indexer audit --resume {audit.id}` goes on" if ended else "")
    )
