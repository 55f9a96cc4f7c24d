"""What every transport owes the pool: a whole answer, or the right kind of failure, whatever comes over the wire."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

import pytest

from indexer.rpc.aio import AiohttpTransport
from indexer.rpc.answers import Kind
from indexer.rpc.lean import LeanTransport, transport_for
from indexer.rpc.settings import RpcSettings
from indexer.rpc.transport import Reply, Transport, TransportError

SETTINGS = RpcSettings(idle_timeout_seconds=0.3, connect_timeout_seconds=0.5, request_timeout_seconds=2.0)
Make = Callable[[str, RpcSettings], Transport]


@pytest.fixture(params=[AiohttpTransport, LeanTransport], ids=["aiohttp", "lean"])
def make(request: pytest.FixtureRequest) -> Make:
    return request.param  # type: ignore[no-any-return]  # pytest's parameters are Any


@dataclass
class Wire:
    """A server that answers each request with the next of its pieces; an empty piece hangs up, None stays silent."""

    answers: list[list[bytes | None]]
    heads: list[str] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    connections: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while self.answers:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                length = int(head.split("content-length: ")[1].split("\r\n")[0])
                self.heads.append(head)
                self.bodies.append(await reader.readexactly(length))
                for piece in self.answers.pop(0):
                    if piece is None:
                        await asyncio.sleep(30)
                    elif not piece:
                        return
                    else:
                        writer.write(piece)
                        await writer.drain()
                        await asyncio.sleep(0.001)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


Scenario = Callable[[Transport], Awaitable[object]]


def run(make: Make, wire: Wire, scenario: Scenario, url: str = "", settings: RpcSettings = SETTINGS) -> None:
    async def main() -> None:
        server = await asyncio.start_server(wire.serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        transport = make(url or f"http://127.0.0.1:{port}/path?key=1", settings)
        try:
            await asyncio.wait_for(scenario(transport), 10)
        finally:
            await transport.close()
            server.close()

    asyncio.run(main())


def ask(make: Make, *pieces: bytes | None, limit: int = 10**6) -> Reply:
    """Return what the transport makes of one answer."""
    replies: list[Reply] = []

    async def scenario(transport: Transport) -> None:
        replies.append(await transport.post(b"{}", limit=limit))

    run(make, Wire([list(pieces)]), scenario)
    return replies[0]


def fail(make: Make, *pieces: bytes | None, limit: int = 10**6) -> Kind:
    with pytest.raises(TransportError) as caught:
        ask(make, *pieces, limit=limit)
    return caught.value.failure.kind


def plain(body: bytes, extra: bytes = b"", status: bytes = b"200 OK") -> bytes:
    return b"HTTP/1.1 %b\r\nContent-Length: %d\r\n%b\r\n%b" % (status, len(body), extra, body)


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


class TestWholeAnswers:
    def test_a_body_of_known_length(self, make: Make) -> None:
        assert bytes(ask(make, plain(b"hello")).body) == b"hello"

    def test_a_large_body_in_pieces(self, make: Make) -> None:
        body = bytes(range(256)) * 3000
        answer = plain(body)

        reply = ask(make, answer[:10], answer[10:50], answer[50:70_000], answer[70_000:])

        assert bytes(reply.body) == body

    def test_an_empty_body(self, make: Make) -> None:
        assert bytes(ask(make, plain(b"")).body) == b""

    def test_chunks_however_they_are_cut(self, make: Make) -> None:
        answer = CHUNKED + b"5\r\nhello\r\n7;x=y\r\n, world\r\n0\r\n\r\n"
        for size in (1, 2, 3, 7, 100):
            pieces = [answer[at : at + size] for at in range(0, len(answer), size)]

            assert bytes(ask(make, *pieces).body) == b"hello, world"

    def test_chunks_with_a_trailer(self, make: Make) -> None:
        answer = CHUNKED + b"5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n"

        assert bytes(ask(make, answer).body) == b"hello"

    def test_a_body_that_ends_with_the_connection(self, make: Make) -> None:
        assert bytes(ask(make, b"HTTP/1.1 200 OK\r\n\r\nhel", b"lo", b"").body) == b"hello"

    def test_a_compressed_body(self, make: Make) -> None:
        packed = gzip.compress(b"hello" * 1000)

        assert bytes(ask(make, plain(packed, b"Content-Encoding: gzip\r\n")).body) == b"hello" * 1000

    def test_an_interim_answer_is_skipped(self, make: Make) -> None:
        assert bytes(ask(make, b"HTTP/1.1 103 Early Hints\r\n\r\n" + plain(b"x")).body) == b"x"

    def test_status_and_retry_after(self, make: Make) -> None:
        reply = ask(make, plain(b"", b"Retry-After: 7\r\n", b"429 Too Many Requests"))

        assert (reply.status, reply.retry_after) == (429, "7")


class TestBrokenAnswers:
    @pytest.mark.parametrize("cut", [0, 5, 30, 42])
    def test_a_hang_up_in_the_middle(self, make: Make, cut: int) -> None:
        assert fail(make, plain(b"hello")[:cut] or b"", b"") is Kind.CONNECTION

    def test_a_hang_up_between_chunks(self, make: Make) -> None:
        assert fail(make, CHUNKED + b"5\r\nhello\r\n", b"") is Kind.CONNECTION

    @pytest.mark.parametrize(
        "answer",
        [
            b"SSH-2.0-OpenSSH\r\n\r\n",
            b"HTTP/1.1 abc OK\r\n\r\n",
            plain(b"x", b"Content-Length: many\r\n"),
            CHUNKED + b"zz\r\nhello\r\n",
            plain(b"not packed", b"Content-Encoding: gzip\r\n"),
        ],
    )
    def test_what_is_not_http(self, make: Make, answer: bytes) -> None:
        assert fail(make, answer, b"") is Kind.CONNECTION

    def test_a_compressed_body_that_was_cut(self) -> None:
        # aiohttp hands out what it could unpack; the JSON is found to be cut off later.
        packed = gzip.compress(b"hello" * 1000)[:20]

        assert fail(LeanTransport, plain(packed, b"Content-Encoding: gzip\r\n"), b"") is Kind.CONNECTION

    @pytest.mark.parametrize("began", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhel"])
    def test_silence(self, make: Make, began: bytes) -> None:
        assert fail(make, *([began] if began else []), None) is Kind.TIMEOUT

    def test_nobody_there(self, make: Make) -> None:
        async def scenario(transport: Transport) -> None:
            with pytest.raises(TransportError) as caught:
                await transport.post(b"{}", limit=10)
            assert caught.value.failure.kind is Kind.CONNECTION

        run(make, Wire([]), scenario, url="http://127.0.0.1:1/")


class TestLimits:
    @pytest.mark.parametrize(
        "answer",
        [
            plain(b"x" * 101),
            CHUNKED + b"65\r\n" + b"x" * 101 + b"\r\n0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 101,
            plain(gzip.compress(b"x" * 101), b"Content-Encoding: gzip\r\n"),
        ],
        ids=["length", "chunked", "until the end", "compressed"],
    )
    def test_too_many_bytes(self, make: Make, answer: bytes) -> None:
        assert fail(make, answer, b"", limit=100) is Kind.RESPONSE_TOO_LARGE

    def test_just_enough(self, make: Make) -> None:
        assert len(ask(make, plain(b"x" * 100), limit=100).body) == 100

    def test_a_length_beyond_the_limit_is_not_waited_for(self, make: Make) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"

        assert fail(make, head, None, limit=100) is Kind.RESPONSE_TOO_LARGE


class TestConnections:
    def test_a_connection_is_used_again(self, make: Make) -> None:
        wire = Wire([[plain(b"1")], [CHUNKED + b"1\r\n2\r\n0\r\n\r\n"], [plain(b"3")]])

        async def scenario(transport: Transport) -> None:
            assert [bytes((await transport.post(b"{}", limit=9)).body) for _ in "123"] == [b"1", b"2", b"3"]

        run(make, wire, scenario)

        assert wire.connections == 1

    def test_one_that_the_node_closed_meanwhile_is_replaced(self, make: Make) -> None:
        wire = Wire([[plain(b"1"), b""], [plain(b"2")]])

        async def scenario(transport: Transport) -> None:
            await transport.post(b"{}", limit=9)
            await asyncio.sleep(0.05)
            assert bytes((await transport.post(b"{}", limit=9)).body) == b"2"

        run(make, wire, scenario)

        assert wire.connections == 2

    def test_one_that_the_node_announced_to_close_is_not_used_again(self, make: Make) -> None:
        wire = Wire([[plain(b"1", b"Connection: close\r\n")], [plain(b"2")]])

        async def scenario(transport: Transport) -> None:
            await transport.post(b"{}", limit=9)
            await transport.post(b"{}", limit=9)

        run(make, wire, scenario)

        assert wire.connections == 2

    def test_the_whole_request_has_a_time_limit_too(self, make: Make) -> None:
        drip = [b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n", *([b"x"] * 5000)]

        async def scenario(transport: Transport) -> None:
            with pytest.raises(TransportError) as caught:
                await transport.post(b"{}", limit=10**6)
            assert caught.value.failure.kind is Kind.TIMEOUT

        run(make, Wire([list(drip)]), scenario, settings=replace(SETTINGS, request_timeout_seconds=0.2))

    def test_bodies_arrive_and_a_loopback_node_is_not_asked_to_compress(self, make: Make) -> None:
        wire = Wire([[plain(b"1")]])

        async def scenario(transport: Transport) -> None:
            await transport.post(b'{"a":1}', limit=9)

        run(make, wire, scenario)

        assert wire.bodies == [b'{"a":1}']
        assert wire.heads[0].startswith("post /path?key=1 http/1.1")
        assert "accept-encoding: identity" in wire.heads[0]
        assert "content-type: application/json" in wire.heads[0]


def test_tls_is_left_to_aiohttp() -> None:
    async def main() -> None:
        secure = transport_for("https://localhost/", SETTINGS)
        plain_text = transport_for("http://localhost/", SETTINGS)
        await secure.close()
        await plain_text.close()
        assert isinstance(secure, AiohttpTransport)
        assert isinstance(plain_text, LeanTransport)

    asyncio.run(main())


def test_user_and_password_of_the_url_are_sent(make: Make) -> None:
    wire = Wire([[plain(b"1")]])

    async def main() -> None:
        server = await asyncio.start_server(wire.serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        transport = make(f"http://user:pass@127.0.0.1:{port}", SETTINGS)
        await transport.post(b"{}", limit=9)
        await transport.close()
        server.close()

    asyncio.run(main())

    assert "authorization: basic dxnlcjpwyxnz" in wire.heads[0]
