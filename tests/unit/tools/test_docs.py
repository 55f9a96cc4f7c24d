"""Docs that name what does not exist are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import commands, docs, generated


def page(folder: Path, text: str) -> Path:
    path = folder / "README.md"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("link", ["other.md", "other.md#a-part", "#here", "sub/", "https://example.org/x"])
def test_a_link_that_leads_somewhere_is_fine(link: str, tmp_path: Path) -> None:
    (tmp_path / "other.md").write_text("# A part\n")
    (tmp_path / "sub").mkdir()

    assert list(docs.link_problems(tmp_path, page(tmp_path, f"# Here\n[x]({link})\n"))) == []


@pytest.mark.parametrize("link", ["none.md", "#there", "../outside.md", "README.md#there"])
def test_a_link_that_leads_nowhere_is_reported(link: str, tmp_path: Path) -> None:
    problems = list(docs.link_problems(tmp_path, page(tmp_path, f"# Here\n[x]({link})\n")))

    assert [problem.startswith("README.md:2: no such") for problem in problems] == [True]


@pytest.mark.parametrize(
    "line",
    [
        "make test",
        "VENV=elsewhere make install PYTHON=python3.12",
        "indexer stack up --brokers 3",
        'eval "$(indexer stack env)"',
        "python -m indexer.cli batch queue blocks 1 10000 --batch-size=100",
        "indexer batch status --json | jq .; indexer config",
        "devchain serve --profile bench --blocks 10000",
        "docker compose up",
    ],
)
def test_commands_that_exist_are_fine(line: str) -> None:
    assert commands.problems(line) == []


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("make tset", "no such target: make tset"),
        ("cd here && indexer stack start", "no such command: indexer stack start"),
        ("indexer stack up --broker 3", "indexer stack up has no option --broker"),
        ('eval "$(indexer stack environment)"', "no such command: indexer stack environment"),
        ("python -m indexer.cli nothing", "no such command: indexer nothing"),
    ],
)
def test_commands_that_do_not_exist_are_named(line: str, problem: str) -> None:
    assert commands.problems(line) == [problem]


def test_what_is_generated_is_up_to_date() -> None:
    assert list(generated.stale()) == []


def test_a_generated_file_that_differs_is_named(tmp_path: Path) -> None:
    (tmp_path / ".env.example").write_text("CHAIN_ID=1\n")

    assert [line.split(":")[0] for line in generated.stale(tmp_path)] == list(generated.GENERATED)
