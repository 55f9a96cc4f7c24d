"""Transactions and receipts of one block: signed, hashed, and written down as a node answers them.

Everything here is independent of the blocks before, so that processes share the work. The block's own hash, which
is not known yet, is left open (`OPEN_HASH`) and filled in by `seal`.
"""

from __future__ import annotations

from dataclasses import dataclass

from devchain.encoding import bloom_of, ordered_root, rlp_bytes, rlp_int, rlp_list
from devchain.header import (
    Roots,
    base_fee,
    block_hash,
    extra_block_data,
    fields_after_parent,
    json_fields,
    rlp_fields,
)
from devchain.params import ChainParams
from devchain.plan import BlockPlan, Planned
from devchain.render import Effect, Log, Renderer
from devchain.secp256k1 import Signer, keccak
from devchain.universe import Universe

OPEN_HASH = b"@" * 64  # stands for a hash in JSON; no other value contains the sign
_OPEN = OPEN_HASH.decode()
ACCESS_LIST_KEY = bytes(31) + b"\x07"


@dataclass(frozen=True, slots=True)
class OpenBlock:
    """A block that lacks only its place in the chain."""

    number: int
    header_rest: bytes  # RLP of the fields after the parent's hash
    block_json: bytes  # from the field after parentHash on
    receipts_json: bytes
    transaction_hashes: bytes  # joined


def seal(block: OpenBlock, parent_hash: bytes) -> tuple[bytes, bytes, bytes]:
    """Hang the block onto its parent; returns its hash, the block's JSON and the receipts' JSON."""
    own = block_hash(parent_hash, block.header_rest)
    text = own.hex().encode()
    head = b'{"hash":"0x%b","parentHash":"0x%b",' % (text, parent_hash.hex().encode())
    return own, head + block.block_json.replace(OPEN_HASH, text), block.receipts_json.replace(OPEN_HASH, text)


@dataclass(slots=True)
class _Transaction:
    """A transaction on its way into a block."""

    effect: Effect
    sender: bytes
    nonce: int
    type: int
    raw: bytes
    hash: bytes
    effective_gas_price: int
    json: str  # its own fields, without those that place it in a block


