"""No tracked file names a registry's host, a machine's path or a secret, is large, or should be ignored."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

LARGEST = 500_000  # bytes
ALLOW = "allow: "  # a line that ends with a comment `allow: NAME` is exempt from the rule of that name


@dataclass(frozen=True, slots=True)
class Rule:
    """A pattern that no line may contain, except in files below `except_in`."""

    name: str
    pattern: re.Pattern[str]
    why: str
    except_in: tuple[str, ...] = ()

    def broken_by(self, line: str) -> bool:
        return bool(self.pattern.search(line)) and f"{ALLOW}{self.name}" not in line


# The patterns are written so that this file keeps to them itself.
_HOSTS = (
    r"p[y]pi\.(?:org|python\.org)|python[h]osted\.org|n[p]mjs\.(?:org|com)|yarn[p]kg\.com|crates\.[i]o\b"
    r"|(?:proxy|sum)\.[g]olang\.org|repo\.maven\.[a]pache\.org|repo1?\.[m]aven\.org|deb\.[d]ebian\.org|ruby[g]ems\.org"
)
_PLACEHOLDER = r"[$<{%*…]|\.\.\.|x{3,}@"
_SECRETS = (
    r"-----BEGIN [A-Z ]*PRIVATE [K]EY|\bAKIA[0-9A-Z]{16}\b|\bgh[pousr]_[A-Za-z0-9]{36}|\bxox[abpr]-[0-9A-Za-z-]{10,}"
    r"|[Bb]earer\s+[A-Za-z0-9._~+/-]{20,}"
    r"|(?i:(?:private|secret)[ _-]?key\w*\W{1,12}(?:0x)?[0-9a-f]{64}\b)"
    r"|(?i:infura\.io/v3/[0-9a-f]{20}|alchemy\.com/v2/[\w-]{20}|quiknode\.pro/[0-9a-f]{20})"
)
RULES = (
    Rule("host", re.compile(_HOSTS), "the host of a package registry"),
    Rule(
        "path",
        re.compile(r"(?<![\w.}/])/(?:root|work)(?:/|\b(?![-\w]))|(?<![\w.}/])/(?:home|Users)/\w"),
        "the path of a machine",
    ),
    Rule(
        "tmp",
        re.compile(r"""["'= ]/tmp/\w"""),
        "a fixed temporary path (use tempfile or .local)",
        ("tests/", "Dockerfile", "docker-compose.yml"),
    ),
    Rule("secret", re.compile(_SECRETS), "what looks like a secret"),
    Rule(
        "password",
        re.compile(rf"\w://[^/\s:@\"'`]*:(?!{_PLACEHOLDER})[^/\s:@\"'`]+@[\w\[$]"),
        "a password in a URL",
        ("tests/",),  # secrets made up for tests that they do not leak
    ),
)
_BUILT = re.compile(r"(^|/)(node_modules|__pycache__|build|dist)/|\.(pyc|jar|whl|so|class|egg-info|log)$")


def problems(root: Path, files: Sequence[str]) -> Iterator[str]:
    """Yield a line for everything that is wrong with these files, given relative to `root`."""
    for name in files:
        path = root / name
        if not path.is_file():
            continue  # deleted, not yet committed
        if path.stat().st_size > LARGEST:
            yield f"{name}: {path.stat().st_size:,} bytes, more than {LARGEST:,}"
        if _BUILT.search(name):
            yield f"{name}: built or downloaded, not written"
        yield from _lines(path, name)


def _lines(path: Path, name: str) -> Iterator[str]:
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return
    rules = [rule for rule in RULES if not name.startswith(rule.except_in or ("\0",))]
    for number, line in enumerate(text.splitlines(), 1):
        for rule in rules:
            if rule.broken_by(line):
                yield f"{name}:{number}: {rule.why} ({ALLOW}{rule.name})"


def _git(root: Path, *arguments: str) -> list[str]:
    command = ["git", "-C", str(root), "ls-files", "-z", *arguments]
    return [
        name for name in subprocess.run(command, check=True, capture_output=True, text=True).stdout.split("\0") if name
    ]


def main() -> int:
    root = Path(__file__).resolve().parents[1]
    files = _git(root)
    found = [f"{name}: tracked, but .gitignore names it" for name in _git(root, "-ci", "--exclude-standard")]
    found += problems(root, files)
    print("\n".join([*found, f"{len(files)} tracked files, {len(found)} problems"]))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
