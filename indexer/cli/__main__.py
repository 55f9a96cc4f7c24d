"""`indexer`: finds the command, runs it, and turns every error into one line and an exit code."""

from __future__ import annotations

import errno
import importlib
import os
import sys
import traceback
from pathlib import Path

import click

from indexer.errors import IndexerError, UserError

# name: (where the click command is, what `--help` says about it)
COMMANDS: dict[str, tuple[str, str]] = {
    "batch": ("indexer.cli.batch:batch", "Jobs: queue blocks, process them, look at them, change them."),
    "follow": ("indexer.cli.follow:follow", "The chain's head: follow it, through its forks."),
    "dlq": ("indexer.cli.dlq:dlq", "Dead letters: what failed, and why."),
    "verify": ("indexer.cli.verify:verify", "Prove what is stored: gaps, links, counts, roots, balances."),
    "audit": ("indexer.cli.audit:audit", "Compare database, Kafka and chain: what is missing, what is wrong."),
    "repair": ("indexer.cli.repair:repair", "Fetch and store again what an audit found; balances too."),
    "redecode": ("indexer.cli.redecode:redecode", "Decode stored logs again, with the models as they are now."),
    "config": ("indexer.cli.config:config", "The settings in force, and where each comes from."),
    "db": ("indexer.cli.db:db", "The database's tables: make them, check them."),
    "stack": ("indexer.cli.stack:stack", "A local Kafka and PostgreSQL, without Docker."),
    "schemas": ("indexer.cli.schemas:schemas", "Avro schemas and a schema registry: check, register."),
    "topics": ("indexer.cli.topics:topics", "Kafka topics: apply, diff, describe."),
}


class LazyGroup(click.Group):
    """A group that imports a command's module when the command is used: `--help` and start-up stay fast."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][1]) for name in self.list_commands(ctx)])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="evm-kafka-indexer", prog_name="indexer")
def cli() -> None:
    """Index EVM blocks through Kafka into PostgreSQL, each exactly once."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line. Exit codes: 0 done, 1 failed, 2 the user must change something, 130 interrupted."""
    sys.exit(run(arguments))


def run(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    try:
        code = cli.main(arguments, prog_name="indexer", standalone_mode=False)
        return code if isinstance(code, int) else 0  # click returns the code of Exit instead of raising it
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return 130
    except IndexerError as error:
        click.echo(f"error: {error}", err=True)
        return 2 if isinstance(error, UserError) else 1
    except Exception as error:
        return _unexpected(error)


def _unexpected(error: Exception) -> int:
    """Say what happened and where; an error's own text, which may quote an address with its password, is left out."""
    if isinstance(error, OSError) and error.filename is not None:
        click.echo(f"error: {error.filename}: {error.strerror}", err=True)
        return 1
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EIO, errno.EPIPE):
        click.echo(f"error: the output cannot be written: {error.strerror}", err=True)
        return 1
    if any(each.__name__ == "OperationalError" and each.__module__ == "psycopg" for each in type(error).__mro__):
        click.echo(
            "error: the database went away, or could not do it now: try again", err=True
        )  # by name: not loaded here
        return 1
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "an unknown place"
    kind = f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")
    more = "" if os.environ.get("INDEXER_TRACEBACK") else "; INDEXER_TRACEBACK=1 shows more"
    click.echo(f"error: {kind} at {place}: this is a bug of ours{more}", err=True)
    if not more:
        click.echo("".join(traceback.format_list(frames)), err=True, nl=False)
    return 1


if __name__ == "__main__":
    main()
