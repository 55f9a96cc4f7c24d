"""Random sequences of forks, deaths and laggards on a real broker and database, each from a seed that is printed.

FORK_SEEDS=20 tries so many, FORK_SEED=7 that one.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from indexer.storage import engine
from tests.integration.forks.sequences import FINALITY, Sequence
from tests.support import winning_chain
from tests.support.deployment import own_database
from tests.support.following import CHAIN_ID, Followed, digest_of

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]
SEEDS = [int(os.environ["FORK_SEED"])] if "FORK_SEED" in os.environ else range(int(os.environ.get("FORK_SEEDS", "3")))
STEPS = 4


@pytest.mark.parametrize("seed", SEEDS)
def test_any_sequence_of_forks_ends_with_a_fresh_index_of_the_winning_chain(
    followed: Callable[..., Followed], postgres: str, migrated_template: str, tmp_path: Path, seed: int
) -> None:
    models = winning_chain.model_files(tmp_path, CHAIN_ID)
    run = followed(head=24, finality=FINALITY, profile="mixed", blocks=120, models=models)
    assert run.node.twin is not None
    run.start(urls=(run.node.url, run.node.twin.url))
    run.until_stored()
    sequence = Sequence(seed, run)

    try:
        sequence.play(STEPS)
        run.until_stored()
    except AssertionError as error:
        raise AssertionError(f"FORK_SEED={seed}: {', '.join(sequence.done)}\n{error}") from error

    chain = winning_chain.answers(run.node)
    with own_database(postgres, migrated_template) as empty:
        fresh = replace(run.settings, database_url=empty.database_url)
        winning_chain.index(fresh, chain)
        with engine.connect(run.settings, "test", autocommit=True) as connection:
            balances = winning_chain.recorded(connection)
        assert run.digest() == digest_of(fresh), f"FORK_SEED={seed}: {', '.join(sequence.done)}"
        assert balances == winning_chain.recomputed(chain)
    assert run.state().forks > 0
