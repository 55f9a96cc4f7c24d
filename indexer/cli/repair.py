"""`indexer repair`: fetch and store again what an audit found missing or wrong."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import click

from indexer.cli.numbers import BLOCK, ID
from indexer.cli.selecting import confirm
from indexer.errors import UserError
from indexer.settings import Settings

if TYPE_CHECKING:
    from indexer.jobs.ranges import Ranges
    from indexer.storage.balances import Key
    from indexer.storage.engine import Connection

_LOOK_SECONDS = 0.5


@click.command("repair")
@click.argument("report", type=click.File("r", encoding="utf-8"), required=False)
@click.option("--audit", "audit_id", type=ID, help="The report of an audit that was recorded with --job.")
@click.option("--from", "first", type=BLOCK, help="First block of a range, whatever its state.")
@click.option("--to", "last", type=BLOCK, help="Last block of a range.")
@click.option("--balances", "only_balances", is_flag=True, help="Only balances: all that are not the sum of transfers.")
@click.option("--priority", type=click.Choice(("high", "normal", "low")), default="normal", show_default=True)
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@click.option("--wait", is_flag=True, help="Wait until the blocks are stored, then bring balances right.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
def repair(
    report: Any,
    audit_id: int | None,
    first: int | None,
    last: int | None,
    only_balances: bool,
    priority: str,
    dry_run: bool,
    wait: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Queue a repair job for what an audit found, REPORT (`-`: standard input), and bring balances right.

    \b
    indexer audit --json > report.json
    indexer repair report.json --dry-run
    indexer repair report.json --wait

    Exit code 0: done, or queued; 1: the job ended and some blocks are dead letters.
    """
    from indexer.audit.findings import Kind, heights_of, to_repair
    from indexer.storage import auditing, balances, engine

    if sum((report is not None, audit_id is not None, first is not None, only_balances)) != 1 or (
        (first is None) != (last is None)
    ):
        raise UserError("give one of REPORT, --audit, --from with --to, or --balances", code="BAD_REPAIR")
    settings = Settings.from_env().require("database_url")
    with engine.connect(settings, "cli", autocommit=True) as connection:
        found = _report(connection, settings.chain_id, report, audit_id)
        blocks = to_repair(found) if first is None or last is None else _named(first, last)
        count = blocks.count if blocks else 0
        emptied = heights_of(found, Kind.ORPHANS)
        wrong = _wrong_balances(connection, settings.chain_id) if blocks is None or dry_run else None
        if not dry_run:
            _confirm(blocks, emptied, wrong, wait, yes, as_json)
        without = _lost_rows(connection, settings.chain_id, emptied, dry_run)
        uncounted = heights_of(found, Kind.UNCOUNTED)
        if not dry_run and (counted := heights_of(found, Kind.UNCOUNTED, Kind.MISSING)):
            auditing.count_stored(connection, settings.chain_id, counted)
        job = None if dry_run or blocks is None else _queue(connection, settings, blocks, priority)
        done = wait and job is not None and _wait(connection, settings.chain_id, job, as_json)
        if done:
            wrong = _wrong_balances(connection, settings.chain_id)
        if wrong and not dry_run:
            balances.repair(connection, settings.chain_id, wrong)
        fixed = None if wrong is None else len(wrong)
    facts = {"job": job, "blocks": count, "ranges": _pairs(blocks), "emptied": without}
    facts |= {"counted": uncounted.count if uncounted else 0, "balances": fixed, "dry_run": dry_run}
    click.echo(json.dumps(facts)) if as_json else _say(facts)
    raise click.exceptions.Exit(1 if wait and job is not None and not done else 0)


