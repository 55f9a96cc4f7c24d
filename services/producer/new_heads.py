"""New heads over WebSocket (`eth_subscribe`): no more than a reason to look now; without it heads are looked for."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import aiohttp

log = logging.getLogger(__name__)

_SILENCE_SECONDS = 120.0  # after so long the connection is made anew: a proxy may have dropped it without a word
_MOST_PAUSE_SECONDS = 60.0
_SUBSCRIBE = {"jsonrpc": "2.0", "id": 1, "method": "eth_subscribe", "params": ["newHeads"]}


class NewHeads:
    """Sets `wake` for every new head that `url` tells; nothing at all without a URL. Its failures are never ours."""

    def __init__(self, url: str, wake: threading.Event) -> None:
        self._url, self._wake = url, wake
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._thread: threading.Thread | None = None
        self.alive = False

    def listen(self) -> None:
        """Begin to listen, once."""
        if self._url and self._thread is None:
            self._loop = asyncio.new_event_loop()
            self._task = self._loop.create_task(self._listen())
            self._thread = threading.Thread(target=self._run, name="new-heads", daemon=True)
            self._thread.start()

    def close(self) -> None:
        if self._loop is not None and self._task is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._task.cancel)
            self._thread.join(5)

    def _run(self) -> None:
        assert self._loop is not None
        assert self._task is not None
        try:
            self._loop.run_until_complete(self._task)
        except asyncio.CancelledError:
            log.debug("no longer listening")
        finally:
            self._loop.close()

    async def _listen(self) -> None:
        import aiohttp  # half a second, which only those that listen need

        pause = 1.0
        while True:
            try:
                async with aiohttp.ClientSession() as session, session.ws_connect(self._url, heartbeat=20) as socket:
                    await socket.send_json(_SUBSCRIBE)
                    async for message in _until_silent(socket):
                        self._heard(message)
                        pause = 1.0
            except (aiohttp.ClientError, OSError, ValueError, TimeoutError) as error:
                log.info("new heads over WebSocket: %s; looking for them meanwhile", type(error).__name__)
            self.alive = False
            await asyncio.sleep(pause)
            pause = min(2 * pause, _MOST_PAUSE_SECONDS)

    def _heard(self, message: aiohttp.WSMessage) -> None:
        told = message.json() if message.type.name == "TEXT" else None
        if isinstance(told, dict) and "error" in told:
            raise ValueError("the node offers no eth_subscribe")
        self.alive = True
        if isinstance(told, dict) and told.get("method") == "eth_subscription":
            self._wake.set()


async def _until_silent(socket: aiohttp.ClientWebSocketResponse) -> AsyncIterator[aiohttp.WSMessage]:
    """Yield messages until the connection closes; TimeoutError when it is silent for too long."""
    while True:
        message = await socket.receive(timeout=_SILENCE_SECONDS)
        if message.type.name in ("CLOSE", "CLOSED", "ERROR"):
            return
        yield message
