"""The items of any transaction, by its type: for the few that are not of the two usual shapes, and for signatures.

`transactions.py` has the fast way for legacy and dynamic fee transactions; here clarity wins over speed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from indexer.chain import rlp
from indexer.chain.errors import VerificationError, malformed
from indexer.chain.rules import DEPOSIT_TYPE, ChainRules
from indexer.records import Transactions

# How the items of each type stand in its list, signatures left out. `tail` is [gas, to, value, input]; names in
# snake case are columns, the others RPC fields kept in Transactions.extra: "#" marks integers, "?" a boolean, "."
# byte strings.
_LAYOUTS: dict[int, tuple[str, ...]] = {
    0x00: ("nonce", "gas_price", "tail"),
    0x01: ("chain", "nonce", "gas_price", "tail", "access_list"),
    0x02: ("chain", "nonce", "tip", "cap", "tail", "access_list"),
    0x03: ("chain", "nonce", "tip", "cap", "tail", "access_list", "#maxFeePerBlobGas", "blob_hashes"),
    0x04: ("chain", "nonce", "tip", "cap", "tail", "access_list", "authorizations"),
    # OP stack: specs, "Deposits"
    DEPOSIT_TYPE: (".sourceHash", "from", "to", "#mint", "value", "gas", "?isSystemTx", "input"),
    # Arbitrum Nitro: arb_types.go
    0x64: ("chain", ".requestId", "from", "to", "value"),
    0x65: ("chain", "from", "nonce", "gas_price", "tail"),
    0x66: ("chain", ".requestId", "from", "gas_price", "tail"),
    0x68: (
        *("chain", "nonce", "from", "gas_price", "tail"),
        *(".ticketId", ".refundTo", "#maxRefund", "#submissionFeeRefund"),
    ),
    0x69: (
        *("chain", ".requestId", "from", "#l1BaseFee", "#depositValue", "gas_price", "gas"),
        *(".retryTo", "#retryValue", ".beneficiary", "#maxSubmissionFee", ".refundTo", ".retryData"),
    ),
    0x6A: ("chain", "input"),
}

_TAIL = ("gas", "to", "value", "input")

# RPC fields of a transaction that no column holds and that its hash covers; anything else is not kept.
EXTRA_FIELDS = (
    *("accessList", "maxFeePerBlobGas", "blobVersionedHashes", "authorizationList"),
    *("sourceHash", "mint", "isSystemTx"),
    *("requestId", "ticketId", "refundTo", "maxRefund", "submissionFeeRefund", "l1BaseFee", "depositValue"),
    *("retryTo", "retryValue", "retryData", "beneficiary", "maxSubmissionFee"),
)

_COLUMNS = {"from": "from_address", "to": "to_address", "tip": "max_priority_fee_per_gas", "cap": "max_fee_per_gas"}


def encode_items(transactions: Transactions, index: int, chain: ChainRules) -> bytes | None:
    """Return the encoded items of one transaction up to its signature, without prefix.

    Returns None for types that are opaque on this chain. Raises VerificationError for a type that the chain does
    not have, PoisonError when a field is missing or cannot be encoded.
    """
    kind = transactions.type[index]
    if chain.is_opaque(kind):
        return None
    layout = _LAYOUTS.get(kind)
    if layout is None:
        raise VerificationError(
            f"transaction {index}: type {kind:#x} is not known on chain {chain.chain_id}",
            code="TRANSACTION_TYPE_UNKNOWN",
        )
    try:
        extra = orjson.loads(transactions.extra[index] or b"{}")
        return b"".join([_item(name, transactions, index, extra, chain) for name in layout])
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        raise malformed(f"transaction {index}: cannot be encoded as type {kind:#x}: {error!r:.80}") from error


def _item(name: str, columns: Transactions, index: int, extra: Mapping[str, Any], chain: ChainRules) -> bytes:
    if name == "tail":
        return b"".join([_item(part, columns, index, extra, chain) for part in _TAIL])
    if name == "chain":
        return rlp.integer(number(extra["chainId"]) if "chainId" in extra else chain.chain_id)
    if name == "access_list":
        return rlp.encode(
            [[octets(a["address"]), [octets(key) for key in a["storageKeys"]]] for a in extra.get("accessList", ())]
        )
    if name == "blob_hashes":
        return rlp.encode([octets(item) for item in extra["blobVersionedHashes"]])
    if name == "authorizations":
        return rlp.encode([_authorization(item) for item in extra["authorizationList"]])
    if name[0] == "#":
        return rlp.integer(number(extra.get(name[1:], "0x0")))
    if name[0] == "?":
        return b"\x01" if extra.get(name[1:], False) else b"\x80"
    if name[0] == ".":
        return rlp.string(octets(extra.get(name[1:]) or "0x"))
    value: int | bytes | None = getattr(columns, _COLUMNS.get(name, name))[index]
    return rlp.EMPTY_STRING if value is None else rlp.encode(value)


def _authorization(item: Mapping[str, Any]) -> list[rlp.Item]:
    """Return an EIP-7702 authorization as its RLP list."""
    parity = item["yParity"] if "yParity" in item else item["v"]
    return [
        *(number(item["chainId"]), octets(item["address"]), number(item["nonce"])),
        *(number(parity), number(item["r"]), number(item["s"])),
    ]


def number(value: str) -> int:
    """Read a hex quantity; raises ValueError for what only Python takes for one, such as 0X1 or 0x1_0."""
    if value[:2] != "0x" or not (value.isascii() and value.isalnum()):
        raise ValueError(f"{value!r:.40} is no quantity")
    return int(value, 16)


def octets(value: str) -> bytes:
    """Read hex data; raises ValueError for another prefix, and for blanks."""
    data = bytes.fromhex(value[2:])
    if value[:2] != "0x" or len(value) != 2 + 2 * len(data):
        raise ValueError(f"{value!r:.40} is no hex data")
    return data
