"""What is wrong around a service: it ends with a clear last line and an exit code, alone and under `batch process`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from devchain.client import Devchain
from indexer.kafka.admin import KafkaAdmin
from indexer.settings import Settings
from indexer.storage import jobs
from indexer.storage.jobs import Connection
from indexer.topics import DECODED, load_topics
from tests.support.command_line import ran_apart
from tests.support.e2e_bad_input import (
    DATABASES,
    FAILED,
    NOWHERE,
    USER,
    assert_last_line,
    ran_service,
    wrong_databases,
)
from tests.support.e2e_services import services

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

HEAD = 100
SERVICES = ("producer", "decoder", "persister")


@pytest.fixture(scope="module")
def node() -> Iterator[Devchain]:
    with Devchain.simulated(profile="small", blocks=HEAD) as node:
        yield node


@pytest.mark.parametrize("wrong", DATABASES)
@pytest.mark.parametrize("service", ["producer", "persister"])
def test_a_service_names_a_wrong_database(deployment: Settings, database_url: str, service: str, wrong: str) -> None:
    settings, code, words = wrong_databases(deployment, database_url)[wrong]

    assert_last_line(ran_service(settings, service), code, *words)


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_without_its_topics_says_how_to_make_them(
    migrated: Settings, node: Devchain, kafka: str, service: str
) -> None:
    settings = replace(migrated, rpc_urls=(node.url,), kafka_bootstrap_servers=kafka)

    assert_last_line(ran_service(settings, service), USER, settings.topic_prefix, "indexer topics apply")


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_names_a_kafka_that_does_not_answer(migrated: Settings, node: Devchain, service: str) -> None:
    settings = replace(migrated, rpc_urls=(node.url,), kafka_bootstrap_servers=NOWHERE)

    assert_last_line(ran_service(settings, service), FAILED, f"Kafka at {NOWHERE} does not answer")


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_names_what_is_not_set(service: str) -> None:
    needs = {"producer": "DATABASE_URL", "decoder": "RPC_URLS", "persister": "DATABASE_URL"}[service]

    assert_last_line(ran_service(Settings(), service), USER, "KAFKA_BOOTSTRAP_SERVERS", needs, "not set")


MODELS = {
    "no such file": (None, ["model.toml"]),
    "not TOML": ("[[[", ["model.toml"]),
    "malformed ABI": (
        'name = "x"\ncontracts = "*"\nabi = ["event Swap(uint257 amount)"]\n',
        ["model.toml", "uint257"],
    ),
}


@pytest.mark.parametrize("wrong", MODELS)
def test_a_decoder_names_a_wrong_model(deployment: Settings, node: Devchain, tmp_path: Path, wrong: str) -> None:
    text, words = MODELS[wrong]
    file = tmp_path / "model.toml"
    if text is not None:
        file.write_text(text)
    settings = replace(deployment, rpc_urls=(node.url,), models=(str(file),))

    assert_last_line(ran_service(settings, "decoder"), USER, *words)


def test_a_decoder_names_a_node_of_another_chain(deployment: Settings, node: Devchain) -> None:
    settings = replace(deployment, rpc_urls=(node.url,), chain_id=1)

    assert_last_line(ran_service(settings, "decoder"), USER, "43114", "1")


def test_a_setting_that_does_not_exist_is_refused(deployment: Settings) -> None:
    for service in SERVICES:
        assert_last_line(ran_service(replace(deployment, verify="perhaps"), service), USER, "VERIFY='perhaps'")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"chain": 1}, ["chain"]),
        ({"models": ("no-such-model.toml",)}, ["no-such-model.toml"]),
        ({"topics": None}, ["indexer topics apply"]),
        ({"verify": "perhaps"}, ["VERIFY='perhaps'"]),
    ],
    ids=["another chain", "unknown model", "no topics", "wrong setting"],
)
def test_batch_process_ends_with_what_a_service_says(
    deployment: Settings, database: Connection, node: Devchain, tmp_path: Path, change: dict[str, Any], words: list[str]
) -> None:
    settings = replace(deployment, rpc_urls=(node.url,))
    assert ran_apart(settings, tmp_path, "batch", "queue", "blocks", 1, 10).code == 0
    if "chain" in change:
        node.faults(chain_id=change["chain"])
    elif "topics" in change:
        KafkaAdmin(settings).delete(load_topics(settings.topic_prefix).names)
    else:
        settings = replace(settings, **change)

    ran = ran_apart(settings, tmp_path, "batch", "process", seconds=90)

    node.faults(reset=True)
    assert "Traceback" not in ran.err
    assert ran.code in (USER, FAILED)
    for word in words:
        assert word in ran.err.splitlines()[-1]
    assert database.execute("SELECT count(*) FROM blocks").fetchone() == (0,)
    assert [job.state for job in jobs.all_jobs(database, settings.chain_id)] in (["queued"], ["running"])


def test_a_topic_that_vanishes_or_was_made_anew_ends_the_service_with_the_way_out(
    deployment: Settings, node: Devchain, tmp_path: Path
) -> None:
    decoded = load_topics(deployment.topic_prefix).name(DECODED)
    with services(deployment, node, tmp_path / "first") as running:
        running.start(producer=1, decoder=1)
        persister = running.alone("persister", 0)
        job = running.queue([(1, 51)])
        running.until(lambda: running.is_done(job), 60, "the job ends")
        KafkaAdmin(deployment).delete([decoded])
        running.until(lambda: persister.pid is None, 120, "the persister ends")
        assert f"no topic {decoded}: run `indexer topics apply`" in running.log(persister).splitlines()[-1]

    assert ran_apart(deployment, tmp_path, "topics", "apply").code == 0
    assert_last_line(ran_service(deployment, "persister"), FAILED, decoded, f"indexer db forget-offsets {decoded}")
    assert ran_apart(deployment, tmp_path, "db", "forget-offsets", decoded, "--yes").code == 0

    with services(deployment, node, tmp_path / "second") as running:
        running.start(producer=1, decoder=1, persister=1)
        job = running.queue([(1, HEAD + 1)])
        running.until(lambda: running.is_done(job), 60, "the job ends with the new topic")
        assert running.job(job).stored == HEAD
