"""The withdrawals of a block (EIP-4895): not stored, only checked against the header's root."""

from __future__ import annotations

from typing import Any

from indexer.chain import rlp
from indexer.chain.errors import VerificationError
from indexer.chain.trie import ordered_root
from indexer.records import Header

_FIELDS = ("index", "validatorIndex", "address", "amount")


def check_withdrawals(header: Header, withdrawals: Any) -> None:
    """Check the list that an answer has against `withdrawalsRoot`; an answer without the list proves nothing."""
    if withdrawals is None:
        return
    if type(withdrawals) is not list:
        raise TypeError("withdrawals")
    encoded = []
    for item in withdrawals:
        index, validator, address, amount = (item[name] for name in _FIELDS)
        encoded.append(rlp.encode([int(index, 16), int(validator, 16), bytes.fromhex(address[2:]), int(amount, 16)]))
    if ordered_root(encoded) != header.withdrawals_root:
        raise VerificationError(
            f"block {header.number}: the withdrawals do not fit the header's root",
            code="WITHDRAWALS_ROOT_MISMATCH",
        )
