"""`indexer topics`: the declared topics compared with Kafka's, and made."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from indexer.settings import Settings
from indexer.topics import Topic, Topics, load_topics

if TYPE_CHECKING:
    from indexer.kafka.admin import KafkaAdmin
    from indexer.topic_changes import Change, ExistingTopic

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
partitions_option = click.option(
    "--partitions",
    type=click.IntRange(1, 10_000),
    help="Partitions of every topic with blocks, instead of the declared number.",
)


@click.group("topics")
def topics() -> None:
    """Kafka's topics, as schemas/topics.toml declares them; TOPIC_PREFIX goes in front of every name."""


@topics.command()
@partitions_option
@click.option("--dry-run", is_flag=True, help="Show what would be done.")
@json_option
def apply(partitions: int | None, dry_run: bool, as_json: bool) -> None:
    """Create what is missing and alter what differs; all of it or, when something is refused, nothing.

    With SCHEMA_REGISTRY_URL set, the schemas are registered there first.
    """
    declared, admin = _open(partitions)
    if not dry_run:
        _register_schemas()
    done = admin.diff(declared) if dry_run else admin.apply(declared)
    if done and not dry_run:
        admin.await_leaders(declared)
    _show(done, as_json, f"{len(declared.names)} topics are as declared")
    if dry_run and any(_kind(each) == "refused" for each in done):
        raise click.exceptions.Exit(1)


@topics.command()
@partitions_option
@json_option
def diff(partitions: int | None, as_json: bool) -> None:
    """Show how Kafka differs from the declaration; exit code 1 when it does."""
    declared, admin = _open(partitions)
    found = admin.diff(declared)
    _show(found, as_json, f"{len(declared.names)} topics are as declared")
    if found:
        raise click.exceptions.Exit(1)


@topics.command()
@json_option
def describe(as_json: bool) -> None:
    """Show every topic: its declaration, and what exists in Kafka."""
    declared, admin = _open(None)
    existing = admin.describe(declared.names)
    if as_json:
        click.echo(json.dumps([_described(each, existing.get(each.name)) for each in declared], indent=2))
        return
    for topic in declared:
        for line in _lines(topic, existing.get(topic.name)):
            click.echo(line)


def _open(partitions: int | None) -> tuple[Topics, KafkaAdmin]:
    from indexer.kafka.admin import KafkaAdmin  # librdkafka is loaded only when it is used

    settings = Settings.from_env()
    return load_topics(settings.topic_prefix, partitions), KafkaAdmin(settings)


def _register_schemas() -> None:
    if url := Settings.from_env().schema_registry_url:
        from indexer.kafka.registry import SchemaRegistry

        SchemaRegistry(url).register()


def _show(found: list[Change], as_json: bool, nothing: str) -> None:
    if as_json:
        click.echo(json.dumps([{"change": _kind(each), "text": str(each)} for each in found], indent=2))
    else:
        click.echo("\n".join(map(str, found)) or nothing)


def _kind(change: Change) -> str:
    return type(change).__name__.lower()


def _described(topic: Topic, there: ExistingTopic | None) -> dict[str, Any]:
    return {
        "role": topic.role,
        "name": topic.name,
        "about": topic.about,
        "key": topic.key,
        "schemas": topic.schemas,
        "producers": topic.producers,
        "consumers": topic.consumers,
        "dead_letters": topic.dead_letters,
        "declared": {"partitions": topic.partitions, "config": topic.config},
        "existing": there
        and {
            "id": there.id,
            "partitions": there.partitions,
            "replication": there.replication,
            "config": {key: there.config.get(key) for key in topic.config},
        },
    }


def _lines(topic: Topic, there: ExistingTopic | None) -> list[str]:
    flow = f"{', '.join(topic.producers)} → {', '.join(topic.consumers) or 'no service'}"
    state = "missing: run `indexer topics apply`"
    if there is not None:
        state = f"{there.partitions} partitions, replication {there.replication}, id {there.id}"
    return [
        f"{topic.name}",
        f"  {topic.about}",
        f"  {flow}; key {topic.key}; {', '.join(topic.schemas)}",
        f"  {state}",
    ]
