"""`indexer stack`: a local Kafka and PostgreSQL that need neither Docker nor Java to be installed."""

from __future__ import annotations

import functools
import json
import os
import shlex
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from indexer import stack as local
from indexer.errors import UserError
from indexer.stack import report

DEFAULT = Path(".local/stack")
data_dir_option = click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=DEFAULT,
    show_default=True,
    help="Folder with everything that belongs to the stack.",
)


def _in_folder(command: Callable[..., None]) -> Callable[..., None]:
    """Tell of a folder that cannot be made, read or written in one line; it is the user's to choose."""

    @functools.wraps(command)
    def run(data_dir: Path, **options: Any) -> None:
        try:
            command(data_dir=data_dir, **options)
        except OSError as error:
            if not error.filename or not _belong_together(Path(str(error.filename)), data_dir):
                raise
            raise UserError(f"--data-dir {data_dir} cannot be used: {error.strerror}") from None

    return run


def _belong_together(path: Path, folder: Path) -> bool:
    path, folder = path.absolute(), folder.absolute()
    return path.is_relative_to(folder) or folder.is_relative_to(path)


@click.group("stack")
def stack() -> None:
    """A local Kafka and PostgreSQL, without Docker.

    An existing Kafka or database is used instead when KAFKA_BOOTSTRAP_SERVERS or DATABASE_URL is set.
    """


@stack.command()
@click.option("--brokers", type=click.Choice(["1", "3"]), help="Number of brokers.  [default: 1, or as it was]")
@data_dir_option
@_in_folder
def up(brokers: str | None, data_dir: Path) -> None:
    """Start what does not run yet; returns when everything answers."""
    external = report.external(data_dir, os.environ)
    for line in external.lines():
        click.echo(line)
    if external.complete():
        click.echo("nothing to start")
        return
    begun = time.monotonic()
    running = local.is_running(data_dir)
    if external.kafka is None and not local.is_installed():
        click.echo("first start on this machine: downloading Kafka (44 MB) and preparing it, about half a minute")
    found = local.start(
        data_dir,
        int(brokers) if brokers else None,
        external_kafka=external.kafka,
        external_database=external.database,
    )
    if running:
        click.echo(f"already up in {data_dir}")
    else:
        click.echo(f"up after {time.monotonic() - begun:.1f} s in {data_dir}")
    for line in report.addresses(found):
        click.echo(line)
    click.echo(f'for other commands: eval "$(indexer stack env{_option(data_dir)})"')


@stack.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@data_dir_option
@_in_folder
def status(as_json: bool, data_dir: Path) -> None:
    """Show what runs and whether it answers; exit code 1 when something does not."""
    seen = report.status(data_dir)
    if as_json:
        click.echo(json.dumps(seen, indent=2))
    else:
        for line in report.status_lines(seen):
            click.echo(line)
    if not seen["up"]:
        raise click.exceptions.Exit(1)


@stack.command()
@data_dir_option
@_in_folder
def env(data_dir: Path) -> None:
    """Print the exports that other commands need."""
    found = local.connect(data_dir)
    click.echo(f"export KAFKA_BOOTSTRAP_SERVERS={shlex.quote(found.bootstrap_servers)}")
    click.echo(f"export DATABASE_URL={shlex.quote(found.database_url)}")


@stack.command()
@click.option("--wipe", is_flag=True, help="Remove the folder with all data, too.")
@data_dir_option
@_in_folder
def down(wipe: bool, data_dir: Path) -> None:
    """Stop what `up` started; the data stays unless --wipe is given."""
    running = local.is_running(data_dir)
    if wipe:
        local.wipe(data_dir)
    else:
        local.stop(data_dir)
    click.echo(("stopped" if running else "nothing was running") + (", data removed" if wipe else ""))


def _option(data_dir: Path) -> str:
    return "" if data_dir == DEFAULT else f" --data-dir {shlex.quote(str(data_dir))}"
