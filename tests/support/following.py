"""Services that follow a forking devchain, and what a fresh index of the winning chain looks like."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from devchain.client import Devchain
from indexer.settings import Settings
from indexer.storage import engine, following
from indexer.storage.digest import Digest, digest, wrong_balances
from indexer.storage.following import Following
from tests.support.e2e_services import Services

CHAIN_ID = 31337  # a chain whose blocks are not final when they are new


class Followed:
    """One deployment that follows one chain."""

    def __init__(self, settings: Settings, node: Devchain, folder: Path) -> None:
        self.node = node
        self.services = Services(settings, node, folder, {})

    @property
    def settings(self) -> Settings:
        return self.services.settings

    def start(self, first: int = 0, *, urls: Sequence[str] = (), decoders: int = 1) -> None:
        """Queue the job and start the services."""
        if urls:
            self.services.ask(*urls)
        following.start(self.services.database, CHAIN_ID, first, None)
        self.run(decoders)

    def run(self, decoders: int = 1) -> None:
        self.services.start(producer=1, decoder=decoders, persister=1)

    def state(self) -> Following:
        found = following.following(self.services.database, CHAIN_ID)
        assert found is not None
        return found

    def until_stored(self, seconds: float = 60.0) -> None:
        """Wait until all up to the node's head is stored and trusted, and nothing above it is left."""
        head = int(self.node.call("eth_blockNumber"), 16)

        def is_there() -> bool:
            now = self.state()
            return now.canonical_to == now.tip == now.stored_to == head and self.stored() == self.chain(head)

        self.services.until(is_there, seconds, f"the chain up to {head} is stored")

    def stored(self) -> list[str]:
        rows = self.services.database.execute("SELECT encode(hash, 'hex') FROM blocks ORDER BY number").fetchall()
        return [f"0x{row[0]}" for row in rows]

    def chain(self, head: int) -> list[str]:
        return [self.node.call("eth_getBlockByNumber", hex(number), False)["hash"] for number in range(head + 1)]

    def digest(self) -> Digest:
        """What is stored; the ledger must be right."""
        return digest_of(self.settings)

    def __enter__(self) -> Followed:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.services.close()


def digest_of(settings: Settings) -> Digest:
    with engine.connect(settings, "test", autocommit=True) as connection:
        assert wrong_balances(connection, CHAIN_ID) == []
        return digest(connection, CHAIN_ID)
