"""The addresses of a simulated chain: accounts with keys, cold wallets, tokens, pools and other contracts."""

from __future__ import annotations

from devchain.params import ChainParams
from devchain.secp256k1 import Account, accounts, keccak

SIGNERS = 600  # holders 0 … 599 have keys
COLD = 20_000  # the holders after them only ever receive
POOLS = 24  # the last holders are liquidity pools

ERC20_COUNT, ERC721_COUNT, ERC1155_COUNT = 24, 8, 4
WRAPPED = {  # wrapped native tokens at their true addresses, so that lists of known contracts fit
    1: bytes.fromhex("c02aaa39b223fe8d0a0e5c4f27ead9083c756cc2"),
    43113: bytes.fromhex("d00ae08403b9bbb9124bb305c09058e32c39a48c"),
    43114: bytes.fromhex("b31f66aa3c1e785363f0875a1b74e27b85fd66c7"),
}
# Tokens are numbered: 0 is the wrapped native token, then ERC-20, ERC-721 and ERC-1155 contracts.
WETH = 0
ERC20 = range(1, 1 + ERC20_COUNT)
ERC721 = range(ERC20.stop, ERC20.stop + ERC721_COUNT)
ERC1155 = range(ERC721.stop, ERC721.stop + ERC1155_COUNT)
FIRST_POOL = SIGNERS + COLD


def standard(token: int) -> str:
    """The token standard of a token number."""
    if token in ERC721:
        return "erc721"
    return "erc1155" if token in ERC1155 else "erc20"


class Universe:
    """Addresses by number, computed when first asked for and the same for every chain of the seed."""

    def __init__(self, params: ChainParams) -> None:
        self._seed = f"{params.seed}/{params.chain_id}"
        self.accounts: list[Account] = accounts(self._seed, SIGNERS)
        self._holders: dict[int, bytes] = {i: a.address for i, a in enumerate(self.accounts)}
        self.tokens: list[bytes] = [self.contract(f"token:{n}") for n in range(ERC1155.stop)]
        self.tokens[WETH] = WRAPPED.get(params.chain_id, self.tokens[WETH])
        self.router = self.contract("router")
        self.airdrop = self.contract("airdrop")
        self.oddities = self.contract("oddities")

    def contract(self, name: str) -> bytes:
        """The address of a named contract."""
        return keccak(f"contract:{self._seed}:{name}".encode())[12:]

    def holder(self, number: int) -> bytes:
        """The address of holder `number`."""
        address = self._holders.get(number)
        if address is None:
            address = self._holders[number] = self.contract(f"holder:{number}")
        return address
