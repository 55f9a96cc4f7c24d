"""A node asked once, from the command line: head, chain id and hashes, without loading the RPC pool."""

from __future__ import annotations

import base64
import json
import urllib.request
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlsplit

from indexer.errors import OutageError, UserError
from indexer.rpc.answers import Kind, error_of
from indexer.rpc.settings import RpcSettings
from indexer.settings import Settings

_SECONDS = 5.0
_BAD_REQUEST = 400
# An error about the block that was asked for, where indexer/rpc/heights.py goes without the tag too: nodes name it in
# words of their own. The others say that the node is too busy.
_OF_THE_TAG = (Kind.PARAMS, Kind.SERVER, Kind.METHOD, Kind.MISSING, Kind.NOT_YET)


class _Refusal(ValueError):  # noqa: N818  # an answer, if not the one that was asked for
    """The node answered with a JSON-RPC error."""

    def __init__(self, kind: Kind) -> None:
        super().__init__(kind)
        self.kind = kind


def head(settings: Settings) -> int:
    """Return the number of the newest block, from the first endpoint that answers; raises as `answering`."""
    return answering(settings)[1]


def answering(settings: Settings) -> tuple[str, int]:
    """Return the first endpoint that answers, and the number of its newest block.

    Raises OutageError when none does, UserError when a node serves another chain.
    """
    settings.require("rpc_urls")
    failures = []
    for url in settings.rpc_urls:
        host = _host(url)
        try:
            chain_id, number = (int(_call(url, method), 16) for method in ("eth_chainId", "eth_blockNumber"))
        except (OSError, HTTPException, ValueError, TypeError, KeyError) as error:
            failures.append(f"{host}: {_reason(error)}")
            continue
        if chain_id != settings.chain_id:
            raise UserError(
                f"{host} serves chain {chain_id}, CHAIN_ID is {settings.chain_id}: set one of them right",
                code="WRONG_CHAIN",
            )
        return url, number
    raise OutageError(f"no node answers ({'; '.join(failures)}): check RPC_URLS", code="NODE_DOWN")


def final_to(settings: Settings, url: str, head: int) -> int:
    """Return up to where blocks are final, as the services take it (indexer/rpc/settings.py); raises OutageError."""
    rules = RpcSettings(confirmations=None if settings.confirmations < 0 else settings.confirmations)
    unasked = rules.final_unasked(settings.chain_id, head)
    if unasked is not None:
        return unasked
    try:
        block = _call(url, "eth_getBlockByNumber", "finalized", False)
        return 0 if block is None else int(block["number"], 16)
    except (OSError, HTTPException, ValueError, TypeError, KeyError) as error:
        if _refuses_the_tag(error):
            return rules.final_without_tag(head)
        raise OutageError(f"the node stopped answering ({_host(url)}: {_reason(error)})", code="NODE_DOWN") from None


def hash_at(url: str, number: int) -> bytes | None:
    """Return the hash of the endpoint's block at a height, None where it has none; raises OutageError."""
    try:
        block = _call(url, "eth_getBlockByNumber", hex(number), False)
        return None if block is None else bytes.fromhex(block["hash"].removeprefix("0x"))
    except (OSError, HTTPException, ValueError, TypeError, KeyError, AttributeError) as error:
        raise OutageError(f"the node stopped answering ({_host(url)}: {_reason(error)})", code="NODE_DOWN") from None


def _refuses_the_tag(error: Exception) -> bool:
    """Tell a node that knows no `finalized` from one that is busy, away, or answers nonsense."""
    if isinstance(error, HTTPError):
        return error.code == _BAD_REQUEST  # it took the other methods from us
    return isinstance(error, _Refusal) and error.kind in _OF_THE_TAG


def _call(url: str, method: str, *params: object) -> Any:
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
    address, authorization = _without_password(url)
    request = urllib.request.Request(address, body, {"Content-Type": "application/json"})  # noqa: S310  # the user's own URL
    if authorization:
        request.add_unredirected_header("Authorization", authorization)  # for this node, and no other
    with urllib.request.urlopen(request, timeout=_SECONDS) as response:  # noqa: S310
        answer: dict[str, Any] = json.load(response)
    if isinstance(answer, dict) and (failure := error_of(answer)) is not None:
        raise _Refusal(failure.kind)
    return answer["result"]


def _without_password(url: str) -> tuple[str, str]:
    """Return the URL and, as a header tells it, what it says of a user: urllib would take that for a host's name."""
    parts = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    if not at:
        return url, ""
    name, _, password = user.partition(":")
    pair = base64.b64encode(f"{unquote(name)}:{unquote(password)}".encode()).decode()
    return parts._replace(netloc=host).geturl(), f"Basic {pair}"


def _host(url: str) -> str:
    """Return all that may be shown of a URL."""
    try:
        return urlsplit(url).hostname or "?"
    except ValueError:
        return "?"


def _reason(error: Exception) -> str:
    """Return what went wrong; never the error's own text, which may quote the URL."""
    if isinstance(error, HTTPError):
        return f"HTTP {error.code}"
    if isinstance(error, URLError) and isinstance(error.reason, OSError):
        return error.reason.strerror or type(error.reason).__name__
    if isinstance(error, TimeoutError):
        return "timed out"
    if isinstance(error, OSError | HTTPException):
        return type(error).__name__
    return "no JSON-RPC answer"
