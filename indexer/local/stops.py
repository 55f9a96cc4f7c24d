"""Which services the dead-letter budget has stopped, looked up beside a run."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping

from indexer.budget import stop_in_words
from indexer.errors import OutageError
from indexer.kafka.brakes import SERVICES, Brakes
from indexer.settings import Settings

log = logging.getLogger(__name__)

_LOOK_SECONDS = 1.0
_WAIT_SECONDS = 2.0


class Stops:
    """Asks Kafka in a thread of its own: a run goes on looking at its jobs where Kafka does not answer.

    What was found holds until Kafka says something else.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.found: Mapping[str, str] = {}  # service → why; replaced, never changed
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="stops", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._ended.set()
        self._thread.join(_WAIT_SECONDS + 1)

    def _run(self) -> None:
        marks = {service: Brakes(self._settings, service, wait_seconds=_WAIT_SECONDS) for service in SERVICES}
        try:
            while not self._ended.is_set():
                try:
                    read = [(service, brakes.read()) for service, brakes in marks.items()]
                    self.found = {service: why for service, why in read if why is not None}
                except OutageError as error:
                    log.debug("%s", error)
                self._ended.wait(_LOOK_SECONDS)
        finally:
            for brakes in marks.values():
                brakes.close()


def news(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Return a line for each service that was stopped since, or goes on."""
    stopped = [stop_in_words(service, why) for service, why in now.items() if service not in before]
    return stopped + [f"{service} goes on" for service in before if service not in now]
