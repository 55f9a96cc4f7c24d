"""`indexer batch`: queue blocks, process them here, look at jobs and change them."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from indexer.cli.numbers import BATCH_SIZE, ID, PROCESSES, RATE, RATE_OR_NONE, WINDOW, counted
from indexer.cli.selecting import canary_option
from indexer.cli.stopped import say_what_is_stopped
from indexer.errors import UserError
from indexer.limits import HIGHEST
from indexer.settings import Settings

if TYPE_CHECKING:
    from indexer.jobs.ranges import Ranges
    from indexer.storage.jobs import Connection, JobStatus

LEVELS = ("high", "normal", "low")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")


@click.group("batch")
def batch() -> None:
    """Jobs: sets of blocks to be indexed.

    \b
    indexer batch queue blocks 1 10000     a job for blocks 1 to 10,000
    indexer batch process                  run the services here until the jobs are done
    indexer batch status                   the jobs and how far they are
    """


# queueing


@batch.group("queue")
def queue() -> None:
    """Make a job; services that run, here or in a cluster, take it up at once."""


def _job_options(command: Any) -> Any:
    for option in reversed(
        (
            click.option("--batch-size", type=BATCH_SIZE, help="Blocks published between two looks at the job."),
            click.option(
                "--priority",
                "priorities",
                multiple=True,
                help="A level (high, normal, low) or an order (earliest, latest, sample, largest); may be given twice.",
            ),
            click.option("--window", type=WINDOW, help="Blocks under way at most.  [default: WINDOW]"),
            click.option("--rate", type=RATE, help="Blocks a second at most."),
            click.option(
                "--follow", is_flag=True, help="Accept blocks beyond the head: waited for until they are final."
            ),
            click.option("--repair", is_flag=True, help="Fetch and store again what is stored already."),
            click.option("--dry-run", is_flag=True, help="Say what would be queued, and queue nothing."),
            json_option,
        )
    ):
        command = option(command)
    return command


@click.argument("first", type=int)
@click.argument("last", type=int)
@_job_options
def _queue_range(first: int, last: int, **options: Any) -> None:
    """Queue the blocks FIRST to LAST, both included.

    \b
    indexer batch queue blocks 1 10000 --batch-size 100
    indexer batch queue range 1 10000 --priority earliest --priority high
    """
    from indexer.jobs.ranges import Ranges

    if last < first:
        raise UserError(f"the range {first}–{last} is empty: the first block comes first", code="BAD_RANGE")
    _queue(Ranges.of([(first, last + 1)]), **options)


queue.add_command(queue.command("blocks")(_queue_range), "range")  # one command: a second would have no arguments


@queue.command("manifest")
@click.argument("file", type=click.File("r", encoding="utf-8"))
@_job_options
def queue_manifest(file: Any, **options: Any) -> None:
    """Queue the blocks that FILE names (`-` for standard input): numbers and ranges, one a line.

    \b
    # holes of last week
    17
    120-135, 140
    """
    from indexer.jobs.ranges import parse_manifest

    try:
        blocks = parse_manifest(file)
    except UnicodeDecodeError:
        raise UserError(f"{file.name} is not a text file", code="BAD_MANIFEST") from None
    _queue(blocks, **options)


def _queue(
    blocks: Ranges,
    batch_size: int | None,
    priorities: tuple[str, ...],
    window: int | None,
    rate: float | None,
    follow: bool,
    repair: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    from indexer.cli import node
    from indexer.storage import jobs

    if blocks.last >= HIGHEST:
        raise UserError(f"block {blocks.last}: no chain has blocks from {HIGHEST} on", code="BAD_RANGE")
    settings = Settings.from_env().require("database_url")
    level, order = level_and_order(priorities)
    if not follow and blocks.last > (newest := node.head(settings)):
        raise UserError(
            f"block {blocks.last} is beyond the head, {newest}: end there, or give --follow to wait for it",
            code="BEYOND_HEAD",
        )
    job = jobs.NewJob(
        chain_id=settings.chain_id,
        blocks=blocks,
        priority=level,
        strategy=order,
        batch_size=batch_size or settings.batch_size,
        window_blocks=window or settings.window,
        rate=rate,
        reason="repair" if repair else "backfill",
    )
    with database(settings) as connection:
        job_id = None if dry_run else jobs.create_job(connection, job)
    _say_queued(job_id, job, as_json)


def _say_queued(job_id: int | None, job: Any, as_json: bool) -> None:
    facts = {
        "job": job_id,
        "blocks": job.blocks.count,
        "first": job.blocks.pairs[0][0],
        "last": job.blocks.last,
        "priority": job.priority,
        "order": job.strategy,
    }
    if as_json:
        click.echo(json.dumps(facts))
        return
    what = f"{facts['blocks']:,} blocks, {facts['first']}–{facts['last']}, {job.priority}, {job.strategy} first"
    click.echo(f"would queue {what}" if job_id is None else f"queued job {job_id}: {what}")


def level_and_order(priorities: tuple[str, ...]) -> tuple[str, str]:
    """Tell levels from orders among the values of --priority; raises UserError for anything else."""
    from indexer.jobs.strategies import names

    level, order = "normal", "earliest"
    for each in priorities:
        if each in LEVELS:
            level = each
        elif each in names():
            order = each
        else:
            raise UserError(
                f"--priority {each}: choose a level ({', '.join(LEVELS)}) or an order ({', '.join(names())})",
                code="BAD_PRIORITY",
            )
    return level, order


# processing


@batch.command("process")
@click.option("--max-jobs", type=counted(1), default=10, show_default=True, help="Jobs under way at a time.")
@click.option("--workers", type=PROCESSES, default=2, show_default=True, help="Decoder processes.")
@click.option("--persisters", type=PROCESSES, help="Persister processes.  [default: half the workers]")
@click.option("--monitoring", is_flag=True, help="Show the processes besides the jobs.")
@click.option(
    "--logs", type=click.Path(path_type=Path, file_okay=False), default=Path(".local/logs"), show_default=True
)
@click.option("--keep-running", is_flag=True, help="Do not stop when the jobs are done.")
@json_option
def process(
    max_jobs: int,
    workers: int,
    persisters: int | None,
    monitoring: bool,
    logs: Path,
    keep_running: bool,
    as_json: bool,
) -> None:
    """Run producer, decoders and persisters on this machine until the queued jobs are done.

    Exit code 0: every block is stored; 1: nothing is under way any more, but some blocks are dead
    letters, or a job is paused or was cancelled. What is under way of a paused job is stored first; it
    is waited for as long as it becomes less within 30 seconds. Where the dead-letter budget has stopped a
    service and nothing moves any more, it ends too, unless --keep-running is given.
    """
    from indexer.local.process import process_jobs

    settings = Settings.from_env().require("kafka_bootstrap_servers", "database_url", "rpc_urls")
    complete = process_jobs(
        settings,
        counts={"producer": 1, "decoder": workers, "persister": persisters or max(workers // 2, 1)},
        most_jobs=max_jobs,
        logs=logs,
        monitoring=monitoring,
        keep_running=keep_running,
        as_json=as_json,
    )
    raise click.exceptions.Exit(0 if complete else 1)


# looking


@batch.command("status")
@click.argument("job", type=ID, required=False)
@click.option("--detailed", is_flag=True, help="Settings, times, lease and dead letters of each job.")
@click.option("--all", "everything", is_flag=True, help="Finished jobs too, when no JOB is named.")
@json_option
def status(job: int | None, detailed: bool, everything: bool, as_json: bool) -> None:
    """Show JOB, or the jobs that are not finished; and audits that run or found something."""
    from indexer.cli.audit_job import line as line_of_audit
    from indexer.storage import audits, jobs

    settings = Settings.from_env().require("database_url")
    with database(settings) as connection:
        if job is not None:
            found = [jobs.job_status(connection, settings.chain_id, job)]
        else:
            found = jobs.all_jobs(connection, settings.chain_id, live_only=not everything)
        letters = {each.id: jobs.dead_by_code(connection, each.id) for each in found if detailed and each.dead}
        looks = [] if job is not None or as_json else audits.newest(connection, settings.chain_id)
    say_what_is_stopped(settings)
    if as_json:
        click.echo(json.dumps([{**asdict(j), "dead_letters": letters.get(j.id)} for j in found], default=str))
        return
    if not found:
        click.echo("no jobs" if everything else "no jobs under way; `--all` shows the finished ones")
    for each in found:
        click.echo(_line(each))
        if detailed:
            for line in _details(each, letters.get(each.id, [])):
                click.echo(f"    {line}")
    for audit in looks:
        if everything or audit.state not in ("clean", "cancelled"):
            click.echo(line_of_audit(audit))


def _line(job: JobStatus) -> str:
    share = 100 * (job.stored + job.dead) / max(job.total, 1)
    dead = f", {job.dead:,} dead" if job.dead else ""
    return (
        f"job {job.id}  {job.state:<10} {job.stored:,}/{job.total:,} stored{dead} ({share:.1f} %)"
        f"  blocks {job.first_block}–{job.last_block}  {job.priority}, {job.strategy}"
    )


def _details(job: JobStatus, letters: list[tuple[str, int, int]]) -> list[str]:
    rate = f"{job.rate:g} blocks/s at most" if job.rate else "no rate limit"
    lines = [
        f"published {job.published:,}, window {job.window_blocks:,}, batch size {job.batch_size}, {rate}",
        f"queued {job.created_at:%Y-%m-%d %H:%M:%S}"
        + (f", started {job.started_at:%H:%M:%S}" if job.started_at else "")
        + (f", finished {job.finished_at:%H:%M:%S}" if job.finished_at else ""),
    ]
    if job.lease_owner:
        lines.append(f"producer {job.lease_owner}")
    if job.message:
        lines.append(job.message)
    lines += [f"{count:,} dead letters {code}, first at block {block}" for code, count, block in letters]
    return lines


# changing


@batch.command("set")
@click.argument("job", type=ID)
@click.option("--window", type=WINDOW, help="Blocks under way at most.")
@click.option("--rate", type=RATE_OR_NONE, help="Blocks a second at most; 0: no limit.")
@click.option("--priority", type=click.Choice(LEVELS))
@click.option("--batch-size", type=BATCH_SIZE)
def set_(job: int, window: int | None, rate: float | None, priority: str | None, batch_size: int | None) -> None:
    """Change settings of a job while it runs; they act within a second."""
    from indexer.storage import jobs

    wanted = {"window_blocks": window, "priority": priority, "batch_size": batch_size}
    changes: dict[str, Any] = {name: value for name, value in wanted.items() if value is not None}
    if rate is not None:
        changes["rate"] = rate or None
    if not changes:
        raise UserError("nothing to change: give --window, --rate, --priority or --batch-size", code="NO_CHANGE")
    settings = Settings.from_env().require("database_url")
    with database(settings) as connection:
        jobs.change_job(connection, settings.chain_id, job, changes)
    said = ("no rate limit" if value is None else f"{name} {value}" for name, value in changes.items())
    click.echo(f"job {job}: " + ", ".join(said))


def _wish(verb: str, job: int) -> None:
    from indexer.storage import jobs

    settings = Settings.from_env().require("database_url")
    with database(settings) as connection:
        wished = jobs.wish(connection, settings.chain_id, job, verb)
    click.echo(f"job {job}: {'already ' if wished.already else ''}{wished.state}")


@batch.command("pause")
@click.argument("job", type=ID)
def pause(job: int) -> None:
    """Publish no more of JOB until it is resumed; what is under way is stored."""
    _wish("pause", job)


@batch.command("resume")
@click.argument("job", type=ID)
def resume(job: int) -> None:
    """Go on with a paused JOB."""
    _wish("resume", job)


@batch.command("cancel")
@click.argument("job", type=ID)
def cancel(job: int) -> None:
    """End JOB; what is under way is still stored, nothing more is published."""
    _wish("cancel", job)


@batch.command("recover")
@click.argument("job", type=ID)
@click.option(
    "--strategy",
    type=click.Choice(("selective", "all")),
    default="selective",
    show_default=True,
    help="selective: only letters that may succeed now, by their error codes; all: whatever a replay may help.",
)
@click.option("--rate", type=RATE, help="Letters a second at most.")
@canary_option
@click.option("--dry-run", is_flag=True, help="Say what would be replayed, and do nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def recover(
    job: int, strategy: str, rate: float | None, canary: int | None, dry_run: bool, yes: bool, as_json: bool
) -> None:
    """Replay the dead letters of JOB; `indexer dlq replay` can choose more finely.

    \b
    indexer batch recover 3 --strategy selective
    """
    from indexer.cli.dlq_replay import replay_selected
    from indexer.error_codes import Replay, worth_replaying
    from indexer.replay.selection import Selection
    from indexer.storage import dead_letters, jobs

    settings = Settings.from_env().require("database_url", "kafka_bootstrap_servers")
    with database(settings) as connection:
        jobs.job_status(connection, settings.chain_id, job)  # raises where there is none
        of_job = Selection(job=job)
        found = {code for code, _, _ in jobs.dead_by_code(connection, job)}
        hopeless = set(worth_replaying(Replay.NEVER))
        worth = found & set(worth_replaying(Replay.NOW)) if strategy == "selective" else found - hopeless
        left = sum(count for code, count, _ in jobs.dead_by_code(connection, job) if code not in worth)
        stored = dead_letters.by_state(connection, settings.chain_id, of_job).get("resolved", 0)
    if not worth:
        facts = {"run": None, "letters": 0, "already_stored": stored, "left": left, "dry_run": dry_run}
        text = f"nothing to replay: {stored:,} already stored, {left:,} left that would fail again as they are"
        click.echo(json.dumps(facts) if as_json else text)
        return
    if left and not as_json:
        click.echo(f"{left:,} letters are left: they would fail again as they are", err=True)
    chosen = Selection(job=job, codes=tuple(sorted(worth)))
    replay_selected(settings, chosen, dry_run=dry_run, yes=yes, as_json=as_json, rate=rate, canary=canary)


def database(settings: Settings) -> AbstractContextManager[Connection]:
    """Open the database, checked to be migrated."""
    from indexer.storage import engine

    return engine.connect(settings, "cli")
