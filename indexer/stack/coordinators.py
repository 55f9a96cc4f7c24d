"""Groups and transactions have a coordinator each; a new cluster makes it when it is first asked for: in a second."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from indexer.errors import FatalError
from indexer.stack import process

if TYPE_CHECKING:
    from confluent_kafka import Consumer

_NAME = "indexer-stack"


def wait_ready(bootstrap_servers: str, seconds: float = 30.0) -> None:
    """Return when both answer. Raises FatalError when they do not in time."""
    from confluent_kafka import Consumer, KafkaException, Producer

    quiet: dict[str, Any] = {
        "bootstrap.servers": bootstrap_servers,
        "log_level": 0,
        "error_cb": lambda _error: None,
    }
    consumer = Consumer({**quiet, "group.id": _NAME})
    try:
        if not process.wait_until(lambda: _answers(consumer, seconds), seconds):
            raise FatalError(f"Kafka has no coordinator for groups after {seconds:.0f} s", code="STACK_KAFKA")
        Producer({**quiet, "transactional.id": _NAME}).init_transactions(seconds)
    except KafkaException as error:
        raise FatalError(f"Kafka has no transactions: {error.args[0].str()}", code="STACK_KAFKA") from error
    finally:
        consumer.close()


def _answers(consumer: Consumer, seconds: float) -> bool:
    """Whether the group's coordinator answers; one that still loads refuses."""
    from confluent_kafka import KafkaException, TopicPartition

    try:
        consumer.committed([TopicPartition(_NAME, 0)], seconds)
    except KafkaException:
        return False
    return True
