"""Threads beside the main loop: one that fails ends the process, with its error."""

from __future__ import annotations

import threading
from collections.abc import Callable

import psycopg
import pytest

from indexer.errors import OutageError
from indexer.pipeline import Progress
from services.persister.companions import Companions, IndexBuilder
from services.persister.metrics import PipelineCollector


def test_a_companion_that_fails_stops_the_others_and_is_heard() -> None:
    companions = Companions(lambda: False)
    others_end = threading.Event()

    def other(stop: Callable[[], bool]) -> None:
        while not stop():
            pass
        others_end.set()

    def failing(_: Callable[[], bool]) -> None:
        raise OutageError("gone")

    companions.start("other", other)
    companions.start("failing", failing)

    assert others_end.wait(10)
    assert companions.stop()
    with pytest.raises(OutageError, match="gone"):
        companions.end()


def test_a_step_is_repeated_until_the_end() -> None:
    companions = Companions(lambda: False)
    done = threading.Semaphore(0)

    companions.every(0.01, "steps", done.release)

    assert all(done.acquire(timeout=10) for _ in range(3))
    companions.end()


def test_an_index_builder_without_a_database_waits() -> None:
    def away() -> psycopg.Connection:
        raise OutageError("away")

    IndexBuilder(away)()


def test_metrics_are_read_from_the_loops_progress() -> None:
    progress = Progress(writes=3, written=40, outage="DATABASE_DOWN")

    found = {metric.name: metric.samples[0].value for metric in PipelineCollector(progress).collect()}

    assert found["indexer_persister_writes"] == 3
    assert found["indexer_persister_records"] == 40
    assert found["indexer_persister_outage"] == 1
