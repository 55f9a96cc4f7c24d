"""The items of any transaction, by its type: for the few that are not of the two usual shapes, and for signatures.

`transactions.py` has the fast way for legacy and dynamic fee transactions; here clarity wins over speed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
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

# RPC fields of a transaction that no column holds and that the hash of some type covers; anything else is not kept.
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
    return [
        *(number(item["chainId"]), octets(item["address"]), number(item["nonce"])),
        *(number(_parity(item)), number(item["r"]), number(item["s"])),
    ]


def _parity(item: Mapping[str, Any]) -> str:
    return str(item["yParity"] if "yParity" in item else item["v"])


def hashed_fields(kind: int, item: Mapping[str, Any], chain: ChainRules) -> dict[str, Any]:
    """Return what no column holds of an item's RPC fields and the hash of its type covers, each in one spelling.

    Of a type whose layout we do not know all that might be hashed, as it is told. A fixed point: of what it returned
    the same comes again. Raises KeyError, TypeError, ValueError or AttributeError for what cannot be hashed.
    """
    fields = _FIELDS.get(kind, _TOLD)
    kept: dict[str, Any] = {name: spell(item[name]) for name, spell in fields.items() if item.get(name) is not None}
    if "accessList" in kept and not kept["accessList"]:
        del kept["accessList"]
    if "chainId" in kept and int(kept["chainId"], 16) == chain.chain_id:
        del kept["chainId"]
    return kept


def _as_told(value: Any) -> Any:
    return value


def _quantity(value: str) -> str:
    return hex(number(value))


def _data(value: str) -> str:
    return "0x" + octets(value or "0x").hex()


def _access_list(entries: list[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the entries with nothing in them that their transaction's hash does not cover (EIP-2930)."""
    return [
        {"address": each["address"].lower(), "storageKeys": [key.lower() for key in each["storageKeys"]]}
        for each in entries
    ]


def _authorization_list(entries: list[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Return the entries with what EIP-7702 hashes; some nodes say v where others say yParity."""
    return [
        {
            **{"chainId": _quantity(each["chainId"]), "address": _data(each["address"])},
            **{"nonce": _quantity(each["nonce"]), "yParity": _quantity(_parity(each))},
            **{"r": _quantity(each["r"]), "s": _quantity(each["s"])},
        }
        for each in entries
    ]


_SPELT: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "access_list": ("accessList", _access_list),
    "authorizations": ("authorizationList", _authorization_list),
    "blob_hashes": ("blobVersionedHashes", lambda hashes: [_data(each) for each in hashes]),
    "chain": ("chainId", _quantity),
}
_MARKED: dict[str, Callable[[Any], Any]] = {"#": _quantity, "?": bool, ".": _data}


def _fields(layout: tuple[str, ...]) -> dict[str, Callable[[Any], Any]]:
    """Return the RPC fields of a layout that no column holds, with what spells each."""
    marked = {part[1:]: _MARKED[part[0]] for part in layout if part[0] in _MARKED}
    return dict(_SPELT[part] for part in layout if part in _SPELT) | marked


_FIELDS = {kind: _fields(layout) for kind, layout in _LAYOUTS.items()}
_TOLD = dict.fromkeys((*EXTRA_FIELDS, "chainId"), _as_told) | {"accessList": _access_list}


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
