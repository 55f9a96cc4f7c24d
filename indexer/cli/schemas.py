"""`indexer schemas`: the checked-in schemas, and the optional registry."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

import schemas as declared
from indexer.errors import UserError
from indexer.settings import Settings

if TYPE_CHECKING:
    from indexer.kafka.registry import SchemaRegistry


@click.group("schemas")
def schemas() -> None:
    """The Avro schemas of the topics; SCHEMA_REGISTRY_URL names a registry, which nothing needs."""


@schemas.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_schemas(as_json: bool) -> None:
    """Show every schema version with its id."""
    rows = [declared.load(*known) for known in declared.declared()]
    if as_json:
        keys = ("subject", "version", "id", "fingerprint")
        click.echo(json.dumps([{key: getattr(row, key) for key in keys} for row in rows], indent=2))
        return
    for row in rows:
        click.echo(f"{row.id}  {row.subject} {row.version}  {row.fingerprint[:16]}")


@schemas.command()
def check() -> None:
    """Compare the registry with the checked-in schemas; exit code 1 when something is missing there."""
    registry = _registry()
    missing = registry.missing()
    for each in missing:
        click.echo(f"missing at {registry.host}: {each.subject} {each.version}, id {each.id}")
    if missing:
        raise click.exceptions.Exit(1)
    click.echo(f"the registry at {registry.host} has every schema under its own id")


@schemas.command()
def register() -> None:
    """Register the schemas under their own ids where the registry can import them; refuse any difference."""
    registry = _registry()
    for each in registry.register():
        click.echo(f"registered at {registry.host}: {each.subject} {each.version}, id {each.id}")
    click.echo(f"the registry at {registry.host} has every schema under its own id")


def _registry() -> SchemaRegistry:
    from indexer.kafka.registry import SchemaRegistry

    url = Settings.from_env().schema_registry_url
    if not url:
        raise UserError("SCHEMA_REGISTRY_URL not set; nothing needs a registry", code="SETTING_MISSING")
    return SchemaRegistry(url)
