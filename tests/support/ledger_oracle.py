"""Balances of a simulated chain, added up from its logs alone: what `eth_call` has to agree with."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from eth_abi.abi import decode
from sha3 import keccak_256  # type: ignore[import-untyped]  # safe-pysha3 carries no types

Holding = tuple[str, str, int | None]  # token, holder, id of an ERC-1155 token


def _topic(signature: str) -> str:
    return "0x" + keccak_256(signature.encode()).hexdigest()


TRANSFER = _topic("Transfer(address,address,uint256)")
SINGLE = _topic("TransferSingle(address,address,address,uint256,uint256)")
BATCH = _topic("TransferBatch(address,address,address,uint256[],uint256[])")
DEPOSIT = _topic("Deposit(address,uint256)")
WITHDRAWAL = _topic("Withdrawal(address,uint256)")
NOBODY = "0x" + "00" * 20

Move = tuple[str, str, int | None, int]  # from, to, id, amount


def _moves(log: dict[str, Any]) -> list[Move]:
    """What a log moves."""
    kind, *topics = log["topics"] or [None]
    parties = ["0x" + topic[26:] for topic in topics]
    data = bytes.fromhex(log["data"][2:])
    if kind == TRANSFER and len(topics) == 2:
        return [(parties[0], parties[1], None, int.from_bytes(data, "big"))]
    if kind == TRANSFER and len(topics) == 3:
        return [(parties[0], parties[1], None, 1)]
    if kind == SINGLE:
        token_id, amount = decode(["uint256", "uint256"], data)
        return [(parties[1], parties[2], token_id, amount)]
    if kind == BATCH:
        items = zip(*decode(["uint256[]", "uint256[]"], data), strict=True)
        return [(parties[1], parties[2], token_id, amount) for token_id, amount in items]
    if kind == DEPOSIT:
        return [(NOBODY, parties[0], None, int.from_bytes(data, "big"))]
    if kind == WITHDRAWAL:
        return [(parties[0], NOBODY, None, int.from_bytes(data, "big"))]
    return []


def positions(logs: Iterable[dict[str, Any]]) -> dict[tuple[str, str, int], int]:
    """What these logs add to each holding (token, holder, id, 0 where there are none); it may be below zero."""
    found: defaultdict[tuple[str, str, int], int] = defaultdict(int)
    for log in logs:
        of_its_own = int(log["topics"][3], 16) if len(log["topics"]) == 4 else 0  # ERC-721
        for source, target, token_id, amount in _moves(log):
            for holder, change in ((source, -amount), (target, amount)):
                if holder != NOBODY:
                    found[log["address"], holder, of_its_own if token_id is None else token_id] += change
    return dict(found)


def balances(logs: Iterable[dict[str, Any]]) -> dict[Holding, int]:
    """The balances after these logs; every one that ever changed, zeros included. None may be negative on the way."""
    found: defaultdict[Holding, int] = defaultdict(int)
    for log in logs:
        for source, target, token_id, amount in _moves(log):
            if source != NOBODY:
                found[log["address"], source, token_id] -= amount
                assert found[log["address"], source, token_id] >= 0
            if target != NOBODY:
                found[log["address"], target, token_id] += amount
    return dict(found)