class BodyBuilder:
    """Builds open blocks from plans."""

    def __init__(self, params: ChainParams) -> None:
        self._params = params
        self._universe = Universe(params)
        self._renderer = Renderer(params, self._universe)
        self._signer = Signer(f"{params.seed}/{params.chain_id}")

    def build(self, plan: BlockPlan) -> OpenBlock:
        """The open block of a plan."""
        number = plan.number
        transactions = [self._transaction(number, planned) for planned in plan.transactions]
        receipts_json, receipts, bloom, gas_used = _receipts(number, transactions)
        roots = Roots(
            ordered_root([t.raw for t in transactions]),
            ordered_root(receipts),
            bloom.to_bytes(256, "big"),
            gas_used,
        )
        fields = fields_after_parent(self._params, number, roots)
        rest = rlp_fields(fields)
        body = ",".join(
            f'{{"blockHash":"0x{_OPEN}","blockNumber":"{number:#x}","transactionIndex":"{i:#x}",{t.json}}}'
            for i, t in enumerate(transactions)
        )
        block_json = (
            f"{json_fields(fields)},{self._unhashed_fields(number, rest, transactions)},"
            f'"transactions":[{body}],"uncles":[]}}'
        )
        hashes = b"".join(t.hash for t in transactions)
        return OpenBlock(number, rest, block_json.encode(), receipts_json.encode(), hashes)

    def _unhashed_fields(self, number: int, rest: bytes, transactions: list[_Transaction]) -> str:
        """What a node adds to the header's fields: the size of the whole block above all."""
        header = rlp_list(b"\xa0" + bytes(32) + rest)
        raws = sum(len(t.raw if t.type == 0 else rlp_bytes(t.raw)) for t in transactions)
        extra = extra_block_data(self._params, number)
        tail = 2 if self._params.ethereum else 2 + len(rlp_bytes(extra))  # no uncles; withdrawals or version
        length = len(header) + _list_size(raws) + tail
        fields = f'"size":"{_list_size(length):#x}","totalDifficulty":"{number if not self._params.ethereum else 0:#x}"'
        if self._params.ethereum:
            return fields + ',"withdrawals":[]'
        return f'{fields},"blockExtraData":"0x{extra.hex()}"'

    def _transaction(self, number: int, planned: Planned) -> _Transaction:
        _, sender, nonce, _ = planned
        account = self._universe.accounts[sender]
        effect = self._renderer.render(planned)
        draw = keccak(b"%d:%d:%d" % (number, sender, nonce))[0]
        gas_limit = (21_000 + 16 * len(effect.data) + effect.gas) * 5 // 4
        if draw < 160:
            return self._dynamic_fee(number, account.key, account.address, nonce, effect, gas_limit, draw)
        price = base_fee(number) + (draw + 1) * 10_000_000
        listed = draw >= 240
        return self._legacy(account.key, account.address, nonce, effect, gas_limit, price, draw, listed)

    def _dynamic_fee(
        self, number: int, key: int, sender: bytes, nonce: int, effect: Effect, gas: int, draw: int
    ) -> _Transaction:
        """EIP-1559."""
        tip = draw * 10_000_000
        max_fee = base_fee(number) * (1 + draw % 2) + tip * (draw % 3)
        price = min(max_fee, base_fee(number) + tip)
        tip = min(tip, max_fee)
        access = _access_list(effect) if draw < 8 else b"\xc0"
        head = rlp_int(self._params.chain_id) + rlp_int(nonce) + rlp_int(tip) + rlp_int(max_fee)
        payload = head + _call(effect, gas) + access
        raw, digest, signature = self._typed(2, payload, key)
        text = (
            f'{_call_json(sender, nonce, effect, gas, price, digest)},"maxFeePerGas":"{max_fee:#x}",'
            f'"maxPriorityFeePerGas":"{tip:#x}",{self._typed_json(2, effect, access, signature)}'
        )
        return _Transaction(effect, sender, nonce, 2, raw, digest, price, text)

    def _legacy(
        self, key: int, sender: bytes, nonce: int, effect: Effect, gas: int, price: int, draw: int, listed: bool
    ) -> _Transaction:
        """A gas price and nothing more: with an access list (EIP-2930), protected (EIP-155) or from before."""
        common = rlp_int(nonce) + rlp_int(price) + _call(effect, gas)
        if listed:
            access = _access_list(effect)
            raw, digest, signature = self._typed(1, rlp_int(self._params.chain_id) + common + access, key)
            text = self._typed_json(1, effect, access, signature)
            head = _call_json(sender, nonce, effect, gas, price, digest)
            return _Transaction(effect, sender, nonce, 1, raw, digest, price, f"{head},{text}")
        chain_id = 0 if draw % 8 == 0 else self._params.chain_id
        unsigned = common + (rlp_int(chain_id) + b"\x80\x80" if chain_id else b"")
        parity, r, s = self._signer.sign(keccak(rlp_list(unsigned)), key)
        v = parity + (chain_id * 2 + 35 if chain_id else 27)
        raw = rlp_list(common + rlp_int(v) + rlp_int(r) + rlp_int(s))
        digest = keccak(raw)
        shown = f'"chainId":"{chain_id:#x}",' if chain_id else ""
        text = f'{shown}"type":"0x0","v":"{v:#x}","r":"{r:#x}","s":"{s:#x}"'
        head = _call_json(sender, nonce, effect, gas, price, digest)
        return _Transaction(effect, sender, nonce, 0, raw, digest, price, f"{head},{text}")

    def _typed(self, kind: int, payload: bytes, key: int) -> tuple[bytes, bytes, tuple[int, int, int]]:
        """Sign an EIP-2718 payload; returns the raw transaction, its hash and the signature."""
        prefix = bytes((kind,))
        parity, r, s = self._signer.sign(keccak(prefix + rlp_list(payload)), key)
        raw = prefix + rlp_list(payload + rlp_int(parity) + rlp_int(r) + rlp_int(s))
        return raw, keccak(raw), (parity, r, s)

    def _typed_json(self, kind: int, effect: Effect, access: bytes, signature: tuple[int, int, int]) -> str:
        parity, r, s = signature
        listed = "[]"
        if access != b"\xc0":
            assert effect.to is not None
            listed = f'[{{"address":"0x{effect.to.hex()}","storageKeys":["0x{ACCESS_LIST_KEY.hex()}"]}}]'
        return (
            f'"type":"{kind:#x}","accessList":{listed},"chainId":"{self._params.chain_id:#x}",'
            f'"v":"{parity:#x}","yParity":"{parity:#x}","r":"{r:#x}","s":"{s:#x}"'
        )


