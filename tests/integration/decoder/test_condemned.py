"""A work item that kills decoders is condemned, one that was only near when they were killed is not (PROTOCOL 17)."""

from __future__ import annotations

import pytest

from indexer import codec
from indexer.records import BlockWorkItem
from indexer.topics import partition_of
from tests.integration.decoder.conftest import CHAIN, PARTITIONS, Surroundings
from tests.support.kafka_topics import until
from tests.support.processes import Processes, ended

pytestmark = pytest.mark.integration

DECODER = "services.decoder.main"


def ask_by_key(here: Surroundings, *numbers: int) -> None:
    """As a producer does: with keys, by which the fault finds its record."""
    topic = here.topics.name("blocks.work.normal")
    for number in numbers:
        value = codec.encode_work_item(BlockWorkItem(CHAIN, number, job_id=1))
        here.kafka.produce(topic, partition_of(number, PARTITIONS), value, key=codec.block_key(CHAIN, number))


def let_it_kill(processes: Processes, number: int, word: str, times: int) -> None:
    """Run decoders one after the other, each of which the block kills in this way."""
    for _ in range(times):
        processes.order(f"decoder.record.{CHAIN}:{number}", word)
        assert ended(processes.start(DECODER)) != 0


def test_an_item_that_kills_its_process_is_condemned_and_its_neighbours_are_not(
    here: Surroundings, processes: Processes
) -> None:
    ask_by_key(here, *range(1, 13), 70, 200)

    let_it_kill(processes, 7, "abort", 1 + 3)  # once among others, then three times alone
    processes.order(f"decoder.record.{CHAIN}:7", "abort")
    survivor = processes.start(DECODER)
    until(lambda: len(here.letters()) == 1, "the deadly item is a dead letter", 60)
    until(lambda: len(here.decoded()) == 13, "all others are decoded", 60)

    ((item, letter),) = here.letters()
    assert (item.number, letter.code) == (7, "KILLS_PROCESS")
    assert "3 times" in letter.message
    assert "Aborted" in letter.message
    here.assert_exactly(*range(1, 7), *range(8, 13), 70, 200)
    survivor.terminate()
    assert ended(survivor) == 0


def test_an_item_that_was_near_when_processes_were_killed_from_outside_is_innocent(
    here: Surroundings, processes: Processes
) -> None:
    ask_by_key(here, *range(1, 13))

    let_it_kill(processes, 7, "kill", 4)
    processes.start(DECODER)
    until(lambda: len(here.decoded()) == 12, "all are decoded", 60)

    here.assert_exactly(*range(1, 13))
    assert here.letters() == []
