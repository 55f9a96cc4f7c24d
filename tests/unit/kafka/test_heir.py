"""An heir waits for its owner's end, and then ends what the owner left open."""

from __future__ import annotations

import io
import subprocess
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from indexer.kafka.heir import Heir, wait_and_end

SETTINGS = b'{"transactional.id": "dlq-replay-1"}\n'


class Coordinator:
    """Makes one producer, whose calls end with these errors first."""

    def __init__(self, *errors: KafkaError) -> None:
        self.errors = list(errors)
        self.settings: dict[str, Any] | None = None
        self.calls = 0

    def __call__(self, settings: dict[str, Any]) -> Coordinator:
        self.settings = settings
        return self

    def init_transactions(self, timeout: float) -> None:
        self.calls += 1
        if self.errors:
            raise KafkaException(self.errors.pop(0))


def test_at_the_pipes_end_a_producer_of_the_same_id_is_begun() -> None:
    kafka = Coordinator()

    assert wait_and_end(io.BytesIO(SETTINGS), kafka)

    assert (kafka.settings, kafka.calls) == ({"transactional.id": "dlq-replay-1"}, 1)


@pytest.mark.parametrize("told", [b"", b'{"transactional.id'])
def test_an_owner_that_was_killed_before_it_told_anything_has_nothing_open(told: bytes) -> None:
    kafka = Coordinator()

    assert not wait_and_end(io.BytesIO(told), kafka)

    assert kafka.settings is None


def test_a_call_without_an_answer_is_made_again() -> None:
    kafka = Coordinator(KafkaError(KafkaError._TIMED_OUT), KafkaError(KafkaError._TIMED_OUT, retriable=True))

    assert wait_and_end(io.BytesIO(SETTINGS), kafka)

    assert kafka.calls == 3


def test_what_is_refused_is_left_to_the_broker() -> None:
    kafka = Coordinator(KafkaError(KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED))

    assert not wait_and_end(io.BytesIO(SETTINGS), kafka)

    assert kafka.calls == 1


def test_it_does_not_wait_for_ever_for_a_kafka_that_is_away() -> None:
    kafka = Coordinator(*[KafkaError(KafkaError._TIMED_OUT)] * 9)
    clock = iter(range(0, 100, 4))

    assert not wait_and_end(io.BytesIO(SETTINGS), kafka, lambda: float(next(clock)))

    assert kafka.calls == 3


def test_an_heir_that_cannot_be_started_stops_nobody(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refused(*_: Any, **__: Any) -> None:
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(subprocess, "Popen", refused)

    Heir({"transactional.id": "dlq-replay-1"}).dismiss()

    assert "no heir: Resource temporarily unavailable" in caplog.text


def test_an_heir_that_is_dismissed_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen

    def noted(*arguments: Any, **options: Any) -> subprocess.Popen[bytes]:
        started.append(popen(*arguments, **options))
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", noted)
    one = Heir({"transactional.id": "dlq-replay-1"})

    one.dismiss()
    one.dismiss()

    assert [process.poll() for process in started] == [-9]
