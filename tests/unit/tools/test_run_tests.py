"""The tests' summary counts what pytest counted."""

from __future__ import annotations

from pathlib import Path

from tools import run_tests

REPORT = '<testsuites><testsuite tests="9" failures="1" errors="2" skipped="3"/></testsuites>'


def test_failures_errors_and_skips_are_told_from_what_passed(tmp_path: Path) -> None:
    report = tmp_path / "unit.xml"
    report.write_text(REPORT)

    assert run_tests.counts(report) == {"passed": 3, "failed": 3, "skipped": 3}


def test_a_run_that_never_reported_counts_nothing_and_failed(tmp_path: Path) -> None:
    assert run_tests.counts(tmp_path / "missing.xml") == {}
    assert not run_tests.Outcome("unit", 2, 1.0).ok


def test_every_folder_of_tests_belongs_to_one_tier() -> None:
    folders = [folder for tier in run_tests.TIERS.values() for folder in tier.folders]
    present = {path.relative_to(run_tests.ROOT).parts[:2] for path in (run_tests.ROOT / "tests").rglob("test_*.py")}

    assert sorted(folders) == sorted("/".join(parts) for parts in present)
