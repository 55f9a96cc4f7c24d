"""Planned transactions as the chain shows them: recipient, value, calldata, gas and logs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from devchain.params import ChainParams
from devchain.plan import Planned
from devchain.secp256k1 import keccak
from devchain.universe import WETH, Universe

Log = tuple[bytes, list[bytes], bytes]  # address, topics, data
ZERO = bytes(32)


def topic(signature: str) -> bytes:
    """The first topic of an event."""
    return keccak(signature.encode())


def selector(signature: str) -> bytes:
    """The first four bytes of a call."""
    return keccak(signature.encode())[:4]


TRANSFER = topic("Transfer(address,address,uint256)")
APPROVAL = topic("Approval(address,address,uint256)")
TRANSFER_SINGLE = topic("TransferSingle(address,address,address,uint256,uint256)")
TRANSFER_BATCH = topic("TransferBatch(address,address,address,uint256[],uint256[])")
METADATA_UPDATE = topic("MetadataUpdate(uint256)")
DEPOSIT = topic("Deposit(address,uint256)")
WITHDRAWAL = topic("Withdrawal(address,uint256)")
SYNC = topic("Sync(uint112,uint112)")
SWAP = topic("Swap(address,uint256,uint256,uint256,uint256,address)")
PING = topic("Ping(address,uint256,bytes32,string)")

_TRANSFER_CALL = selector("transfer(address,uint256)")
_TRANSFER_FROM_CALL = selector("transferFrom(address,address,uint256)")
_MINT_CALL = selector("mint(address,uint256)")
_BURN_CALL = selector("burn(uint256)")
_DEPOSIT_CALL = selector("deposit()")
_WITHDRAW_CALL = selector("withdraw(uint256)")
_SWAP_CALL = selector("swapExactTokensForTokens(uint256,uint256,address[],address,uint256)")
_AIRDROP_CALL = selector("airdrop(address,address[],uint256[])")
_SAFE_TRANSFER_CALL = selector("safeTransferFrom(address,address,uint256)")
_SAFE_TRANSFER_1155_CALL = selector("safeTransferFrom(address,address,uint256,uint256,bytes)")
_MINT_1155_CALL = selector("mint(address,uint256,uint256,bytes)")
_BATCH_1155_CALL = selector("safeBatchTransferFrom(address,address,uint256[],uint256[],bytes)")
_MINT_BATCH_CALL = selector("mintBatch(address,uint256[],uint256[],bytes)")


@dataclass(slots=True)
class Effect:
    """What one transaction asks for and what came of it."""

    to: bytes | None  # None creates a contract
    value: int
    data: bytes
    gas: int  # used, without the part that every transaction pays
    logs: list[Log]
    failed: bool = False


def word(value: int) -> bytes:
    """An ABI word."""
    return value.to_bytes(32, "big")


def array(values: list[bytes]) -> bytes:
    """A dynamic ABI array of words: its length and the words."""
    return word(len(values)) + b"".join(values)


class Renderer:
    """Turns planned transactions into effects; the rendering of a kind is the method of that name."""

    def __init__(self, params: ChainParams, universe: Universe) -> None:
        self._universe = universe
        self._words: dict[int | None, bytes] = {None: ZERO}
        self._kinds: dict[str, Callable[..., Effect]] = {
            name.removeprefix("_render_"): getattr(self, name) for name in dir(self) if "_render_" in name
        }

    def render(self, planned: Planned) -> Effect:
        """The effect of one planned transaction."""
        kind, sender, _, arguments = planned
        return self._kinds[kind](sender, *arguments)

    def _word(self, holder: int | None) -> bytes:
        """A holder's address as an ABI word or topic."""
        found = self._words.get(holder)
        if found is None:
            assert holder is not None
            found = self._words[holder] = bytes(12) + self._universe.holder(holder)
        return found

    def _transfer(self, token: int, source: int | None, target: int | None, amount: int) -> Log:
        topics = [TRANSFER, self._word(source), self._word(target)]
        return self._universe.tokens[token], topics, word(amount)

    def _render_native(self, sender: int, target: int, value: int) -> Effect:
        return Effect(self._universe.holder(target), value, b"", 0, [])

    def _render_erc20(self, sender: int, token: int, source: int | None, target: int, amount: int) -> Effect:
        if source is None:
            data = _MINT_CALL + self._word(target) + word(amount)
        elif source == sender:
            data = _TRANSFER_CALL + self._word(target) + word(amount)
        else:
            data = _TRANSFER_FROM_CALL + self._word(source) + self._word(target) + word(amount)
        log = self._transfer(token, source, target, amount)
        return Effect(self._universe.tokens[token], 0, data, 30_000, [log])

    def _render_burn(self, sender: int, token: int, source: int, amount: int) -> Effect:
        log = self._transfer(token, source, None, amount)
        return Effect(self._universe.tokens[token], 0, _BURN_CALL + word(amount), 18_000, [log])

    def _render_airdrop(
        self, sender: int, token: int, source: int | None, parts: tuple[tuple[int, int], ...]
    ) -> Effect:
        address = self._universe.tokens[token]
        targets = array([self._word(target) for target, _ in parts])
        amounts = array([word(amount) for _, amount in parts])
        head = bytes(12) + address + word(96) + word(96 + len(targets))
        logs = [self._transfer(token, source, target, amount) for target, amount in parts]
        return Effect(self._universe.airdrop, 0, _AIRDROP_CALL + head + targets + amounts, 90_000, logs)

    def _render_deposit(self, sender: int, owner: int, amount: int) -> Effect:
        wrapped = self._universe.tokens[WETH]
        log = (wrapped, [DEPOSIT, self._word(owner)], word(amount))
        return Effect(wrapped, amount, _DEPOSIT_CALL, 24_000, [log])

    def _render_withdraw(self, sender: int, owner: int, amount: int) -> Effect:
        wrapped = self._universe.tokens[WETH]
        log = (wrapped, [WITHDRAWAL, self._word(owner)], word(amount))
        return Effect(wrapped, 0, _WITHDRAW_CALL + word(amount), 14_000, [log])

    def _render_swap(
        self,
        sender: int,
        pool: int,
        tokens: tuple[int, int],
        direction: int,
        source: int,
        amount_in: int,
        amount_out: int,
        reserves: tuple[int, int],
    ) -> Effect:
        """The four logs of a Uniswap V2 swap; amounts beyond uint112 are cut in Sync alone."""
        pair, router = self._universe.holder(pool), bytes(12) + self._universe.router
        token_in, token_out = tokens[direction], tokens[1 - direction]
        amounts = [word(0)] * 4  # amount0In, amount1In, amount0Out, amount1Out
        amounts[direction], amounts[3 - direction] = word(amount_in), word(amount_out)
        sync = b"".join(word(reserve & (2**112 - 1)) for reserve in reserves)
        logs: list[Log] = [
            self._transfer(token_in, source, pool, amount_in),
            self._transfer(token_out, pool, source, amount_out),
            (pair, [SYNC], sync),
            (pair, [SWAP, router, self._word(source)], b"".join(amounts)),
        ]
        path = array([bytes(12) + self._universe.tokens[t] for t in (token_in, token_out)])
        head = word(amount_in) + word(amount_out * 99 // 100) + word(160) + self._word(source)
        data = _SWAP_CALL + head + word(2**32 - 1) + path
        return Effect(self._universe.router, 0, data, 110_000, logs)

    def _render_erc721(self, sender: int, token: int, source: int | None, target: int, token_id: int) -> Effect:
        """Two logs: a mint announces its metadata (ERC-4906), a transfer clears the approval."""
        address, id_word = self._universe.tokens[token], word(token_id)
        transfer: Log = (address, [TRANSFER, self._word(source), self._word(target), id_word], b"")
        if source is None:
            other: Log = (address, [METADATA_UPDATE], id_word)
            return Effect(address, 0, _MINT_CALL + self._word(target) + id_word, 70_000, [transfer, other])
        other = (address, [APPROVAL, self._word(source), ZERO, id_word], b"")
        data = _SAFE_TRANSFER_CALL + self._word(source) + self._word(target) + id_word
        return Effect(address, 0, data, 45_000, [other, transfer])

    def _render_erc1155(
        self, sender: int, token: int, source: int | None, target: int, token_id: int, amount: int
    ) -> Effect:
        address, payload = self._universe.tokens[token], word(token_id) + word(amount)
        topics = [TRANSFER_SINGLE, self._word(sender), self._word(source), self._word(target)]
        if source is None:
            data = _MINT_1155_CALL + self._word(target) + payload + word(128) + ZERO
        else:
            parties = self._word(source) + self._word(target)
            data = _SAFE_TRANSFER_1155_CALL + parties + payload + word(160) + ZERO
        return Effect(address, 0, data, 35_000, [(address, topics, payload)])

    def _render_erc1155_batch(
        self, sender: int, token: int, source: int | None, target: int, items: tuple[tuple[int, int], ...]
    ) -> Effect:
        address = self._universe.tokens[token]
        ids, amounts = array([word(i) for i, _ in items]), array([word(a) for _, a in items])
        topics = [TRANSFER_BATCH, self._word(sender), self._word(source), self._word(target)]
        payload = word(64) + word(64 + len(ids)) + ids + amounts
        words = 4 if source is None else 5
        head = word(32 * words) + word(32 * words + len(ids)) + word(32 * words + len(ids) + len(amounts))
        if source is None:
            data = _MINT_BATCH_CALL + self._word(target) + head + ids + amounts + ZERO
        else:
            parties = self._word(source) + self._word(target)
            data = _BATCH_1155_CALL + parties + head + ids + amounts + ZERO
        return Effect(address, 0, data, 25_000 + 20_000 * len(items), [(address, topics, payload)])

    def _render_failed(self, sender: int, token: int, target: int, amount: int) -> Effect:
        data = _TRANSFER_CALL + self._word(target) + word(amount)
        return Effect(self._universe.tokens[token], 0, data, 9_000, [], failed=True)

    def _render_create(self, sender: int, salt: int, size: int) -> Effect:
        """Deploys made-up bytecode; nothing is ever called there."""
        code = b"".join(keccak(salt.to_bytes(8, "big") + bytes([i])) for i in range(size // 32 + 1))
        return Effect(None, 0, b"\x60\x80\x60\x40" + code[:size], 60_000 + 200 * size, [])

    def _render_failed_create(self, sender: int, salt: int, size: int) -> Effect:
        effect = self._render_create(sender, salt, size)
        effect.failed = True
        return effect

    def _render_oddity(self, sender: int, shape: int, salt: int) -> Effect:
        """Logs that decoders stumble over; none of them moves a token that has a ledger."""
        address, target = self._universe.oddities, self._word(salt % 500)
        text = f"ping {salt}".encode()
        shapes: list[list[Log]] = [
            [(address, [], text)],  # LOG0
            [(address, [TRANSFER], self._word(sender) + target + word(salt))],  # as CryptoKitties does
            [(address, [keccak(text), target, target, target], b"")],  # an event that nobody knows
            [
                (address, [PING, self._word(sender), word(salt)], keccak(text) + word(64) + _string(text)),
                (address, [PING, self._word(sender), word(salt)], b"\x01\x02\x03"),  # does not fit its ABI
            ],
            [(address, [keccak(b"Bulk(bytes)")], word(32) + _string(text * (salt % 60)))],
        ]
        return Effect(address, 0, keccak(text)[:4] + word(salt), 12_000, shapes[shape])


def _string(text: bytes) -> bytes:
    """A dynamic ABI string: its length and the text, padded to words."""
    return word(len(text)) + text + bytes(-len(text) % 32)
