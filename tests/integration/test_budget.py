"""The dead-letter budget on a real Kafka: a stop outlives processes, until an operator clears it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from indexer.kafka.brakes import Brakes, BudgetWatch, stopped
from indexer.settings import Settings
from indexer.storage.jobs import Connection
from tests.support.command_line import Command
from tests.support.kafka_topics import until

pytestmark = pytest.mark.integration


class Watches:
    """Makes watches of one service, one for each of its processes."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._made: list[BudgetWatch] = []

    def __call__(self) -> BudgetWatch:
        self._made.append(BudgetWatch(Brakes(self._settings, "decoder"), bool))
        return self._made[-1]

    def close(self) -> None:
        for each in self._made:
            each.close()
        self._made.clear()


@pytest.fixture
def watches(deployment: Settings) -> Iterator[Watches]:
    made = Watches(deployment)
    yield made
    made.close()


def test_a_service_stops_with_all_its_processes_and_goes_on_when_an_operator_says_so(
    watches: Watches, deployment: Settings, database: Connection, command: Command
) -> None:
    first, second = watches(), watches()
    until(lambda: not first.held() and not second.held(), "Kafka was asked")

    first.stored([True] * 100)
    assert first.held()
    until(second.held, "the other process hears of it")

    watches.close()
    restarted = watches()
    assert restarted.held()
    until(lambda: stopped(deployment) == {"decoder": "100 of the last 100 records became dead letters"}, "it is kept")
    shown = command(deployment, "batch", "status").err
    assert "decoder is stopped: 100 of the last 100 records" in shown
    assert "indexer dlq resume decoder" in command(deployment, "dlq", "list").err

    cleared = command(deployment, "dlq", "resume", "decoder", "--note", "node mended")
    until(lambda: not restarted.held(), "it goes on")

    assert cleared.out == "decoder goes on; it was stopped: 100 of the last 100 records became dead letters\n"
    assert command(deployment, "dlq", "resume", "decoder").out == "decoder is not stopped\n"
    assert database.execute("SELECT action, note FROM letter_actions").fetchall() == [("resume decoder", "node mended")]


def test_what_died_before_it_was_cleared_is_not_counted_again(
    watches: Watches, deployment: Settings, database: Connection, command: Command
) -> None:
    watch = watches()
    until(lambda: not watch.held(), "Kafka was asked")
    watch.stored([True] * 100)
    until(lambda: stopped(deployment), "it is said")
    command(deployment, "dlq", "resume", "decoder")
    until(lambda: not watch.held(), "it goes on")

    watch.stored([True] * 99)
    assert not watch.held()
    watch.stored([True])
    assert watch.held()


def test_until_kafka_was_asked_nothing_is_taken(deployment: Settings) -> None:
    from dataclasses import replace

    nowhere = replace(deployment, kafka_bootstrap_servers="127.0.0.1:1")
    watch = BudgetWatch(Brakes(nowhere, "decoder", wait_seconds=0.2), bool)

    assert watch.held()
    assert stopped(nowhere, ["decoder"]) == {}
    watch.close()
