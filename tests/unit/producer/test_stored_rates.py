"""A row whose rate nobody checked neither ends the producer nor a replay."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from indexer.jobs.ranges import Ranges
from indexer.replay.run import Replayer
from indexer.storage.jobs import Lease
from indexer.storage.replays import Run
from indexer.topics import load_topics
from services.producer.loop import Held

LEASE = Lease(
    id=3, lease_epoch=1, state="running", priority="normal", strategy="earliest", reason="backfill", batch_size=100,
    window_blocks=2000, rate=None, position=None, exhausted=False, generation=1,
)  # fmt: skip


@pytest.mark.parametrize("rate", [float("nan"), float("inf")])
def test_a_job_whose_rate_cannot_be_kept_is_told_of_once(rate: float, caplog: pytest.LogCaptureFixture) -> None:
    held = Held(replace(LEASE, rate=rate), Ranges.of([(1, 10)]))

    with caplog.at_level(logging.WARNING):
        held.warn_of_rate()
        held.warn_of_rate()

    assert caplog.messages == [f"job 3: a rate of {rate} cannot be kept: no limit"]


def test_a_rate_that_can_be_kept_is_not_told_of(caplog: pytest.LogCaptureFixture) -> None:
    Held(replace(LEASE, rate=5.0), Ranges.of([(1, 10)])).warn_of_rate()

    assert caplog.messages == []


@pytest.mark.parametrize(("stored", "kept"), [(float("nan"), None), (float("inf"), None), (5.0, 5.0), (None, None)])
def test_a_replay_goes_without_a_rate_that_cannot_be_kept(stored: float | None, kept: float | None) -> None:
    run = Run(
        id=1, chain_id=1, selection={}, actor="me", state="running", total=1, position=0, canary=0, rate=stored,
        created_at=datetime(2026, 1, 1, tzinfo=UTC), finished_at=None, message=None, nonce=None,
    )  # fmt: skip
    nothing = cast(Any, None)

    assert Replayer(nothing, run, nothing, load_topics(), 12, clock=lambda: 0.0).run.rate == kept
