"""The marker of a record that is under way alone stands in `consumer_progress` (PROTOCOL 17)."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest

from indexer.caution import Caution, Death
from indexer.inflight import Record
from indexer.settings import Settings
from services.persister.connections import RowConnections
from services.persister.progress import Progress
from services.persister.sink import OffsetsSink
from tests.integration.persister.harness import GROUP, Persister, rows, source
from tests.support.blocks import BlockMaker

pytestmark = pytest.mark.integration

make = BlockMaker()
AT = source(0)
MARKERS = "SELECT next_offset, marker, deaths, death_cause, marker_by FROM consumer_progress WHERE partition = 0"
ABORTED = Death("Fatal Python error: Aborted", 10_000)


class Cautious:
    """A persister's sink that stores the markers of its caution."""

    def __init__(self, settings: Settings, death: Death | None, now_ms: int, slot: str = "a") -> None:
        self.caution = Caution(slot, death, lambda: now_ms)
        progress = Progress(
            GROUP, lambda topics: dict.fromkeys(topics, "id-1"), self.caution.found, self.caution.marker
        )
        made = Persister(settings)
        self.sink = OffsetsSink(RowConnections(settings), progress, made.writer, lambda handled, offsets: None)
        self.start = dict(self.sink.assigned({AT}))[AT]

    def take(self, offset: int) -> None:
        self.caution.take(Record(AT.topic, AT.partition, offset, None, b""))
        self.sink.write([], {AT: offset})


def test_a_marker_counts_the_deaths_of_its_record_until_it_is_condemned(
    settings: Settings, look: psycopg.Connection
) -> None:
    for life, deaths in enumerate([0, 1, 2]):
        death = ABORTED if life == 0 else Death(ABORTED.cause, 10_000 * life + 1_000)
        mine = Cautious(settings, death, 10_000 * (life + 1))
        assert mine.caution.alone()
        assert mine.caution.condemned(Record(AT.topic, 0, 0, None, b"")) is None
        mine.take(0)
        cause = ABORTED.cause if deaths else ""
        assert rows(look, MARKERS) == [(0, 0, deaths, cause, "a")]
        mine.sink.close()

    last = Cautious(settings, Death(ABORTED.cause, 31_000), 40_000)

    assert last.caution.condemned(Record(AT.topic, 0, 0, None, b"")) is not None
    assert last.caution.condemned(Record(AT.topic, 0, 1, None, b"")) is None
    last.sink.close()


def test_a_marker_goes_with_the_next_commit(
    settings: Settings, look: psycopg.Connection, persister: Callable[..., Persister]
) -> None:
    mine = Cautious(settings, ABORTED, 10_000)
    mine.take(0)
    mine.caution.done(AT, 0)

    mine.sink.write([], {AT: 1})

    assert rows(look, MARKERS) == [(1, None, 0, None, None)]
    mine.sink.close()


def test_another_slots_marker_counts_nothing(settings: Settings, look: psycopg.Connection) -> None:
    mine = Cautious(settings, ABORTED, 10_000)
    mine.take(0)
    mine.sink.close()

    other = Cautious(settings, Death(ABORTED.cause, 11_000), 20_000, slot="b")
    other.take(0)

    assert rows(look, MARKERS) == [(0, 0, 0, "", "b")]
    other.sink.close()
