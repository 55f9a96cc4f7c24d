"""The hash of a block header: which fields, in which order."""

from __future__ import annotations

from indexer.chain import rlp
from indexer.chain.errors import malformed
from indexer.chain.keccak import keccak256
from indexer.chain.rlp import INTEGER
from indexer.records import Header

# After the 15 fields of the Yellow Paper come the optional ones, in the order in which upgrades appended them. A
# field that is absent while a later one is present is encoded as an empty string. "#" marks integers; names in
# snake case are columns of Header, the others are kept in Header.extra.
_ETHEREUM = (
    "base_fee_per_gas",  # EIP-1559
    "withdrawals_root",  # EIP-4895
    "blob_gas_used",  # EIP-4844
    "excess_blob_gas",
    "parentBeaconBlockRoot",  # EIP-4788
    "requestsHash",  # EIP-7685
    "blockAccessListHash",  # EIP-7928
    "#slotNumber",  # EIP-7843
)
_AVALANCHE_TAIL = (
    "blob_gas_used",  # Cancun
    "excess_blob_gas",
    "parentBeaconBlockRoot",
    "#timestampMilliseconds",  # Granite, ACP-226
    "#minDelayExcess",
    "#targetExponent",  # Helicon
    "#minPriceExponent",
    "#settledHeight",  # ACP-194
    "#settledGasUnix",
    "#settledGasNumerator",
    "#settledExcess",
)
_AVALANCHE = ("extDataHash", "base_fee_per_gas", "#extDataGasUsed", "#blockGasCost", *_AVALANCHE_TAIL)
_SUBNET = ("base_fee_per_gas", "#blockGasCost", *_AVALANCHE_TAIL)  # Avalanche L1s have no atomic transactions

_SEAL = ("#auraStep", "auraSeal")
_OF_PARENT = ("l1BlockNumber", "sendCount", "sendRoot")  # told by Arbitrum, in no hash

# What of a header's own fields is read; kept is what `hashed_extra` leaves.
EXTRA_FIELDS = (
    *("auraStep", "auraSeal", "extDataHash", "extDataGasUsed", "blockGasCost"),
    *(name.lstrip("#") for name in (*_AVALANCHE_TAIL[2:], *_ETHEREUM[5:])),
    *_OF_PARENT,
)


def header_hash(header: Header) -> bytes:
    """Return the hash that the header's fields give."""
    return keccak256(encode_header(header))


def encode_header(header: Header) -> bytes:
    """Return the RLP of the header (Yellow Paper 4.3, and the chain's own fields)."""
    h = header
    fields = [
        *(rlp.string(h.parent_hash), rlp.string(h.sha3_uncles), rlp.string(h.miner), rlp.string(h.state_root)),
        *(rlp.string(h.transactions_root), rlp.string(h.receipts_root), rlp.string(h.logs_bloom)),
        *(INTEGER[h.difficulty], INTEGER[h.number], INTEGER[h.gas_limit], INTEGER[h.gas_used]),
        *(INTEGER[h.timestamp], rlp.string(h.extra_data)),
        *_seal(header),
    ]
    optional = [_optional(header, name) for name in _optional_fields(header.extra)]
    while optional and optional[-1] is None:
        optional.pop()
    return rlp.sequence(*fields, *(rlp.EMPTY_STRING if item is None else item for item in optional))


def hashed_extra(told: dict[str, str]) -> dict[str, str]:
    """Return those of a header's own fields that its hash covers, each in one spelling, and what Arbitrum tells.

    A fixed point: of what it returned the same comes again. What has a column of its own is never told here, and so
    left out. Raises PoisonError for what cannot be hashed.
    """
    if not told:
        return {}
    seal = _SEAL if "auraSeal" in told else ()
    names = (name for name in (*seal, *_optional_fields(told)) if "_" not in name and name.lstrip("#") in told)
    spelt = {name.lstrip("#"): _spelt(told, name) for name in names}
    return spelt | {name: told[name] for name in _OF_PARENT if name in told}


def has_withdrawals(extra: dict[str, str]) -> bool:
    """Tell whether the hash of such a header covers withdrawals_root: Avalanche's does not."""
    return "withdrawals_root" in _optional_fields(extra)


def _spelt(extra: dict[str, str], name: str) -> str:
    return hex(_number(extra, name[1:])) if name[0] == "#" else "0x" + _octets(extra, name).hex()


def _seal(header: Header) -> tuple[bytes, bytes]:
    extra = header.extra
    if "auraSeal" in extra:  # Gnosis before the merge
        return INTEGER[_number(extra, "auraStep")], rlp.string(_octets(extra, "auraSeal"))
    if header.mix_hash is None or header.nonce is None:
        raise malformed("mixHash and nonce are missing: the header cannot be hashed")
    return rlp.string(header.mix_hash), rlp.string(header.nonce)


def _optional_fields(extra: dict[str, str]) -> tuple[str, ...]:
    if "extDataHash" in extra:
        return _AVALANCHE
    return _SUBNET if "blockGasCost" in extra else _ETHEREUM


def _optional(header: Header, name: str) -> bytes | None:
    if name[0] == "#":
        return INTEGER[_number(header.extra, name[1:])] if name[1:] in header.extra else None
    if "_" not in name:
        return rlp.string(_octets(header.extra, name)) if name in header.extra else None
    value: int | bytes | None = getattr(header, name)
    return None if value is None else rlp.encode(value)


def _number(extra: dict[str, str], name: str) -> int:
    try:
        return int(extra[name], 0)
    except (KeyError, ValueError, TypeError):
        raise malformed(f"{name} of the header is not a number") from None


def _octets(extra: dict[str, str], name: str) -> bytes:
    try:
        return bytes.fromhex(extra[name].removeprefix("0x"))
    except (KeyError, ValueError, TypeError, AttributeError):
        raise malformed(f"{name} of the header is not hex") from None
