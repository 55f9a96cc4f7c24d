"""Block headers: the Avalanche C-Chain's through its upgrades, and a plain Ethereum one; hashing and JSON."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from devchain.encoding import EMPTY_ROOT, EMPTY_UNCLES, rlp_bytes, rlp_int, rlp_list
from devchain.params import ChainParams
from devchain.secp256k1 import keccak

START_TIME = 1_700_000_000
BLOCK_TIME = 2  # seconds
GENESIS_PARENT = bytes(32)
# The simulated chain passes through two upgrades so that a test meets every header form of before Helicon.
ETNA_BLOCK, GRANITE_BLOCK = 100, 200  # blobGasUsed … parentBeaconBlockRoot; timestampMilliseconds, minDelayExcess
_ATOMIC_EVERY = 37  # every so many blocks carries an atomic transaction in blockExtraData (profile mixed)

Field = tuple[str, bytes | int]  # RPC name and value; bytes are hashed and shown as they are


@dataclass(frozen=True, slots=True)
class Roots:
    """What a header says about the body."""

    transactions: bytes
    receipts: bytes
    bloom: bytes  # 256 bytes
    gas_used: int


def base_fee(number: int) -> int:
    """Wei per gas, wandering between 25 and 50 gwei."""
    return 25_000_000_000 + (number * 2_654_435_761) % 25_000_000_000


def timestamp(number: int) -> int:
    """Unix seconds of a block."""
    return START_TIME + BLOCK_TIME * number


def extra_block_data(params: ChainParams, number: int) -> bytes:
    """The Avalanche atomic transactions of a block; made up, but hashed as the real ones are."""
    if params.ethereum or params.profile != "mixed" or number == 0 or number % _ATOMIC_EVERY:
        return b""
    return keccak(f"atomic:{params.seed}:{number}".encode()) * 3


def fields_after_parent(params: ChainParams, number: int, roots: Roots) -> list[Field]:
    """The header's fields but the parent's hash, in the order they are hashed in."""
    salt = f"{params.seed}:{params.chain_id}:{number}{params.salt(number)}"
    ethereum = params.ethereum
    fields: list[Field] = [
        ("sha3Uncles", EMPTY_UNCLES),
        ("miner", bytes.fromhex("0100" + "00" * 18)),
        ("stateRoot", keccak(f"state:{salt}".encode())),
        ("transactionsRoot", roots.transactions),
        ("receiptsRoot", roots.receipts),
        ("logsBloom", roots.bloom),
        ("difficulty", 0 if ethereum else 1),
        ("number", number),
        ("gasLimit", max(30_000_000 if ethereum else 15_000_000, roots.gas_used)),
        ("gasUsed", roots.gas_used),
        ("timestamp", timestamp(number)),
        ("extraData", b"devchain" if ethereum else _extra_data(params, number, salt)),
        ("mixHash", keccak(f"randao:{salt}".encode()) if ethereum else bytes(32)),
        ("nonce", bytes(8)),
    ]
    fields.extend(_ethereum_tail(number) if ethereum else _avalanche_tail(params, number))
    return fields


def _extra_data(params: ChainParams, number: int, salt: str) -> bytes:
    """80 bytes of fee window, or the 24 of the fee state that took its place (ACP-176)."""
    digest = keccak(salt.encode())
    return digest + bytes(48) if params.profile == "mixed" and number < GRANITE_BLOCK else digest[:24]


def _ethereum_tail(number: int) -> Iterator[Field]:
    """London to Prague; without withdrawals and requests."""
    yield "baseFeePerGas", base_fee(number)
    yield "withdrawalsRoot", EMPTY_ROOT
    yield "blobGasUsed", 0
    yield "excessBlobGas", 0
    yield "parentBeaconBlockRoot", keccak(f"beacon:{number}".encode())
    yield "requestsHash", hashlib.sha256(b"").digest()


def _avalanche_tail(params: ChainParams, number: int) -> Iterator[Field]:
    """Apricot Phase 4 to Granite (coreth's `customtypes.HeaderSerializable`)."""
    extra = extra_block_data(params, number)
    yield "extDataHash", keccak(rlp_bytes(extra))
    yield "baseFeePerGas", base_fee(number)
    yield "extDataGasUsed", 11_230 if extra else 0
    yield "blockGasCost", number % 7 * 40_000
    if params.profile == "mixed" and number < ETNA_BLOCK:
        return
    yield "blobGasUsed", 0
    yield "excessBlobGas", 0
    yield "parentBeaconBlockRoot", bytes(32)
    if params.profile == "mixed" and number < GRANITE_BLOCK:
        return
    yield "timestampMilliseconds", timestamp(number) * 1000 + number % 1000
    yield "minDelayExcess", 7_970_124


def rlp_fields(fields: list[Field]) -> bytes:
    """The fields encoded and joined, ready for `block_hash`."""
    return b"".join(rlp_bytes(value) if isinstance(value, bytes) else rlp_int(value) for _, value in fields)


def block_hash(parent_hash: bytes, rest: bytes) -> bytes:
    """keccak of the header's RLP: the parent's hash, then `rest` as `rlp_fields` gives it."""
    return keccak(rlp_list(b"\xa0" + parent_hash + rest))


def json_fields(fields: list[Field]) -> str:
    """The fields as members of a JSON object."""
    return ",".join(
        f'"{name}":"0x{value.hex()}"' if isinstance(value, bytes) else f'"{name}":"{value:#x}"'
        for name, value in fields
    )
