"""`indexer topics` against a real broker."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic, ResourceType

from indexer.cli.__main__ import run
from indexer.errors import FatalError, OutageError, UserError
from indexer.kafka.admin import KafkaAdmin
from indexer.settings import Settings
from indexer.topic_changes import Alter, Create
from indexer.topics import DECODED, EVENTS, WORK, Topics, load_topics
from tests.support.kafka_topics import TestKafka

pytestmark = pytest.mark.integration


@pytest.fixture
def admin(kafka: str) -> KafkaAdmin:
    return KafkaAdmin(Settings(kafka_bootstrap_servers=kafka))


@pytest.fixture
def topics(admin: KafkaAdmin, topic_prefix: str) -> Iterator[Topics]:
    """The declared topics, with few partitions, under this test's prefix; what was made of them is deleted."""
    declared = load_topics(topic_prefix + ".", partitions=2)
    yield declared
    admin.delete(declared.names)


def make(admin: KafkaAdmin, kafka: str, name: str, partitions: int) -> None:
    client = AdminClient({"bootstrap.servers": kafka})  # its answers end with it
    client.create_topics([NewTopic(name, partitions, 1)])[name].result(10)
    until(lambda: name in admin.describe([name]))


def alter(admin: KafkaAdmin, kafka: str, name: str, setting: str, value: str) -> None:
    entry = ConfigEntry(setting, value, incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, name, incremental_configs=[entry])
    client = AdminClient({"bootstrap.servers": kafka})
    client.incremental_alter_configs([resource])[resource].result(10)
    until(lambda: admin.describe([name])[name].config[setting] == value)


def until(done: Callable[[], bool]) -> None:
    """Wait until a broker has learned what the controller did."""
    deadline = time.monotonic() + 10
    while not done():
        assert time.monotonic() < deadline, "Kafka did not take it over"
        time.sleep(0.02)


def test_apply_makes_every_topic_and_then_nothing_differs(admin: KafkaAdmin, topics: Topics) -> None:
    done = admin.apply(topics)

    assert [each.topic.name for each in done if isinstance(each, Create)] == topics.names
    assert admin.diff(topics) == []
    assert admin.apply(topics) == []


def test_a_topic_whose_leaders_were_awaited_takes_the_first_record_at_once(
    admin: KafkaAdmin, topics: Topics, kafka: str
) -> None:
    declared = load_topics(topics.prefix, partitions=24)
    admin.apply(declared)

    admin.await_leaders(declared)

    refused: list[object] = []
    producer = Producer({"bootstrap.servers": kafka, "retries": 0})
    for partition in range(24):
        producer.produce(declared.decoded, b"", partition=partition, on_delivery=lambda e, _: refused.append(e))
    assert producer.flush(10) == 0
    assert refused == [None] * 24


def test_a_changed_setting_is_set_back(admin: KafkaAdmin, topics: Topics, kafka: str) -> None:
    admin.apply(topics)
    alter(admin, kafka, topics.decoded, "retention.ms", "1000")

    assert admin.apply(topics) == [Alter(topics.decoded, {"retention.ms": ("1000", "604800000")})]
    assert admin.diff(topics) == []


def test_the_topic_of_events_grows(admin: KafkaAdmin, topics: Topics, kafka: str) -> None:
    make(admin, kafka, topics.events, 1)

    admin.apply(topics)

    assert admin.describe([topics.events])[topics.events].partitions == topics[EVENTS].partitions


def test_a_refused_difference_changes_nothing(admin: KafkaAdmin, topics: Topics, kafka: str) -> None:
    make(admin, kafka, topics.decoded, 5)

    with pytest.raises(UserError, match="--partitions 5") as raised:
        admin.apply(topics)

    assert raised.value.code == "TOPIC_REFUSED"
    assert list(admin.describe(topics.names)) == [topics.decoded]


def test_a_service_learns_partitions_and_topic_ids(admin: KafkaAdmin, topics: Topics) -> None:
    admin.apply(topics)

    checked = admin.check(topics, *WORK, DECODED)

    assert checked.partitions == 2
    assert checked.ids == admin.topic_ids(topics.names)


