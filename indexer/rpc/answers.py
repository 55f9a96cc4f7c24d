"""What a node's answer means: JSON-RPC errors, HTTP refusals and nonsense, sorted into kinds."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import orjson


class Kind(StrEnum):
    """What went wrong, as far as it matters for what to do next."""

    NOT_YET = "not yet"  # the node says that the block is above what it has accepted
    MISSING = "missing"  # null, or an error that says so
    RATE = "rate"  # asked too fast; never counts as a failed attempt
    BATCH_TOO_LARGE = "batch too large"
    RESPONSE_TOO_LARGE = "response too large"
    METHOD = "method"  # the node does not have the method
    PARAMS = "params"
    SERVER = "server"  # 5xx, or an error of the node's own
    REFUSED = "refused"  # 401, 403, 404: the URL or its key is wrong
    TIMEOUT = "timeout"
    CONNECTION = "connection"
    MALFORMED = "malformed"  # cut off, not JSON, or not what was asked for
    MISMATCH = "mismatch"  # well-formed, but another block than expected
    REVERTED = "reverted"  # an eth_call that the contract refused: an answer, not a fault of the node


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a call has no result; `retry_after_seconds` and `named_limit` where the node said so."""

    kind: Kind
    code: str
    message: str
    retry_after_seconds: float | None = None
    named_limit: int | None = None


@dataclass(frozen=True, slots=True)
class Call:
    method: str
    params: Sequence[Any] = ()


Answer = Any
"""A call's JSON result, or a `Failure`."""

_NOT_YET = re.compile(r"cannot query unfinalized data|after last accepted block|unfinalized", re.I)
_MISSING = re.compile(r"(header|block|resource) not found|unknown block|could not find block", re.I)
_BATCH = re.compile(
    r"batch.{0,30}(too large|too big|limit|size|exceed|max)|(exceed|max|too many).{0,40}batch"
    r"|batch(ed)? (requests? )?(is |are )?(not|un)[ -]?(support|allow|enabl)",
    re.I,
)
_RESPONSE = re.compile(r"(response|result|payload|body).{0,20}(too large|too big|exceed|limit)", re.I)
_RATE = re.compile(
    r"rate.?limit|too many requests|request limit|throttl|compute units|(quota|capacity|throughput|credits?).{0,20}"
    r"(exceed|reach|exhaust)|exceed.{0,40}(quota|capacity|throughput|per second|credits?)",
    re.I,
)
_METHOD = re.compile(
    r"(method|rpc).{0,60}(not (found|supported|available|exist|allowed|enabled|whitelisted)|does ?n.t exist"
    r"|does not exist|disabled|is unavailable)|unsupported method|unknown method",
    re.I,
)
_NUMBER = re.compile(r"\d+")


def classify(code: Any, message: str) -> Failure:
    """Return what a JSON-RPC error object means; the text decides where codes are ambiguous in practice."""
    text = message[:500]
    if _NOT_YET.search(text):
        return Failure(Kind.NOT_YET, "NOT_YET", text)
    if _BATCH.search(text):
        return Failure(Kind.BATCH_TOO_LARGE, "RPC_BATCH_TOO_LARGE", text, named_limit=_named(text))
    if code == -32600:  # how a node without batches answers a list
        return Failure(Kind.BATCH_TOO_LARGE, "RPC_INVALID_REQUEST", text)
    if code == 3 or "execution reverted" in text:
        return Failure(Kind.REVERTED, "RPC_REVERTED", text)
    if code == -32003 or _RESPONSE.search(text):
        return Failure(Kind.RESPONSE_TOO_LARGE, "RPC_NODE_LIMIT", text)
    if code in (429, -32005) or _RATE.search(text):
        return Failure(Kind.RATE, "RPC_RATE_LIMITED", text)
    if _MISSING.search(text):
        return Failure(Kind.MISSING, "RPC_MISSING", text)
    if code == -32601 or _METHOD.search(text):
        return Failure(Kind.METHOD, "RPC_METHOD_MISSING", text)
    if code == -32602:
        return Failure(Kind.PARAMS, "RPC_INVALID_PARAMS", text)
    return Failure(Kind.SERVER, "RPC_NODE_ERROR", f"the node answered error {_shown(code)}: {text}")


