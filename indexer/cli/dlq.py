"""`indexer dlq`: what failed, and why."""

from __future__ import annotations

import json
from typing import Any

import click

from indexer.settings import Settings


@click.group("dlq")
def dlq() -> None:
    """Dead letters: items that can not succeed as they are, each with its reason."""


@dlq.command("list")
@click.option("--job", type=int, help="Only letters of this job.")
@click.option("--each", is_flag=True, help="A line for each letter instead of one for each kind of failure.")
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
def list_(job: int | None, each: bool, limit: int, as_json: bool) -> None:
    """List open dead letters, those with the same fingerprint together."""
    from indexer.cli.batch import database
    from indexer.storage import dead_letters

    settings = Settings.from_env().require("database_url")
    with database(settings) as connection:
        find = dead_letters.letters if each else dead_letters.groups
        found = find(connection, settings.chain_id, job, limit)
    if as_json:
        click.echo(json.dumps(found, default=str))
        return
    if not found:
        click.echo("no dead letters")
    for letter in found:
        click.echo(_letter(letter) if each else _group(letter))


def _letter(row: dict[str, Any]) -> str:
    origin = f"{row['origin_topic']}[{row['origin_partition']}]@{row['origin_offset']}"
    where = f"{row['service']}/{row['stage']}"
    block = "no block known" if row["block_number"] is None else f"block {row['block_number']}"
    return f"{row['id']}  {block}  {row['code']}  {where}  {origin}  {row['message']}"


def _group(row: dict[str, Any]) -> str:
    known = row["first_block"] is not None
    blocks = f"blocks {row['first_block']}–{row['last_block']}" if known else "no block known"
    last = f"last {row['last_seen']:%Y-%m-%d %H:%M:%S}"
    return f"{row['fingerprint'][:12]}  {row['count']:,} × {row['code']}  {blocks}  {last}  {row['example']}"
