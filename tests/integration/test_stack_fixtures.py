"""The fixtures that every integration test stands on."""

from __future__ import annotations

import psycopg
import pytest
from confluent_kafka.admin import AdminClient

pytestmark = pytest.mark.integration


def test_a_test_has_a_broker_and_an_empty_database(kafka: str, database_url: str, topic_prefix: str) -> None:
    topics = AdminClient({"bootstrap.servers": kafka}).list_topics(timeout=10).topics

    with psycopg.connect(database_url) as connection:
        tables = connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone()

    assert not [topic for topic in topics if topic.startswith(topic_prefix)]
    assert tables == (0,)
