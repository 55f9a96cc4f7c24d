"""A node asked by `indexer verify`, through web3: block hashes, and balances at a height."""

from __future__ import annotations

from typing import Any

from web3 import HTTPProvider, Web3
from web3.exceptions import Web3Exception
from web3.types import RPCEndpoint

_UINT256 = {"name": "", "type": "uint256", "internalType": "uint256"}


def _balance_of(*inputs: str) -> list[dict[str, Any]]:
    return [
        {
            "type": "function",
            "name": "balanceOf",
            "stateMutability": "view",
            "inputs": [{"name": f"a{i}", "type": kind} for i, kind in enumerate(inputs)],
            "outputs": [_UINT256],
        }
    ]


class Node:
    """One endpoint; None stands for what it cannot answer."""

    def __init__(self, url: str, timeout: float = 20.0) -> None:
        self._web3 = Web3(HTTPProvider(url, request_kwargs={"timeout": timeout}))

    def block_hash(self, number: int) -> bytes | None:
        """Return the hash at a height, None where the node has no block.

        The raw answer is read: web3's own formatters refuse headers with more extra data than Ethereum's.
        """
        answer = self._web3.provider.make_request(RPCEndpoint("eth_getBlockByNumber"), [hex(number), False])
        block = answer.get("result")
        return bytes.fromhex(block["hash"][2:]) if block else None

    def balance_of(self, standard: str, token: bytes, token_id: int, holder: bytes, height: int) -> int | None:
        """Return what the contract says at a height; None when it does not answer or has no balanceOf."""
        inputs = ("address", "uint256") if standard == "erc1155" else ("address",)
        contract = self._web3.eth.contract(self._web3.to_checksum_address(token), abi=_balance_of(*inputs))
        arguments: tuple[Any, ...] = (self._web3.to_checksum_address(holder),)
        if standard == "erc1155":
            arguments = (*arguments, token_id)
        try:
            return int(contract.functions.balanceOf(*arguments).call(block_identifier=height))
        except (Web3Exception, ValueError):
            return None
