"""One HTTP POST towards a node: what the pool needs of HTTP and no more."""

from __future__ import annotations

import email.utils
import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

from indexer.rpc.answers import Failure, Kind


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer that arrived whole."""

    status: int
    retry_after: str | None
    body: bytes | bytearray | memoryview


class TransportError(Exception):
    """No whole answer arrived; `failure` says why."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class Transport(Protocol):
    async def post(self, body: bytes, *, limit: int) -> Reply:
        """Return the whole answer, or raise TransportError; RESPONSE_TOO_LARGE once it exceeds `limit` bytes."""

    async def close(self) -> None: ...


def too_large(limit: int) -> TransportError:
    text = f"an answer of more than {limit} bytes"
    return TransportError(Failure(Kind.RESPONSE_TOO_LARGE, "RPC_RESPONSE_TOO_LARGE", text))


def connection_failed(what: str) -> TransportError:
    return TransportError(Failure(Kind.CONNECTION, "RPC_CONNECTION", what))


def timed_out(what: str) -> TransportError:
    return TransportError(Failure(Kind.TIMEOUT, "RPC_TIMEOUT", what))


def is_loopback(url: str) -> bool:
    """Is the node on this machine? Then compressing its answers only costs time."""
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def retry_after_seconds(value: str | None, wall_clock: Callable[[], float]) -> float | None:
    """Return the pause that a `Retry-After` header asks for: seconds or an HTTP date (RFC 9110 §10.2.3)."""
    if value is None:
        return None
    text = value.strip()
    try:
        return max(0.0, float(int(text)))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - wall_clock())
    except (ValueError, TypeError, OverflowError):
        return None
