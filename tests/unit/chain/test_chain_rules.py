"""Each family of chains has its own header, its own rows outside of the roots, and its own gaps."""

from __future__ import annotations

from dataclasses import replace

import pytest
import rlp as reference
from hypothesis import given
from hypothesis import strategies as st

from indexer.chain.errors import VerificationError
from indexer.chain.header import EXTRA_FIELDS, encode_header, hashed_extra, header_hash
from indexer.chain.keccak import keccak256
from indexer.chain.parse import parse_block
from indexer.chain.rules import ChainRules, Family, rules_for
from indexer.chain.senders import recover_sender
from indexer.chain.trie import EMPTY_ROOT
from indexer.chain.verify import verify
from indexer.errors import PoisonError
from indexer.records import Header, Proof
from tests.unit.chain.builders import BOB, ZEROS, Json, a_log, hexed, receipt_of, sealed, signed

WORD = b"\x07" * 32

# The fields that every header has, before the seal; what follows is what the tests are about.
HEADER = Header(
    **{"number": 5, "hash": bytes(32), "parent_hash": WORD, "sha3_uncles": WORD, "miner": b"\x01" * 20},
    **{"state_root": WORD, "transactions_root": WORD, "receipts_root": WORD, "logs_bloom": bytes(256)},
    **{"difficulty": 1, "gas_limit": 2, "gas_used": 3, "timestamp": 4, "extra_data": b"", "size": 0},
)
FRONT = [WORD, WORD, b"\x01" * 20, WORD, WORD, WORD, bytes(256), b"\x01", b"\x05", b"\x02", b"\x03", b"\x04", b""]
SEAL = {"mix_hash": WORD, "nonce": bytes(8)}


def test_optional_fields_come_in_the_order_of_the_forks() -> None:
    extra = {"parentBeaconBlockRoot": hexed(WORD), "requestsHash": hexed(WORD)}
    header = replace(
        *(HEADER,), **SEAL, base_fee_per_gas=7, withdrawals_root=WORD, blob_gas_used=0, excess_blob_gas=1, extra=extra
    )

    expected = [*FRONT, WORD, bytes(8), b"\x07", WORD, b"", b"\x01", WORD, WORD]

    assert encode_header(header) == reference.encode(expected)


def test_an_absent_field_before_a_present_one_is_empty() -> None:
    extra = {"extDataHash": hexed(WORD), "extDataGasUsed": "0x0", "blockGasCost": "0x64"}
    header = replace(HEADER, **SEAL, extra=extra)

    assert encode_header(header) == reference.encode([*FRONT, WORD, bytes(8), WORD, b"", b"", b"\x64"])


def test_an_avalanche_l1_has_a_block_gas_cost_but_no_atomic_transactions() -> None:
    header = replace(HEADER, **SEAL, base_fee_per_gas=7, extra={"blockGasCost": "0x64"})

    assert encode_header(header) == reference.encode([*FRONT, WORD, bytes(8), b"\x07", b"\x64"])


@pytest.mark.parametrize("names", [("auraStep", "auraSeal"), ("step", "signature")])
@pytest.mark.parametrize("step", ["0x12c72341", "315040577", 315040577])
def test_gnosis_before_the_merge_is_sealed_by_step_and_signature(names: tuple[str, str], step: str | int) -> None:
    chain = rules_for(100)
    block, receipts = sealed(chain, [], [], baseFeePerGas=None)
    block = {**block, "mixHash": None, "nonce": None, names[0]: step, names[1]: "0x" + "ab" * 65}

    header, _, _ = parse_block(block, receipts, chain)

    items = reference.decode(encode_header(header))
    assert items[13:] == [bytes.fromhex("12c72341"), b"\xab" * 65]


def test_a_header_without_a_seal_cannot_be_hashed() -> None:
    with pytest.raises(PoisonError, match="mixHash and nonce are missing"):
        header_hash(HEADER)


@pytest.mark.parametrize("extra", [{"extDataHash": "0xzz"}, {"extDataHash": "0x", "blockGasCost": "many"}])
def test_extra_fields_that_are_no_hex_are_malformed(extra: dict[str, str]) -> None:
    with pytest.raises(PoisonError) as refused:
        header_hash(replace(HEADER, **SEAL, extra=extra))

    assert refused.value.code == "MALFORMED_BLOCK"


@given(st.dictionaries(st.sampled_from(EXTRA_FIELDS), st.sampled_from(["0x0000", "0x05", "0xAB"])))
def test_what_is_kept_of_a_headers_own_fields_is_kept_again_and_never_a_column(told: dict[str, str]) -> None:
    columns = {"base_fee_per_gas": "0x05", "excess_blob_gas": "0x05"}

    kept = hashed_extra(told | columns)

    assert hashed_extra(kept) == kept
    assert not columns.keys() & kept.keys()


def test_system_transactions_of_hyperevm_are_in_neither_root() -> None:
    chain = rules_for(999)
    ordinary, _ = signed(chain, gasPrice=50)
    block, receipts = sealed(chain, [ordinary], [receipt_of(ordinary, [a_log()])])
    system = {**ordinary, "from": "0x" + "22" * 20, "gasPrice": "0x0", "hash": "0x" + "5e" * 32}
    receipt = {**receipts[0], "transactionHash": system["hash"], "gasUsed": "0x0", "cumulativeGasUsed": "0x0"}
    for index, (transaction, its_receipt) in enumerate([(system, receipt), (ordinary, receipts[0])]):
        transaction["transactionIndex"] = its_receipt["transactionIndex"] = hex(index)
    receipt |= {"logs": [], "effectiveGasPrice": "0x0"}
    receipts[0]["logs"][0]["transactionIndex"] = "0x1"

    block = {**block, "transactions": [system, ordinary]}
    proofs = verify(*parse_block(block, [receipt, *receipts], chain), chain)

    assert Proof.TRANSACTIONS_ROOT | Proof.RECEIPTS_ROOT | Proof.LOGS_BLOOM | Proof.GAS_USED in proofs
    assert Proof.TRANSACTION_HASHES not in proofs


