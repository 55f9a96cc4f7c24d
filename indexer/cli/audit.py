"""`indexer audit`: compare database, Kafka and chain."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from indexer.cli.numbers import BLOCK, counted
from indexer.errors import OutageError, UserError
from indexer.settings import Settings

if TYPE_CHECKING:
    from indexer.audit.run import Audit
    from indexer.storage.engine import Connection

_SAY_SECONDS = 5.0


@click.command("audit")
@click.option("--from", "first", type=BLOCK, help="First block.  [default: the lowest known]")
@click.option("--to", "last", type=BLOCK, help="Last block.  [default: the highest known]")
@click.option(
    "--sample", type=counted(0), default=100, show_default=True, help="Blocks to compare with the node; 0: none."
)
@click.option("--second-node", metavar="URL", help="Compare the sample with this node too.")
@click.option("--job", is_flag=True, help="Record progress and report in the database: `batch status` shows it.")
@click.option("--balances/--no-balances", default=True, show_default=True, help="Compare all balances with transfers.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON, as `indexer repair` takes it.")
def audit(
    first: int | None,
    last: int | None,
    sample: int,
    second_node: str | None,
    job: bool,
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

    Exit code 0: nothing wrong; 1: something is.
    """
    from indexer.limits import HIGHEST
    from indexer.storage import auditing, engine

    settings = Settings.from_env().require("database_url", *(["rpc_urls"] if sample else []))
    with engine.connect(settings, "cli", autocommit=True) as connection:
        to_the_lowest, to_the_highest = first is None, last is None
        first, last, named = _range(connection, settings.chain_id, first, last)
        run = _audit(connection, settings)
        record = auditing.begin(connection, settings.chain_id, first, last) if job else None
        if record is not None and not as_json:
            click.echo(f"audit {record}", err=True)
        say = _Progress(connection, run, record, first, last)
        _positions(connection, settings, run)
        for at in run.heights(first, last, named):
            say.reached(at)
        if to_the_highest:
            run.beyond(last + 1, HIGHEST - 1)
        if to_the_lowest:
            run.beyond(0, first - 1)
        if sample:
            _sample(settings, run, _chosen(first, last, sample), second_node)
        if balances:
            run.balances()
        report = run.report(first, last)
        say.done(report)
    click.echo(json.dumps(report)) if as_json else _say(report, record)
    raise click.exceptions.Exit(0 if report["clean"] else 1)


def _audit(connection: Connection, settings: Settings) -> Audit:
    from indexer.abi.models import load_models, wrapped_native
    from indexer.audit.rows import Decoding
    from indexer.audit.run import Audit
    from indexer.chain.rules import rules_for

    models = load_models([Path(each) for each in settings.models])
    return Audit(connection, rules_for(settings.chain_id), Decoding(models, wrapped_native(settings.chain_id)))


def _range(connection: Connection, chain_id: int, first: int | None, last: int | None) -> tuple[int, int, bool]:
    """Return (first, last, whether the user named a range, all of which is expected then)."""
    from indexer.storage import auditing

    known = auditing.known_range(connection, chain_id)
    if known is None and (first is None or last is None):
        raise UserError(
            f"no block of chain {chain_id} is stored: `indexer batch queue` asks for some", code="NOTHING_STORED"
        )
    low, high = known or (0, 0)
    named = first is not None and last is not None
    first, last = low if first is None else first, high if last is None else last
    if last < first:
        raise UserError(f"the range {first}–{last} is empty", code="BAD_RANGE")
    return first, last, named


def _positions(connection: Connection, settings: Settings, run: Audit) -> None:
    if not settings.kafka_bootstrap_servers:
        run.looked_at["positions"] = 0
        return
    from indexer.audit.positions import Position, compare
    from indexer.kafka.positions import logs

    rows = connection.execute(
        "SELECT consumer_group, topic, partition, topic_id, next_offset FROM consumer_progress ORDER BY 1, 2, 3"
    ).fetchall()
    positions = [Position(*row) for row in rows]
    if positions:
        found = logs(settings, {each.topic for each in positions})
        run.looked_at["positions"] = compare(positions, found, run.findings)


def _sample(settings: Settings, run: Audit, numbers: list[int], second_url: str | None) -> None:
    import requests.exceptions

    from indexer.cli.node import answering
    from indexer.verification.node import Node

    url, _ = answering(settings)  # one clear line when no node answers, or one of another chain
    try:
        for _ in run.sample(numbers, Node(url), Node(second_url) if second_url else None):
            pass
    except requests.exceptions.RequestException as error:
        raise OutageError(f"a node stopped answering: {type(error).__name__}", code="NODE_DOWN") from None


def _chosen(first: int, last: int, sample: int) -> list[int]:
    from indexer.verification.sample import spread

    return spread(first, last, sample)


class _Progress:
    """Says how far an audit is, on standard error and in its row."""

    def __init__(self, connection: Connection, run: Audit, record: int | None, first: int, last: int) -> None:
        self._connection, self._run, self._record = connection, run, record
        self._first, self._last, self._said_at = first, last, time.monotonic()

    def reached(self, number: int) -> None:
        if time.monotonic() - self._said_at < _SAY_SECONDS:
            return
        self._said_at = time.monotonic()
        share = 100 * (number - self._first) / (self._last - self._first + 1)
        click.echo(f"at block {number:,} ({share:.1f} %), {self._run.findings.count:,} findings", err=True)
        self._note("running", number, self._run.report(self._first, self._last))

    def done(self, report: dict[str, Any]) -> None:
        self._note("clean" if report["clean"] else "findings", self._last + 1, report)

    def _note(self, state: str, number: int, report: dict[str, Any]) -> None:
        from indexer.storage import auditing

        if self._record is not None:
            auditing.note(self._connection, self._record, state, number, self._run.findings.count, report)


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
    if report["clean"]:
        click.echo("nothing wrong")
    elif any(each["repair"] for each in report["findings"]):
        source = f"--audit {record}" if record is not None else "REPORT, written with --json"
        click.echo(f"`indexer repair {source}` makes it good")


def _ranges(ranges: list[list[int]], most: int = 6) -> str:
    some = [str(first) if first == last else f"{first}–{last}" for first, last in ranges[:most]]
    return ", ".join(some) + (f" and {len(ranges) - most} more" if len(ranges) > most else "")
