"""What a producer's metrics say of the head."""

from __future__ import annotations

from services.producer.follower import Pulse
from services.producer.metrics import HeadCollector


def shown(pulse: Pulse) -> dict[str, float]:
    return {metric.name: metric.samples[0].value for metric in HeadCollector(pulse).collect()}


def test_a_producer_that_never_saw_a_head_says_none() -> None:
    assert "indexer_head" not in shown(Pulse())


def test_head_interval_and_pause_are_told() -> None:
    pulse = Pulse()
    pulse.note(100, now=10.0)
    pulse.note(101, now=12.0)
    pulse.note(99, now=13.0)
    pulse.paused = True

    values = shown(pulse)

    assert values["indexer_head"] == 101
    assert 1.0 < values["indexer_head_interval_seconds"] < 2.0
    assert values["indexer_head_paused"] == 1
