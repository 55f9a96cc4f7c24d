"""A small chain of every kind of transaction, built once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from devchain.build import open_chain
from devchain.chainfile import ChainFile
from devchain.params import ChainParams


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for chains."""
    return tmp_path_factory.mktemp("chains")


@pytest.fixture(scope="session")
def mixed(cache: Path) -> Iterator[ChainFile]:
    """300 blocks of profile mixed."""
    chain = open_chain(ChainParams(profile="mixed", blocks=300), cache, jobs=1)
    yield chain
    chain.close()
