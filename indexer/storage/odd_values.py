"""Values that the tables admit and no transfer has: a `numeric` column takes NaN, a `bytea` column any length."""

from __future__ import annotations

from decimal import Decimal

from indexer.chain.fields import WORD

_ADDRESS_BYTES = 20


def whole(value: Decimal) -> int | Decimal:
    """Return a number of a `numeric` column as an integer, NaN as it is."""
    return int(value) if value.is_finite() else value


def is_transfer(token: bytes, token_id: int | Decimal, sender: bytes, receiver: bytes, amount: int | Decimal) -> bool:
    """Tell whether a stored row can be that of a transfer; what somebody altered into another was in no balance."""
    lengths = {len(token), len(sender), len(receiver)}
    return lengths == {_ADDRESS_BYTES} and _is_word(token_id) and _is_word(amount)


def _is_word(value: int | Decimal) -> bool:
    return not Decimal(value).is_nan() and 0 <= value < WORD
