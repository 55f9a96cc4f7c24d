"""What the brokers answer to work items and to the follower's records, and what is made of it."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaError

from indexer.checksum import is_sealed
from indexer.errors import FatalError, OutageError
from indexer.jobs.ranges import Stripe
from indexer.records import BlockWorkItem, Reason, Rollback
from indexer.settings import Settings
from indexer.storage.jobs import Lease
from services.producer.messages import KafkaMessages
from services.producer.publisher import Publisher
from tests.unit.producer.kafka_client import Client

SETTINGS = Settings(chain_id=43114, kafka_bootstrap_servers="nowhere:1")
LEASE = Lease(7, 1, "running", "normal", "earliest", "backfill", 100, 1_000, None, None, False, 1)
STRIPE = Stripe(3, 0b1111)
DEAD = KafkaError(KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER, "sequence", True)
TIMED_OUT = KafkaError(KafkaError._MSG_TIMED_OUT)


def publisher(client: Client) -> Publisher:
    return Publisher(SETTINGS, {"normal": "blocks.work"}, 4, make=client)


def messages(client: Client) -> KafkaMessages:
    return KafkaMessages(SETTINGS, "blocks.work.high", "blocks.decoded", 4, make=client)


def test_a_stripe_is_confirmed_when_all_of_it_arrived() -> None:
    client = Client()
    one = publisher(client)
    one.publish(LEASE, [STRIPE])

    client.answers = [None, None, None]
    assert one.confirmed() == {}
    client.answers = [None]
    assert one.confirmed() == {7: [3]}
    assert not one.failed(7)


def test_a_confirmation_is_forgotten_when_it_is_noted_and_not_when_it_is_told() -> None:
    client = Client()
    one = publisher(client)
    one.publish(LEASE, [STRIPE, Stripe(4, 0b1111)])
    client.answers = [None] * 8

    assert (one.confirmed(), one.confirmed()) == ({7: [3, 4]}, {7: [3, 4]})
    assert one.under_way(7) == {3, 4}
    one.noted(7, [3])
    assert (one.confirmed(), one.under_way(7)) == ({7: [4]}, {4})
    one.noted(7, [4])
    assert (one.confirmed(), one.under_way(7)) == ({}, set())


def test_a_stripe_of_which_an_item_got_lost_is_not_confirmed_by_the_others_although_it_was_asked_for_meanwhile() -> (
    None
):
    client = Client()
    one = publisher(client)
    one.publish(LEASE, [STRIPE])
    client.answers = [TIMED_OUT]
    one.poll()

    assert not one.failed(7)  # not yet: the others are under way
    client.answers = [None, None, None]

    assert one.confirmed() == {}
    assert one.under_way(7) == set()
    assert (one.failed(7), one.failed(7)) == (True, False)


def test_a_stripe_that_failed_is_confirmed_when_it_arrives_the_next_time() -> None:
    client = Client()
    one = publisher(client)
    one.publish(LEASE, [STRIPE])
    client.answers = [TIMED_OUT, None, None, None]
    one.poll()

    one.publish(LEASE, [STRIPE])
    client.answers = [None] * 4

    assert one.confirmed() == {7: [3]}


@pytest.mark.parametrize(
    ("client", "code"),
    [
        (Client(answers=[DEAD]), "KAFKA_PRODUCER_FATAL"),
        (Client(raises=DEAD), "KAFKA_PRODUCER_FATAL"),
        (Client(refusals=[KafkaError(KafkaError._FATAL)]), "KAFKA_PRODUCER_FATAL"),
        (Client(refusals=[KafkaError(KafkaError._UNKNOWN_TOPIC)]), "TOPIC_MISSING"),
    ],
)
def test_a_dead_client_or_a_missing_topic_ends_the_process(client: Client, code: str) -> None:
    with pytest.raises(FatalError) as of_jobs:
        publisher(client).publish(LEASE, [STRIPE])

    assert of_jobs.value.code == code


@pytest.mark.parametrize(
    "client",
    [Client(answers=[DEAD]), Client(raises=DEAD), Client(refusals=[KafkaError(KafkaError._FATAL)])],
)
def test_a_dead_client_of_the_follower_ends_the_process_too(client: Client) -> None:
    with pytest.raises(FatalError) as raised:
        messages(client).publish([BlockWorkItem(43114, 5, 1, None, 7, Reason.HEAD)])

    assert raised.value.code == "KAFKA_PRODUCER_FATAL"


def test_a_broker_that_does_not_answer_the_follower_is_waited_for() -> None:
    with pytest.raises(OutageError):
        messages(Client(answers=[TIMED_OUT] * 4)).roll_back(Rollback(43114, 5, 2))


def test_a_rollback_has_the_checksum_that_a_persister_compares() -> None:
    client = Client(answers=[None] * 4)
    messages(client).roll_back(Rollback(43114, 5, 2))

    assert [(each.topic, each.partition, is_sealed(each)) for each in client.records] == [
        ("blocks.decoded", partition, True) for partition in range(4)
    ]