def _named(text: str) -> int | None:
    numbers = [int(found) for found in _NUMBER.findall(text)[:4] if len(found) <= 6]
    plausible = [number for number in numbers if number >= 1]
    return min(plausible) if plausible else None


def _shown(code: Any) -> str:
    return str(code)[:20]


def malformed(what: str) -> Failure:
    return Failure(Kind.MALFORMED, "RPC_MALFORMED", what)


def read_body(body: bytes | bytearray | memoryview, first_id: int, count: int) -> list[Answer] | Failure:
    """Return one answer per call of the request with ids `first_id` …, or why there is none at all.

    A batch may be answered in any order (JSON-RPC 2.0 §6); what is absent, doubled or of another id is a failure of
    that call alone. One error object for the whole batch is a failure of the request.
    """
    try:
        reply = orjson.loads(body)
    except (ValueError, RecursionError):
        return malformed(f"{len(body)} bytes that are not JSON, or cut off")
    if isinstance(reply, dict) and (count > 1 or reply.get("id") is None) and "error" in reply:
        failure = error_of(reply)
        return failure if failure is not None else malformed("an empty error for the whole request")
    if isinstance(reply, dict):
        reply = [reply]
    if not isinstance(reply, list):
        return malformed("JSON that is not a JSON-RPC answer")
    answers: list[Answer] = [None] * count
    filled = bytearray(count)
    for item in reply:
        number = item.get("id") if isinstance(item, dict) else None
        if type(number) is not int or not 0 <= number - first_id < count or filled[number - first_id]:
            continue
        filled[number - first_id] = 1
        answers[number - first_id] = _answer(item)
    for index in range(count):
        if not filled[index]:
            answers[index] = Failure(Kind.MALFORMED, "RPC_ANSWER_MISSING", "the batch has no answer to this call")
    return answers


def _answer(item: dict[str, Any]) -> Answer:
    failure = error_of(item)
    if failure is not None:
        return failure
    if "result" not in item:
        return malformed("an answer with neither result nor error")
    return item["result"]


def error_of(item: dict[str, Any]) -> Failure | None:
    """Return the failure that a JSON-RPC answer carries, if any."""
    error = item.get("error")
    if error is None:
        return None
    if isinstance(error, dict):
        return classify(error.get("code"), str(error.get("message", "")))
    return classify(None, str(error))


def of_status(status: int, body: bytes, retry_after_seconds: float | None) -> Failure:
    """Return what an HTTP status other than 200 means; a JSON-RPC error in the body is more exact for 4xx."""
    shown = f"HTTP {status}"
    if status == 429:
        return Failure(Kind.RATE, "RPC_RATE_LIMITED", shown, retry_after_seconds)
    if status == 413:
        return Failure(Kind.BATCH_TOO_LARGE, "RPC_BATCH_TOO_LARGE", shown)
    inner = _error_in(body)
    if inner is not None and inner.kind in (Kind.RATE, Kind.BATCH_TOO_LARGE, Kind.RESPONSE_TOO_LARGE, Kind.NOT_YET):
        return Failure(inner.kind, inner.code, inner.message, retry_after_seconds, inner.named_limit)
    if status in (401, 402, 403, 404, 405):
        return Failure(Kind.REFUSED, f"RPC_HTTP_{status}", f"{shown}: is the URL right, and its key valid?")
    return Failure(Kind.SERVER, f"RPC_HTTP_{status}", shown, retry_after_seconds)


def _error_in(body: bytes) -> Failure | None:
    try:
        reply = orjson.loads(body)
    except (ValueError, RecursionError):
        return None
    return error_of(reply) if isinstance(reply, dict) else None
