"""A chain that forks, and services that follow it, for one test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from devchain.client import Devchain
from indexer.settings import Settings
from tests.support.following import CHAIN_ID, Followed

Follow = Callable[..., Followed]


@pytest.fixture(scope="session")
def chain_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("forking-chains")


@pytest.fixture
def followed(deployment: Settings, chain_cache: Path, tmp_path: Path) -> Iterator[Follow]:
    """Start a node with `head` blocks, and services that follow it."""
    with ExitStack() as stack:

        def start(head: int = 60, finality: int = 16, models: tuple[str, ...] = (), **options: object) -> Followed:
            chain = {"profile": "small", "blocks": 300, "chain_id": CHAIN_ID, "ethereum": True, "cache": chain_cache}
            node = stack.enter_context(Devchain.simulated(head=head, twin_lag=0, **{**chain, **options}))
            node.faults(finality=finality)
            assert node.twin is not None
            node.twin.faults(finality=finality)
            settings = replace(deployment, chain_id=CHAIN_ID, lease_seconds=2.0, models=models)
            return stack.enter_context(Followed(settings, node, tmp_path / "services"))

        yield start
