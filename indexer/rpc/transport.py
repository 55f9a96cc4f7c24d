"""One HTTP POST towards a node, by aiohttp; what the pool needs of HTTP and no more."""

from __future__ import annotations

import asyncio
import email.utils
import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

import aiohttp

from indexer.rpc.answers import Failure, Kind
from indexer.rpc.settings import RpcSettings

_READ_BUFFER_BYTES = 2**16


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


class AiohttpTransport:
    """Posts by aiohttp: TLS, proxies' quirks, compression and redirects are its business."""

    def __init__(self, url: str, settings: RpcSettings) -> None:
        self._url = url
        encoding = "identity" if is_loopback(url) else "gzip, deflate"
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=30),
            headers={"Content-Type": "application/json", "Accept-Encoding": encoding},
            timeout=aiohttp.ClientTimeout(
                total=settings.request_timeout_seconds,
                sock_connect=settings.connect_timeout_seconds,
                sock_read=settings.idle_timeout_seconds,
            ),
            read_bufsize=_READ_BUFFER_BYTES,
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def post(self, body: bytes, *, limit: int) -> Reply:
        try:
            async with self._session.post(self._url, data=body) as response:
                if response.content_length is not None and response.content_length > limit:
                    response.close()  # stop reading: the connection is worth less than the memory
                    raise too_large(limit)
                whole = await self._read(response, limit)
                return Reply(response.status, response.headers.get("Retry-After"), whole)
        except TimeoutError as error:
            raise timed_out("no answer in time") from error
        # The text of aiohttp's errors may hold the URL; their class says enough.
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise connection_failed(f"the connection failed ({type(error).__name__})") from error

    async def _read(self, response: aiohttp.ClientResponse, limit: int) -> bytes:
        chunks, size = [], 0
        async for chunk in response.content.iter_any():
            size += len(chunk)
            if size > limit:
                response.close()
                raise too_large(limit)
            chunks.append(chunk)
        return b"".join(chunks)

    async def close(self) -> None:
        await self._session.close()
        await asyncio.sleep(0)  # aiohttp closes its sockets in the next turn of the loop
