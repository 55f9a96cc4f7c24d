"""`indexer audit`: compare database, Kafka and chain."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from indexer.cli.numbers import BLOCK, ID, counted
from indexer.errors import OutageError, UserError
from indexer.settings import Settings

if TYPE_CHECKING:
    from indexer.audit.plan import Asked
    from indexer.audit.run import Audit
    from indexer.cli.audit_job import Begun, Progress
    from indexer.storage.engine import Connection


@click.command("audit")
@click.option("--from", "first", type=BLOCK, help="First block.  [default: the lowest known]")
@click.option("--to", "last", type=BLOCK, help="Last block.  [default: the highest known]")
@click.option(
    "--sample", type=counted(0), default=100, show_default=True, help="Blocks to compare with the node; 0: none."
)
@click.option("--second-node", metavar="URL", help="Compare the sample with this node too.")
@click.option("--job", is_flag=True, help="Keep progress and report in the database; go on with one that was killed.")
@click.option("--anew", is_flag=True, help="With --job: begin another, though one was killed half-way.")
@click.option("--resume", "resumed", type=ID, metavar="AUDIT", help="Go on with one that was interrupted or paused.")
@click.option("--pause", "paused", type=ID, metavar="AUDIT", help="Have one that runs end, to be resumed.")
@click.option("--cancel", "cancelled", type=ID, metavar="AUDIT", help="Have one end for good.")
@click.option("--balances/--no-balances", default=True, show_default=True, help="Compare all balances with transfers.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON, as `indexer repair` takes it.")
def audit(
    first: int | None,
    last: int | None,
    sample: int,
    second_node: str | None,
    job: bool,
    anew: bool,
    resumed: int | None,
    paused: int | None,
    cancelled: int | None,
    balances: bool,
    as_json: bool,
) -> None:
    """Compare what was asked for, what is stored, what is dead, and what the chain says.

    \b
    - expected − stored − dead leaves nothing unexplained, job by job
    - hash, roots, senders and counts recomputed from the stored rows of every block; parent links
    - transfers, events and balances recomputed from the stored logs
    - stored offsets against Kafka's logs
    - every column of a sample against the node

    With --job it keeps what it found of each 1,024 blocks: killed and given again, the same command goes on there.
    `batch status` shows it.

    Exit code 0: nothing wrong; 1: something is, or it was paused or cancelled.
    """
    from indexer.audit.plan import Asked
    from indexer.cli import audit_job
    from indexer.storage import engine

    for option, of in (("resumed", resumed), ("paused", paused), ("cancelled", cancelled)):
        if of is not None:
            audit_job.nothing_else_beside(option)
    for verb, of in (("pause", paused), ("cancel", cancelled)):
        if of is not None:
            audit_job.tell(verb, of)
            return
    settings = Settings.from_env().require("database_url")
    with engine.connect(settings, "cli", autocommit=True) as connection:
        asked = Asked(first, last, sample, balances)
        if job and not anew:
            resumed = audit_job.interrupted(connection, settings.chain_id, asked)
        if resumed is not None:
            begun = audit_job.taken_up(connection, settings.chain_id, resumed)
        else:
            begun = _begun(connection, settings.chain_id, asked)
        report, record = _carry_out(connection, settings, begun, resumed, job, second_node)
    click.echo(json.dumps(report)) if as_json else _say(report, record)
    raise click.exceptions.Exit(0 if report["clean"] else 1)


def _carry_out(
    connection: Connection, settings: Settings, begun: Begun, record: int | None, job: bool, second_node: str | None
) -> tuple[dict[str, Any], int | None]:
    """Look at everything that is left; return the report, and the id of what has a row."""
    from indexer.cli.audit_job import Progress
    from indexer.interrupts import asked_to_end
    from indexer.limits import HIGHEST_STORED
    from indexer.storage import audits

    asked, first, last = begun.asked, begun.first, begun.last
    if asked.sample:
        settings.require("rpc_urls")
    run = _audit(connection, settings)
    run.go_on(begun.report)
    if record is None and job:
        record = audits.begin(connection, settings.chain_id, first, last, begun.report)
        click.echo(f"audit {record}", err=True)
    with asked_to_end() as raise_if_asked:
        progress = Progress(connection, run, begun, record, raise_if_asked)
        with progress.interruptible():
            if begun.anew:
                _positions(connection, settings, run)
            for at in run.heights(begun.start, last, asked.named):
                progress.reached(at)
            if asked.last is None:
                run.beyond(last + 1, HIGHEST_STORED - 1)
            if asked.first is None:
                run.beyond(0, first - 1)
            if asked.sample:
                _sample(settings, run, _chosen(first, last, asked.sample), second_node, progress)
            if asked.balances:
                run.balances(progress.look)
            report = progress.report()
            progress.done(report)
    return report, record


def _begun(connection: Connection, chain_id: int, asked: Asked) -> Begun:
    """Begin at the first height, with a report of nothing."""
    from indexer.audit.findings import Findings
    from indexer.cli.audit_job import Begun

    first, last = _range(connection, chain_id, asked.first, asked.last)
    nothing = {"looked_at": {}, **Findings().to_json(), "not_proven": {"blocks_without": {}}, "asked": asked.to_json()}
    return Begun(asked, first, last, first, nothing)


def _audit(connection: Connection, settings: Settings) -> Audit:
    from indexer.abi.models import load_models, wrapped_native
    from indexer.audit.rows import Decoding
    from indexer.audit.run import Audit
    from indexer.chain.rules import rules_for

    models = load_models(settings.models)
    return Audit(connection, rules_for(settings.chain_id), Decoding(models, wrapped_native(settings.chain_id)))


def _range(connection: Connection, chain_id: int, first: int | None, last: int | None) -> tuple[int, int]:
    """Return the range, what is known taken for ends that were left open."""
    from indexer.storage import auditing

    known = auditing.known_range(connection, chain_id)
    if known is None and (first is None or last is None):
        raise UserError(
            f"no block of chain {chain_id} is stored: `indexer batch queue` asks for some", code="NOTHING_STORED"
        )
    low, high = known or (0, 0)
    first, last = low if first is None else first, high if last is None else last
    if last < first:
        raise UserError(f"the range {first}–{last} is empty", code="BAD_RANGE")
    return first, last


def _positions(connection: Connection, settings: Settings, run: Audit) -> None:
    if not settings.kafka_bootstrap_servers:
        run.looked_at["positions"] = 0
        return
    from indexer.audit.positions import Deployment, Position, compare, unread
    from indexer.kafka.positions import logs
    from indexer.topics import LETTER_GROUP, PERSISTER_GROUP, load_topics

    topics = load_topics(settings.topic_prefix)
    groups = [settings.topic_prefix + each for each in (PERSISTER_GROUP, LETTER_GROUP)]
    deployment = Deployment(groups, (topics.decoded, topics.dlq))
    rows = connection.execute(
        "SELECT consumer_group, topic, partition, topic_id, next_offset FROM consumer_progress ORDER BY 1, 2, 3"
    ).fetchall()
    positions = [each for each in (Position(*row) for row in rows) if deployment.has(each)]
    if positions:
        found = logs(settings, {each.topic for each in positions})
        run.looked_at["positions"] = compare(positions, found, run.findings)
        if waiting := unread(positions, found):
            run.looked_at["records in Kafka not read yet"] = waiting
    if others := len(rows) - len(positions):
        run.looked_at["positions of other deployments left out"] = others


def _sample(settings: Settings, run: Audit, numbers: list[int], second_url: str | None, progress: Progress) -> None:
    import requests.exceptions

    from indexer.cli.node import answering, final_to
    from indexer.verification.node import Node

    url, head = answering(settings)  # one clear line when no node answers, or one of another chain
    final = final_to(settings, url, head)
    try:
        for _ in run.sample(numbers, final, Node(url), Node(second_url) if second_url else None):
            progress.look()
    except requests.exceptions.RequestException as error:
        raise OutageError(f"a node stopped answering: {type(error).__name__}", code="NODE_DOWN") from None


def _chosen(first: int, last: int, sample: int) -> list[int]:
    from indexer.verification.sample import spread

    return spread(first, last, sample)


def _say(report: dict[str, Any], record: int | None) -> None:
    looked = ", ".join(f"{count:,} {what}" for what, count in report["looked_at"].items())
    click.echo(f"blocks {report['from']}–{report['to']}: {looked}")
    for each in report["open"]:
        click.echo(f"open  {each['count']:,} of job {each['job']}: {each['why']} ({_ranges(each['ranges'])})")
    for each in report["findings"]:
        click.echo(f"WRONG {each['kind']}: {each['count']:,} {each['means']}")
        if each["ranges"]:
            click.echo(f"        blocks {_ranges(each['ranges'])}")
        for example in each["examples"]:
            click.echo(f"        {example}")
    unproven = report["not_proven"]
    click.echo(f"no proof covers {', '.join(unproven['columns'])}: only the sample compares them with a node")
    click.echo(f"nothing on the chain tells {', '.join(unproven['own_columns'])}")
    for proof, count in unproven["blocks_without"].items():
        click.echo(f"no {proof} of {count:,} blocks: the chain's rules do not allow it")
    if why := _nothing_compared(report):
        click.echo(f"NOT COMPARED with a node: none of the stored blocks ({why})")
    if report["clean"]:
        click.echo("nothing wrong")
    elif any(each["repair"] for each in report["findings"]):
        source = f"--audit {record}" if record is not None else "REPORT, written with --json"
        click.echo(f"`indexer repair {source}` makes it good")


def _nothing_compared(report: dict[str, Any]) -> str | None:
    """Return why a sample that was asked for compared nothing of what is stored; None where it did."""
    looked = report["looked_at"]
    if not report["asked"]["sample"] or not looked.get("stored") or looked.get("asked the node"):
        return None
    what = ("asked the node, which has no such block", "not final")
    why = ", ".join(f"{looked[each]:,} {each}" for each in what if looked.get(each))
    return why or "the sample met heights without a block"


def _ranges(ranges: list[list[int]], most: int = 6) -> str:
    some = [str(first) if first == last else f"{first}–{last}" for first, last in ranges[:most]]
    return ", ".join(some) + (f" and {len(ranges) - most} more" if len(ranges) > most else "")
