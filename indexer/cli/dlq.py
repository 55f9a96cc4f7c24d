"""`indexer dlq`: what failed and why, and what an operator can do about it."""

from __future__ import annotations

import json
from typing import Any

import click

from indexer.cli.dlq_replay import replay, runs
from indexer.cli.numbers import ID, counted
from indexer.cli.selecting import actor, changing, confirm, json_option, not_everything_by_mistake, selecting, selection
from indexer.cli.stopped import say_what_is_stopped
from indexer.errors import UserError
from indexer.settings import Settings


@click.group("dlq")
def dlq() -> None:
    """Dead letters: items that can not succeed as they are, each with its reason.

    \b
    indexer dlq list                            what failed, letters of one kind together
    indexer dlq show 17                         one letter: headers, body, what to do
    indexer dlq replay --code RPC_TIMEOUT       ask for their blocks again
    """


dlq.add_command(replay)
dlq.add_command(runs)


@dlq.command("list")
@selecting
@click.option("--each", is_flag=True, help="A line for each letter instead of one for each kind of failure.")
@click.option("--limit", type=counted(1), default=100, show_default=True)
@json_option
def list_(each: bool, limit: int, as_json: bool, **options: Any) -> None:
    """List open dead letters, those with the same fingerprint together.

    What --limit leaves out is counted on standard error; with --json `total` in each row is how many there are.
    """
    from indexer.cli.batch import database
    from indexer.storage import dead_letters

    settings = Settings.from_env().require("database_url")
    chosen = selection(**options)
    with database(settings) as connection:
        find = dead_letters.letters if each else dead_letters.groups
        found = find(connection, settings.chain_id, chosen, limit)
    say_what_is_stopped(settings)
    _say_how_many_more(found, "letters" if each else "kinds of failure")
    if as_json:
        click.echo(json.dumps(found, default=str))
        return
    if not found:
        click.echo("no dead letters")
    for letter in found:
        click.echo(_letter(letter) if each else _group(letter))


@dlq.command("show")
@click.argument("letter", type=ID)
@json_option
def show(letter: int, as_json: bool) -> None:
    """Show LETTER: its headers, its body as far as it can be read, and what to do."""
    from indexer.cli.batch import database
    from indexer.cli.letter_view import facts, lines
    from indexer.storage import dead_letters

    settings = Settings.from_env().require("database_url")
    with database(settings) as connection:
        found = dead_letters.letter(connection, settings.chain_id, letter)
    if found is None:
        raise UserError(f"no dead letter {letter}: `indexer dlq list --each` shows the ids", code="NO_SUCH_LETTER")
    shown = facts(found)
    click.echo(json.dumps(shown, default=str) if as_json else "\n".join(lines(shown)))


@dlq.command("quarantine")
@changing
@click.option("--note", help="Why; kept with who did it and when.")
def quarantine(**options: Any) -> None:
    """Set letters aside: they are no longer listed or replayed, unless --state quarantined asks for them."""
    _set_state("quarantined", "quarantine", **options)


@dlq.command("drop")
@changing
@click.option("--note", help="Why; kept with who did it and when.")
def drop(**options: Any) -> None:
    """Give letters up: their blocks stay missing, and the letters are not shown any more."""
    _set_state("dropped", "drop", **options)


@dlq.command("export")
@selecting
@click.option("--output", type=click.File("w", encoding="utf-8", lazy=True), default="-", help="A file; - is stdout.")
def export(output: Any, **options: Any) -> None:
    """Write letters as JSON lines, the record's key, value and headers in hex."""
    from indexer.cli.batch import database
    from indexer.cli.letter_view import exported
    from indexer.storage import dead_letters

    settings = Settings.from_env().require("database_url")
    chosen, after = selection(**options), 0
    with database(settings) as connection:
        _open(output)
        while found := dead_letters.whole(connection, settings.chain_id, chosen, after, 100):
            for row in found:
                output.write(json.dumps(exported(row), default=str) + "\n")
            after = found[-1]["id"]


