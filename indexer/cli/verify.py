"""`indexer verify`: prove what is stored."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from indexer.cli.numbers import BLOCK, counted
from indexer.errors import OutageError, UserError
from indexer.settings import Settings

if TYPE_CHECKING:
    from indexer.storage.jobs import Connection
    from indexer.verification.checks import Finding
    from indexer.verification.node import Node


@click.command("verify")
@click.option("--from", "first", type=BLOCK, help="First block.  [default: the lowest stored]")
@click.option("--to", "last", type=BLOCK, help="Last block.  [default: the highest stored]")
@click.option("--sample", type=counted(1), default=100, show_default=True, help="Blocks and holders to ask about.")
@click.option("--offline", is_flag=True, help="Only what the database can say, without a node.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
def verify(first: int | None, last: int | None, sample: int, offline: bool, as_json: bool) -> None:
    """Check the stored blocks: gaps, parent links, counts, balances against transfers; and, against the node, hash and
    roots recomputed from the stored rows and the ledger against balanceOf, on a sample.

    Every block of a range that is named must be stored; without --from and --to, the blocks of every job that is done
    and what was followed. The ledger is compared over each stretch without a hole.

    Exit code 0: nothing wrong; 1: something is, or the node answered for nothing that it was asked.
    """
    from indexer.cli.batch import database
    from indexer.verification import extent

    settings = Settings.from_env().require("database_url", *([] if offline else ["rpc_urls"]))
    with database(settings) as connection:
        low, high = _stored(connection, settings.chain_id)
        named = first is not None or last is not None
        first, last = low if first is None else first, high if last is None else last
        if last < first:
            raise UserError(f"the range {first}–{last} is empty", code="BAD_RANGE")
        node = None if offline else _node(settings)  # told at once, not after minutes of looking at the database
        wanted = f"{{[{first},{last + 1})}}" if named else extent.wanted_by_jobs(connection, settings.chain_id)
        findings = []
        for finding in _run(connection, node, settings.chain_id, (first, last), wanted, sample):
            findings.append(finding)
            if not as_json:
                _say(finding)
    passed = all(f.passed for f in findings)
    if as_json:
        click.echo(json.dumps({"from": first, "to": last, "checks": [_told(f) for f in findings]}))
    elif passed:
        click.echo(f"blocks {first}–{last}: nothing wrong")
    raise click.exceptions.Exit(0 if passed else 1)


def _node(settings: Settings) -> Node:
    """Return the first node that answers; raises OutageError when none does, UserError for one of another chain."""
    from indexer.cli.node import answering
    from indexer.verification.node import Node

    return Node(answering(settings)[0])


def _run(
    connection: Connection, node: Node | None, chain_id: int, ends: tuple[int, int], wanted: str, sample: int
) -> Iterator[Finding]:
    from indexer.verification import checks, extent

    yield checks.gaps(connection, chain_id, wanted)
    yield checks.parent_links(connection, chain_id, *ends)
    yield checks.counts(connection, chain_id, *ends)
    yield checks.transfers_in_balances(connection, chain_id)
    if node is None:
        return
    import requests.exceptions

    heights = extent.sampled(extent.stretches(connection, chain_id, *ends), sample)
    try:
        yield checks.roots(connection, node, chain_id, [number for _, numbers in heights for number in numbers])
        yield checks.ledger(connection, node, chain_id, heights, sample)
    except requests.exceptions.RequestException as error:
        raise OutageError(f"the node stopped answering: {type(error).__name__}", code="NODE_DOWN") from None


def _stored(connection: Connection, chain_id: int) -> tuple[int, int]:
    row = connection.execute("SELECT min(number), max(number) FROM blocks WHERE chain_id = %s", (chain_id,)).fetchone()
    if row is None or row[0] is None:
        raise UserError(
            f"no block of chain {chain_id} is stored: `indexer batch queue` asks for some", code="NOTHING_STORED"
        )
    return int(row[0]), int(row[1])


def _told(finding: Finding) -> dict[str, object]:
    return {**asdict(finding), "passed": finding.passed}


def _say(finding: Finding) -> None:
    skipped = f", {finding.skipped:,} could not be asked" if finding.skipped else ""
    mark = "WRONG" if finding.wrong else "ok   " if finding.passed else "NONE "
    click.echo(f"{mark} {finding.check:<14} {finding.looked_at:,} looked at{skipped}, {finding.wrong:,} wrong")
    if finding.silent:
        asked = f"{finding.unanswered:,} blocks"
        click.echo(f"        {finding.check}: the node answered for none of {asked}: use an archive node or --offline")
    for problem in finding.problems:
        click.echo(f"        {problem}")
