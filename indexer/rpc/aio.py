"""HTTP by aiohttp, whose import takes half a second: only what speaks TLS imports it (`lean.transport_for`)."""

from __future__ import annotations

import asyncio

import aiohttp

from indexer.rpc.settings import RpcSettings
from indexer.rpc.transport import Reply, connection_failed, is_loopback, timed_out, too_large

_READ_BUFFER_BYTES = 2**16


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
