"""What differs between chains: how a header is hashed, which rows are in the roots, what can be checked at all.

Everything that a header tells by the fields it has (forks of Ethereum, upgrades of Avalanche, Gnosis before the
merge) is read from the header; the chain id decides only what no field shows.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import cache, lru_cache

from indexer.chain.keccak import keccak256
from indexer.records import Header, Proof, Transactions


class Family(StrEnum):
    """Chains that share rules beyond what their headers show."""

    ETHEREUM = "ethereum"
    AVALANCHE = "avalanche"
    POLYGON = "polygon"
    OPTIMISM = "optimism"
    ARBITRUM = "arbitrum"
    HYPERLIQUID = "hyperliquid"
    FOREIGN = "foreign"  # EVM on another consensus (Cronos, zkSync): block hash and roots are not Ethereum's
    UNKNOWN = "unknown"  # as Ethereum, but transaction types that nobody told us about are taken as they are


_FAMILIES: dict[Family, tuple[int, ...]] = {
    # Ethereum and its testnets, Gnosis and Chiado, BNB and its testnet, and the ids of development nodes
    Family.ETHEREUM: (1, 3, 4, 5, 11155111, 17000, 560048, 100, 10200, 56, 97, 1337, 31337),
    # C-Chain and Fuji; Camino, Columbus and Kopernikus
    Family.AVALANCHE: (43114, 43113, 500, 501, 502, 503),
    Family.POLYGON: (137, 80001, 80002, 109),  # 109 is Shibarium, a fork of Bor
    # OP, Base, Zora, Mode, Unichain, World Chain, Soneium, Ink; their testnets
    Family.OPTIMISM: (10, 420, 11155420, 8453, 84531, 84532, 7777777, 34443, 130, 1301, 480, 4801, 1868, 57073),
    Family.ARBITRUM: (42161, 42170, 421613, 421614),  # One, Nova, Goerli, Sepolia
    Family.HYPERLIQUID: (999, 998),
    # Cronos, Evmos, Kava, Canto, Sei, zkSync Era and Abstract
    Family.FOREIGN: (25, 338, 9001, 9000, 2222, 7700, 1329, 324, 300, 2741),
}

# Blocks below these heights are of an older chain whose hashes were made differently (Arbitrum before Nitro).
_HASHED_FROM = {42161: 22_207_817}

_KNOWN_TYPES = frozenset((0, 1, 2, 3, 4))
_FEE_RULE = frozenset((Family.ETHEREUM, Family.AVALANCHE, Family.POLYGON, Family.OPTIMISM, Family.HYPERLIQUID))
_OPAQUE: dict[Family, frozenset[int]] = {
    Family.POLYGON: frozenset((0x7F,)),  # PIP-74: its payload is not in any JSON-RPC answer
    Family.ARBITRUM: frozenset((0x78,)),  # transactions of the chain before Nitro
}

_INCLUSION = Proof.CONSISTENT | Proof.HEADER_HASH | Proof.TRANSACTION_HASHES | Proof.TRANSACTIONS_ROOT
_EXECUTION = Proof.RECEIPTS_ROOT | Proof.LOGS_BLOOM | Proof.GAS_USED

_NOBODY = bytes(20)

DEPOSIT_TYPE = 0x7E  # OP stack
STATE_SYNC_TYPE = 0x7F  # Polygon since Madhugiri (PIP-74)
ARBITRUM_TYPES = frozenset((0x64, 0x65, 0x66, 0x68, 0x69, 0x6A))


@dataclass(frozen=True, slots=True)
class ChainRules:
    """The rules of one chain; see `rules_for`."""

    chain_id: int
    family: Family
    hashed_from: int = 0  # first height whose header hash and roots can be recomputed
    opaque_types: frozenset[int] = frozenset()  # transaction types whose content no answer holds

    def applicable(self, header: Header) -> Proof:
        """Return what can be proven of a block with this header, given the right data; senders not included."""
        extra = header.extra
        if self.family is Family.FOREIGN or header.number < self.hashed_from:
            return Proof.CONSISTENT
        return _applicable(self.family, "settledHeight" in extra, "blockAccessListHash" in extra)

    def outside_of_roots(self, header: Header, transactions: Transactions) -> frozenset[int]:
        """Return the rows that an answer lists although no root covers them.

        - Polygon before Madhugiri: the state-sync transaction, known by a hash that is made of the block's
        - HyperEVM: system transactions, known by a gas price of zero
        """
        if self.family is Family.POLYGON and _NOBODY in transactions.from_address:
            state_sync = keccak256(b"matic-bor-receipt-" + header.number.to_bytes(8, "big") + header.hash)
            return frozenset(i for i, item in enumerate(transactions.hash) if item == state_sync)
        if self.family is Family.HYPERLIQUID:
            return frozenset(i for i, price in enumerate(transactions.gas_price) if price == 0)
        return frozenset()

    def is_opaque(self, transaction_type: int) -> bool:
        """Tell whether transactions of this type can be taken only as the node says."""
        if transaction_type in self.opaque_types:
            return True
        return self.family is Family.UNKNOWN and transaction_type not in _ENCODABLE


@cache
def _applicable(family: Family, asynchronous: bool, gas_before_refunds: bool) -> Proof:
    proofs = _INCLUSION | Proof.CONTRACT_ADDRESSES
    if asynchronous:
        # ACP-194: receiptsRoot, logsBloom and gasUsed speak of the blocks that this one settles, and the price is
        # known only when the transaction is executed, which is later
        return proofs
    proofs |= _EXECUTION
    if gas_before_refunds:
        proofs &= ~Proof.GAS_USED  # EIP-7778: the header counts gas before refunds, receipts count it after
    return proofs | Proof.EFFECTIVE_GAS_PRICE if family in _FEE_RULE else proofs


_ENCODABLE = _KNOWN_TYPES | ARBITRUM_TYPES | {DEPOSIT_TYPE}


@lru_cache(maxsize=1024)
def rules_for(chain_id: int) -> ChainRules:
    """Return the rules of a chain; a chain that is not listed follows Ethereum, as far as its headers show."""
    family = next((family for family, ids in _FAMILIES.items() if chain_id in ids), Family.UNKNOWN)
    return ChainRules(
        chain_id=chain_id,
        family=family,
        hashed_from=_HASHED_FROM.get(chain_id, 0),
        opaque_types=_OPAQUE.get(family, frozenset()),
    )
