"""The line that says that a service has stopped, in the commands that people look at first."""

from __future__ import annotations

import click

from indexer.settings import Settings

CODE = "DEAD_LETTER_BUDGET"


def say_what_is_stopped(settings: Settings) -> None:
    """Tell on standard error which services wait for an operator, where Kafka can be asked."""
    if not settings.kafka_bootstrap_servers:
        return
    from indexer.kafka.brakes import stopped

    for service, why in stopped(settings).items():
        click.echo(f"{service} is stopped: {why}; then `indexer dlq resume {service}` [{CODE}]", err=True)