def test_a_topic_that_was_made_again_has_another_id(admin: KafkaAdmin, topics: Topics) -> None:
    admin.apply(topics)
    before = admin.topic_ids([topics.decoded])

    assert admin.delete([topics.decoded, "never.existed"]) == [topics.decoded]
    with pytest.raises(UserError, match=f"topic {topics.decoded} is missing: run `indexer topics apply`"):
        admin.check(topics, DECODED)
    admin.apply(topics)

    assert admin.topic_ids([topics.decoded]).keys() == before.keys()
    assert admin.topic_ids([topics.decoded]) != before


def test_what_kafka_refuses_is_fatal_and_says_why(admin: KafkaAdmin) -> None:
    with pytest.raises(FatalError, match="Kafka refused") as raised:
        admin.apply(load_topics("no blanks allowed", partitions=1))

    assert raised.value.code == "KAFKA_REFUSED"


def test_a_kafka_that_does_not_answer_is_one_clear_line_in_bounded_time() -> None:
    begun = time.monotonic()

    with pytest.raises(OutageError, match=r"Kafka at 127\.0\.0\.1:1 does not answer within 1 s") as raised:
        KafkaAdmin(Settings(kafka_bootstrap_servers="127.0.0.1:1"), wait=1.0).describe(["any"])

    assert raised.value.code == "KAFKA_UNREACHABLE"
    assert time.monotonic() - begun < 5


def test_without_an_address_the_setting_is_named() -> None:
    with pytest.raises(UserError, match="KAFKA_BOOTSTRAP_SERVERS not set"):
        KafkaAdmin(Settings())


def test_the_commands_tell_differences_by_their_exit_code(
    topics: Topics, kafka: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", kafka)
    monkeypatch.setenv("TOPIC_PREFIX", topics.prefix)

    codes = [
        run(["topics", *words.split(), "--partitions", "2"])
        for words in ("diff", "apply --dry-run", "apply", "diff", "diff --json")
    ]

    assert codes == [1, 0, 0, 0, 0]
    shown = capsys.readouterr().out
    assert f"create {topics.decoded}: 2 partitions" in shown
    assert "9 topics are as declared" in shown
    assert run(["topics", "apply", "--partitions", "3"]) == 2
    assert "error: " in capsys.readouterr().err
    assert run(["topics", "apply", "--dry-run", "--partitions", "3"]) == 1


def test_describe_shows_declaration_existence_and_id(
    admin: KafkaAdmin,
    topics: Topics,
    kafka: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", kafka)
    monkeypatch.setenv("TOPIC_PREFIX", topics.prefix)
    assert run(["topics", "describe"]) == 0
    assert "missing: run `indexer topics apply`" in capsys.readouterr().out
    admin.apply(topics)

    assert run(["topics", "describe", "--json"]) == 0

    shown = {each["role"]: each for each in json.loads(capsys.readouterr().out)}
    assert shown[DECODED]["existing"]["id"] == admin.topic_ids([topics.decoded])[topics.decoded]
    assert shown[DECODED]["existing"]["partitions"] == 2
    assert shown[DECODED]["declared"]["partitions"] == 12
    assert run(["topics", "describe"]) == 0
    assert "2 partitions, replication 1" in capsys.readouterr().out


@pytest.mark.parametrize("hours", [5, -24 * 365], ids=["ahead", "behind"])
def test_a_record_of_a_clock_that_is_wrong_is_taken_and_gets_the_brokers_time(
    admin: KafkaAdmin, kafka: str, topics: Topics, hours: int
) -> None:
    admin.apply(topics)
    failed: list[object] = []
    producer = Producer({"bootstrap.servers": kafka})
    there = int(time.time() * 1000)

    for name in topics.names:
        at = there + hours * 3_600_000
        producer.produce(name, b"x", b"k", 0, timestamp=at, on_delivery=lambda error, _: failed.append(error))
    assert producer.flush(30) == 0

    assert failed == [None] * len(topics.names)
    found = [
        TestKafka(kafka).read(name, topics[EVENTS].partitions if name == topics.events else 2) for name in topics.names
    ]
    assert all(abs(message.timestamp()[1] - there) < 60_000 for (message,) in found)