def _open(output: Any) -> None:
    """Make the file, also for no letters; raises UserError where there can be none."""
    try:
        output.open()
    except click.FileError as error:
        raise UserError(f"--output {error.ui_filename}: {error.message}", code="BAD_OPTIONS") from None


@dlq.command("resume")
@click.argument("service", type=click.Choice(("decoder", "persister")))
@click.option("--note", help="What was mended; kept with who did it and when.")
@json_option
def resume(service: str, note: str | None, as_json: bool) -> None:
    """Let SERVICE take records again, after most of its last ones became dead letters."""
    from indexer.cli.batch import database
    from indexer.kafka.brakes import Brakes
    from indexer.storage import dead_letters

    settings = Settings.from_env().require("database_url", "kafka_bootstrap_servers")
    brakes = Brakes(settings, service)
    try:
        why = brakes.read()
        if why is not None:
            with database(settings) as connection:
                audit = {"actor": actor(), "action": f"resume {service}", "note": note}
                dead_letters.note_action(connection, settings.chain_id, selection(service=service), 0, audit)
            brakes.put("")
    finally:
        brakes.close()
    if as_json:
        click.echo(json.dumps({"service": service, "was_stopped": why}))
    else:
        click.echo(f"{service} goes on; it was stopped: {why}" if why else f"{service} is not stopped")


def _set_state(
    to: str,
    verb: str,
    *,
    everything: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
    note: str | None,
    **options: Any,
) -> None:
    from indexer.cli.batch import database
    from indexer.storage import dead_letters

    settings = Settings.from_env().require("database_url")
    chosen = selection(**options)
    not_everything_by_mistake(chosen, everything)
    with database(settings) as connection:
        connection.autocommit = True
        count = dead_letters.by_state(connection, settings.chain_id, chosen).get(chosen.state, 0)
        if count and not dry_run:
            confirm(f"{verb} {count:,} dead letters?", yes, as_json)
            audit = {"actor": actor(), "action": verb, "note": note}
            count = dead_letters.set_state(connection, settings.chain_id, chosen, to, audit)
    if as_json:
        click.echo(json.dumps({"letters": count, "state": to, "dry_run": dry_run}))
    else:
        click.echo(f"would {verb} {count:,} dead letters" if dry_run else f"{count:,} dead letters {to}")


def _say_how_many_more(shown: list[dict[str, Any]], what: str) -> None:
    total = shown[0]["total"] if shown else 0
    if total > len(shown):
        click.echo(f"not shown: {total - len(shown):,} of {total:,} {what}; --limit {total} shows all", err=True)


def _letter(row: dict[str, Any]) -> str:
    origin = f"{row['origin_topic']}[{row['origin_partition']}]@{row['origin_offset']}"
    where = f"{row['service']}/{row['stage']}"
    block = "no block known" if row["block_number"] is None else f"block {row['block_number']}"
    return f"{row['id']}  {block}  {row['code']}  {where}  {origin}  {row['message']}"


def _group(row: dict[str, Any]) -> str:
    seen = f"{row['first_seen']:%Y-%m-%d %H:%M:%S} to {row['last_seen']:%Y-%m-%d %H:%M:%S}"
    if f"{row['first_seen']:%Y-%m-%d %H:%M}" == f"{row['last_seen']:%Y-%m-%d %H:%M}":
        seen = f"last {row['last_seen']:%Y-%m-%d %H:%M:%S}"
    return f"{row['fingerprint'][:12]}  {row['count']:,} × {row['code']}  {_blocks(row)}  {seen}  {row['example']}"


def _blocks(row: dict[str, Any]) -> str:
    if row["first_block"] is None:
        return "no block known"
    ranges = [f"{first}–{last}" for first, last in row["ranges"]]
    if len(ranges) > 4:
        return f"blocks {', '.join(ranges[:3])} … {row['last_block']}"
    return f"blocks {', '.join(ranges)}"
