"""What must not be committed is found, and what looks like it is left alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.tracked_files import LARGEST, problems

KEY = "0123456789abcdef" * 4


def found(folder: Path, line: str, name: str = "indexer/a.py") -> list[str]:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"first line\n{line}\n", encoding="utf-8")
    return list(problems(folder, [name]))


@pytest.mark.parametrize(
    "line",
    [
        "index = https://p" + "ypi.org/simple",
        "registry=https://registry.n" + "pmjs.org/",
        'DATA = "/ro' + 'ot/blocks"',
        "cd /wo" + "rk/main",
        "cd /ho" + "me/somebody/indexer",
        'LOGS = "/tm' + 'p/logs"',
        "-----BEGIN EC PRIVATE " + "KEY-----",
        "AKIA" + "ABCDEFGHIJKLMNOP",
        "Authorization: Bearer " + "abcdefghijklmnopqrstuvwxyz",
        f'private_key = "0x{KEY}"',
        "RPC_URLS=https://mainnet.infura.io/v3/" + KEY[:32],
        "DATABASE_URL=postgresql://indexer:hunter2" + "@db/x",
    ],
)
def test_what_must_not_be_committed_is_found_with_its_line(line: str, tmp_path: Path) -> None:
    assert [problem.split(": ")[0] for problem in found(tmp_path, line)] == ["indexer/a.py:2"]


@pytest.mark.parametrize(
    "line",
    [
        f'hash = "0x{KEY}"',
        "the workers' root/branch, home/office, /workers and https://example.org/home/page",
        "DATABASE_URL=postgresql://indexer:${POSTGRES_PASSWORD}@postgres/indexer",
        "redacted: https://user:***@host",
        f'PRIVATE_KEY = "{KEY}"  # published with Anvil; allow: secret',
    ],
)
def test_what_only_looks_like_it_is_left_alone(line: str, tmp_path: Path) -> None:
    assert found(tmp_path, line) == []


def test_tests_may_make_up_passwords_and_temporary_paths(tmp_path: Path) -> None:
    assert found(tmp_path, 'URL = "https://user:hunter2@host"; LOGS = "/tmp/logs"', "tests/test_a.py") == []


def test_large_and_built_files_are_found(tmp_path: Path) -> None:
    (tmp_path / "big.csv").write_text("x" * (LARGEST + 1))
    (tmp_path / "kafka.jar").write_bytes(b"\xff")

    assert [line.split(":")[0] for line in problems(tmp_path, ["big.csv", "kafka.jar"])] == ["big.csv", "kafka.jar"]
