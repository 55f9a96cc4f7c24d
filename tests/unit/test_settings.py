"""Settings from the environment and `.env`."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from indexer.errors import UserError
from indexer.settings import Settings, example, read, shown

NOWHERE = Path("/nonexistent/.env")


def test_what_is_not_set_has_its_default() -> None:
    assert Settings.from_env({}, NOWHERE) == Settings()


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    dotenv = tmp_path / ".env"
    dotenv.write_text("CHAIN_ID=1\nWINDOW=50\n")

    found = read({"CHAIN_ID": "43113"}, dotenv)

    assert found["chain_id"] == (43113, "environment")
    assert found["window"] == (50, ".env")
    assert found["batch_size"] == (100, "default")


def test_lists_are_separated_by_commas() -> None:
    settings = Settings.from_env({"RPC_URLS": "http://a, http://b,"}, NOWHERE)

    assert settings.rpc_urls == ("http://a", "http://b")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CHAIN_ID", "avalanche"),
        ("RPC_MAX_RPS", "fast"),
        ("VERIFY", "no"),
        ("GROUP_PROTOCOL", "new"),
        ("RPC_BATCH_SIZE", "0"),
        ("PARTITION_BLOCKS", "3"),
        ("METRICS_PORT", "65536"),
        ("METRICS_PORT", "-1"),
        ("RPC_MAX_RPS", "-1"),
        ("RPC_MAX_RPS", "nan"),
        ("RPC_MAX_RPS", "inf"),
        ("MAX_JOBS", "0"),
        ("LEASE_SECONDS", "0"),
        ("LEASE_SECONDS", "nan"),
        ("COMMIT_SECONDS", "-1"),
        ("PERSIST_SECONDS", "inf"),
        ("REPUBLISH_SECONDS", "-0.5"),
        ("REDRIVE_SECONDS", "nan"),
        ("PERSIST_MIB", "0"),
        ("DECODER_WINDOW_MIB", "0"),
        ("RPC_TIMEOUT_SECONDS", "0"),
        ("CHAIN_ID", str(2**63)),
        ("WINDOW", "1000001"),
        ("BATCH_SIZE", "100001"),
        ("TOPIC_PREFIX", "a b"),
        ("TOPIC_PREFIX", "a/b"),
        ("TOPIC_PREFIX", "ä"),
        ("SLOT", "a/b"),
        ("SLOT", "a b"),
        ("SLOT", "9" * 129),
    ],
)
def test_a_value_that_does_not_fit_is_named(name: str, value: str) -> None:
    with pytest.raises(UserError, match=name) as caught:
        Settings.from_env({name: value}, NOWHERE)

    assert caught.value.code == "SETTING_INVALID"


def test_every_number_has_its_ends_and_every_default_lies_between() -> None:
    for each in fields(Settings):
        if isinstance(each.default, int | float):
            assert Settings.from_env({each.name.upper(): str(each.default)}, NOWHERE) == Settings()
            with pytest.raises(UserError, match=each.name.upper()):
                Settings.from_env({each.name.upper(): "9" * 30}, NOWHERE)


def test_the_ends_themselves_fit() -> None:
    found = Settings.from_env({"CHAIN_ID": str(2**63 - 1), "METRICS_PORT": "65535", "TOPIC_PREFIX": "a.B_c-1"}, NOWHERE)

    assert (found.chain_id, found.metrics_port, found.topic_prefix) == (2**63 - 1, 65535, "a.B_c-1")


def test_a_slot_is_a_name_that_a_file_can_have() -> None:
    assert Settings.from_env({"SLOT": "decoder-0.a_B"}, NOWHERE).slot == "decoder-0.a_B"


def test_what_a_command_needs_and_is_missing_is_named_with_a_way_out() -> None:
    with pytest.raises(UserError, match=r"KAFKA_BOOTSTRAP_SERVERS, DATABASE_URL not set.*stack env"):
        Settings().require("kafka_bootstrap_servers", "database_url", "topic_prefix"[:0] or "chain_id")


def test_a_local_stack_is_no_way_to_a_node() -> None:
    with pytest.raises(UserError, match=r"RPC_URLS not set: export it, put it into .env$"):
        Settings().require("rpc_urls")


def test_secrets_are_shown_by_host_only() -> None:
    assert shown("database_url", "postgresql://me:secret@db.example:5432/x") == "postgresql://…@db.example:5432/…"
    assert shown("rpc_urls", ("https://node.example/v1/KEY", "nonsense")) == "https://node.example/…,…".replace(
        "https://node.example/…", "https://…@node.example:/…"
    )
    assert shown("rpc_urls", ("http://a:notaport/x",)) == "…"
    assert shown("rpc_urls", ("http://[::1/x",)) == "…"
    assert shown("database_url", "postgresql://me:12/secret@db/x") == "…"
    assert shown("chain_id", 1) == "1"


def test_the_example_names_every_setting() -> None:
    text = example()

    assert all(f"#{each.name.upper()}=" in text for each in fields(Settings))
