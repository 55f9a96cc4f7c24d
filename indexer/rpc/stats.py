"""Plain counters of what the pool did, for metrics and reports."""

from __future__ import annotations

from dataclasses import dataclass, field, replace


@dataclass(slots=True)
class MethodStats:
    """What one method cost at one endpoint."""

    calls: int = 0
    requests: int = 0  # HTTP requests that carried them
    failed_calls: int = 0
    failed_requests: int = 0
    rate_limited: int = 0  # HTTP requests refused for their rate
    bytes: int = 0
    seconds: float = 0.0  # waiting for answers, summed over requests that ran side by side
    parse_seconds: float = 0.0


@dataclass(slots=True)
class EndpointStats:
    """One endpoint's counters and its state at the time of the snapshot."""

    endpoint: str
    methods: dict[str, MethodStats] = field(default_factory=dict)
    breaker: str = "closed"
    concurrency: int = 0
    in_use: int = 0
    batch_limit: int = 0
    latency_seconds: float = 0.0
    error_ratio: float = 0.0
    head: int | None = None
    receipts: str = "unknown"

    def method(self, name: str) -> MethodStats:
        return self.methods.setdefault(name, MethodStats())

    def copy(self) -> EndpointStats:
        return replace(self, methods={name: replace(stats) for name, stats in self.methods.items()})


@dataclass(slots=True)
class PoolStats:
    """The whole pool's counters."""

    blocks: int = 0
    blocks_failed: int = 0
    not_yet: int = 0
    bytes: int = 0
    retries: int = 0  # blocks asked for once more in place
    fetch_seconds: float = 0.0  # summed over batches that ran side by side
    busy_seconds: float = 0.0  # with at least one batch under way: wall time
    endpoints: list[EndpointStats] = field(default_factory=list)
