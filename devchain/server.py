"""The HTTP side: raw sockets on an asyncio loop, one request at a time per connection, answers written piece by piece.

asyncio's own transports copy what a socket does not take at once; at 200 MB/s that is most of the work. Here a
slice of the chain file is read when the socket has room for it, a megabyte at a time, and never held longer.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import deque
from collections.abc import Sequence

import orjson

from devchain.admin import administer
from devchain.endpoint import Endpoint, read, size_of
from devchain.store import Json, Slice

_AT_ONCE = 1 << 20  # bytes that are read from the chain file before they are sent
_LARGEST_REQUEST = 16 << 20
_REASONS = {
    200: b"OK", 400: b"Bad Request", 403: b"Forbidden", 404: b"Not Found", 405: b"Method Not Allowed",
    411: b"Length Required", 413: b"Payload Too Large", 429: b"Too Many Requests", 500: b"Internal Server Error",
    502: b"Bad Gateway", 503: b"Service Unavailable", 504: b"Gateway Timeout",
}  # fmt: skip


def _head(status: int, size: int, more: bytes = b"") -> bytes:
    return b"HTTP/1.1 %d %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%b\r\n" % (
        status,
        _REASONS.get(status, b"Error"),
        size,
        more,
    )


class Server:
    """Listens for one endpoint; runs on the current asyncio loop until `close`."""

    def __init__(self, endpoint: Endpoint, host: str = "127.0.0.1", port: int = 0) -> None:
        self.endpoint = endpoint
        self._loop = asyncio.get_running_loop()
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.create_server((host, port), family=family, backlog=512)
        self._socket.setblocking(False)
        self.port: int = self._socket.getsockname()[1]
        self.connections: set[Connection] = set()
        self._loop.add_reader(self._socket, self._accept)

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError, InterruptedError, ConnectionAbortedError):
            while True:
                client, peer = self._socket.accept()
                self.connections.add(Connection(self, client, peer[0]))

    def close(self) -> None:
        """Stop listening and drop all connections."""
        self._loop.remove_reader(self._socket)
        self._socket.close()
        for connection in list(self.connections):
            connection.close()


class Connection:
    """One client's connection: read a request, answer it, read the next."""

    def __init__(self, server: Server, client: socket.socket, peer: str) -> None:
        self._server = server
        self._endpoint = server.endpoint
        self._loop = asyncio.get_running_loop()
        self._socket = client
        self._local = peer in ("127.0.0.1", "::1", "::ffff:127.0.0.1")
        self._received = bytearray()
        self._pieces: deque[Json] = deque()  # of the answer under way
        self._unsent: list[memoryview] = []
        self._busy = False
        self._writing = False
        self._last = False  # close when the answer is out
        self._timer: asyncio.TimerHandle | None = None
        client.setblocking(False)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
        self._loop.add_reader(client, self._readable)

    def close(self) -> None:
        """End the connection, whatever is under way."""
        if self._timer:
            self._timer.cancel()
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket)
            self._loop.remove_writer(self._socket)
            self._socket.close()
        self._server.connections.discard(self)

    def _readable(self) -> None:
        try:
            data = self._socket.recv(1 << 18)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            return
        self._received += data
        self._next_request()

    def _next_request(self) -> None:
        """Answer the next request if all of it is here and none is under way."""
        while not self._busy and self._socket.fileno() >= 0:
            end = self._received.find(b"\r\n\r\n")
            if end < 0:
                if len(self._received) > 65_536:
                    self._refuse(400)
                return
            head = bytes(self._received[:end])
            size = _content_length(head)
            if size is None or size > _LARGEST_REQUEST:
                self._refuse(411 if size is None else 413)
                return
            if len(self._received) < end + 4 + size:
                return
            body = bytes(self._received[end + 4 : end + 4 + size])
            del self._received[: end + 4 + size]
            self._busy = True
            self._last = b"connection: close" in head.lower()
            self._route(head, body)

    def _refuse(self, status: int) -> None:
        """Answer what cannot be read as HTTP, and hang up."""
        self._busy = self._last = True
        self._send(status, [b"{}"])

    def _route(self, head: bytes, body: bytes) -> None:
        method, _, rest = head.partition(b" ")
        path = rest.split(b" ", 1)[0].split(b"?", 1)[0].decode("ascii", "replace")
        if path.startswith(("/faults", "/stats", "/health", "/chain")):
            if not self._local and not path.startswith("/health"):
                self._send(403, [b"{}"])
                return
            status, answer = administer(self._endpoint, method.decode("ascii", "replace"), path, body)
            self._send(status, [orjson.dumps(answer)])
        elif method != b"POST":
            self._send(405, [b'{"error":"JSON-RPC is asked by POST"}'])
        else:
            self._call(body)

    def _call(self, body: bytes) -> None:
        """A JSON-RPC request, with the faults that hit before or instead of its answer."""
        endpoint, faults = self._endpoint, self._endpoint.faults
        endpoint.stats.requests += 1
        if endpoint.dice.over_rate(self._loop.time()) or endpoint.dice.strikes("429"):
            more = b"" if faults.retry_after is None else b"Retry-After: %g\r\n" % faults.retry_after
            self._later(
                429, [b'{"jsonrpc":"2.0","id":null,"error":{"code":-32005,"message":"too many requests"}}'], more
            )
        elif endpoint.dice.strikes("5xx"):
            self._later(faults.status_5xx, [b"<html>no server is available to handle this request</html>"])
        elif not endpoint.dice.strikes("stall"):
            self._answer(endpoint.handle(body))

    def _answer(self, pieces: list[Json]) -> None:
        dice = self._endpoint.dice
        if dice.strikes("truncated"):
            whole = b"".join(map(read, pieces))
            pieces = [whole[: len(whole) // 2]]
        elif dice.strikes("hangup"):
            whole = b"".join(map(read, pieces))
            self._last = True
            self._after_latency([_head(200, len(whole)), whole[: len(whole) // 2]])
            return
        self._later(200, pieces)

    def _later(self, status: int, pieces: list[Json], more: bytes = b"") -> None:
        self._after_latency([_head(status, size_of(pieces), more), *pieces])

    def _after_latency(self, pieces: list[Json]) -> None:
        latency = self._endpoint.faults.latency_ms
        if latency > 0:
            self._timer = self._loop.call_later(latency / 1000, self._start, pieces)
        else:
            self._start(pieces)

    def _send(self, status: int, pieces: list[Json]) -> None:
        self._start([_head(status, size_of(pieces)), *pieces])

    def _start(self, pieces: Sequence[Json]) -> None:
        self._timer = None
        self._pieces.extend(pieces)
        self._write()

    def _write(self) -> None:
        """Send until all is out or the socket is full."""
        try:
            while self._unsent or self._pieces:
                if not self._unsent:
                    self._load()
                self._sent(self._socket.sendmsg(self._unsent))
        except (BlockingIOError, InterruptedError):
            if not self._writing:
                self._writing = True
                self._loop.add_writer(self._socket, self._writable)
            return
        except OSError:
            self.close()
            return
        self._answered()

    def _writable(self) -> None:
        self._write()
        if not self._busy:
            self._next_request()

    def _load(self) -> None:
        """Fetch the next pieces, up to a megabyte; a larger slice is fetched in parts."""
        room, pieces = _AT_ONCE, self._pieces
        while pieces and room > 0 and len(self._unsent) < 500:
            piece = pieces.popleft()
            if isinstance(piece, Slice) and piece.size > room:
                pieces.appendleft(Slice(piece.fd, piece.offset + room, piece.size - room))
                piece = Slice(piece.fd, piece.offset, room)
            data = read(piece)
            room -= len(data)
            self._unsent.append(memoryview(data))

    def _sent(self, count: int) -> None:
        self._endpoint.stats.bytes_sent += count
        unsent = self._unsent
        done = 0
        while done < len(unsent) and count >= len(unsent[done]):
            count -= len(unsent[done])
            done += 1
        del unsent[:done]
        if count:
            unsent[0] = unsent[0][count:]

    def _answered(self) -> None:
        if self._writing:
            self._writing = False
            self._loop.remove_writer(self._socket)
        self._busy = False
        if self._last:
            self.close()


def _content_length(head: bytes) -> int | None:
    """The size of the body; None where only chunks tell it."""
    lower = head.lower()
    if b"transfer-encoding:" in lower:
        return None
    at = lower.find(b"\r\ncontent-length:")
    if at < 0:
        return 0
    digits = lower[at + 17 :].split(b"\r\n", 1)[0].strip()
    return int(digits) if digits.isdigit() else None
