"""Every error code of the code has its line in the table, and every line its code."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from indexer.docs.errors import page
from indexer.error_codes import Code, Replay, Seen, codes, hint, worth_replaying

ROOT = Path(__file__).resolve().parents[2]
SHOUTED = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)+")
# names of environment variables that are no settings
NO_CODES = {
    "END_WITH_PARENT", "FAULT_HOOKS", "INDEXER_BUILD", "INDEXER_CACHE", "INDEXER_TRACEBACK", "JAVA_HOME", "KAFKA_HOME",
    "MAX_JOBS", "METRICS_PORT", "PGCONNECT_TIMEOUT", "SESSION_TIMEOUT_SECONDS", "XDG_CACHE_HOME",
    "DATABASE_URL", "KAFKA_BOOTSTRAP_SERVERS",
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


def test_the_page_has_a_section_with_an_anchor_for_every_code() -> None:
    text = page()

    for code in codes():
        section = text.partition(f'<a id="{code}"></a>\n\n### {code}\n')[2].partition("\n### ")[0]
        assert all(f"**{part}.** " in section for part in ("What it means", "What to do", "Where it shows")), code
        assert f"| [`{code}`](#{code.lower()}) |" in text


def test_the_section_of_a_letters_code_says_what_to_type() -> None:
    text = page()

    for code in codes().values():
        section = text.partition(f"\n### {code.code}\n")[2].partition("\n### ")[0]
        assert (f"indexer dlq list --code {code.code} " in section or f"--each --code {code.code} " in section) == (
            code.replay is not None
        )
        assert (f"indexer dlq drop --code {code.code} " in section) == (code.replay is Replay.NEVER)


def test_texts_are_sentences_that_fit_into_a_table() -> None:
    for code in codes().values():
        for text in filter(None, (code.means, code.do, code.more)):
            assert text.endswith((".", ".)")), f"{code.code}: {text}"
            assert "|" not in text, f"{code.code}: {text}"


def test_every_code_shows_somewhere_and_somebody_says_it() -> None:
    for code in codes().values():
        assert code.replay is not None or code.seen, code.code
        assert set(code.by) <= {"decoder", "persister", "producer", "commands"}, code.code
        assert code.by, code.code


def test_how_a_code_shows_is_what_becomes_of_its_error() -> None:
    shows: dict[str, Callable[[Code], object]] = {
        "TransientError": lambda code: code.replay or Seen.RETRIED in code.seen,
        "OutageError": lambda code: code.replay or {Seen.WAITS, Seen.ENDS} & set(code.seen),
        "PoisonError": lambda code: code.replay or Seen.FINDING in code.seen,
        "FatalError": lambda code: Seen.ENDS in code.seen,
        "UserError": lambda code: Seen.REFUSED in code.seen,
    }
    raised = [(name, codes()[code]) for name, code in set(_raised()) if code in codes() and name in shows]

    assert [(name, code.code) for name, code in raised if not shows[name](code)] == []
    assert len(raised) > 90


def test_what_one_service_alone_raises_is_said_by_it() -> None:
    for service in ("decoder", "persister", "producer"):
        others = {code for part in ("indexer", "services") for code in _used_below(part, but=f"services/{service}")}
        alone = {code for code in _used_below(f"services/{service}") if code in codes()} - others
        assert [code for code in alone if service not in codes()[code].by] == []


def _used_below(folder: str, but: str = " ") -> set[str]:
    paths = [path for path in (ROOT / folder).rglob("*.py") if but not in path.as_posix()]
    return {code for path in paths for code in codes_in(path)}


def _raised() -> Iterator[tuple[str, str]]:
    """Yield (class, code) for every error that is made with a code of its own."""
    for path in (path for part in ("indexer", "services") for path in (ROOT / part).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                for each in node.keywords:
                    if each.arg == "code" and isinstance(each.value, ast.Constant):
                        yield node.func.id, str(each.value.value)


def test_a_hint_says_what_it_means_and_what_to_do() -> None:
    assert "did not answer in time" in hint("RPC_TIMEOUT")
    assert "Replay" in hint("RPC_TIMEOUT")
    assert "read the message" in hint("ZeroDivisionError")


def test_a_time_out_is_worth_replaying_a_wrong_root_only_when_mended() -> None:
    assert "RPC_TIMEOUT" in worth_replaying(Replay.NOW)
    assert "RECEIPTS_ROOT_MISMATCH" in worth_replaying(Replay.FIXED)
    assert worth_replaying(Replay.NEVER) == ["IMPOSSIBLE_NUMBER", "OTHER_CHAIN"]
