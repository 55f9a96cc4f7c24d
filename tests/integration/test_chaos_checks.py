"""What the chaos suite checks a run with, on a real Kafka and a real database that hold what must not be there."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from indexer.codec import encode_block
from indexer.settings import Settings
from indexer.storage.digest import Digest, digest
from indexer.storage.jobs import Connection
from tests.chaos.reader import Reader
from tests.chaos.verdict import other_rows
from tests.support.blocks import BlockMaker
from tests.support.kafka_topics import TestKafka, until
from tests.support.rows import insert_blocks

pytestmark = pytest.mark.integration
make = BlockMaker()


@pytest.fixture
def topic(kafka: str, topic_prefix: str) -> str:
    TestKafka(kafka).create(topic_prefix + "decoded")
    return topic_prefix + "decoded"


@pytest.fixture
def reader(kafka: str, topic: str) -> Iterator[Reader]:
    made = Reader(kafka, topic, 2)
    yield made
    made.close()


def test_a_reader_sees_what_is_committed_once_and_has_nothing_to_say(kafka: str, topic: str, reader: Reader) -> None:
    client = TestKafka(kafka)
    client.produce_in_transaction(topic, 0, encode_block(make(1)))
    client.produce_in_transaction(topic, 0, encode_block(make(1)), abort=True)
    client.produce_in_transaction(topic, 1, encode_block(make(2)), b"garbage")

    assert reader.problems({(1, 0): 1, (2, 0): 1}, []) == []
    assert sorted(reader.blocks.values()) == [(1, 0), (2, 0)]


def test_a_block_that_was_decoded_twice_is_said_unless_it_was_planted(kafka: str, topic: str, reader: Reader) -> None:
    client = TestKafka(kafka)
    for _ in range(2):
        client.produce_in_transaction(topic, 0, encode_block(make(1)))
    client.produce_in_transaction(topic, 1, encode_block(make(2)))

    assert reader.problems({(1, 0): 1}, [(topic, 1, 0)]) == ["block 1, generation 0: 2 records, 1 items"]


def test_a_record_that_vanished_after_it_was_read_is_said(kafka: str, topic: str, reader: Reader) -> None:
    client = TestKafka(kafka)
    client.produce_in_transaction(topic, 0, encode_block(make(1)))
    client.produce_in_transaction(topic, 0, encode_block(make(2)))
    until(lambda: len(reader.blocks) == 2, "both were read")
    client.delete_records(topic, 0, 1)

    (said,) = reader.problems({(1, 0): 1, (2, 0): 1}, [])

    assert said.startswith("partition 0: 2 records were read as they came, ")


@pytest.mark.parametrize(
    "harm",
    [
        "DELETE FROM blocks WHERE number = 2",
        "UPDATE blocks SET gas_used = gas_used + 1 WHERE number = 2",
        "INSERT INTO blocks SELECT (jsonb_populate_record(b, '{\"number\": 4}')).* FROM blocks b WHERE number = 3",
    ],
    ids=["a lost block", "an altered block", "a doubled row"],
)
def test_a_database_that_is_not_as_a_fresh_index_is_said(migrated: Settings, database: Connection, harm: str) -> None:
    insert_blocks(database, [1, 2, 3], migrated.chain_id)
    fresh: Digest = digest(database, migrated.chain_id)
    assert other_rows(digest(database, migrated.chain_id), fresh) == []

    database.execute(harm)  # type: ignore[arg-type]  # the test's own

    (said,) = other_rows(digest(database, migrated.chain_id), fresh)
    assert said.startswith("blocks: ")
