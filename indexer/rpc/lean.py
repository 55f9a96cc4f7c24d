"""HTTP/1.1 for nodes that are asked in plain text (in the cluster, on this machine), where reading costs the most.

A body of known length is received into its own buffer, which takes less CPU than aiohttp and fewer handovers of the
interpreter's lock (docs/adr/lean-http.md has the numbers). TLS stays with aiohttp.
"""

from __future__ import annotations

import asyncio
import base64
from urllib.parse import unquote, urlsplit

from indexer.rpc.connection import Connection
from indexer.rpc.settings import RpcSettings
from indexer.rpc.transport import (
    Reply,
    Transport,
    TransportError,
    connection_failed,
    is_loopback,
    timed_out,
)

_MOST_IDLE = 64


class LeanTransport:
    """Posts over its own kept-alive connections; one request at a time on each."""

    def __init__(self, url: str, settings: RpcSettings) -> None:
        parts = urlsplit(url)
        self._host = parts.hostname or ""
        self._port = parts.port or 80
        self._settings = settings
        self._head = _request_head(url)
        self._idle: list[Connection] = []
        self._open: set[Connection] = set()

    async def post(self, body: bytes, *, limit: int) -> Reply:
        request = b"%bContent-Length: %d\r\n\r\n%b" % (self._head, len(body), body)
        try:
            async with asyncio.timeout(self._settings.request_timeout_seconds):
                return await self._exchange(request, limit)
        except TimeoutError as error:
            raise timed_out("no answer in time") from error

    async def _exchange(self, request: bytes, limit: int) -> Reply:
        while self._idle:
            connection = self._idle.pop()
            try:
                return await self._ask(connection, request, limit)
            except TransportError:
                # The node may have closed an idle connection just now: nothing came, so a fresh one is tried.
                if not connection.untouched:
                    raise
        return await self._ask(await self._connect(), request, limit)

    async def _connect(self) -> Connection:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._settings.connect_timeout_seconds):
                _, connection = await loop.create_connection(
                    lambda: Connection(self._settings.idle_timeout_seconds),
                    self._host,
                    self._port,
                    happy_eyeballs_delay=0.25,
                )
        except TimeoutError as error:
            raise timed_out("connecting took too long") from error
        except OSError as error:
            raise connection_failed(f"connecting failed ({type(error).__name__})") from error
        self._open.add(connection)
        return connection

    async def _ask(self, connection: Connection, request: bytes, limit: int) -> Reply:
        try:
            reply = await connection.ask(request, limit)
        except BaseException:
            self._drop(connection)
            raise
        if connection.reusable and len(self._idle) < _MOST_IDLE:
            self._idle.append(connection)
        else:
            self._drop(connection)
        return reply

    def _drop(self, connection: Connection) -> None:
        self._open.discard(connection)
        connection.abort()

    async def close(self) -> None:
        for connection in list(self._open):
            self._drop(connection)
        self._idle.clear()
        await asyncio.sleep(0)


def _request_head(url: str) -> bytes:
    parts = urlsplit(url)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    lines = [
        f"POST {target} HTTP/1.1",
        f"Host: {parts.netloc.rpartition('@')[2]}",
        "Content-Type: application/json",
        "Accept: application/json",
        f"Accept-Encoding: {'identity' if is_loopback(url) else 'gzip'}",
    ]
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        lines.append(f"Authorization: Basic {base64.b64encode(pair.encode()).decode()}")
    return ("\r\n".join(lines) + "\r\n").encode()


def transport_for(url: str, settings: RpcSettings) -> Transport:
    """Return the transport that fits the URL: TLS is aiohttp's business, plain text is read leanly."""
    if urlsplit(url).scheme == "http":
        return LeanTransport(url, settings)
    from indexer.rpc.aio import AiohttpTransport  # half a second, which services without TLS need not wait

    return AiohttpTransport(url, settings)
