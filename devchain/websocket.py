"""JSON-RPC over WebSocket, with `eth_subscribe` to new heads; on a port of its own."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
from aiohttp import WSMsgType, web

from devchain.endpoint import Endpoint, read


class Subscriptions:
    """Tells every subscriber the header of each new block, after a fork those of the new branch in order."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._subscribers: dict[str, web.WebSocketResponse] = {}
        self._runner: web.AppRunner | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        endpoint.chain.listen(self._grown)

    async def start(self, host: str, port: int) -> int:
        """Listen; returns the port."""
        application = web.Application()
        application.router.add_get("/", self._serve)
        self._runner = web.AppRunner(application, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port)
        await site.start()
        return int(self._runner.addresses[0][1])

    async def close(self) -> None:
        """Drop all connections."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _serve(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                await socket.send_str(self._answer(socket, message.data).decode())
        self._subscribers = {key: each for key, each in self._subscribers.items() if each is not socket}
        return socket

    def _answer(self, socket: web.WebSocketResponse, text: str) -> bytes:
        try:
            call: Any = orjson.loads(text)
        except orjson.JSONDecodeError:
            call = None
        if isinstance(call, dict) and call.get("method") == "eth_subscribe" and call.get("params") == ["newHeads"]:
            key = f"0x{len(self._subscribers) + 1:x}"
            self._subscribers[key] = socket
            return orjson.dumps({"jsonrpc": "2.0", "id": call.get("id"), "result": key})
        return b"".join(map(read, self._endpoint.handle(text.encode())))

    def _grown(self, heights: range) -> None:
        headers = [self._endpoint.store.block(number) for number in heights]
        for key, socket in self._subscribers.items():
            task = asyncio.get_running_loop().create_task(self._tell(key, socket, [read(h) for h in headers if h]))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _tell(self, key: str, socket: web.WebSocketResponse, headers: list[bytes]) -> None:
        for raw in headers:
            header = orjson.loads(raw)
            del header["transactions"]
            told = {"jsonrpc": "2.0", "method": "eth_subscription", "params": {"subscription": key, "result": header}}
            try:
                await socket.send_str(orjson.dumps(told).decode())
            except ConnectionError:
                return
