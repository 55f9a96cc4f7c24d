"""A stack's two files: what it is made of, and what runs."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from indexer.errors import UserError
from indexer.stack.layout import (
    PORTS,
    Folder,
    Layout,
    State,
    check_broker_count,
    is_free,
    new_cluster_id,
    new_layout,
    with_free_ports,
)
from indexer.stack.process import ProcessId


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def test_a_layout_comes_back_as_it_was_saved(folder: Folder) -> None:
    made = new_layout(3)

    folder.save(made)

    assert folder.layout() == made


def test_a_state_comes_back_as_it_was_saved(folder: Folder) -> None:
    made = State(ready=True, brokers={0: ProcessId(10, "a"), 2: ProcessId(11, "b")}, postgres=ProcessId(12, "c"))

    folder.save(made)

    assert folder.state() == made
    assert made.processes() == [ProcessId(10, "a"), ProcessId(11, "b"), ProcessId(12, "c")]


def test_a_state_with_servers_of_the_users_own_comes_back(folder: Folder) -> None:
    made = State(ready=True, external_kafka="kafka:9092", external_database="postgresql://db/x")

    folder.save(made)

    assert folder.state() == made


def test_files_with_a_password_are_for_their_owner_only(folder: Folder, tmp_path: Path) -> None:
    folder.save(new_layout(1))

    assert (tmp_path / "layout.json").stat().st_mode & 0o077 == 0


def test_nothing_saved_is_nothing_found(folder: Folder) -> None:
    assert folder.layout() is None
    assert folder.state() is None
    assert not folder.is_ours()


def test_a_damaged_file_is_named(folder: Folder, tmp_path: Path) -> None:
    (tmp_path / "layout.json").write_text("{")

    with pytest.raises(UserError, match=r"layout\.json is damaged"):
        folder.layout()


def test_every_server_of_a_layout_has_a_port_of_its_own() -> None:
    made = new_layout(3)
    ports = [made.postgres_port, *(port for b in made.brokers for port in (b.port, b.controller_port))]

    assert len(set(ports)) == len(ports) == 7
    assert all(port in PORTS for port in ports)
    assert len(made.cluster_id) == 22


def test_a_cluster_id_is_no_option() -> None:
    drawn = iter([bytes([0b11111000]) + bytes(15), bytes(16)])

    assert new_cluster_id(lambda: next(drawn)) == "A" * 22


def test_ports_stay_when_they_are_free_and_change_when_they_are_taken() -> None:
    made = new_layout(1)
    with socket.socket() as other:
        other.bind(("127.0.0.1", made.postgres_port))
        other.listen()

        changed = with_free_ports(made)

    assert changed.brokers == made.brokers
    assert changed.postgres_port != made.postgres_port
    assert is_free(made.postgres_port)


def test_the_addresses_of_a_layout_are_those_of_its_servers() -> None:
    made = new_layout(3)

    assert made.bootstrap_servers == ",".join(f"127.0.0.1:{broker.port}" for broker in made.brokers)
    assert made.database_url.endswith(f"@127.0.0.1:{made.postgres_port}/postgres")


@pytest.mark.parametrize(("wanted", "reason"), [(2, "1 or 3 brokers, not 2"), (3, "made with 1 broker")])
def test_another_number_of_brokers_is_refused(wanted: int, reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        check_broker_count(new_layout(1), wanted)


def test_no_wish_and_the_same_number_of_brokers_are_fine() -> None:
    made: Layout = new_layout(3)

    check_broker_count(made, None)
    check_broker_count(made, 3)


def test_a_recycled_pid_is_not_the_same_process() -> None:
    assert not ProcessId(os.getpid(), "another start").alive()
    assert not ProcessId(os.getpid(), "another start").send(0)
