"""What a simulated chain is made from; these values alone determine every byte of it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import Literal, get_args

from devchain.secp256k1 import keccak

GENERATOR_VERSION = 3  # raise it whenever the same parameters give other bytes: old caches are then left alone
Profile = Literal["mixed", "bench", "small", "empty"]
PROFILES: tuple[Profile, ...] = get_args(Profile)


@dataclass(frozen=True, slots=True)
class ChainParams:
    """A chain of the blocks 0 (genesis, empty) to `blocks`."""

    seed: int = 1
    profile: Profile = "mixed"
    blocks: int = 1000
    chain_id: int = 43114
    ethereum: bool = False  # a plain Ethereum header instead of the Avalanche C-Chain's
    huge_at: int | None = None  # number of one very large block
    huge_bytes: int = 6_500_000  # its least size, block and receipts together, as JSON
    forks: tuple[tuple[int, int], ...] = ()  # (height, salt), heights ascending: from there on the chain is another

    def __post_init__(self) -> None:
        """JSON has lists where this has tuples."""
        object.__setattr__(self, "forks", tuple((height, salt) for height, salt in self.forks))

    def identity(self) -> str:
        """Everything but the length, as text: of two such chains the shorter one is the start of the longer one."""
        fields = {key: value for key, value in asdict(self).items() if key != "blocks" and (key != "forks" or value)}
        return json.dumps({"generator": GENERATOR_VERSION, **fields}, sort_keys=True)

    def forked(self, height: int, salt: int) -> ChainParams:
        """The chain that is this one below `height` and another from there on."""
        return replace(self, forks=(*(fork for fork in self.forks if fork[0] < height), (height, salt)))

    def salt(self, number: int) -> str:
        """What tells block `number` from those of other branches; empty on the trunk."""
        return "".join(f"/{height}:{salt}" for height, salt in self.forks if height <= number)

    def folder(self) -> str:
        """The name of this chain's folder in the cache."""
        return f"{self.profile}-{self.seed}-{keccak(self.identity().encode()).hex()[:10]}-{self.blocks}"
