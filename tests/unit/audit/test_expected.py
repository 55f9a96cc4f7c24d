"""Expected − stored − dead: what is open has a reason, all else is a finding."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.audit.expected import JobSpan, Span, account
from indexer.audit.findings import Findings, Kind, heights_of, ranges_of, to_repair
from indexer.errors import UserError

START = 640


def mask(*heights: int) -> int:
    return sum(1 << (height - START) for height in heights)


def job(state: str = "done", *, asked: int = mask(640, 641), stored: int = 0, dead: int = 0, reason: str = "backfill",
        opened: int | None = None, id_: int = 1) -> JobSpan:  # fmt: skip
    return JobSpan(id_, state, reason, asked, asked if opened is None else opened, stored, dead)


def accounted(*jobs: JobSpan, stored: int = 0, letters: int = 0, dropped: int = 0, named: int = 0) -> Findings:
    findings = Findings()
    account(Span(START, jobs, stored, letters, dropped, named), findings)
    return findings


def wrong(findings: Findings) -> dict[Kind, list[list[int]]]:
    return {kind: found.ranges for kind, found in findings.wrong.items()}


def reasons(findings: Findings) -> dict[str, list[list[int]]]:
    return {why: found.ranges for (_, why), found in findings.open.items()}


def test_what_is_stored_and_counted_needs_no_word() -> None:
    found = accounted(job(stored=mask(640, 641)), stored=mask(640, 641))

    assert (found.wrong, found.open, found.count) == ({}, {}, 0)


def test_what_a_job_counts_and_is_not_there_is_missing() -> None:
    found = accounted(job("running", stored=mask(640, 641)), stored=mask(640))

    assert wrong(found) == {Kind.MISSING: [[641, 641]]}


def test_what_a_job_that_is_done_never_counted_is_missing() -> None:
    assert wrong(accounted(job(stored=mask(640)), stored=mask(640))) == {Kind.MISSING: [[641, 641]]}


def test_what_a_live_job_will_store_is_not_missing() -> None:
    done, repairs = job(stored=mask(640, 641)), job("running", reason="repair", asked=mask(641), id_=2)

    found = accounted(done, repairs, stored=mask(640))

    assert found.wrong == {}
    assert reasons(found) == {"published, not stored yet": [[641, 641]]}


@pytest.mark.parametrize(
    ("state", "opened", "why"),
    [
        ("queued", 0, "queued, not published yet"),
        ("running", 0, "running, not published yet"),
        ("running", mask(640, 641), "published, not stored yet"),
        ("paused", mask(640, 641), "paused, published before"),
        ("cancelled", mask(640, 641), "the job was cancelled"),
    ],
)
def test_what_is_open_has_its_reason(state: str, opened: int, why: str) -> None:
    found = accounted(job(state, opened=opened))

    assert found.wrong == {}
    assert reasons(found) == {why: [[640, 641]]}


def test_a_dead_block_is_explained_by_its_letter() -> None:
    found = accounted(job(asked=mask(640, 641, 642), dead=mask(640, 641, 642)), letters=mask(640), dropped=mask(641))

    assert wrong(found) == {Kind.LETTERLESS: [[642, 642]]}
    assert reasons(found) == {"its dead letter waits": [[640, 640]], "its dead letter was dropped": [[641, 641]]}


def test_what_is_there_and_not_counted_is_told_but_not_of_repairs() -> None:
    assert wrong(accounted(job(), stored=mask(640, 641))) == {Kind.UNCOUNTED: [[640, 641]]}
    assert wrong(accounted(job(reason="repair"), stored=mask(640, 641))) == {}


def test_what_the_user_names_is_expected() -> None:
    found = accounted(job(asked=mask(640), stored=mask(640)), stored=mask(640), named=mask(640, 641, 642))

    assert wrong(found) == {Kind.NOT_ASKED: [[641, 642]]}


@given(st.integers(0, 2**70 - 1))
def test_ranges_are_the_bits_of_a_mask(bits: int) -> None:
    ranges = list(ranges_of(bits, START))

    assert sum(1 << (n - START) for low, high in ranges for n in range(low, high + 1)) == bits
    assert all(high + 1 < low for (_, high), (low, _) in pairwise(ranges))


def test_findings_of_neighbours_are_one_range_and_examples_are_few() -> None:
    findings = Findings()
    for number in range(100):
        findings.at(Kind.ROWS, number, number, f"block {number}")
    findings.note(Kind.POSITION, "gone")

    rows = findings.wrong[Kind.ROWS]
    assert (rows.count, rows.ranges, len(rows.examples)) == (100, [[0, 99]], 20)
    assert findings.count == 101


def test_what_is_to_be_fetched_again_is_read_from_the_report() -> None:
    findings = Findings()
    findings.at(Kind.ROWS, 7, 7)
    findings.at(Kind.PARENT, 20, 20)
    findings.at(Kind.PARENT, 0, 0)
    findings.at(Kind.SECOND_NODE, 50, 50)

    blocks = to_repair(findings.to_json())

    assert blocks is not None
    assert blocks.pairs == ((0, 1), (7, 8), (19, 21))
    assert to_repair(Findings().to_json()) is None


@pytest.mark.parametrize("kind", [Kind.ORPHANS, Kind.UNCOUNTED])
def test_what_the_database_alone_can_repair_is_not_fetched(kind: Kind) -> None:
    findings = Findings()
    findings.at(kind, 70_000, 70_001)

    report = findings.to_json()

    assert report["findings"][0]["repair"]
    assert to_repair(report) is None
    heights = heights_of(report, kind)
    assert heights is not None
    assert heights.pairs == ((70_000, 70_002),)


@pytest.mark.parametrize("report", [{}, {"findings": [{"kind": "?"}]}, {"findings": 3}, []])
def test_what_is_no_report_is_refused(report: object) -> None:
    with pytest.raises(UserError, match="not the report"):
        to_repair(report)  # type: ignore[arg-type]  # whatever a file holds
