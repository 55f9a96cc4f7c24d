"""A node's answers, mutated: each becomes the columns of the genuine block, or an error of ours.

Compared is what a hash or root covers, as the flags of the result say; the flags may not be fewer than the genuine
block's, but for prices that the node did not tell and the sender that is drawn by chance.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import orjson
import pytest

from devchain.build import open_chain
from devchain.endpoint import read
from devchain.params import ChainParams
from indexer import codec
from indexer.abi.models import ModelSet
from indexer.chain.header import header_hash
from indexer.chain.rare_transactions import _LAYOUTS, _TAIL
from indexer.chain.rules import rules_for
from indexer.inflight import Record
from indexer.records import BlockWorkItem, DecodedBlock, Proof
from indexer.rpc.answers import Failure, read_body
from indexer.rpc.fetch import Fetched, Wanted, _checked
from indexer.rpc.raw import RawAnswer, raw_answers
from indexer.topics import load_topics
from services.decoder.handler import Decoder, Refusal
from tests.fuzz.mutations import changed_bytes, changed_json
from tests.support.recorded import recorded_chain
from tests.support.shared_data import shared_data

CHAIN = 43114
_OPTIONAL = Proof.EFFECTIVE_GAS_PRICE | Proof.SENDERS_SAMPLE
_LARGEST = 12_000  # bytes of a block's answers: many items find more than large ones


class StoredWrongError(Exception):
    """A mutated answer was taken for genuine, with other columns than the genuine block's."""


@dataclass(frozen=True, slots=True)
class Original:
    """A genuine block: its answers, and what the decoder makes of them."""

    chain_id: int
    number: int
    block: bytes
    receipts: bytes
    record: bytes
    decoded: DecodedBlock


@dataclass(slots=True)
class RpcFuzz:
    """Genuine blocks and the decoders that read them, by compiled code and by Python."""

    originals: list[Original]
    native: ModuleType | None
    decoders: dict[tuple[int, bool], Decoder]

    @classmethod
    def of_chains(cls, folder: Path, native: ModuleType | None, largest: int = _LARGEST) -> RpcFuzz:
        """Blocks of the simulated chain, and recorded ones of real chains where there are any.

        `largest`: of answers, in bytes.
        """
        fuzz = cls([], native, {})
        for chain_id, number, block, receipts in (*_simulated(folder), *_recorded()):
            if len(block) + len(receipts) < largest:
                fuzz._add(chain_id, number, block, receipts)
        return fuzz

    def judge(self, rng: random.Random) -> str:
        """Mutate one block's answers and say what became of them; raises StoredWrongError."""
        original = rng.choice(self.originals)
        compiled = self.native is not None and rng.random() < 0.8
        expected = original.decoded.header.hash if rng.random() < 0.5 else None
        of_block, of_receipts = rng.choice(((True, False), (False, True), (False, True), (True, True)))
        block = self._answer(original.block, rng if of_block else None, compiled)
        if isinstance(block, Failure):
            return "refused as an answer"
        checked = _checked(block, Wanted(original.number, expected))
        if isinstance(checked, Failure):
            return "refused as an answer"
        receipts = self._answer(original.receipts, rng if of_receipts else None, compiled)
        if not isinstance(receipts, list | RawAnswer):
            return "refused as an answer"
        item = BlockWorkItem(original.chain_id, original.number, 0, expected)
        fetched = Fetched(original.number, checked, receipts, "node", 0)
        output = _decode(self._decoder(original.chain_id, compiled), item, fetched)
        if isinstance(output, Refusal):
            return f"refused: {output.error.code}"
        found = codec.decode_record(output)
        assert isinstance(found, DecodedBlock)
        differ = differences(original.decoded, found)
        if differ:
            raise StoredWrongError(f"block {original.number} of chain {original.chain_id}: {', '.join(differ)}")
        return "the same columns"

    def _answer(self, answer: bytes, rng: random.Random | None, compiled: bool) -> Any:
        body = b'{"jsonrpc":"2.0","id":7,"result":' + answer + b"}"
        if rng is not None:
            body = changed_bytes(body, rng) if rng.random() < 0.3 else _rewritten(body, rng)
        if compiled:
            assert self.native is not None
            raw = raw_answers(body, 7, 1, self.native.split)
            if raw is not None:
                return raw[0]
        answers = read_body(body, 7, 1)
        return answers if isinstance(answers, Failure) else answers[0]

    def _decoder(self, chain_id: int, compiled: bool) -> Decoder:
        key = (chain_id, compiled)
        if key not in self.decoders:
            native = self.native if compiled else None
            rules, topics = rules_for(chain_id), load_topics()
            self.decoders[key] = Decoder(rules, ModelSet(), frozenset(), "full", topics, 12, native=native)
        return self.decoders[key]

    def _add(self, chain_id: int, number: int, block: bytes, receipts: bytes) -> None:
        fetched = Fetched(number, orjson.loads(block), orjson.loads(receipts), "node", 0)
        output = _decode(self._decoder(chain_id, compiled=False), BlockWorkItem(chain_id, number), fetched)
        if isinstance(output, Refusal):
            return  # numbers beyond 64 bits in its JSON, for instance: nothing to compare with
        found = codec.decode_record(output)
        assert isinstance(found, DecodedBlock)
        if Proof.RECEIPTS_ROOT | Proof.TRANSACTIONS_ROOT | Proof.HEADER_HASH in found.proofs:
            self.originals.append(Original(chain_id, number, block, receipts, output, found))


