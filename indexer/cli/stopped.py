"""The line that says that a service has stopped, in the commands that people look at first."""

from __future__ import annotations

import click

from indexer.budget import CODE, stop_in_words
from indexer.errors import UserError
from indexer.settings import Settings


def say_what_is_stopped(settings: Settings) -> None:
    """Tell on standard error which services wait for an operator, where Kafka can be asked."""
    if not settings.kafka_bootstrap_servers:
        return
    from indexer.kafka.brakes import stopped

    for service, why in stopped(settings).items():
        click.echo(stop_in_words(service, why), err=True)


def nothing_is_stopped(settings: Settings) -> None:
    """Raise UserError where a service is stopped: what is replayed would wait for it, unseen by the circuit breaker."""
    from indexer.kafka.brakes import stopped

    for service, why in stopped(settings).items():
        raise UserError(stop_in_words(service, why).removesuffix(f" [{CODE}]") + ", and then replay", code=CODE)
