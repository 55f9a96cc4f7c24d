"""A simulated chain is what a chain is: linked, signed, and with the hashes that its content has."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import pytest
from eth_keys.datatypes import Signature

import devchain.build
from devchain.build import open_chain
from devchain.chainfile import ChainFile
from devchain.endpoint import read
from devchain.params import GENERATOR_VERSION, ChainParams
from devchain.secp256k1 import Signer, accounts, keccak
from indexer.chain.parse import parse_block
from indexer.chain.rules import rules_for
from indexer.chain.verify import verify
from indexer.records import Header, Proof
from tests.support.ledger_oracle import balances

EVERYTHING = (
    Proof.CONSISTENT | Proof.HEADER_HASH | Proof.TRANSACTION_HASHES | Proof.TRANSACTIONS_ROOT | Proof.RECEIPTS_ROOT
    | Proof.LOGS_BLOOM | Proof.GAS_USED | Proof.CONTRACT_ADDRESSES | Proof.EFFECTIVE_GAS_PRICE | Proof.SENDERS
)  # fmt: skip
CHAINS = {
    "mixed Avalanche": ChainParams(profile="mixed", blocks=300),
    "mixed Ethereum": ChainParams(profile="mixed", blocks=60, chain_id=1, ethereum=True),
    "bench": ChainParams(profile="bench", blocks=20),
    "small": ChainParams(profile="small", blocks=20),
    "empty": ChainParams(profile="empty", blocks=5),
}


def block(chain: ChainFile, number: int) -> dict[str, Any]:
    """A block with its transactions."""
    found = chain.block(number)
    assert found is not None
    parsed: dict[str, Any] = orjson.loads(read(found))
    return parsed


def receipts(chain: ChainFile, number: int) -> list[dict[str, Any]]:
    """A block's receipts."""
    found = chain.receipts(number)
    assert found is not None
    parsed: list[dict[str, Any]] = orjson.loads(read(found))
    return parsed


def proven(chain: ChainFile, number: int) -> tuple[Header, Proof]:
    """A block's header, and what the verifier proves of the block."""
    rules = rules_for(chain.chain_id)
    columns = parse_block(block(chain, number), receipts(chain, number), rules)
    return columns[0], verify(*columns, rules, "senders")


@pytest.mark.parametrize("name", CHAINS)
def test_every_block_is_proven_and_hangs_on_the_one_before(name: str, cache: Path) -> None:
    chain = open_chain(CHAINS[name], cache, jobs=1)
    parent = bytes(32)

    for number in range(chain.head + 1):
        header, proof = proven(chain, number)

        assert header.number == number
        assert header.parent_hash == parent
        assert proof & EVERYTHING == EVERYTHING
        parent = header.hash
    chain.close()


def test_the_mixed_chain_has_everything(mixed: ChainFile) -> None:
    types, statuses, selectors = Counter[str](), Counter[str](), set[str]()
    created = failed_creations = protected = unprotected = 0
    sizes, topics = set[int](), Counter[int]()
    for number in range(mixed.head + 1):
        full = block(mixed, number)
        sizes.add(len(full["transactions"]))
        for transaction, receipt in zip(full["transactions"], receipts(mixed, number), strict=True):
            types[transaction["type"]] += 1
            statuses[receipt["status"]] += 1
            selectors.add(transaction["input"][:10])
            created += receipt["contractAddress"] is not None
            failed_creations += receipt["contractAddress"] is not None and receipt["status"] == "0x0"
            protected += transaction["type"] == "0x0" and "chainId" in transaction
            unprotected += transaction["type"] == "0x0" and "chainId" not in transaction
            topics.update(len(log["topics"]) for log in receipt["logs"])

    assert types.keys() == {"0x0", "0x1", "0x2"}
    assert statuses.keys() == {"0x0", "0x1"}
    assert created > failed_creations > 0
    assert protected > unprotected > 0
    assert topics.keys() == {0, 1, 2, 3, 4}
    assert 0 in sizes
    assert max(sizes) == 500
    assert len(selectors) > 15


def test_the_mixed_chain_passes_through_the_header_forms_of_avalanche(mixed: ChainFile) -> None:
    before, etna, granite = block(mixed, 99), block(mixed, 100), block(mixed, 200)

    assert "blockGasCost" in before
    assert "blobGasUsed" not in before
    assert "parentBeaconBlockRoot" in etna
    assert "timestampMilliseconds" not in etna
    assert "minDelayExcess" in granite
    assert block(mixed, 37)["blockExtraData"] != "0x"


def test_every_bench_block_has_forty_transactions_and_sixty_five_logs(cache: Path) -> None:
    chain = open_chain(CHAINS["bench"], cache, jobs=1)

    for number in range(1, chain.head + 1):
        logs = sum(len(receipt["logs"]) for receipt in receipts(chain, number))
        size = sum(piece.size for piece in (chain.block(number), chain.receipts(number)) if piece)
        assert (len(block(chain, number)["transactions"]), logs) == (40, 65)
        assert 105_000 < size < 130_000
    chain.close()


