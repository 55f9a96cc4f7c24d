"""One JSON-RPC endpoint over a store: requests in, answers out, with the faults it was told to have.

No sockets and no clock here. An answer is a list of pieces, ready bytes and slices of the chain file, so that a
block goes from the file to the socket without being looked at.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import orjson

from devchain import answers
from devchain.answers import RpcError
from devchain.chain import Chain
from devchain.faults import Dice, Faults
from devchain.stats import Stats
from devchain.store import Json, Place, Slice, Store

CLIENT_VERSION = "devchain/1"
_NULL = b"null"
_HEX_HASH = 66


def read(piece: Json) -> bytes:
    """The bytes of a piece."""
    return os.pread(piece.fd, piece.size, piece.offset) if isinstance(piece, Slice) else piece


def size_of(pieces: list[Json]) -> int:
    """How many bytes an answer has."""
    return sum(piece.size if isinstance(piece, Slice) else len(piece) for piece in pieces)


class Endpoint:
    """Answers the JSON-RPC of one URL."""

    def __init__(self, chain: Chain | Store, faults: Faults | None = None) -> None:
        self.chain = chain if isinstance(chain, Chain) else Chain(chain)
        self.faults = faults or Faults()
        self.dice = Dice(self.faults)
        self.stats = Stats()
        self._methods: dict[str, Callable[[list[Any]], Json]] = {
            "eth_chainId": lambda _: b'"0x%x"' % self._chain_id(),
            "net_version": lambda _: b'"%d"' % self._chain_id(),
            "web3_clientVersion": lambda _: b'"%b"' % CLIENT_VERSION.encode(),
            "eth_blockNumber": lambda _: b'"0x%x"' % self.head(),
            "eth_syncing": lambda _: b"false",
            "eth_getBlockByNumber": self._block_by_number,
            "eth_getBlockByHash": self._block_by_hash,
            "eth_getBlockReceipts": self._block_receipts,
            "eth_getTransactionByHash": self._transaction_by_hash,
            "eth_getTransactionReceipt": self._transaction_receipt,
            "eth_call": self._call,
            "eth_getLogs": self._logs,
        }
        self._finalized = -1
        self._split: dict[tuple[Store, int], list[bytes]] = {}  # receipts of the last blocks asked one by one

    @property
    def store(self) -> Store:
        """The branch that this endpoint takes for the chain."""
        return self.chain.branch(self.faults.branch)

    def head(self) -> int:
        """The head that this endpoint admits to."""
        head = self.chain.head_of(self.faults.branch) if self.faults.head is None else self.faults.head
        return max(0, head - self.faults.lag)

    def finalized(self) -> int | None:
        """The height that is final here; None on a chain that is too young. It never goes back, whatever forks."""
        if self.faults.finality == 0:
            return self.head()
        self._finalized = max(self._finalized, self.head() - self.faults.finality)
        return None if self._finalized < 0 else min(self._finalized, self.head())

    def handle(self, body: bytes) -> list[Json]:
        """Answer a request or a batch (JSON-RPC 2.0); empty for a batch of nothing but notifications."""
        try:
            request = orjson.loads(body)
        except orjson.JSONDecodeError:
            return [answers.failure(None, RpcError(-32700, "parse error"))]
        if not isinstance(request, list):
            self.stats.largest_batch = max(self.stats.largest_batch, 1)
            return self._answer(request)
        if not request:
            return [answers.failure(None, RpcError(-32600, "empty batch"))]
        limit = self.faults.max_batch
        if limit is not None and len(request) > limit:
            self.dice.hits["max_batch"] += 1
            return [answers.failure(None, RpcError(-32600, f"batch too large: {len(request)} of at most {limit}"))]
        self.stats.largest_batch = max(self.stats.largest_batch, len(request))
        pieces: list[Json] = []
        for call in request:
            answer = self._answer(call)
            if answer:
                pieces.append(b"," if pieces else b"[")
                pieces += answer
        return [*pieces, b"]"] if pieces else []

    def _answer(self, call: Any) -> list[Json]:
        """The answer to one call; none to a notification (a call without an id)."""
        if not isinstance(call, dict) or not isinstance(call.get("method"), str):
            return [answers.failure(None, RpcError(-32600, "invalid request"))]
        call_id = call.get("id")
        try:
            result = self._dispatch(call["method"], call.get("params", []))
        except RpcError as error:
            result = None
            failed = answers.failure(call_id, error)
        if "id" not in call:
            return []
        if result is None:
            return [failed]
        # With integer ids, the rule, this is the hot path: 20,000 times a second.
        shown = b"%d" % call_id if type(call_id) is int else orjson.dumps(call_id)
        return [b'{"jsonrpc":"2.0","id":%b,"result":' % shown, result, b"}"]

    def _dispatch(self, method: str, params: Any) -> Json:
        self.stats.calls[method] += 1
        handler = self._methods.get(method)
        if handler is None or (method == "eth_getBlockReceipts" and not self.faults.receipts_method):
            raise RpcError(-32601, f"the method {method[:60]} does not exist/is not available")
        if not isinstance(params, list):
            raise RpcError(-32602, "params are a list")
        if self.dice.strikes("error"):
            raise RpcError(-32603, "internal error")
        try:
            return handler(params)
        except (ValueError, TypeError, IndexError, KeyError, AttributeError) as error:
            raise RpcError(-32602, f"invalid argument: {error}") from error

    def _chain_id(self) -> int:
        return self.store.chain_id if self.faults.chain_id is None else self.faults.chain_id

    def _height(self, block: Any) -> int | None:
        """The number that a number, tag, hash or EIP-1898 object means; None where no such block is known."""
        if isinstance(block, dict):
            block = block["blockHash"] if "blockHash" in block else block["blockNumber"]
        if len(block) == _HEX_HASH:
            number = self.store.number_of(bytes.fromhex(block[2:]))
            return number if number is not None and number <= self.head() else None
        if block.startswith("0x"):
            return self._visible(int(block, 16))
        if block == "earliest":
            return 0
        if block in ("latest", "pending"):
            return self.head()
        if block in ("finalized", "safe") and self.faults.finalized_tag:
            return self.finalized()
        raise ValueError(f"no such block tag: {block[:20]}")

    def _visible(self, number: int) -> int | None:
        if number <= self.head():
            return number
        if self.faults.above_head == "unfinalized":
            raise RpcError(-32000, "cannot query unfinalized data")
        if self.faults.above_head == "unaccepted":
            raise RpcError(-32000, f"requested block {number} after last accepted block {self.head()}")
        return None

    def _block_by_number(self, params: list[Any]) -> Json:
        return self._block("eth_getBlockByNumber", self._height(params[0]), params)

    def _block_by_hash(self, params: list[Any]) -> Json:
        return self._block("eth_getBlockByHash", self._height(params[0]), params)

    def _block(self, method: str, number: int | None, params: list[Any]) -> Json:
        block = None if number is None else self.store.block(number)
        if number is None or block is None or self.dice.strikes_block("null_blocks", number):
            return _NULL
        self.stats.serve(method, number)
        if self.dice.strikes_block("alter_header", number):
            block = answers.altered_header(read(block), self.faults.alter_field)
        full = len(params) > 1 and params[1] is True
        return block if full else answers.without_transactions(read(block))

    def _block_receipts(self, params: list[Any]) -> Json:
        number = self._height(params[0])
        receipts = None if number is None else self.store.receipts(number)
        if number is None or receipts is None:
            return _NULL
        if self.dice.strikes_block("null_receipts", number):
            return _NULL
        self.stats.serve("eth_getBlockReceipts", number)
        return self._with_log_faults(number, receipts)

    def _with_log_faults(self, number: int, receipts: Json) -> Json:
        if self.dice.strikes_block("alter_log", number):
            receipts = answers.altered_log(read(receipts))
        if self.dice.strikes_block("drop_log", number):
            receipts = answers.dropped_log(read(receipts))
        return receipts

    def _find(self, transaction_hash: str) -> Place | None:
        place = self.store.transaction(bytes.fromhex(transaction_hash[2:]))
        return place if place is not None and place.number <= self.head() else None

    def _transaction_by_hash(self, params: list[Any]) -> Json:
        place = self._find(params[0])
        block = None if place is None else self.store.block(place.number)
        if place is None or block is None:
            return _NULL
        found = orjson.loads(read(block))["transactions"][place.position]
        return orjson.dumps(found) if found["hash"] == params[0].lower() else _NULL

    def _transaction_receipt(self, params: list[Any]) -> Json:
        place = self._find(params[0])
        if place is None or self.dice.strikes_block("null_receipts", place.number):
            return _NULL
        receipts = self._receipts_one_by_one(place.number)
        if place.position >= len(receipts):
            return _NULL
        found = receipts[place.position]
        if params[0].lower().encode() not in found:
            return _NULL
        self.stats.serve("eth_getTransactionReceipt", place.number)
        if b'"logs":[{' in found:
            found = read(self._with_log_faults(place.number, b"[%b]" % found))[1:-1]
        return found

    def _receipts_one_by_one(self, number: int) -> list[bytes]:
        """The receipts of a block apart; kept for the last blocks, since callers ask for all of a block's."""
        split = self._split.get((self.store, number))
        if split is None:
            receipts = self.store.receipts(number)
            split = [orjson.dumps(r) for r in orjson.loads(read(receipts))] if receipts else []
            if len(self._split) >= 64:
                self._split.pop(next(iter(self._split)))
            self._split[self.store, number] = split
        return split

    def _call(self, params: list[Any]) -> Json:
        height = self._height(params[1] if len(params) > 1 else "latest")
        if height is None or height > self.head():
            raise RpcError(-32000, "header not found")
        return answers.balance_call(self.store, params[0], height)

    def _logs(self, params: list[Any]) -> Json:
        wanted = params[0]
        if "blockHash" in wanted:
            first = last = self._height(wanted["blockHash"])
        else:
            first = self._height(wanted.get("fromBlock", "latest"))
            last = self._height(wanted.get("toBlock", "latest"))
        if first is None or last is None:
            raise RpcError(-32000, "unknown block")
        if last - first > 2_000:
            raise RpcError(-32005, "at most 2,000 blocks at once")
        receipts = (self.store.receipts(number) for number in range(first, last + 1))
        return answers.matching_logs([read(r) for r in receipts if r is not None], wanted)
