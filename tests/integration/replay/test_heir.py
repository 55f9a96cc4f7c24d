"""On a real Kafka: what the owner of an heir left open is ended at once, not when its time is up."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from confluent_kafka import Producer

from indexer.kafka import config
from indexer.topics import load_topics
from tests.integration.replay.conftest import Desk
from tests.support.kafka_topics import until

pytestmark = pytest.mark.integration

_OWNER = """
import json, os, signal, sys
from confluent_kafka import Producer
from indexer.kafka.heir import Heir

settings, topic = json.loads(sys.argv[1]), sys.argv[2]
heir, producer = Heir(settings), Producer(settings)
producer.init_transactions(30)
producer.begin_transaction()
producer.produce(topic, b"open", partition=0)
producer.flush(30)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_reader_reads_on_long_before_the_transactions_time_is_up(desk: Desk) -> None:
    topic = load_topics(desk.settings.topic_prefix).work[0]
    settings = config.transactional(desk.settings, "heir") | {"transaction.timeout.ms": 300_000}
    plain = Producer({"bootstrap.servers": desk.settings.kafka_bootstrap_servers})

    owner = subprocess.run([sys.executable, "-c", _OWNER, json.dumps(settings), topic], env=os.environ, check=False)
    plain.produce(topic, b"committed", partition=0)
    plain.flush(30)
    with desk.reading() as delays:
        until(lambda: delays, "what came after the open transaction is read")

    assert owner.returncode == -9
    assert [record.value() for record in desk.records()] == [b"committed"]
