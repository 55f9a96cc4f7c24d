"""Decoders as processes, against a real Kafka and a node with faults."""

from __future__ import annotations

import signal
import time

import pytest

from tests.integration.decoder.conftest import HEAD, Surroundings
from tests.support.kafka_topics import until
from tests.support.processes import Processes, ended

pytestmark = pytest.mark.integration

DECODER = "services.decoder.main"
BETWEEN = "decoder.between-produce-and-commit"
ALL = tuple(range(1, HEAD + 1))


def test_every_block_arrives_once_whatever_is_killed(here: Surroundings, processes: Processes) -> None:
    here.ask_for(*ALL)
    processes.order(BETWEEN, "kill", slot="0")
    processes.order("decoder.after-commit", "kill", slot="1")
    first, second = processes.start(DECODER, slot="0"), processes.start(DECODER, slot="1")
    assert ended(first) == -signal.SIGKILL
    assert ended(second, 60) == -signal.SIGKILL
    processes.order(BETWEEN, "kill", slot="0")
    assert ended(processes.start(DECODER, slot="0"), 60) == -signal.SIGKILL

    last = processes.start(DECODER, slot="0")

    until(lambda: len(here.decoded()) >= HEAD, "all blocks are decoded", 60)
    here.assert_exactly(*ALL)
    assert processes.fired(BETWEEN) == 2
    last.terminate()
    assert ended(last) == 0


def test_a_block_that_is_not_genuine_is_dead_and_its_neighbours_are_not(
    here: Surroundings, processes: Processes
) -> None:
    here.node.faults(alter_header=[10], alter_log=[20])
    here.ask_for(*ALL)

    processes.start(DECODER)

    until(lambda: len(here.decoded()) >= HEAD - 2 and len(here.letters()) == 2, "all blocks have an outcome", 60)
    here.assert_exactly(*(set(ALL) - {10, 20}))
    codes = {item.number: letter.code for item, letter in here.letters()}
    assert codes.keys() == {10, 20}
    assert codes[10] == "HEADER_HASH_MISMATCH"
    for _, letter in here.letters():
        assert letter.origin.topic == here.topics.name("blocks.work.normal")
        assert (letter.service, letter.stage, letter.attempts) == ("decoder", "verify", 1)


def test_a_block_that_is_not_there_yet_comes_again_after_five_seconds_until_it_is(
    here: Surroundings, processes: Processes
) -> None:
    here.node.faults(head=100)
    here.ask_for(99, 101)
    processes.start(DECODER)
    retry = here.topics.retry[0]
    until(lambda: len(here.records(retry)) == 1, "the item waits in the first tier", 60)
    waits_since = time.monotonic()

    here.node.faults(reset=True)
    until(lambda: len(here.decoded()) == 2, "the block is decoded", 60)

    assert time.monotonic() - waits_since > 4
    here.assert_exactly(99, 101)
    assert here.letters() == []


def test_an_outage_of_the_node_kills_nothing(here: Surroundings, processes: Processes) -> None:
    here.node.faults(p_5xx=1.0)
    here.ask_for(*range(1, 51))
    process = processes.start(DECODER)
    until(lambda: here.node.stats()["requests"] >= 8, "the node was asked and failed", 60)

    here.node.faults(reset=True)
    recovered = time.monotonic()
    until(lambda: len(here.decoded()) == 50, "all blocks are decoded", 60)

    assert time.monotonic() - recovered < 15
    assert process.poll() is None
    here.assert_exactly(*range(1, 51))
    assert here.letters() == []
    assert all(here.records(topic) == [] for topic in here.topics.retry)


def test_bytes_that_are_no_work_item_do_not_stop_the_others(here: Surroundings, processes: Processes) -> None:
    work = here.topics.name("blocks.work.normal")
    here.kafka.produce(work, 0, b"garbage", key=b"my key", headers=[("mine", b"1")])
    here.ask_for(*range(1, 21))

    processes.start(DECODER)

    until(lambda: len(here.decoded()) == 20 and here.records(here.topics.dlq), "all have an outcome", 60)
    (letter,) = here.records(here.topics.dlq)
    assert (letter.key(), letter.value()) == (b"my key", b"garbage")
    assert ("mine", b"1") in (letter.headers() or [])


def test_what_cannot_work_is_one_line_and_exit_code_2(here: Surroundings, processes: Processes) -> None:
    cases = {
        "WRONG_CHAIN": {"CHAIN_ID": "1"},
        "SETTING_MISSING": {"RPC_URLS": ""},
        "TOPIC_MISSING": {"TOPIC_PREFIX": "nowhere."},
        "MODEL": {"MODELS": "/nowhere.toml"},
    }
    started = {code: processes.start(DECODER, slot=code, **settings) for code, settings in cases.items()}

    for code, process in started.items():
        assert ended(process, 60) == 2
        log = processes.log(code).read_text()
        assert "Traceback" not in log
        assert code in log.strip().splitlines()[-1]


def test_a_second_decoder_gets_work_and_gives_it_back(here: Surroundings, processes: Processes) -> None:
    here.node.faults(latency_ms=100)
    here.ask_for(*ALL)
    slow = {"RPC_BATCH_SIZE": "2", "RPC_MAX_CONCURRENCY": "1"}
    first = processes.start(DECODER, slot="0", **slow)
    until(lambda: len(here.decoded()) > 10, "the first works", 60)

    second = processes.start(DECODER, slot="1", **slow)
    until(lambda: "started" in processes.log("1").read_text(), "the second starts")
    before = len(here.decoded())
    until(lambda: len(here.decoded()) > before + 40, "both work", 60)
    second.terminate()
    assert ended(second) == 0

    here.node.faults(reset=True)
    until(lambda: len(here.decoded()) >= HEAD, "all blocks are decoded", 90)
    here.assert_exactly(*ALL)
    assert " 0 blocks;" not in processes.log("1").read_text()
    first.terminate()
    assert ended(first) == 0
