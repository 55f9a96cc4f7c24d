"""What can be set about talking to nodes, with units in the names."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class RpcSettings:
    """Settings of one pool; every limit is per endpoint unless it says otherwise.

    `max_rps` counts JSON-RPC calls, not HTTP requests (a batch of ten is ten calls, as providers bill it), and is
    for the whole deployment: a process takes the share that `RpcPool.set_share` gives it.
    """

    max_rps: float | None = None  # calls per second and URL, all processes together; None: no limit
    head_reserve: float = 0.1  # part of the rate that only urgent (head) calls may use

    start_concurrency: int = 4  # HTTP requests at a time, before anything was learned
    max_concurrency: int = 16
    batch_size: int = 50  # blocks in one HTTP request at most
    target_batch_bytes: int = 2 * MIB  # batches shrink until their larger answer is about this big
    target_batch_seconds: float = 2.0  # and until they take no longer than this

    max_response_bytes: int = 24 * MIB  # a batch whose answer is bigger is split
    max_block_bytes: int = 256 * MIB  # a single block whose answer is bigger is poison

    connect_timeout_seconds: float = 3.0
    idle_timeout_seconds: float = 10.0  # without a byte from the node
    request_timeout_seconds: float = 60.0

    budget_seconds: float = 20.0  # retrying in place, from a block's first failure on
    outage_seconds: float = 5.0  # when no endpoint at all answers, say so after this
    backoff_seconds: float = 0.1  # first pause; doubles, with full jitter
    backoff_max_seconds: float = 5.0
    retry_after_max_seconds: float = 600.0  # a node that asks for a longer pause gets this one

    breaker_failures: int = 5  # failures in a row until an endpoint is left alone
    breaker_open_seconds: float = 0.5  # doubles with each failed trial
    breaker_open_max_seconds: float = 5.0

    accepted_is_final: frozenset[int] = frozenset({43114, 43113})  # chain ids (C-Chain, Fuji): latest is final
    confirmations: int | None = None  # blocks below the head that are not final; None: the node's tag `finalized`
    fallback_confirmations: int = 64  # blocks below the head, where a node knows no `finalized` tag

    switch_interval_seconds: float | None = 0.001
    """Python's thread switch interval in a process with a fetch thread (docs/adr/lean-http.md); None: leave it."""
    gc_threshold: int | None = 50_000
    """New containers until the garbage collector looks at them, in such a process; None: leave it."""

    def final_unasked(self, chain_id: int | None, head: int) -> int | None:
        """Return up to where blocks are final; None where the node's tag `finalized` says it."""
        if self.confirmations is not None:
            return max(0, head - self.confirmations)
        return head if chain_id in self.accepted_is_final else None

    def final_without_tag(self, head: int) -> int:
        """Return up to where blocks are final where the node does not know the tag."""
        return max(0, head - self.fallback_confirmations)

    def __post_init__(self) -> None:
        if min(self.batch_size, self.start_concurrency, self.max_concurrency) < 1:
            raise ValueError("batch_size, start_concurrency and max_concurrency are at least 1")
        if not 0 <= self.head_reserve < 1:
            raise ValueError("head_reserve is at least 0 and below 1")
        if self.max_rps is not None and self.max_rps <= 0:
            raise ValueError("max_rps is above 0, or None for no limit")
