"""`indexer dlq replay`: ask for the blocks of dead letters again, each once, whatever is killed meanwhile."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from indexer.cli.numbers import ID, RATE, SECONDS, counted
from indexer.cli.selecting import (
    actor,
    canary_option,
    changing,
    confirm,
    given_beside,
    json_option,
    not_everything_by_mistake,
    selection,
)
from indexer.cli.stopped import nothing_is_stopped
from indexer.errors import IndexerError, UserError
from indexer.settings import Settings

if TYPE_CHECKING:
    from indexer.replay.selection import Selection
    from indexer.storage.jobs import Connection
    from indexer.storage.replays import Run

_BESIDE_RESUME = ("resumed", "patience", "dry_run", "yes", "as_json")


class ReplayStoppedError(IndexerError):
    """The circuit breaker stopped a run."""

    code = "REPLAY_STOPPED"


@click.command("replay")
@changing
@click.option("--rate", type=RATE, help="Letters a second at most.")
@canary_option
@click.option("--patience", type=SECONDS, default=60.0, show_default=True, help="Seconds to wait for the canaries.")
@click.option("--limit", type=counted(1), help="Replay this many at most, lowest blocks first.")
@click.option("--resume", "resumed", type=ID, metavar="RUN", help="Go on with a run that was killed or stopped.")
def replay(
    everything: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
    rate: float | None,
    canary: int | None,
    patience: float,
    limit: int | None,
    resumed: int | None,
    **options: Any,
) -> None:
    """Ask for the blocks of dead letters again.

    \b
    indexer dlq replay --fingerprint 3f2a91c0 --dry-run
    indexer dlq replay --code RECEIPTS_ROOT_MISMATCH --canary 10 --rate 50
    indexer dlq replay --resume 4

    The letters are chosen once, when the command starts. Killed at any point and resumed, each of them is replayed
    once. A letter whose block is stored already is passed by.
    """
    if resumed is not None:
        _nothing_else_beside_resume()
    settings = Settings.from_env().require("database_url", "kafka_bootstrap_servers")
    if resumed is not None:
        resume(settings, resumed, patience, dry_run, as_json)
        return
    chosen = selection(**options)
    not_everything_by_mistake(chosen, everything)
    replay_selected(
        settings,
        chosen,
        dry_run=dry_run,
        yes=yes,
        as_json=as_json,
        rate=rate,
        canary=canary,
        patience=patience,
        most=limit,
    )


def replay_selected(
    settings: Settings,
    chosen: Selection,
    *,
    dry_run: bool,
    yes: bool,
    as_json: bool,
    rate: float | None = None,
    canary: int | None = None,
    patience: float = 60.0,
    most: int | None = None,
) -> None:
    """Freeze the selection and replay it, or say why there is nothing to do."""
    from indexer.cli.batch import database
    from indexer.storage import dead_letters, replays

    with database(settings) as connection:
        connection.autocommit = True
        dead_letters.reopen_overdue(connection, settings.chain_id)
        states = dead_letters.by_state(connection, settings.chain_id, chosen)
        held = replays.held_by_others(connection, settings.chain_id, chosen)
        count = states.get(chosen.state, 0) - sum(held.values())
        count = count if most is None else min(count, most)
        if dry_run or count == 0:
            _say_plan(count, states, held, chosen, dry_run, as_json)
            return
        nothing_is_stopped(settings)
        confirm(f"replay {count:,} dead letters?", yes, as_json)
        partitions = _partitions(settings)
        run = replays.freeze(
            connection, settings.chain_id, chosen, actor=actor(), canary=canary or 0, rate=rate, most=most
        )
        if run is None:  # somebody else was quicker
            _say_plan(0, states, held, chosen, dry_run, as_json)
            return
        _carry_out(settings, connection, run, partitions, patience, canary is None, as_json)


def resume(settings: Settings, run_id: int, patience: float, dry_run: bool, as_json: bool) -> None:
    """Go on with a run where Kafka says that it is."""
    from indexer.cli.batch import database
    from indexer.replay.run import not_done, take_up

    with database(settings) as connection:
        connection.autocommit = True
        run = not_done(_run(connection, settings, run_id))
        if dry_run:
            facts = {"run": run.id, "letters": run.total, "position": run.position, "dry_run": True}
            text = f"would go on with replay {run.id} at {run.position:,} of {run.total:,}"
            click.echo(json.dumps(facts) if as_json else text)
            return
        nothing_is_stopped(settings)
        partitions = _partitions(settings)
        _carry_out(settings, connection, take_up(connection, run), partitions, patience, True, as_json)


def _nothing_else_beside_resume() -> None:
    """Raise UserError for options that only a new run can follow: one that goes on keeps what it was begun with."""
    given = given_beside(*_BESIDE_RESUME)
    if given:
        raise UserError(
            f"--resume goes on with the letters, rate and canaries of the run, and takes no {', '.join(given)}",
            code="BAD_OPTIONS",
        )


def _partitions(settings: Settings) -> int:
    """Ask Kafka, before a run takes letters, which it would keep from others if Kafka were away."""
    from indexer.kafka.admin import KafkaAdmin
    from indexer.topics import DLQ, WORK, load_topics

    return KafkaAdmin(settings).check(load_topics(settings.topic_prefix), *WORK, DLQ).partitions


def _carry_out(
    settings: Settings,
    connection: Connection,
    run: Run,
    partitions: int,
    patience: float,
    careful: bool,
    as_json: bool,
) -> None:
    from indexer.interrupts import asked_to_end
    from indexer.kafka.replay import ReplayTransactions
    from indexer.replay.breaker import vanguard
    from indexer.replay.run import Replayer, carry_out
    from indexer.topics import load_topics

    def look(now: Run) -> None:
        if now.state == "running":
            raise_if_asked()

    first = vanguard(run.total - run.position) if careful and not run.canary else 0
    ahead = f", {first} of them first" if first else ""
    click.echo(f"replay {run.id}: {run.total:,} letters{ahead}; if it is interrupted: --resume {run.id}", err=True)
    topics = load_topics(settings.topic_prefix)
    transactions = ReplayTransactions(settings, run.name)
    replayer = Replayer(
        connection, run, transactions, topics, partitions, clock=time.monotonic, patience=patience, careful=careful
    )
    with asked_to_end() as raise_if_asked:
        try:
            ended = carry_out(replayer, time.sleep, look)
        except KeyboardInterrupt:
            transactions.let_go()
            replayer.stop()
            raise
        finally:
            transactions.close()
    if as_json:
        click.echo(json.dumps(_facts(connection, _run(connection, settings, run.id)), default=str))
    elif ended.state == "done":
        click.echo(f"replay {ended.id} done: {ended.message}")
        click.echo(f"`indexer dlq runs {ended.id}` shows what becomes of them")
    if ended.state == "stopped":
        raise ReplayStoppedError(f"replay {ended.id} stopped at {ended.position:,} of {ended.total:,}: {ended.message}")


def _say_plan(
    count: int, states: dict[str, int], held: dict[int, int], chosen: Selection, dry_run: bool, as_json: bool
) -> None:
    """Say what would be replayed, and what became of the other letters that fit the conditions."""
    facts = {
        "run": None,
        "letters": count,
        "already_stored": states.get("resolved", 0),
        "waiting_for_an_outcome": states.get("replayed", 0),
        "in_other_runs": {str(run): number for run, number in held.items()},
        "dry_run": dry_run,
    }
    if as_json:
        click.echo(json.dumps(facts))
        return
    words = {"resolved": "already stored", "replayed": "replayed, without an outcome so far"}
    other = [f"{states[state]:,} {word}" for state, word in words.items() if states.get(state)]
    other += [f"{number:,} in replay {run} (--resume {run})" for run, number in held.items()]
    what = f"would replay {count:,} dead letters" if count else "nothing to replay"
    click.echo(f"{what}: {', '.join(other)}" if other else what)


@click.command("runs")
@click.argument("run", type=ID, required=False)
@click.option("--limit", type=counted(1), default=20, show_default=True)
@json_option
def runs(run: int | None, limit: int, as_json: bool) -> None:
    """Show the replay RUN, or the newest ones, and what became of their letters."""
    from indexer.cli.batch import database
    from indexer.storage import replays

    settings = Settings.from_env().require("database_url")
    with database(settings) as connection:
        found = (
            replays.newest(connection, settings.chain_id, limit) if run is None else [_run(connection, settings, run)]
        )
        if as_json:
            click.echo(json.dumps([_facts(connection, each) for each in found], default=str))
            return
        outcomes = {each.id: replays.outcomes(connection, each.id) for each in found}
    if not found:
        click.echo("no replays")
    for each in found:
        came = outcomes[each.id]
        click.echo(
            f"replay {each.id}  {each.state:<8} {each.position:,}/{each.total:,}  {came.stored:,} stored,"
            f" {came.died:,} died again, {came.undecided:,} without an outcome  {each.actor}"
            f"  {each.created_at:%Y-%m-%d %H:%M:%S}  {each.message or ''}".rstrip()
        )


def _facts(connection: Connection, run: Run) -> dict[str, Any]:
    """A run and what became of its letters so far, as JSON tells of it."""
    from indexer.storage import replays

    return {**asdict(run), **asdict(replays.outcomes(connection, run.id))}


def _run(connection: Connection, settings: Settings, run_id: int) -> Run:
    from indexer.storage import replays

    found = replays.find(connection, settings.chain_id, run_id)
    if found is None:
        raise UserError(f"no replay {run_id}: `indexer dlq runs` lists them", code="NO_SUCH_RUN")
    return found
