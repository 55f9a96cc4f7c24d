"""Transactions of every type are encoded as eth-account does it, and as the specifications of the chains say."""

from __future__ import annotations

from typing import Any

import pytest
import rlp as reference

from indexer.chain.errors import VerificationError
from indexer.chain.keccak import keccak256
from indexer.chain.parse import parse_block, parse_transactions
from indexer.chain.rules import rules_for
from indexer.chain.transactions import encode_transactions
from indexer.chain.verify import verify, verify_receipts
from indexer.errors import PoisonError
from indexer.records import Proof
from tests.unit.chain.builders import (
    ACCESS_LIST,
    ALICE,
    BOB,
    TOKEN,
    ZEROS,
    Json,
    a_log,
    authorization,
    hexed,
    receipt_of,
    sealed,
    signed,
)

ETHEREUM = rules_for(1)
FEES = {"maxFeePerGas": 100, "maxPriorityFeePerGas": 3}
BLOBS = {"maxFeePerBlobGas": 5, "blobVersionedHashes": ["0x01" + "ab" * 31]}

SIGNED: dict[str, Json] = {
    "legacy": {"gasPrice": 50},
    "legacy, one small byte of input": {"gasPrice": 50, "data": "0x01"},
    "legacy, long input": {"gasPrice": 50, "data": "0x" + "ab" * 5000},
    "access list": {"type": 1, "gasPrice": 50, "accessList": ACCESS_LIST},
    "access list, empty": {"type": 1, "gasPrice": 50, "accessList": []},
    "dynamic fee": {"type": 2, **FEES, "accessList": []},
    "dynamic fee, access list": {"type": 2, **FEES, "accessList": ACCESS_LIST},
    "blobs": {"type": 3, **FEES, **BLOBS, "accessList": []},
    "set code": {"type": 4, **FEES, "accessList": [], "authorizationList": [authorization(ETHEREUM)]},
}


@pytest.mark.parametrize("fields", SIGNED.values(), ids=SIGNED.keys())
def test_signed_transactions_are_encoded_as_eth_account_does_it(fields: Json) -> None:
    transaction, raw = signed(ETHEREUM, **fields)
    block, receipts = sealed(ETHEREUM, [transaction], [receipt_of(transaction, [a_log()])])
    header, transactions, logs = parse_block(block, receipts, ETHEREUM)

    proofs = verify(header, transactions, logs, ETHEREUM, mode="senders")

    assert encode_transactions(transactions, ETHEREUM) == [raw]
    assert Proof.SENDERS | Proof.TRANSACTIONS_ROOT | Proof.EFFECTIVE_GAS_PRICE in proofs


def test_a_transaction_before_eip_155_is_proven_to_its_sender() -> None:
    transaction, _ = signed(ETHEREUM, gasPrice=50, chainId=None)
    block, receipts = sealed(ETHEREUM, [transaction], [receipt_of(transaction)])

    proofs = verify(*parse_block(block, receipts, ETHEREUM), ETHEREUM, mode="senders")

    assert transaction["v"] in ("0x1b", "0x1c")
    assert Proof.SENDERS in proofs


def test_a_transaction_for_another_chain_keeps_that_chains_id() -> None:
    transaction, raw = signed(rules_for(5), type=2, **FEES, accessList=[])
    block, _ = sealed(ETHEREUM, [transaction], [receipt_of(transaction)])

    transactions = parse_transactions(block, ETHEREUM)

    assert transactions.extra == ['{"chainId":"0x5"}']
    assert encode_transactions(transactions, ETHEREUM) == [raw]


def system(kind: int, **fields: Any) -> Json:
    """Return an unsigned transaction, as OP stack chains and Arbitrum have them."""
    common = {"type": kind, "from": ALICE.address.lower(), "to": BOB, "value": 5, "gas": 21000, "input": "0x1234"}
    return {name: hexed(value) for name, value in {**common, "hash": ZEROS, **fields}.items()}


