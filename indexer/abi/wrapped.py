"""Wrapped native coins by chain: contracts whose Deposit and Withdrawal events mint and burn without a Transfer."""

from __future__ import annotations

_OP_STACK = "4200000000000000000000000000000000000006"
# Only contracts with WETH9's code belong here. Arbitrum's WETH and Fantom's WFTM mint with a Transfer and need
# no entry; one that emits both would be counted twice.
_CONTRACTS = {
    1: "c02aaa39b223fe8d0a0e5c4f27ead9083c756cc2",  # WETH9
    10: _OP_STACK,
    56: "bb4cdb9cbd36b01bd1cbaebf2de08d9173bc095c",  # WBNB
    100: "e91d153e0b41518a2ce8dd3d7944fa863463a97d",  # WXDAI
    137: "0d500b1d8e8ef31e21c99d1db9a6444d3adf1270",  # WMATIC
    999: "5555555555555555555555555555555555555555",  # WHYPE
    8453: _OP_STACK,
    43113: "d00ae08403b9bbb9124bb305c09058e32c39a48c",  # WAVAX on Fuji
    43114: "b31f66aa3c1e785363f0875a1b74e27b85fd66c7",  # WAVAX
    84532: _OP_STACK,
    11155111: "fff9976782d46cc05630d1f6ebab18b2324d6b14",  # WETH9 on Sepolia
    11155420: _OP_STACK,
}


def wrapped_native(chain_id: int) -> frozenset[bytes]:
    """The wrapped native coin's contract (20 bytes), or nothing for a chain that is not known; models add more."""
    contract = _CONTRACTS.get(chain_id)
    return frozenset() if contract is None else frozenset({bytes.fromhex(contract)})
