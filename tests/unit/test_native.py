"""Whether compiled code is used: a setting, and whether it is built."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from indexer import native
from indexer.errors import UserError
from tests.support.native import compiled


@pytest.fixture
def not_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, native.NAME, None)


def test_it_is_used_where_it_is_built() -> None:
    built = compiled()

    assert native.load("auto") is built
    assert native.load("required") is built


def test_it_can_be_turned_off() -> None:
    assert native.load("off") is None


@pytest.mark.usefixtures("not_built")
def test_python_does_it_all_where_it_is_not_built() -> None:
    assert native.load("auto") is None


def test_python_does_it_all_where_what_is_built_is_older(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, native.NAME, ModuleType(native.NAME))

    assert native.load("auto") is None
    with pytest.raises(UserError, match="older than this code"):
        native.load("required")


@pytest.mark.parametrize("missing", ["split", "prove_block", "pack_block", "Deltas"])
def test_one_missing_name_is_enough_to_be_older(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    older = ModuleType(native.NAME)
    for name in {"split", "prove_block", "pack_block", "Deltas"} - {missing}:
        setattr(older, name, None)
    monkeypatch.setitem(sys.modules, native.NAME, older)

    assert native.load("auto") is None


@pytest.mark.usefixtures("not_built")
def test_where_it_is_required_and_not_built_the_user_is_told_what_to_do() -> None:
    with pytest.raises(UserError, match="build native/, or set NATIVE=auto") as refused:
        native.load("required")

    assert refused.value.code == "NATIVE_MISSING"
