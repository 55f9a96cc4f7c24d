"""What Prometheus may ask of a decoder: read from the loop's own progress when it is scraped."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from indexer.health import Signs
from indexer.health_server import HealthServer
from indexer.pipeline import Progress

Metric = CounterMetricFamily | GaugeMetricFamily


class MayBeHeldUp(Protocol):
    outage: str | None


class DecoderCollector(Collector):
    """The counters of the loop, and whether it is held up: by Kafka, or because no node answers."""

    def __init__(self, progress: Progress, handler: MayBeHeldUp) -> None:
        self._progress, self._handler = progress, handler

    def collect(self) -> Iterator[Metric]:
        p = self._progress
        held_up = p.outage is not None or self._handler.outage is not None
        yield CounterMetricFamily("indexer_decoder_writes", "Kafka transactions committed", value=p.writes)
        yield CounterMetricFamily("indexer_decoder_items", "work items settled", value=p.written)
        yield CounterMetricFamily("indexer_decoder_rewinds", "times everything was consumed again", value=p.rewinds)
        yield GaugeMetricFamily("indexer_decoder_partitions", "partitions owned", value=len(p.assigned))
        yield GaugeMetricFamily("indexer_decoder_outage", "1 while held up", value=int(held_up))
        yield GaugeMetricFamily("indexer_decoder_held", "1 while the dead-letter budget is spent", value=int(p.held))
        waited = CounterMetricFamily("indexer_decoder_seconds", "where the loop's time went", labels=["on"])
        for name, seconds in p.seconds_waited.items():
            waited.add_metric([name], seconds)
        yield waited


def serve(port: int, progress: Progress, handler: MayBeHeldUp, signs: Callable[[], Signs]) -> HealthServer:
    """Answer scrapes and questions after health on `port`, on threads."""
    return HealthServer(port, DecoderCollector(progress, handler), signs)
