"""Every error code of the code has its line in the table, and every line its code."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from indexer.docs.errors import page
from indexer.error_codes import Replay, codes, hint, worth_replaying

ROOT = Path(__file__).resolve().parents[2]
SHOUTED = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)+")
# names of environment variables that are no settings
NO_CODES = {
    "END_WITH_PARENT", "FAULT_HOOKS", "INDEXER_BUILD", "INDEXER_CACHE", "INDEXER_TRACEBACK", "JAVA_HOME", "KAFKA_HOME",
    "MAX_JOBS", "PGCONNECT_TIMEOUT", "SESSION_TIMEOUT_SECONDS", "XDG_CACHE_HOME", "KAFKA_BOOTSTRAP_SERVERS",
    "DATABASE_URL",
}  # fmt: skip


def codes_in(path: Path) -> Iterator[str]:
    """Yield what is written as `code="X"`, as `code = "X"` of a class, or shouted with an underscore."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.keyword | ast.Assign) and "code" in (_name(node), getattr(node, "arg", None)):
            yield from _text(node.value)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and SHOUTED.fullmatch(node.value):
            yield node.value


def _name(node: ast.AST) -> str | None:
    return getattr(node.targets[0], "id", None) if isinstance(node, ast.Assign) else None


def _text(node: ast.expr) -> Iterator[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value


def used() -> set[str]:
    paths = [path for part in ("indexer", "services", "schemas") for path in (ROOT / part).rglob("*.py")]
    return {code for path in paths for code in codes_in(path)} - NO_CODES


def test_every_code_is_explained() -> None:
    assert used() - set(codes()) == set()


def test_every_explained_code_is_used() -> None:
    assert set(codes()) - used() == {"UNKNOWN"}  # what a foreign record on the dead-letter topic gets


def test_the_page_has_an_anchor_for_every_code() -> None:
    text = page()

    assert [code for code in codes() if f'<a id="{code}"></a>' not in text] == []


def test_texts_are_sentences_that_fit_into_a_table() -> None:
    for code in codes().values():
        for text in (code.means, code.do):
            assert text.endswith("."), f"{code.code}: {text}"
            assert "|" not in text, f"{code.code}: {text}"


def test_a_hint_says_what_it_means_and_what_to_do() -> None:
    assert "did not answer in time" in hint("RPC_TIMEOUT")
    assert "Replay" in hint("RPC_TIMEOUT")
    assert "read the message" in hint("ZeroDivisionError")


def test_a_time_out_is_worth_replaying_a_wrong_root_only_when_mended() -> None:
    assert "RPC_TIMEOUT" in worth_replaying(Replay.NOW)
    assert "RECEIPTS_ROOT_MISMATCH" in worth_replaying(Replay.FIXED)
    assert worth_replaying(Replay.NEVER) == ["IMPOSSIBLE_NUMBER", "OTHER_CHAIN"]
