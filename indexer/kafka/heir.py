"""A second process that ends the open transaction of one that was killed, which would hold up every reader.

    python -m indexer.kafka.heir        with the producer's settings as a line of JSON on standard input

It waits for the end of that pipe, which comes however its owner ends, by SIGKILL too. Then the first call of a producer
under the same transactional id aborts what was open, at once: a broker would wait for the transaction's time, and then
for its next look at what is overdue, which it takes every ten seconds unless told otherwise. A successor of the owner
that is quicker is fenced by this call, and finds its place again as after any other loss of its producer.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import time
from collections.abc import Callable
from typing import IO, Any, Protocol

from confluent_kafka import KafkaError, KafkaException, Producer

from indexer.kafka.config import Config

log = logging.getLogger(__name__)

_SECONDS = 10.0  # a Kafka that is away for longer has ended the transaction itself
_CALL_SECONDS = 2.0


class _Producer(Protocol):
    def init_transactions(self, timeout: float, /) -> None: ...


class Heir:
    """The process as its owner has it."""

    def __init__(self, settings: Config) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "indexer.kafka.heir"],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,  # or who reads our output to its end would wait for it
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # neither Ctrl-C nor what ends our process group reaches it
            )
            assert self._process.stdin is not None
            self._process.stdin.write(json.dumps(settings).encode() + b"\n")  # not an argument: those are public
            self._process.stdin.flush()
        except OSError as error:
            log.warning("no heir: %s; killed, we hold readers up for the transaction's time", error.strerror)

    def dismiss(self) -> None:
        """End it: nothing is left open."""
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process = None


def wait_and_end(
    pipe: IO[bytes],
    make: Callable[[dict[str, Any]], _Producer] = Producer,
    now: Callable[[], float] = time.monotonic,
) -> bool:
    """Wait for the pipe's end, then end what is open; return whether that is certain."""
    settings = pipe.readline()
    if not settings.endswith(b"\n"):
        return False  # killed before it could begin a transaction
    producer = make(json.loads(settings))  # connected before it is needed
    pipe.read()
    deadline = now() + _SECONDS
    while True:
        try:
            producer.init_transactions(_CALL_SECONDS)
        except KafkaException as exception:
            error: KafkaError = exception.args[0]
            again = error.retriable() or error.code() == KafkaError._TIMED_OUT
            if not again or error.fatal() or now() >= deadline:
                return False
            continue
        return True


if __name__ == "__main__":
    sys.exit(0 if wait_and_end(sys.stdin.buffer) else 1)
