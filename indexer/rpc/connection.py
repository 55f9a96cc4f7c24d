"""One HTTP/1.1 connection, read with as few copies as can be: the answers' half of `indexer/rpc/lean.py`."""

from __future__ import annotations

import asyncio
import zlib
from typing import cast

from indexer.rpc.transport import Reply, TransportError, connection_failed, timed_out, too_large

_SCRATCH_BYTES = 2**18
_LONGEST_HEAD_BYTES = 2**16


class MalformedHttpError(Exception):
    """The peer does not speak HTTP/1.1 as we know it."""


class Connection(asyncio.BufferedProtocol):
    """One connection: bytes arrive in a scratch buffer, or straight in the body once its length is known.

    - head incomplete: collected until the empty line; a 1xx answer is skipped
    - `Content-Length`: the body's own buffer is handed to the socket
    - `Transfer-Encoding: chunked`: pieces are copied together
    - neither: the body ends with the connection
    """

    def __init__(self, idle_seconds: float) -> None:
        self._idle_seconds = idle_seconds
        self._scratch = memoryview(bytearray(_SCRATCH_BYTES))
        self._answer: asyncio.Future[Reply] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._lost = False
        self.reusable = False
        self.untouched = True
        self._reset(0)

    def _reset(self, limit: int) -> None:
        self._limit = limit
        self._pending = bytearray()
        self._status = 0
        self._headers: dict[bytes, bytes] = {}
        self._body = bytearray()
        self._room: memoryview | None = None
        self._filled = 0
        self._chunked = False
        self._chunk_left = -1  # -1: a chunk's size line comes next
        self._last_byte = 0.0

    async def ask(self, request: bytes, limit: int) -> Reply:
        loop = asyncio.get_running_loop()
        self._reset(limit)
        self.untouched = True
        self.reusable = False
        if self._lost:
            raise connection_failed("the node closed the connection")
        self._answer = loop.create_future()
        self._last_byte = loop.time()
        self._timer = loop.call_later(self._idle_seconds, self._look_for_life, loop)
        try:
            self._transport.write(request)
            return await self._answer
        finally:
            self._timer.cancel()
            self._answer = None

    def _look_for_life(self, loop: asyncio.AbstractEventLoop) -> None:
        left = self._last_byte + self._idle_seconds - loop.time()
        if left <= 0:
            self._fail(timed_out("no answer in time"))
        else:
            self._timer = loop.call_later(left, self._look_for_life, loop)

    def _fail(self, error: TransportError) -> None:
        if self._answer is not None and not self._answer.done():
            self.untouched = self.untouched and error.failure.code == "RPC_CONNECTION"
            self._answer.set_exception(error)

    def abort(self) -> None:
        self._lost = True
        self._transport.abort()

    # -- what the event loop calls ------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, _: Exception | None) -> None:
        self._lost = True
        ends_here = self._status and not self._chunked and self._room is None
        if ends_here and self._answer is not None and not self._answer.done():
            self._finish(self._body)
        self._fail(connection_failed("the node hung up"))

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._scratch if self._room is None else self._room[self._filled :]

    def buffer_updated(self, count: int) -> None:
        self.untouched = False
        self._last_byte = asyncio.get_running_loop().time()
        try:
            if self._answer is None or self._answer.done():
                self.abort()  # bytes that nobody asked for
            elif self._room is not None:
                self._filled += count
                self._fill_room()
            elif self._status:
                self._take(self._scratch[:count])
            else:
                self._pending += self._scratch[:count]
                self._take_head()
        except (MalformedHttpError, ValueError, zlib.error) as error:
            self._fail(connection_failed(f"no valid HTTP answer ({type(error).__name__})"))
        except TransportError as error:
            self._fail(error)

    # -- taking an answer apart ---------------------------------------------------------------------------------

    def _take_head(self) -> None:
        end = self._pending.find(b"\r\n\r\n")
        if end < 0:
            if len(self._pending) > _LONGEST_HEAD_BYTES:
                raise MalformedHttpError
            return
        lines = bytes(self._pending[:end]).split(b"\r\n")
        version, _, rest = lines[0].partition(b" ")
        status = int(rest[:3])
        rest_of_answer = self._pending[end + 4 :]
        self._pending = bytearray()
        if not version.startswith(b"HTTP/1."):
            raise MalformedHttpError
        if 100 <= status < 200:
            self._pending = rest_of_answer
            self._take_head()
            return
        self._status = status
        for line in lines[1:]:
            name, _, value = line.partition(b":")
            self._headers[name.strip().lower()] = value.strip()
        keeps = version == b"HTTP/1.1" and self._headers.get(b"connection", b"").lower() != b"close"
        self._begin_body(keeps, memoryview(rest_of_answer))

    def _begin_body(self, keeps: bool, first: memoryview) -> None:
        length = self._headers.get(b"content-length")
        self._chunked = b"chunked" in self._headers.get(b"transfer-encoding", b"").lower()
        if self._chunked:
            self.reusable = keeps
        elif length is not None:
            size = int(length)
            if size < len(first):
                raise MalformedHttpError
            if size > self._limit:
                raise too_large(self._limit)
            self.reusable = keeps
            self._body = bytearray(size)
            self._room = memoryview(self._body)
            self._room[: len(first)] = first
            self._filled = len(first)
            self._fill_room()
            return
        if first:
            self._take(first)

    def _fill_room(self) -> None:
        if self._filled == len(self._body):
            self._room = None
            self._finish(self._body)

    def _take(self, data: memoryview) -> None:
        """Take a piece of a body whose length is not known."""
        if not self._chunked:
            self._append(data)
            return
        at = 0
        while at < len(data):
            if self._chunk_left > 0:
                piece = data[at : at + self._chunk_left]
                self._append(piece)
                self._chunk_left -= len(piece)
                at += len(piece)
                continue
            at = self._take_line(data, at)
            if self._answer is None or self._answer.done():
                return

    def _take_line(self, data: memoryview, at: int) -> int:
        """Take one line between chunks: the empty one after a chunk, the next size, or a trailer."""
        end = bytes(data[at : at + 1024]).find(b"\n")
        stop = len(data) if end < 0 else at + end + 1
        self._pending += data[at:stop]
        if len(self._pending) > _LONGEST_HEAD_BYTES:
            raise MalformedHttpError
        if not self._pending.endswith(b"\n"):
            return stop
        line = bytes(self._pending).strip()
        self._pending = bytearray()
        if self._chunk_left == -2:  # trailers; the empty line ends the answer
            if not line:
                self._finish(self._body)
        elif self._chunk_left == 0:
            if line:
                raise MalformedHttpError
            self._chunk_left = -1
        else:
            size = int(line.partition(b";")[0], 16)
            self._chunk_left = size if size > 0 else -2
        return stop

    def _append(self, data: memoryview) -> None:
        if len(self._body) + len(data) > self._limit:
            raise too_large(self._limit)
        self._body += data

    def _finish(self, body: bytearray) -> None:
        if self._answer is None or self._answer.done():
            return
        whole = self._unpacked(body)
        self._body = bytearray()
        retry_after = self._headers.get(b"retry-after")
        self._answer.set_result(Reply(self._status, retry_after.decode("latin-1") if retry_after else None, whole))

    def _unpacked(self, body: bytearray) -> bytes | bytearray:
        encoding = self._headers.get(b"content-encoding", b"identity").lower()
        if encoding in (b"identity", b""):
            return body
        if encoding != b"gzip":
            raise MalformedHttpError
        unpacker = zlib.decompressobj(wbits=31)
        whole = unpacker.decompress(body, self._limit + 1)
        if len(whole) > self._limit:
            raise too_large(self._limit)
        if not unpacker.eof:
            raise MalformedHttpError
        return whole