def differences(genuine: DecodedBlock, found: DecodedBlock) -> list[str]:
    """Return the names of columns that are proven and not the genuine block's."""
    wrong = []
    if found.proofs | _OPTIONAL != genuine.proofs | _OPTIONAL:
        wrong.append(f"proofs {found.proofs!r} for {genuine.proofs!r}")
    # Fields of Header.extra are kept as the node spelled them: 0x01 is 0x1, and a zero may be left out.
    words: dict[str, Any] = {"size": 0, "total_difficulty": None, "uncles": [], "extra": {}}
    same_hash = header_hash(found.header) == header_hash(genuine.header)
    if not same_hash or replace(found.header, **words) != replace(genuine.header, **words):
        wrong.append("header")
    for struct in ("logs", "token_transfers", "decoded_events"):
        if getattr(found, struct) != getattr(genuine, struct):
            wrong.append(struct)
    for name in genuine.transactions.__slots__:
        ours, theirs = getattr(genuine.transactions, name), getattr(found.transactions, name)
        if name in _WORD or (name == "receipt_effective_gas_price" and Proof.EFFECTIVE_GAS_PRICE not in found.proofs):
            theirs, ours = [None] * len(theirs), [None] * len(ours)
        if name in _BODY:
            ours, theirs = _covered(name, ours, genuine), _covered(name, theirs, genuine)
        if name == "gas_price":  # of a dynamic fee it is the node's word
            ours, theirs = (
                [price if kind < 2 else 0 for price, kind in zip(prices, genuine.transactions.type, strict=False)]
                for prices in (ours, theirs)
            )
        if name == "extra":  # fields are kept as the node spelled them
            ours, theirs = ([value and value.lower() for value in column] for column in (ours, theirs))
        if ours != theirs:
            wrong.append(name)
    return wrong


_WORD = ("from_address", "receipt_extra")  # no root covers them
_BODY = ("nonce", "to_address", "value", "gas", "input", "v", "r", "s")


def _covered(name: str, column: list[Any], genuine: DecodedBlock) -> list[Any]:
    """Leave out what the hashes of a chain's own transactions do not cover, such as signatures that they lack."""
    kinds = genuine.transactions.type
    item = {"to_address": "to"}.get(name, name)
    layouts = (() if kind < 5 else _LAYOUTS.get(kind, ()) for kind in kinds)
    kept = (not layout or item in layout or ("tail" in layout and item in _TAIL) for layout in layouts)
    return [value if keep else None for value, keep in zip(column, kept, strict=False)]


def _decode(decoder: Decoder, item: BlockWorkItem, fetched: Fetched) -> Any:
    record = Record("blocks.work.normal", 0, 0, codec.block_key(item.chain_id, item.number),
                    codec.encode_work_item(item))  # fmt: skip
    output = decoder.decode(decoder.read(record), fetched, lambda stage: None)
    return output if isinstance(output, Refusal) else output.value


def _rewritten(body: bytes, rng: random.Random) -> bytes:
    answer = orjson.loads(body)
    if rng.random() < 0.9:
        answer["result"] = changed_json(answer["result"], rng)
    else:
        answer = changed_json(answer, rng)
    return orjson.dumps(answer)


Answers = Iterable[tuple[int, int, bytes, bytes]]


def _simulated(folder: Path) -> Answers:
    chain = open_chain(ChainParams(profile="mixed", blocks=40), folder, jobs=1)
    for number in range(41):
        block, receipts = chain.block(number), chain.receipts(number)
        assert block is not None
        assert receipts is not None
        yield CHAIN, number, read(block), read(receipts)


def _recorded() -> Answers:
    try:
        shared_data()
    except pytest.skip.Exception:
        return
    for chain_id in (1, 43114, 137, 10, 42161, 100, 56):
        for number, row in sorted(recorded_chain(chain_id).blocks.items())[:6]:
            yield chain_id, number, orjson.dumps(row["block"]), orjson.dumps(row["receipts"])
