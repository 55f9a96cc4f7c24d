"""`indexer redecode`: decode stored logs again, with the models as they are now."""

from __future__ import annotations

import json
import time

import click

from indexer.cli.numbers import BLOCK
from indexer.errors import UserError
from indexer.settings import Settings

_SAY_SECONDS = 5.0


@click.command("redecode")
@click.option("--model", required=True, help="The model that was changed or added, by its name; it must be in MODELS.")
@click.option("--from", "first", type=BLOCK, help="First block.  [default: the lowest stored]")
@click.option("--to", "last", type=BLOCK, help="Last block.  [default: the highest stored]")
@click.option("--dry-run", is_flag=True, help="Say what would change, and write nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
def redecode(model: str, first: int | None, last: int | None, dry_run: bool, as_json: bool) -> None:
    """Decode stored logs again, without a node: a wrong ABI was mended, an event or a model was added.

    Every model of MODELS is applied, because the version that a block carries stands for all of them. Raise the model's
    version and restart the decoders first. May be ended at any time: what is right already is not written again.
    """
    from indexer.abi.models import load_models, wrapped_native
    from indexer.audit.rows import Decoding
    from indexer.kafka.admin import KafkaAdmin
    from indexer.redecode.run import Redecode
    from indexer.storage import engine
    from indexer.storage.redecoding import Owner
    from indexer.topics import DECODED, load_topics

    settings = Settings.from_env().require("database_url", "kafka_bootstrap_servers")
    models = load_models(settings.models)
    if model not in {each.name for each in models.models}:
        names = ", ".join(each.name for each in models.models) or "none"
        raise UserError(f"no model {model!r} in MODELS (there are: {names})", code="NO_SUCH_MODEL")
    topics = load_topics(settings.topic_prefix)
    partitions = KafkaAdmin(settings).check(topics, DECODED).partitions
    owner = Owner(f"{settings.topic_prefix}persister", topics.decoded)
    decoding = Decoding(models, wrapped_native(settings.chain_id))
    with engine.connect(settings, "cli", autocommit=True) as connection:
        run = Redecode(connection, settings.chain_id, decoding, owner, partitions, dry_run)
        row = connection.execute(
            "SELECT min(number), max(number) FROM blocks WHERE chain_id = %s", (settings.chain_id,)
        ).fetchone()
        if row is None or row[0] is None:
            raise UserError(f"no block of chain {settings.chain_id} is stored", code="NOTHING_STORED")
        first, last = row[0] if first is None else first, row[1] if last is None else last
        if last < first:
            raise UserError(f"the range {first}–{last} is empty", code="BAD_RANGE")
        _run(run, first, last)
    facts = {"model": model, "version": models.version, "from": first, "to": last, "dry_run": dry_run, **run.done}
    if as_json:
        click.echo(json.dumps(facts))
        return
    would = "would be" if dry_run else "were"
    click.echo(
        f"{run.done['blocks']:,} blocks: {run.done['changed']:,} {would} changed, {run.done['only marked']:,} only"
        f" marked with version {models.version}; events {run.done['events before']:,} → {run.done['events after']:,}"
    )
    if run.done["of newer models"]:
        click.echo(f"{run.done['of newer models']:,} blocks are of newer models and stay as they are")


def _run(run: object, first: int, last: int) -> None:
    from indexer.interrupts import asked_to_end
    from indexer.redecode.run import Redecode

    assert isinstance(run, Redecode)
    said_at, at = time.monotonic(), first
    try:
        with asked_to_end() as raise_if_asked:
            for at in run.run(first, last):
                raise_if_asked()
                if time.monotonic() - said_at > _SAY_SECONDS:
                    said_at = time.monotonic()
                    click.echo(f"at block {at:,} of {last:,}, {run.done['changed']:,} changed", err=True)
    except KeyboardInterrupt:
        click.echo(f"ended; go on with --from {at}", err=True)
        raise
