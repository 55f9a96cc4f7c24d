"""What is told of a service that stops or goes on."""

from __future__ import annotations

from indexer.local.stops import news

STOPPED = {"decoder": "100 of the last 100 records became dead letters"}


def test_a_stop_is_told_once_with_how_to_go_on() -> None:
    (line,) = news({}, STOPPED)

    assert line.startswith("decoder is stopped: 100 of the last 100 records became dead letters; ")
    assert "`indexer dlq resume decoder`" in line
    assert news(STOPPED, STOPPED) == []


def test_who_goes_on_is_told_too() -> None:
    assert news(STOPPED, {}) == ["decoder goes on"]
