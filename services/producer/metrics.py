"""What Prometheus may ask of a producer that follows the head: read from its pulse when it is scraped."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from indexer.health import Signs
from indexer.health_server import HealthServer
from services.producer.follower import Pulse

Metric = CounterMetricFamily | GaugeMetricFamily


class HeadCollector(Collector):
    """How far the nodes are, and whether a fork was too deep."""

    def __init__(self, pulse: Pulse) -> None:
        self._pulse = pulse

    def collect(self) -> Iterator[Metric]:
        pulse = self._pulse
        if pulse.head >= 0:
            yield GaugeMetricFamily("indexer_head", "highest block that the nodes have", value=pulse.head)
        yield GaugeMetricFamily("indexer_head_interval_seconds", "mean time between heads", value=pulse.interval)
        yield CounterMetricFamily("indexer_forks", "generations raised by this process", value=pulse.forks)
        yield GaugeMetricFamily("indexer_head_paused", "1 while a fork was too deep", value=int(pulse.paused))


def serve(port: int, pulse: Pulse, signs: Callable[[], Signs]) -> HealthServer:
    """Answer scrapes and questions after health on `port`, on threads."""
    return HealthServer(port, HeadCollector(pulse), signs)
