"""`batch queue` answers at once, and as fast for ten million blocks as for ten thousand."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median

import pytest

from devchain.client import Devchain
from indexer.settings import Settings
from indexer.storage.jobs import Connection
from tests.support.bars import at_most
from tests.support.command_line import ran_apart

pytestmark = pytest.mark.e2e

TEN_THOUSAND_SECONDS = 2.0
MORE_FOR_TEN_MILLION_SECONDS = 0.2
TIMES = 3


@pytest.fixture
def node() -> Iterator[Devchain]:
    with Devchain.simulated(profile="empty", blocks=1, faults={"head": 10_000_000}) as node:
        yield node


@pytest.mark.bar
def test_queueing_takes_no_time_whatever_the_number_of_blocks(
    migrated: Settings, database: Connection, node: Devchain, tmp_path: Path
) -> None:
    settings = replace(migrated, rpc_urls=(node.url,))
    seconds_to_queue(settings, tmp_path, 10)  # what is read from disk the first time

    pairs = [
        (seconds_to_queue(settings, tmp_path, 10_000), seconds_to_queue(settings, tmp_path, 10_000_000))
        for _ in range(TIMES)
    ]

    small, large = (median(each) for each in zip(*pairs, strict=True))
    assert small <= at_most(TEN_THOUSAND_SECONDS)
    assert large - small <= at_most(MORE_FOR_TEN_MILLION_SECONDS)
    queued = database.execute("SELECT total FROM processing_jobs WHERE state = 'queued' ORDER BY id").fetchall()
    assert [total for (total,) in queued] == [10, *[10_000, 10_000_000] * TIMES]


def seconds_to_queue(settings: Settings, folder: Path, blocks: int) -> float:
    started = time.monotonic()
    done = ran_apart(settings, folder, "batch", "queue", "blocks", 1, blocks)
    assert done.code == 0, done.err
    return time.monotonic() - started
