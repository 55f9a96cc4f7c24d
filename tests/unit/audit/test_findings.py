"""A report has all of the findings: who goes on with an audit takes them from there."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.audit.findings import Findings, Kind, check_chain, findings_of
from indexer.audit.plan import Asked, asked_of
from indexer.errors import UserError

heights = st.integers(0, 50)
notes = st.lists(st.tuples(st.sampled_from(list(Kind)), heights, st.text(max_size=5)), max_size=30)
reasons = st.lists(st.tuples(st.none() | st.integers(1, 3), st.sampled_from(["paused", "dead"]), heights), max_size=9)


@given(notes, reasons, notes)
def test_what_is_found_after_a_report_adds_up_as_without_it(
    before: list[tuple[Kind, int, str]], open_: list[tuple[int | None, str, int]], after: list[tuple[Kind, int, str]]
) -> None:
    straight, first = Findings(), Findings()
    for findings in (straight, first):
        for kind, height, text in before:
            findings.at(kind, height, height, text)
        for job, why, height in open_:
            findings.explain(job, why, height, height)

    second = findings_of(json.loads(json.dumps(first.to_json())))
    for findings in (straight, second):
        for kind, height, text in after:
            findings.at(kind, height, height, text)

    assert second.to_json() == straight.to_json()


@pytest.mark.parametrize("report", [{}, {"findings": [{"kind": "unheard of"}], "open": []}, {"findings": None}])
def test_what_is_no_report_is_refused(report: dict[str, object]) -> None:
    with pytest.raises(UserError, match="not the report"):
        findings_of(report)


@pytest.mark.parametrize(
    ("asked", "named"),
    [(Asked(1, 9, 100, balances=True), True), (Asked(None, 9, 0, balances=False), False)],
)
def test_what_was_asked_is_in_the_report(asked: Asked, named: bool) -> None:
    assert asked_of({"asked": json.loads(json.dumps(asked.to_json()))}) == asked
    assert asked.named == named


def test_a_report_of_another_chain_is_refused() -> None:
    with pytest.raises(UserError, match="is of chain 1, and CHAIN_ID says 43114") as refused:
        check_chain({"chain_id": 1, "findings": []}, 43114)

    assert refused.value.code == "REPORT_OF_OTHER_CHAIN"


@pytest.mark.parametrize("report", [{"chain_id": 1}, {"findings": []}, []])
def test_a_report_of_this_chain_is_taken_and_one_that_does_not_say(report: Any) -> None:
    check_chain(report, 1)
