"""What a decoder tells about itself."""

from __future__ import annotations

import pytest

from indexer import codec
from indexer.pipeline import Progress
from indexer.records import Outcome
from indexer.report import Reporter
from indexer.tally import Stopwatch, Tally
from services.decoder.metrics import DecoderCollector
from services.decoder.share import RateShare


class Handler:
    def __init__(self) -> None:
        self.tally = Tally()
        self.outage: str | None = None


class World:
    def __init__(self) -> None:
        self.handler, self.progress, self.now, self.cpu = Handler(), Progress(), 0.0, 0.0
        self.published: list[Outcome] = []
        self.reporter = Reporter(
            "decoder",
            self.handler,
            self.progress,
            self.published.append,
            instance="0",
            chain_id=1,
            clock=lambda: self.now,
            cpu=lambda: self.cpu,
        )


def test_an_outcome_is_published_once_a_second_and_only_when_something_was_done() -> None:
    world = World()
    world.handler.tally.block(7, 1000, job_id=3)
    world.reporter.tick()
    assert world.published == []

    world.now = 1.0
    world.reporter.tick()
    world.now = 2.0
    world.reporter.tick()

    (outcome,) = world.published
    assert (outcome.blocks, outcome.first_block, outcome.last_block, outcome.bytes) == (1, 7, 7, 1000)
    assert (outcome.service, outcome.instance, outcome.job_id) == ("decoder", "0", 3)
    assert codec.decode_outcome(codec.encode_outcome(outcome)) == outcome


def test_times_are_of_the_interval() -> None:
    world = World()
    for seconds in (1.0, 2.5):
        world.progress.seconds_waited["write"] = seconds
        world.cpu = seconds * 2
        world.handler.tally.block(1, 1, None)
        world.reporter.publish()

    assert [outcome.seconds["commit"] for outcome in world.published] == [1.0, 1.5]
    assert [outcome.seconds["cpu"] for outcome in world.published] == [2.0, 3.0]


def test_blocks_of_several_jobs_belong_to_none() -> None:
    tally = Tally()
    tally.block(5, 1, 1)
    tally.block(3, 1, 2)

    outcome = tally.outcome("decoder", "0", 1, 0)

    assert (outcome.job_id, outcome.first_block, outcome.last_block) == (None, 3, 5)


def test_failures_alone_are_worth_an_outcome() -> None:
    world = World()
    world.handler.tally.failures["RPC_TIMEOUT"] += 2

    world.reporter.publish()

    assert world.published[0].failures == {"RPC_TIMEOUT": 2}


def test_the_end_brings_a_summary(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    world = World()
    world.handler.tally.block(1, 1, None)
    world.handler.tally.seconds["parse"] = 0.002
    world.handler.tally.failures["NOT_YET"] = 1

    world.reporter.close()

    assert "1 blocks; ms per block" in caplog.text
    assert "parse 2.00" in caplog.text
    assert "NOT_YET" in caplog.text


def test_a_stopwatch_adds_laps_to_their_stages() -> None:
    times = iter([0.0, 1.0, 3.0, 3.5])
    tally = Tally()
    lap = Stopwatch(lambda: next(times), tally.seconds)

    lap("a")
    lap("b")
    lap("a")

    assert dict(tally.seconds) == {"a": 1.5, "b": 2.0}


def test_the_rate_is_shared_by_partitions_and_told_when_they_change() -> None:
    told: list[float] = []
    share = RateShare(told.append, partitions=12)

    for owned in (0, 3, 3, 12):
        share.tick(owned)

    assert told == [1 / 12, 0.25, 1.0]


def test_metrics_show_an_outage_of_kafka_or_of_the_nodes() -> None:
    handler, progress = Handler(), Progress()

    def outage() -> float:
        found = {metric.name: metric for metric in DecoderCollector(progress, handler).collect()}
        return float(found["indexer_decoder_outage"].samples[0].value)

    assert outage() == 0
    handler.outage = "RPC_OUTAGE"
    assert outage() == 1
    handler.outage, progress.outage = None, "KAFKA_DOWN"
    assert outage() == 1
