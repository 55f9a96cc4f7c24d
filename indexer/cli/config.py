"""`indexer config`: every setting, its value and where it comes from."""

from __future__ import annotations

import json
from dataclasses import fields

import click

from indexer import settings


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--example", is_flag=True, help="Print a .env file with every setting and its default instead.")
def config(as_json: bool, example: bool) -> None:
    """Show every setting, its value and where it comes from: the environment, .env, or the default.

    Of what may contain a password or a key, only the host is shown.
    """
    if example:
        click.echo(settings.example(), nl=False)
        return
    found = {name: (settings.shown(name, value), origin) for name, (value, origin) in settings.read().items()}
    if as_json:
        click.echo(json.dumps({n.upper(): {"value": v, "origin": o} for n, (v, o) in found.items()}, indent=2))
        return
    about = {each.name: each.metadata["doc"] for each in fields(settings.Settings)}
    width = max(map(len, found))
    for name, (value, origin) in found.items():
        click.echo(f"{name.upper():<{width}}  {value or '(not set)'}  [{origin}]")
        click.echo(f"{'':<{width}}  {about[name]}")