def test_a_chain_of_another_consensus_is_only_checked_for_consistency() -> None:
    cronos = rules_for(25)
    block, receipts = sealed(cronos, [], [])

    assert verify(*parse_block({**block, "hash": ZEROS}, receipts, cronos), cronos, "senders") == Proof.CONSISTENT


def test_a_chain_that_nobody_knows_follows_ethereum_but_for_its_fees() -> None:
    chain = rules_for(987654321)
    transaction, _ = signed(chain, gasPrice=50)
    receipt = receipt_of(transaction, [a_log()], effectiveGasPrice="0x1")
    block, receipts = sealed(chain, [transaction], [receipt])

    proofs = verify(*parse_block(block, receipts, chain), chain)

    assert chain == ChainRules(987654321, Family.UNKNOWN)
    assert Proof.RECEIPTS_ROOT | Proof.TRANSACTIONS_ROOT in proofs
    assert Proof.EFFECTIVE_GAS_PRICE not in proofs


def test_gas_is_not_compared_with_a_header_that_counts_it_before_refunds() -> None:
    chain = rules_for(1)
    transaction, _ = signed(chain, gasPrice=50)
    fields = {"gasUsed": 123456, "blockAccessListHash": WORD, "withdrawalsRoot": EMPTY_ROOT, "withdrawals": []}
    block, receipts = sealed(chain, [transaction], [receipt_of(transaction)], **fields)

    proofs = verify(*parse_block(block, receipts, chain), chain)

    assert Proof.RECEIPTS_ROOT in proofs
    assert Proof.GAS_USED not in proofs


def test_a_price_that_the_node_does_not_tell_is_not_proven() -> None:
    chain = rules_for(1)
    transaction, _ = signed(chain, gasPrice=50)
    block, receipts = sealed(chain, [transaction], [receipt_of(transaction, effectiveGasPrice=None)])

    assert Proof.EFFECTIVE_GAS_PRICE not in verify(*parse_block(block, receipts, chain), chain)


@pytest.mark.parametrize(
    ("withdrawals", "code"),
    [
        ([{"index": "0x0", "validatorIndex": "0x1", "address": BOB, "amount": "0x2"}], None),
        ([{"index": "0x0", "validatorIndex": "0x1", "address": BOB, "amount": "0x3"}], "WITHDRAWALS_ROOT_MISMATCH"),
        ([], "WITHDRAWALS_ROOT_MISMATCH"),
        (None, None),
        ([{"index": "0x0"}], "MALFORMED_BLOCK"),
        ([["0x0"]], "MALFORMED_BLOCK"),
        ("0x", "MALFORMED_BLOCK"),
    ],
)
def test_withdrawals_are_checked_although_they_are_not_stored(withdrawals: object, code: str | None) -> None:
    item = reference.encode([b"", b"\x01", bytes.fromhex(BOB[2:]), b"\x02"])
    leaf = reference.encode([b"\x20\x80", item])
    chain = rules_for(1)
    block, receipts = sealed(chain, [], [], withdrawalsRoot=keccak256(leaf))

    found = code_of({**block, "withdrawals": withdrawals}, receipts, chain)

    assert found == code


def code_of(block: Json, receipts: list[Json], chain: ChainRules) -> str | None:
    try:
        verify(*parse_block(block, receipts, chain), chain)
    except PoisonError as error:
        return error.code
    return None


def test_an_op_stack_withdrawals_root_is_not_that_of_a_list() -> None:
    chain = rules_for(10)
    block, receipts = sealed(chain, [], [], withdrawalsRoot=WORD)

    assert code_of({**block, "withdrawals": []}, receipts, chain) is None


@pytest.mark.parametrize(("field", "value"), [("r", 0), ("s", 1 << 256), ("v", 27 + 9), ("r", (1 << 256) - 1)])
def test_a_signature_that_is_none_has_no_sender(field: str, value: int) -> None:
    chain = rules_for(1)
    transaction, _ = signed(chain, type=1, gasPrice=50, accessList=[])
    block, receipts = sealed(chain, [transaction], [receipt_of(transaction)])
    _, transactions, _ = parse_block(block, receipts, chain)
    getattr(transactions, field)[0] = value

    assert recover_sender(transactions, 0, chain) is None


def test_a_wrong_bloom_or_root_is_refused_where_the_header_is_made_to_fit() -> None:
    chain = rules_for(1)
    transaction, _ = signed(chain, gasPrice=50)
    block, receipts = sealed(chain, [transaction], [receipt_of(transaction, [a_log()])])
    header, transactions, logs = parse_block(block, receipts, chain)

    for field, value, code in (
        ("logs_bloom", bytes(256), "LOGS_BLOOM_MISMATCH"),
        ("transactions_root", WORD, "TRANSACTIONS_ROOT_MISMATCH"),
        ("gas_used", 1, "GAS_USED_MISMATCH"),
    ):
        spoiled = replace(header, **{field: value})
        spoiled.hash = header_hash(spoiled)
        with pytest.raises(VerificationError) as refused:
            verify(spoiled, transactions, logs, chain)
        assert refused.value.code == code
