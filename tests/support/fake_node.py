"""A small JSON-RPC node on a thread of its own, with faults that a test switches on."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web

Json = Any
Override = Callable[[list[Json]], Awaitable[web.StreamResponse | None]]


def block_hash(number: int, fork: str = "") -> str:
    return "0x" + hashlib.sha256(f"block {number}{fork}".encode()).hexdigest()


def transaction_hash(number: int, index: int) -> str:
    return "0x" + hashlib.sha256(f"transaction {number} {index}".encode()).hexdigest()


@dataclass
class FakeNode:
    """Serves blocks 0..head, block n with n % 4 transactions; fields may be changed while it runs."""

    chain_id: int = 1337
    head: int = 1000
    finalized: int | None = 900  # None: the tag is unknown
    fork: str = ""
    latency: float = 0.0
    max_batch: int | None = None
    batches: bool = True
    receipts_by: str = "hash"  # hash | object | transaction
    unfinalized_error: bool = False  # as Avalanche answers above its last accepted block
    padding: dict[int, int] = field(default_factory=dict)  # extra bytes in a block
    missing: set[int] = field(default_factory=set)
    broken: set[int] = field(default_factory=set)  # any request that asks for one of these gets a 500
    hanging: set[int] = field(default_factory=set)  # … gets no answer at all
    down: bool = False  # hangs up on everybody
    override: Override | None = None
    mutate: Callable[[bytes], bytes] | None = None
    scripted: list[web.Response] = field(default_factory=list)  # answers given first, one a request

    requests: list[list[str]] = field(default_factory=list)  # methods, a list per HTTP request
    encodings: list[str] = field(default_factory=list)
    authorizations: list[str] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0

    def __enter__(self) -> FakeNode:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._do(self._start())
        return self

    def __exit__(self, *_: object) -> None:
        self._do(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _do(self, work: Any) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _start(self) -> None:
        app = web.Application(client_max_size=64 * 2**20)
        app.router.add_post("/{tail:.*}", self._serve)
        self._runner = web.AppRunner(app, shutdown_timeout=0.01)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def _stop(self) -> None:
        await self._runner.cleanup()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/secret-key-0123456789"

    @property
    def name(self) -> str:
        return f"127.0.0.1:{self.port}"

    def count(self, method: str) -> int:
        """Return in how many HTTP requests `method` occurred."""
        return sum(method in methods for methods in self.requests)

    # -- serving ------------------------------------------------------------------------------------------------

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        asked = orjson.loads(await request.read())
        calls = asked if isinstance(asked, list) else [asked]
        self.requests.append([call["method"] for call in calls])
        self.encodings.append(request.headers.get("Accept-Encoding", ""))
        self.authorizations.append(request.headers.get("Authorization", ""))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            return await self._answer(request, asked, calls)
        finally:
            self.at_once -= 1

    async def _answer(self, request: web.Request, asked: Json, calls: list[Json]) -> web.StreamResponse:
        if self.latency:
            await asyncio.sleep(self.latency)
        if self.down:
            assert request.transport is not None
            request.transport.close()
            return web.Response()
        if self.scripted:
            return self.scripted.pop(0)
        if self.override is not None and (response := await self.override(calls)) is not None:
            return response
        touched = {number for call in calls if (number := self._number(call)) is not None}
        if touched & self.hanging:
            await asyncio.sleep(60)
        if touched & self.broken:
            return web.Response(status=500)
        body = orjson.dumps(self._reply(asked, calls))
        return web.Response(body=self.mutate(body) if self.mutate else body, content_type="application/json")

    def _number(self, call: Json) -> int | None:
        if call["method"] != "eth_getBlockByNumber" or not call["params"][0].startswith("0x"):
            return None
        return int(call["params"][0], 16)

    def _reply(self, asked: Json, calls: list[Json]) -> Json:
        if not isinstance(asked, list):
            return self._one(asked)
        if not self.batches:
            return _error(None, -32600, "Invalid Request")
        if self.max_batch is not None and len(calls) > self.max_batch:
            return _error(None, -32600, "batch too large")
        return [self._one(call) for call in reversed(calls)]

    def _one(self, call: Json) -> Json:
        try:
            result = getattr(self, "_" + call["method"])(*call["params"])
        except RpcError as error:
            return _error(call["id"], error.code, str(error))
        except AttributeError:
            return _error(call["id"], -32601, f"the method {call['method']} does not exist/is not available")
        return {"jsonrpc": "2.0", "id": call["id"], "result": result}

    def _eth_chainId(self) -> str:  # noqa: N802
        return hex(self.chain_id)

    def _eth_blockNumber(self) -> str:  # noqa: N802
        return hex(self.head)

    def _eth_getBlockByNumber(self, tag: str, full: bool) -> Json:  # noqa: N802
        if tag == "finalized":
            if self.finalized is None:
                raise RpcError(-32602, "invalid argument 0: hex string without 0x prefix")
            return self.block(self.finalized)
        number = int(tag, 16)
        if number > self.head and self.unfinalized_error:
            raise RpcError(-32000, "cannot query unfinalized data")
        return None if number > self.head or number in self.missing else self.block(number)

    def _eth_getBlockReceipts(self, which: Json) -> Json:  # noqa: N802
        if self.receipts_by == "transaction":
            raise RpcError(-32601, "the method eth_getBlockReceipts does not exist/is not available")
        if (self.receipts_by == "object") != isinstance(which, dict):
            raise RpcError(-32602, "invalid argument 0: cannot unmarshal")
        wanted = which["blockHash"] if isinstance(which, dict) else which
        for number in range(self.head + 1):
            if block_hash(number, self.fork) == wanted:
                return [self.receipt(number, index) for index in range(number % 4)]
        return None

    def _eth_getTransactionReceipt(self, wanted: str) -> Json:  # noqa: N802
        for number in range(self.head + 1):
            for index in range(number % 4):
                if transaction_hash(number, index) == wanted:
                    return self.receipt(number, index)
        return None

    def block(self, number: int) -> Json:
        transactions = [{"hash": transaction_hash(number, i), "input": "0x"} for i in range(number % 4)]
        return {
            "number": hex(number),
            "hash": block_hash(number, self.fork),
            "transactions": transactions,
            "extraData": "0x" + "00" * self.padding.get(number, 0),
        }

    def receipt(self, number: int, index: int) -> Json:
        own = transaction_hash(number, index)
        return {"blockHash": block_hash(number, self.fork), "transactionHash": own, "logs": []}


class RpcError(Exception):
    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def _error(number: int | None, code: int, message: str) -> Json:
    return {"jsonrpc": "2.0", "id": number, "error": {"code": code, "message": message}}
