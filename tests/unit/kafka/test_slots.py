"""A stable name for each process of a role."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from indexer.errors import FatalError
from indexer.kafka import slots
from indexer.kafka.slots import Slot
from indexer.settings import Settings

SETTINGS = Settings(kafka_bootstrap_servers="here:9092", topic_prefix="a")


def test_a_slot_that_is_set_is_the_name() -> None:
    assert Slot(Settings(slot="decoder-3"), "decoder").name == "decoder-3"


def test_processes_claim_different_names_and_a_successor_gets_the_same(tmp_path: Path) -> None:
    first, second = Slot(SETTINGS, "decoder", tmp_path), Slot(SETTINGS, "decoder", tmp_path)
    name = first.name
    assert name != second.name

    first.close()
    first.close()

    assert Slot(SETTINGS, "decoder", tmp_path).name == name


def test_roles_do_not_take_each_others_names(tmp_path: Path) -> None:
    decoder, archiver = Slot(SETTINGS, "decoder", tmp_path), Slot(SETTINGS, "archiver", tmp_path)

    assert decoder.name == archiver.name


def test_deployments_have_folders_of_their_own_that_nobody_else_can_enter() -> None:
    ours = slots._folder(SETTINGS)
    theirs = slots._folder(Settings(kafka_bootstrap_servers="here:9092", topic_prefix="b"))

    assert ours != theirs
    slot = Slot(SETTINGS, "test")
    assert stat.S_IMODE(ours.stat().st_mode) == 0o700
    slot.close()


def test_there_is_an_end_of_slots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "_MOST", 1)
    kept = Slot(SETTINGS, "decoder", tmp_path)

    with pytest.raises(FatalError, match="are taken"):
        Slot(SETTINGS, "decoder", tmp_path)

    kept.close()
