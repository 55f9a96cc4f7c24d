"""`indexer verify`: prove what is stored."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from indexer.cli.numbers import counted
from indexer.errors import OutageError, UserError
from indexer.settings import Settings

if TYPE_CHECKING:
    from indexer.storage.jobs import Connection
    from indexer.verification.checks import Finding


@click.command("verify")
@click.option("--from", "first", type=click.IntRange(0), help="First block.  [default: the lowest stored]")
@click.option("--to", "last", type=click.IntRange(0), help="Last block.  [default: the highest stored]")
@click.option("--sample", type=counted(1), default=100, show_default=True, help="Blocks and holders to ask about.")
@click.option("--offline", is_flag=True, help="Only what the database can say, without a node.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
def verify(first: int | None, last: int | None, sample: int, offline: bool, as_json: bool) -> None:
    """Check the stored blocks: gaps, parent links, counts, balances against transfers; and, against the node, hash and
    roots recomputed from the stored rows and the ledger against balanceOf, on a sample.

    Exit code 0: nothing wrong; 1: something is.
    """
    from indexer.cli.batch import database

    settings = Settings.from_env().require("database_url", *([] if offline else ["rpc_urls"]))
    with database(settings) as connection:
        low, high = _stored(connection, settings.chain_id)
        first, last = low if first is None else first, high if last is None else last
        if last < first:
            raise UserError(f"the range {first}–{last} is empty", code="BAD_RANGE")
        findings = []
        for finding in _run(connection, settings, first, last, sample, offline):
            findings.append(finding)
            if not as_json:
                _say(finding)
    if as_json:
        click.echo(json.dumps({"from": first, "to": last, "checks": [asdict(f) for f in findings]}))
    elif not any(f.wrong for f in findings):
        click.echo(f"blocks {first}–{last}: nothing wrong")
    raise click.exceptions.Exit(1 if any(f.wrong for f in findings) else 0)


def _run(
    connection: Connection, settings: Settings, first: int, last: int, sample: int, offline: bool
) -> Iterator[Finding]:
    from indexer.verification import checks

    for check in (checks.gaps, checks.parent_links, checks.counts):
        yield check(connection, settings.chain_id, first, last)
    yield checks.transfers_in_balances(connection, settings.chain_id)
    if offline:
        return
    import requests.exceptions

    from indexer.cli.node import head
    from indexer.verification.node import Node

    head(settings)  # one clear line when no node answers, or one of another chain
    node = Node(settings.rpc_urls[0])
    try:
        yield checks.roots(connection, node, settings.chain_id, checks.spread(first, last, sample))
        yield checks.ledger(connection, node, settings.chain_id, first, last, sample)
    except requests.exceptions.RequestException as error:
        raise OutageError(f"the node stopped answering: {type(error).__name__}", code="NODE_DOWN") from None


def _stored(connection: Connection, chain_id: int) -> tuple[int, int]:
    row = connection.execute("SELECT min(number), max(number) FROM blocks WHERE chain_id = %s", (chain_id,)).fetchone()
    if row is None or row[0] is None:
        raise UserError(
            f"no block of chain {chain_id} is stored: `indexer batch queue` asks for some", code="NOTHING_STORED"
        )
    return int(row[0]), int(row[1])


def _say(finding: Finding) -> None:
    skipped = f", {finding.skipped:,} could not be asked" if finding.skipped else ""
    mark = "ok   " if finding.wrong == 0 else "WRONG"
    click.echo(f"{mark} {finding.check:<14} {finding.looked_at:,} looked at{skipped}, {finding.wrong:,} wrong")
    for problem in finding.problems:
        click.echo(f"        {problem}")