def _list_size(payload: int) -> int:
    """The size of an RLP list whose items take `payload` bytes."""
    return payload + (1 if payload < 56 else 1 + (payload.bit_length() + 7) // 8)


def _access_list(effect: Effect) -> bytes:
    if effect.to is None:
        return b"\xc0"
    keys = rlp_list(rlp_bytes(ACCESS_LIST_KEY))
    return rlp_list(rlp_list(rlp_bytes(effect.to) + keys))


def _call(effect: Effect, gas: int) -> bytes:
    return rlp_int(gas) + rlp_bytes(effect.to or b"") + rlp_int(effect.value) + rlp_bytes(effect.data)


def _call_json(sender: bytes, nonce: int, effect: Effect, gas: int, price: int, digest: bytes) -> str:
    to = f'"0x{effect.to.hex()}"' if effect.to else "null"
    return (
        f'"from":"0x{sender.hex()}","gas":"{gas:#x}","gasPrice":"{price:#x}","hash":"0x{digest.hex()}",'
        f'"input":"0x{effect.data.hex()}","nonce":"{nonce:#x}","to":{to},"value":"{effect.value:#x}"'
    )


def _receipts(number: int, transactions: list[_Transaction]) -> tuple[str, list[bytes], int, int]:
    """The receipts as JSON and as trie values, their blooms together and the gas used."""
    texts: list[str] = []
    encoded: list[bytes] = []
    block_bloom = cumulative = log_index = 0
    for index, transaction in enumerate(transactions):
        effect = transaction.effect
        used = 21_000 + 16 * len(effect.data) + effect.gas
        cumulative += used
        place = (
            f'"blockHash":"0x{_OPEN}","blockNumber":"{number:#x}",'
            f'"transactionHash":"0x{transaction.hash.hex()}","transactionIndex":"{index:#x}"'
        )
        bloom = bloom_of(item for address, topics, _ in effect.logs for item in (address, *topics))
        block_bloom |= bloom
        bloom_bytes = bloom.to_bytes(256, "big")
        logs = ",".join(_log_json(log, place, log_index + i) for i, log in enumerate(effect.logs))
        log_index += len(effect.logs)
        texts.append(_receipt_json(transaction, place, cumulative, used, logs, bloom_bytes))
        payload = (
            (b"\x80" if effect.failed else b"\x01")
            + rlp_int(cumulative)
            + b"\xb9\x01\x00"
            + bloom_bytes
            + rlp_list(b"".join(map(_log_rlp, effect.logs)))
        )
        encoded.append((bytes((transaction.type,)) if transaction.type else b"") + rlp_list(payload))
    return f"[{','.join(texts)}]", encoded, block_bloom, cumulative


def _receipt_json(transaction: _Transaction, place: str, cumulative: int, used: int, logs: str, bloom: bytes) -> str:
    effect = transaction.effect
    to = f'"0x{effect.to.hex()}"' if effect.to else "null"
    created = "null"
    if effect.to is None:
        preimage = rlp_list(rlp_bytes(transaction.sender) + rlp_int(transaction.nonce))
        created = f'"0x{keccak(preimage)[12:].hex()}"'
    return (
        f'{{{place},"from":"0x{transaction.sender.hex()}","to":{to},"contractAddress":{created},'
        f'"cumulativeGasUsed":"{cumulative:#x}","effectiveGasPrice":"{transaction.effective_gas_price:#x}",'
        f'"gasUsed":"{used:#x}","logs":[{logs}],"logsBloom":"0x{bloom.hex()}",'
        f'"status":"{0 if effect.failed else 1:#x}","type":"{transaction.type:#x}"}}'
    )


def _log_json(log: Log, place: str, log_index: int) -> str:
    address, topics, data = log
    shown = ",".join([f'"0x{topic.hex()}"' for topic in topics])
    return (
        f'{{"address":"0x{address.hex()}","topics":[{shown}],"data":"0x{data.hex()}",{place},'
        f'"logIndex":"{log_index:#x}","removed":false}}'
    )


def _log_rlp(log: Log) -> bytes:
    address, topics, data = log
    joined = b"".join([b"\xa0" + topic for topic in topics])
    return rlp_list(b"\x94" + address + rlp_list(joined) + rlp_bytes(data))