def test_a_huge_block_is_as_large_as_asked(cache: Path) -> None:
    chain = open_chain(ChainParams(profile="empty", blocks=4, huge_at=3, huge_bytes=2_000_000), cache, jobs=1)

    size = sum(piece.size for piece in (chain.block(3), chain.receipts(3)) if piece)

    assert 2_000_000 <= size < 3_000_000
    assert proven(chain, 3)[1] & EVERYTHING == EVERYTHING
    chain.close()


def test_nonces_of_a_sender_count_up(mixed: ChainFile) -> None:
    nonces = Counter[str]()

    for number in range(mixed.head + 1):
        for transaction in block(mixed, number)["transactions"]:
            assert int(transaction["nonce"], 16) == nonces[transaction["from"]]
            nonces[transaction["from"]] += 1


@pytest.mark.parametrize("height", [0, 120, 300])
def test_balances_at_a_height_are_what_the_logs_add_up_to(mixed: ChainFile, height: int) -> None:
    logs = [log for number in range(height + 1) for receipt in receipts(mixed, number) for log in receipt["logs"]]

    expected = balances(logs)

    assert (len(expected) > 500) == (height > 0)
    assert max(expected.values(), default=2**200) >= 2**200
    for (token, holder, token_id), amount in expected.items():
        found = mixed.balance(bytes.fromhex(token[2:]), bytes.fromhex(holder[2:]), token_id, height)
        assert found == amount, (token, holder, token_id)


def test_only_tokens_have_balances(mixed: ChainFile) -> None:
    token = bytes.fromhex("b31f66aa3c1e785363f0875a1b74e27b85fd66c7")

    assert mixed.balance(token, b"\x07" * 20, None, 300) == 0
    assert mixed.balance(token, b"\x07" * 20, 5, 300) is None
    assert mixed.balance(b"\x07" * 20, token, None, 300) is None


def test_transactions_and_blocks_are_found_by_hash(mixed: ChainFile) -> None:
    number = next(n for n in range(1, 50) if len(block(mixed, n)["transactions"]) > 1)
    full = block(mixed, number)

    assert mixed.number_of(bytes.fromhex(full["hash"][2:])) == number
    assert mixed.transaction(bytes.fromhex(full["transactions"][1]["hash"][2:])) == (number, 1)
    assert mixed.number_of(bytes(32)) is None
    assert mixed.transaction(bytes(32)) is None


def contents(chain: ChainFile) -> list[bytes]:
    """All blocks and receipts."""
    pieces = [piece for n in range(chain.head + 1) for piece in (chain.block(n), chain.receipts(n))]
    return [read(piece) for piece in pieces if piece is not None]


def test_the_seed_alone_determines_every_byte(mixed: ChainFile, tmp_path: Path) -> None:
    again = open_chain(ChainParams(profile="mixed", blocks=300), tmp_path, jobs=1)
    other = open_chain(ChainParams(profile="mixed", blocks=300, seed=2), tmp_path, jobs=1)

    assert contents(again) == contents(mixed)
    assert set(contents(other)).isdisjoint(set(contents(mixed)) - {b"[]"})
    again.close()
    other.close()


def test_processes_build_the_same_chain_as_one(
    mixed: ChainFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devchain.build, "_TRANSACTIONS_WORTH_A_POOL", 0)

    shared = open_chain(ChainParams(profile="mixed", blocks=50), tmp_path, jobs=2)

    assert contents(shared) == contents(mixed)[: 2 * 51]
    shared.close()


def test_a_change_of_the_generator_raises_its_version(mixed: ChainFile) -> None:
    """When this fails, raise GENERATOR_VERSION and note the new hash: caches keep the old chain otherwise."""
    assert (GENERATOR_VERSION, mixed.block_hash(300).hex()) == (
        3,
        "6f67b152c59425de286efc297f0675b9a8988ef94b79572e422b978f616a8f10",
    )


def test_a_longer_chain_in_the_cache_serves_for_a_shorter_one(mixed: ChainFile, cache: Path) -> None:
    before = set(cache.iterdir())

    shorter = open_chain(ChainParams(profile="mixed", blocks=30), cache)

    assert set(cache.iterdir()) == before
    assert shorter.head == 30
    assert shorter.block(31) is None
    assert shorter.number_of(mixed.block_hash(31)) is None
    assert shorter.transaction(bytes.fromhex(block(mixed, 250)["transactions"][0]["hash"][2:])) is None
    shorter.close()


def test_what_a_killed_builder_left_is_removed(tmp_path: Path) -> None:
    abandoned = tmp_path / ".building-999999999-x"
    (abandoned / "chain").mkdir(parents=True)

    open_chain(ChainParams(profile="empty", blocks=1), tmp_path).close()

    assert not abandoned.exists()


def test_signatures_lead_back_to_their_accounts() -> None:
    signer = Signer("seed")

    for account in accounts("seed", 5):
        for n in range(20):
            digest = keccak(bytes([n]))
            parity, r, s = signer.sign(digest, account.key)
            recovered = Signature(vrs=(parity, r, s)).recover_public_key_from_msg_hash(digest)
            assert recovered.to_canonical_address() == account.address
