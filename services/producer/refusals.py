"""Which refusals of a record no second try can mend: the process ends with one line and is started again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from confluent_kafka import KafkaError, KafkaException

from indexer.errors import FatalError

_MISSING = (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION)


def final(what: str, error: KafkaError) -> FatalError | None:
    """Return what ends the process, if this does: a missing topic, or a client that is dead for good."""
    if error.code() in _MISSING:
        return FatalError(f"publishing {what}: {error.str()}: run `indexer topics apply`", code="TOPIC_MISSING")
    if error.fatal() or error.code() == KafkaError._FATAL:
        return FatalError(f"publishing {what}: the client cannot go on: {error.str()}", code="KAFKA_PRODUCER_FATAL")
    return None


def asked(what: str, call: Callable[[float], Any], seconds: float) -> int:
    """Poll or flush, which raise once the producer is dead."""
    try:
        return int(call(seconds))
    except KafkaException as error:
        ends = final(what, error.args[0])
        if ends is None:
            raise
        raise ends from error
