"""The broker is away in the middle of work and comes back: the process stays, nothing is lost or doubled.

It is frozen, not killed: a single broker of this Kafka that is killed may forget markers of its own (KAFKA-20734). What
is killed is one of three (tests/integration/test_three_brokers.py).
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from indexer import stack
from tests.integration.test_transactions import World
from tests.support.copier import at_work, copier
from tests.support.kafka_topics import until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def own_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[stack.RunningStack]:
    running = stack.start(tmp_path_factory.mktemp("stack"), brokers=1, die_with_parent=True)
    yield running
    running.stop(graceful=False)


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_a_broker_that_freezes_and_goes_on_loses_and_doubles_nothing(
    own_stack: stack.RunningStack, topic_prefix: str, tmp_path: Path, protocol: str
) -> None:
    world = World(own_stack.bootstrap_servers, topic_prefix, tmp_path, protocol)
    world.send(4000)
    pipeline = copier(world.settings)
    broker = own_stack.broker_pids[0]

    with at_work(pipeline) as failures:
        until(lambda: pipeline.progress.written > 50, "work is under way")
        os.kill(broker, signal.SIGSTOP)
        try:
            assert pipeline.progress.written < 4000
            until(lambda: pipeline.progress.outage or not pipeline.progress.assigned or failures, "it is noticed", 60)
        finally:
            os.kill(broker, signal.SIGCONT)
        world.send(200)
        until(lambda: failures or world.all_arrived(), "all records arrive", 90)

    assert failures == []
    world.assert_exactly_once_in_order()
