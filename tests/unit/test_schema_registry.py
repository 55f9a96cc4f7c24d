"""The optional registry: our schemas under our ids, or a refusal that says what differs."""

from __future__ import annotations

import json
import socket

import pytest

import schemas
from indexer.cli.__main__ import run
from indexer.errors import FatalError, OutageError, UserError
from indexer.kafka.registry import SchemaRegistry, text_of
from tests.support.schema_registry import FakeRegistry, serving

OURS = [schemas.load(*known) for known in schemas.declared()]


def test_an_empty_registry_gets_every_schema_under_its_own_id() -> None:
    fake = FakeRegistry()
    with serving(fake) as url:
        registered = SchemaRegistry(url).register()

    assert registered == OURS
    assert {i: json.loads(text) for i, (_, text) in fake.by_id.items()} == {s.id: s.definition for s in OURS}
    assert fake.by_id[1002][0] == "evmindexer.DecodedBlock"
    assert set(fake.modes.values()) == {"READWRITE"}


def test_registering_again_changes_nothing() -> None:
    with serving(FakeRegistry()) as url:
        SchemaRegistry(url).register()

        assert SchemaRegistry(url).register() == []


def test_another_schema_under_our_id_is_refused_and_nothing_is_registered() -> None:
    fake = FakeRegistry()
    fake.by_id[OURS[-1].id] = ("someone-else", '{"type":"record","name":"Order","fields":[]}')
    with serving(fake) as url, pytest.raises(UserError, match="id 1004 is another schema") as raised:
        SchemaRegistry(url).register()

    assert raised.value.code == "REGISTRY_DIFFERS"
    assert list(fake.by_id) == [OURS[-1].id]


def test_our_schema_under_another_id_is_refused() -> None:
    fake = FakeRegistry()
    fake.by_id[5] = ("evmindexer.Rollback", text_of(schemas.latest("rollback")))
    with serving(fake) as url, pytest.raises(UserError, match="rollback 1 has the id 5 there and 1003 here"):
        SchemaRegistry(url).register()


def test_a_registry_that_cannot_import_is_refused_with_a_way_out() -> None:
    with (
        serving(FakeRegistry(importable=False)) as url,
        pytest.raises(UserError, match=r"mode\.mutability=true") as raised,
    ):
        SchemaRegistry(url).register()

    assert raised.value.code == "REGISTRY_READ_ONLY"


def test_user_and_password_are_sent_and_never_shown() -> None:
    fake = FakeRegistry(importable=False)
    with serving(fake) as url, pytest.raises(UserError) as raised:
        SchemaRegistry(url.replace("//", "//ann:s3cret@")).register()

    assert fake.authorizations == {"Basic YW5uOnMzY3JldA=="}
    assert "s3cret" not in str(raised.value)


def test_a_registry_that_is_not_there_is_an_outage() -> None:
    with socket.socket() as reserved:  # bound but not listening
        reserved.bind(("127.0.0.1", 0))
        with pytest.raises(OutageError, match="does not answer"):
            SchemaRegistry(f"http://127.0.0.1:{reserved.getsockname()[1]}").missing()


def test_a_refusal_of_the_registry_carries_its_message() -> None:
    class Broken(FakeRegistry):
        def answer(self, *_: object) -> tuple[int, object]:
            return 500, {"error_code": 50001, "message": "store timed out"}

    with serving(Broken()) as url, pytest.raises(FatalError, match="500 store timed out"):
        SchemaRegistry(url).missing()


@pytest.mark.parametrize("url", ["localhost:8081", "ftp://host", "http://"])
def test_a_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(UserError, match="SCHEMA_REGISTRY_URL"):
        SchemaRegistry(url)


def test_the_command_checks_registers_and_checks_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(FakeRegistry()) as url:
        monkeypatch.setenv("SCHEMA_REGISTRY_URL", url)

        assert [run(["schemas", word]) for word in ("check", "register", "check")] == [1, 0, 0]

    shown = capsys.readouterr().out
    assert "missing at 127.0.0.1" in shown
    assert "decoded_block 1, id 1002" in shown
    assert "every schema under its own id" in shown


def test_without_a_registry_the_command_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("SCHEMA_REGISTRY_URL", raising=False)

    assert run(["schemas", "check"]) == 2
    assert "SCHEMA_REGISTRY_URL not set" in capsys.readouterr().err


def test_the_list_shows_every_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["schemas", "list"]) == 0
    assert "1002  decoded_block 1" in capsys.readouterr().out
    assert run(["schemas", "list", "--json"]) == 0
    assert [row["id"] for row in json.loads(capsys.readouterr().out)] == [each.id for each in OURS]
