"""Who holds which token while a chain is planned: only what is held can be moved, so no balance is ever negative."""

from __future__ import annotations

from dataclasses import dataclass, field

from devchain.universe import SIGNERS

Key = int  # a holding packed into 63 bits: token, id (or 0) and holder


def holding_key(token: int, holder: int, token_id: int = 0) -> Key:
    """The key of a balance; the id is 0 but for ERC-1155 (a balance of ERC-721 is a number of tokens)."""
    return token << 52 | token_id << 24 | holder


@dataclass(slots=True)
class Holdings:
    """The non-zero holdings of one token that can move (their holder has a key), for drawing one at random."""

    keys: list[Key] = field(default_factory=list)
    place: dict[Key, int] = field(default_factory=dict)

    def add(self, key: Key) -> None:
        if key not in self.place:
            self.place[key] = len(self.keys)
            self.keys.append(key)

    def discard(self, key: Key) -> None:
        at = self.place.pop(key, None)
        if at is None:
            return
        last = self.keys.pop()
        if last != key:
            self.keys[at] = last
            self.place[last] = at


@dataclass(slots=True)
class Ledger:
    """Balances of all tokens, and those that changed in the block being planned."""

    balances: dict[Key, int] = field(default_factory=dict)
    movable: dict[int, Holdings] = field(default_factory=dict)
    touched: dict[Key, int] = field(default_factory=dict)
    nfts: dict[int, list[int]] = field(default_factory=dict)  # token → holder per id, ids counting from 0

    def balance(self, key: Key) -> int:
        return self.balances.get(key, 0)

    def change(self, token: int, holder: int, amount: int, token_id: int = 0) -> None:
        """Add `amount` (negative: take away) to what `holder` has."""
        key = holding_key(token, holder, token_id)
        after = self.balances.get(key, 0) + amount
        assert after >= 0, "a plan moves what nobody holds"
        self.touched[key] = after
        movable = self.movable.get(token)
        if movable is None:
            movable = self.movable[token] = Holdings()
        if after:
            self.balances[key] = after
            if holder < SIGNERS:
                movable.add(key)
        else:
            self.balances.pop(key, None)
            movable.discard(key)

    def move(self, token: int, source: int | None, target: int | None, amount: int, token_id: int = 0) -> None:
        """Transfer; no source is a mint, no target a burn."""
        if source is not None:
            self.change(token, source, -amount, token_id)
        if target is not None:
            self.change(token, target, amount, token_id)

    def take_touched(self) -> dict[Key, int]:
        """The balances that changed since the last call, as they are now."""
        touched, self.touched = self.touched, {}
        return touched
