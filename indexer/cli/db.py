"""`indexer db`: the database's tables."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

import click

from indexer.errors import UserError
from indexer.settings import Settings

if TYPE_CHECKING:
    from indexer.storage.engine import Connection


@click.group()
def db() -> None:
    """The database's tables: make them, check them."""


@db.command()
@click.option("--dry-run", is_flag=True, help="Say what would be done.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def migrate(dry_run: bool, as_json: bool) -> None:
    """Bring the database to the newest revision; safe to repeat, and when several do it at once."""
    from indexer.storage.migrate import migrate as run

    before = run(Settings.from_env().require("database_url"), dry_run=dry_run)
    if as_json:
        click.echo(json.dumps({**dataclasses.asdict(before), "applied": bool(before.pending) and not dry_run}))
        return
    for line in before.pending:
        click.echo(f"{'would apply' if dry_run else 'applied'} {line}")
    if not before.pending:
        click.echo(f"nothing to do: the database is at revision {before.revision}")


@db.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def check(as_json: bool) -> None:
    """Compare the database with what this program needs; exit 1 when it is not current."""
    from indexer.storage.migrate import check as run

    state = run(Settings.from_env().require("database_url"))
    if as_json:
        click.echo(json.dumps({**dataclasses.asdict(state), "current": state.current}))
    else:
        click.echo(f"revision {state.revision or 'none'}, newest {state.newest}")
        for line in state.pending:
            click.echo(f"pending: {line} (run `indexer db migrate`)")
        for line in state.differences:
            click.echo(f"different: {line}")
        if state.current:
            click.echo("the database is current")
    if not state.current:
        raise click.exceptions.Exit(1)


@db.command("forget-offsets")
@click.argument("topic")
@click.option("--yes", is_flag=True, help="Do not ask.")
def forget_offsets(topic: str, yes: bool) -> None:
    """Begin at the first record of TOPIC, which was deleted and made again; its persisters must not run."""
    from indexer.storage import engine

    settings = Settings.from_env().require("database_url")
    if not yes:
        click.confirm(f"Forget how far every group came in {topic}?", abort=True)
    with engine.connect(settings, "cli") as connection:
        _nobody_stores(connection, topic)
        done = connection.execute(
            "UPDATE consumer_progress SET topic_id = '', next_offset = 0, epoch = epoch + 1, applied_generation = 0"
            " WHERE topic = %s",
            (topic,),
        ).rowcount
    if not done:
        raise UserError(f"no stored offsets of {topic}: give the name with its prefix", code="TOPIC_UNKNOWN")
    click.echo(f"forgot the offsets of {done} partitions of {topic}")


def _nobody_stores(connection: Connection, topic: str) -> None:
    """Raise UserError while a session that owns offsets of the topic lives; nobody takes them over until a commit."""
    owners = {str(name) for (name,) in connection.execute(_OWNERS, (topic,)).fetchall()}
    if owners:
        raise UserError(f"{', '.join(sorted(owners))} stores {topic}: stop the persisters first", code="TOPIC_IN_USE")


_OWNERS = """
    WITH taken AS MATERIALIZED (
        SELECT backend_pid, backend_start FROM consumer_progress WHERE topic = %s
        ORDER BY consumer_group, partition FOR UPDATE
    )
    SELECT a.application_name FROM taken
    JOIN pg_stat_activity a ON a.pid = taken.backend_pid AND a.backend_start = taken.backend_start
"""