def _confirm(
    blocks: Ranges | None, emptied: Ranges | None, wrong: list[Key] | None, wait: bool, yes: bool, as_json: bool
) -> None:
    """Ask before anything is replaced."""
    if blocks is not None:
        then = ", then set balances to the sum of their transfers" if wait else ""
        confirm(f"fetch {blocks.count:,} blocks again and replace what is stored of them{then}?", yes, as_json)
    elif wrong:
        confirm(f"set {len(wrong):,} balances to the sum of their transfers?", yes, as_json)
    if emptied:
        confirm(f"remove the rows of {emptied.count:,} heights at which no block is stored?", yes, as_json)


def _report(connection: Connection, chain_id: int, report: Any, audit_id: int | None) -> dict[str, Any]:
    """Return the report of an audit; one without findings where none was given; raises UserError."""
    from indexer.audit.findings import check_chain
    from indexer.storage import audits

    nothing: dict[str, Any] = {"findings": []}
    if audit_id is not None:
        return audits.recorded(connection, chain_id, audit_id).report or nothing
    if report is None:
        return nothing
    try:
        read: dict[str, Any] = json.load(report)
    except (ValueError, UnicodeDecodeError):
        raise UserError("not the report of `indexer audit --json`", code="BAD_REPORT") from None
    check_chain(read, chain_id)
    return read


def _named(first: int, last: int) -> Ranges:
    from indexer.jobs.ranges import Ranges

    if last < first:
        raise UserError(f"the range {first}–{last} is empty: the first block comes first", code="BAD_RANGE")
    return Ranges.of([(first, last + 1)])


def _lost_rows(connection: Connection, chain_id: int, heights: Ranges | None, dry_run: bool) -> int:
    """Remove the rows of heights at which no block is stored; return at how many heights."""
    from indexer.storage import lost_rows

    if heights is None:
        return 0
    count = lost_rows.count(connection, chain_id, heights)
    if not dry_run:
        lost_rows.remove(connection, chain_id, heights)
    return count


def _queue(connection: Connection, settings: Settings, blocks: Ranges, priority: str) -> int:
    from indexer.storage import jobs

    return jobs.create_job(
        connection,
        jobs.NewJob(
            settings.chain_id,
            blocks,
            priority=priority,
            batch_size=settings.batch_size,
            window_blocks=settings.window,
            reason="repair",
        ),
    )


def _wait(connection: Connection, chain_id: int, job: int, quiet: bool) -> bool:
    """Wait for the job to end; True when every block is stored."""
    from indexer.interrupts import asked_to_end
    from indexer.storage import jobs

    said = -1
    with asked_to_end() as raise_if_asked:
        while True:
            raise_if_asked()
            status = jobs.job_status(connection, chain_id, job)
            if status.stored != said and not quiet:
                said = status.stored
                click.echo(f"job {job}: {status.stored:,} of {status.total:,} stored, {status.dead:,} dead", err=True)
            if status.state not in jobs.LIVE:
                return status.stored == status.total
            time.sleep(_LOOK_SECONDS)


def _wrong_balances(connection: Connection, chain_id: int) -> list[Key]:
    from indexer.storage import balances

    return list(balances.wrong_keys(connection, chain_id))


def _pairs(blocks: Ranges | None) -> list[list[int]]:
    return [[first, past - 1] for first, past in blocks.pairs] if blocks else []


def _say(facts: dict[str, Any]) -> None:
    would = "would be " if facts["dry_run"] else ""
    if facts["blocks"]:
        job = f" by job {facts['job']}: `indexer batch status {facts['job']}`" if facts["job"] is not None else ""
        click.echo(f"{facts['blocks']:,} blocks {would or 'are '}fetched again{job}")
    if facts["emptied"]:
        click.echo(f"rows of {facts['emptied']:,} heights without a stored block {would or 'were '}removed")
    if facts["counted"]:
        click.echo(f"{facts['counted']:,} stored blocks {would or 'were '}counted for the jobs that want them")
    if facts["balances"] is None:
        click.echo("when they are stored, run `indexer repair --balances`, or use --wait")
    else:
        click.echo(f"{facts['balances']:,} balances {would or 'were '}set to the sum of their transfers")
