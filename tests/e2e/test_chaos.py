"""A short run of `make chaos`, on one broker: three would take more memory and time than its faults are worth here."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.__main__ import in_words
from tests.chaos.storm import Weather, run

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


@pytest.mark.parametrize(("seed", "protocol"), [(1359, "classic")])
def test_nothing_is_lost_or_doubled_whatever_happens(tmp_path: Path, seed: int, protocol: str) -> None:
    report = run(Weather(seed, seconds=20, brokers=1, quiet_seconds=150, protocol=protocol), tmp_path)

    assert report.problems == [], in_words(report)
    assert report.kinds >= 12