def raw(kind: int, *items: Any) -> bytes:
    def octets(item: Any) -> bytes:
        if isinstance(item, int):
            return item.to_bytes((item.bit_length() + 7) // 8, "big")
        return bytes.fromhex(item.removeprefix("0x"))

    return bytes((kind,)) + reference.encode([octets(item) for item in items])


ARBITRUM, OPTIMISM = rules_for(421614), rules_for(10)
SENDER, ID = ALICE.address.lower(), "0x" + "1d" * 32
SYSTEM = [
    (
        OPTIMISM,
        system(0x7E, sourceHash=ID, mint=9, isSystemTx=True),
        raw(0x7E, ID, SENDER, BOB, 9, 5, 21000, 1, "0x1234"),
    ),
    (
        OPTIMISM,
        system(0x7E, sourceHash=ID, to=None, mint=None, isSystemTx=False),
        raw(0x7E, ID, SENDER, "", 0, 5, 21000, 0, "0x1234"),
    ),
    (ARBITRUM, system(0x64, requestId=ID), raw(0x64, 421614, ID, SENDER, BOB, 5)),
    (
        ARBITRUM,
        system(0x65, nonce=3, gasPrice=7),
        raw(0x65, 421614, SENDER, 3, 7, 21000, BOB, 5, "0x1234"),
    ),
    (
        ARBITRUM,
        system(0x66, requestId=ID, gasPrice=7),
        raw(0x66, 421614, ID, SENDER, 7, 21000, BOB, 5, "0x1234"),
    ),
    (
        ARBITRUM,
        system(0x68, nonce=3, gasPrice=7, ticketId=ID, refundTo=TOKEN, maxRefund=8, submissionFeeRefund=9),
        raw(0x68, 421614, 3, SENDER, 7, 21000, BOB, 5, "0x1234", ID, TOKEN, 8, 9),
    ),
    (
        ARBITRUM,
        system(
            0x69,
            **{"requestId": ID, "l1BaseFee": 1, "depositValue": 2, "gasPrice": 7, "retryTo": BOB, "retryValue": 4},
            **{"beneficiary": TOKEN, "maxSubmissionFee": 6, "refundTo": BOB, "retryData": "0xab"},
        ),
        raw(0x69, 421614, ID, SENDER, 1, 2, 7, 21000, BOB, 4, TOKEN, 6, BOB, "0xab"),
    ),
    (ARBITRUM, system(0x6A), raw(0x6A, 421614, "0x1234")),
]


@pytest.mark.parametrize(("chain", "transaction", "expected"), SYSTEM, ids=[item[1]["type"] for item in SYSTEM])
def test_system_transactions_are_encoded_as_their_chain_specifies(
    chain: Any, transaction: Json, expected: bytes
) -> None:
    transaction = {"gasPrice": "0x0", **transaction, "hash": hexed(keccak256(expected))}
    fields = {"contractAddress": "0x" + keccak256(reference.encode([bytes.fromhex(SENDER[2:]), b""]))[12:].hex()}
    receipt = receipt_of(transaction, **(fields if transaction["to"] is None else {}))
    block, receipts = sealed(chain, [transaction], [receipt])

    proofs = verify(*parse_block(block, receipts, chain), chain, mode="senders")

    assert Proof.TRANSACTION_HASHES | Proof.TRANSACTIONS_ROOT | Proof.RECEIPTS_ROOT in proofs
    assert Proof.SENDERS_SAMPLE not in proofs


def test_a_deposit_since_canyon_has_nonce_and_version_in_its_receipt() -> None:
    created = keccak256(reference.encode([bytes.fromhex(SENDER[2:]), b"\x2a"]))[12:].hex()
    transaction = system(0x7E, sourceHash=ID, to=None, gasPrice=0)
    transaction["hash"] = hexed(keccak256(raw(0x7E, ID, SENDER, "", 0, 5, 21000, 0, "0x1234")))
    extra = {"depositNonce": "0x2a", "depositReceiptVersion": "0x1", "contractAddress": "0x" + created}
    block, receipts = sealed(OPTIMISM, [transaction], [receipt_of(transaction, **extra)])
    genuine = verify(*parse_block(block, receipts, OPTIMISM), OPTIMISM)

    del receipts[0]["depositReceiptVersion"]
    with pytest.raises(VerificationError) as refused:
        verify(*parse_block(block, receipts, OPTIMISM), OPTIMISM)

    assert Proof.RECEIPTS_ROOT | Proof.CONTRACT_ADDRESSES in genuine
    assert refused.value.code == "RECEIPTS_ROOT_MISMATCH"


def test_a_deposit_receipt_with_a_nonce_that_is_no_number_is_malformed() -> None:
    transaction = system(0x7E, sourceHash=ID, gasPrice=0)
    block, receipts = sealed(OPTIMISM, [transaction], [receipt_of(transaction)])
    receipts[0] |= {"depositNonce": "what", "depositReceiptVersion": "0x1"}

    columns = parse_block(block, receipts, OPTIMISM)

    with pytest.raises(PoisonError) as refused:
        verify_receipts(*columns, OPTIMISM)

    assert refused.value.code == "MALFORMED_BLOCK"


def test_arbitrum_before_nitro_was_hashed_differently_and_is_only_checked_for_consistency() -> None:
    one = rules_for(42161)
    transaction = system(0x78, gasPrice=0)
    block, receipts = sealed(one, [transaction], [receipt_of(transaction)])

    assert verify(*parse_block(block, receipts, one), one) == Proof.CONSISTENT


def test_a_type_that_ethereum_does_not_have_is_refused() -> None:
    transaction = system(0x55, gasPrice=0)
    foreign = rules_for(123456789)
    block, receipts = sealed(foreign, [transaction], [receipt_of(transaction)])

    with pytest.raises(VerificationError) as refused:
        verify(*parse_block(block, receipts, ETHEREUM), ETHEREUM)

    assert refused.value.code == "TRANSACTION_TYPE_UNKNOWN"


def test_a_type_that_nobody_knows_on_an_unknown_chain_is_taken_as_it_is() -> None:
    transaction = system(0x55, gasPrice=0)
    chain = rules_for(123456789)
    block, receipts = sealed(chain, [transaction], [receipt_of(transaction)])

    proofs = verify(*parse_block(block, receipts, chain), chain)

    assert Proof.HEADER_HASH | Proof.LOGS_BLOOM | Proof.GAS_USED in proofs
    assert not proofs & (Proof.TRANSACTION_HASHES | Proof.TRANSACTIONS_ROOT | Proof.RECEIPTS_ROOT)


def test_polygons_state_sync_since_madhugiri_is_in_the_receipts_root_but_cannot_be_hashed() -> None:
    polygon = rules_for(137)
    ordinary, _ = signed(polygon, gasPrice=50)
    nobody = "0x" + "00" * 20
    state_sync = system(0x7F, **{"from": nobody, "to": nobody, "gasPrice": 0, "gas": 0, "input": "0x"})
    receipts = [receipt_of(ordinary), receipt_of(state_sync, [a_log()], gasUsed="0x0")]
    block, receipts = sealed(polygon, [ordinary, state_sync], receipts)

    proofs = verify(*parse_block(block, receipts, polygon), polygon)

    assert Proof.RECEIPTS_ROOT | Proof.LOGS_BLOOM | Proof.GAS_USED in proofs
    assert not proofs & (Proof.TRANSACTION_HASHES | Proof.TRANSACTIONS_ROOT)


@pytest.mark.parametrize(
    ("field", "value"),
    [("accessList", [7]), ("accessList", {"a": 1}), ("maxFeePerBlobGas", [1])],
)
def test_rare_fields_of_the_wrong_shape_are_malformed(field: str, value: Any) -> None:
    transaction, _ = signed(ETHEREUM, type=3, **FEES, **BLOBS, accessList=[])
    block, receipts = sealed(ETHEREUM, [transaction], [receipt_of(transaction)])
    transaction[field] = value

    with pytest.raises(PoisonError) as refused:
        verify(*parse_block(block, receipts, ETHEREUM), ETHEREUM)

    assert refused.value.code == "MALFORMED_BLOCK"


@pytest.mark.parametrize("kind", [1, 2])
def test_an_access_list_is_kept_as_its_hash_has_it_however_it_is_spelled(kind: int) -> None:
    transaction, _ = signed(ETHEREUM, type=kind, **(FEES if kind == 2 else {"gasPrice": 50}), accessList=ACCESS_LIST)
    block, receipts = sealed(ETHEREUM, [transaction], [receipt_of(transaction)])
    genuine = parse_block(block, receipts, ETHEREUM)[1].extra
    transaction["accessList"] = [
        {"storageKeys": [key.upper().replace("X", "x") for key in entry["storageKeys"]], "more": 7,
         "address": entry["address"].upper().replace("X", "x")}
        for entry in transaction["accessList"]
    ]  # fmt: skip

    header, transactions, logs = parse_block(block, receipts, ETHEREUM)

    assert verify(header, transactions, logs, ETHEREUM)
    assert transactions.extra == genuine


@pytest.mark.parametrize("spelled", [{}, "", None])
def test_no_access_list_is_none_however_it_is_spelled(spelled: object) -> None:
    transaction, _ = signed(ETHEREUM, type=2, **FEES, accessList=[])
    block, receipts = sealed(ETHEREUM, [transaction], [receipt_of(transaction)])
    transaction["accessList"] = spelled

    assert parse_block(block, receipts, ETHEREUM)[1].extra == [None]
