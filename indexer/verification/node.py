"""A node asked by `indexer verify`, through web3: block hashes, and balances at a height.

Raw answers are read. web3's formatters refuse headers with more extra data than Ethereum's, and its contracts ask
three more questions with each call.
"""

from __future__ import annotations

from typing import Any

from web3 import HTTPProvider
from web3.types import RPCEndpoint

from indexer.errors import OutageError

_BALANCE_OF = "70a08231"  # balanceOf(address)
_BALANCE_OF_ID = "00fdd58e"  # balanceOf(address,uint256)
_WORD = 2 + 64  # hex digits of a uint256, with 0x


class Node:
    """One endpoint; None stands for what it cannot answer."""

    def __init__(self, url: str, timeout: float = 20.0) -> None:
        self._provider = HTTPProvider(url, request_kwargs={"timeout": timeout})

    def block_hash(self, number: int) -> bytes | None:
        """Return the hash at a height, None where the node has no block; raises OutageError."""
        block = self._ask("eth_getBlockByNumber", hex(number), False)
        try:
            return bytes.fromhex(block["hash"][2:]) if block is not None else None
        except (ValueError, TypeError, LookupError):
            raise _no_answer() from None

    def block(self, number: int) -> tuple[Any, Any] | None:
        """Return a block and its receipts as the node sends them, None where it has no block; raises OutageError."""
        block = self._ask("eth_getBlockByNumber", hex(number), True)
        if not isinstance(block, dict):
            return None
        receipts = self._ask("eth_getBlockReceipts", hex(number))
        if receipts is None:
            hashes = [each["hash"] for each in block.get("transactions", ())]
            receipts = [self._ask("eth_getTransactionReceipt", each) for each in hashes]
        return block, receipts

    def balance_of(self, standard: str, token: bytes, token_id: int, holder: bytes, height: int) -> int | None:
        """Return what the contract says at a height; None when it does not answer or has no balanceOf.

        Raises OutageError.
        """
        data = _BALANCE_OF_ID if standard == "erc1155" else _BALANCE_OF
        data += holder.hex().rjust(64, "0")
        if standard == "erc1155":
            data += f"{token_id:064x}"
        answer = self._ask("eth_call", {"to": f"0x{token.hex()}", "data": f"0x{data}"}, hex(height))
        try:
            return int(answer[2:_WORD], 16) if answer is not None and len(answer) >= _WORD else None
        except (ValueError, TypeError):
            raise _no_answer() from None

    def _ask(self, method: str, *params: object) -> Any:
        """Return a call's result, None for an error of JSON-RPC; transport errors are those of `requests`."""
        try:
            return self._provider.make_request(RPCEndpoint(method), list(params)).get("result")
        except (ValueError, AttributeError):
            raise _no_answer() from None


def _no_answer() -> OutageError:
    return OutageError("the node stopped answering: no JSON-RPC answer", code="NODE_DOWN")
