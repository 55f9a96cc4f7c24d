"""What Prometheus may ask of a persister: read from the loop's own progress when it is scraped."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from indexer.health import Signs
from indexer.health_server import HealthServer
from indexer.pipeline import Progress

Metric = CounterMetricFamily | GaugeMetricFamily


class PipelineCollector(Collector):
    """The counters of one loop."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def collect(self) -> Iterator[Metric]:
        p = self._progress
        yield CounterMetricFamily("indexer_persister_writes", "row transactions committed", value=p.writes)
        yield CounterMetricFamily("indexer_persister_records", "records written", value=p.written)
        yield CounterMetricFamily("indexer_persister_rejoins", "times the group was left and joined", value=p.rejoins)
        yield GaugeMetricFamily("indexer_persister_partitions", "partitions owned", value=len(p.assigned))
        yield GaugeMetricFamily("indexer_persister_outage", "1 while held up", value=int(p.outage is not None))
        yield GaugeMetricFamily("indexer_persister_held", "1 while the dead-letter budget is spent", value=int(p.held))
        waited = CounterMetricFamily("indexer_persister_seconds", "where the loop's time went", labels=["on"])
        for name, seconds in p.seconds_waited.items():
            waited.add_metric([name], seconds)
        yield waited


def serve(port: int, progress: Progress, signs: Callable[[], Signs]) -> HealthServer:
    """Answer scrapes and questions after health on `port`, on threads."""
    return HealthServer(port, PipelineCollector(progress), signs)
