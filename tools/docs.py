"""Checks the docs: every link and anchor leads somewhere, every command exists, what is generated is up to date."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from urllib.parse import unquote

from tools import commands, generated, markdown

ROOT = Path(__file__).resolve().parents[1]


def link_problems(root: Path, page: Path) -> Iterator[str]:
    """Yield a line for every relative link of a page that leads nowhere, or out of the repository."""
    for number, target in markdown.links(page.read_text(encoding="utf-8")):
        if "://" in target or target.startswith("mailto:"):
            continue
        place, _, anchor = unquote(target).partition("#")
        path = (page.parent / place).resolve() if place else page
        where = f"{page.relative_to(root)}:{number}"
        if not path.is_relative_to(root) or not path.exists():
            yield f"{where}: no such file: {target}"
        elif anchor and path.suffix == ".md" and anchor not in _anchors(path):
            yield f"{where}: no such anchor: {target}"


@cache
def _anchors(path: Path) -> set[str]:
    return markdown.anchors(path.read_text(encoding="utf-8"))


def command_problems(root: Path, page: Path) -> Iterator[str]:
    """Yield a line for every command of a page that does not exist."""
    text = page.read_text(encoding="utf-8")
    inline = [(number, code) for number, code in markdown.inline_code(text) if commands.is_ours(code)]
    for number, line in (*markdown.commands(text), *inline):
        for problem in commands.problems(line):
            yield f"{page.relative_to(root)}:{number}: {problem}"


def pages(root: Path) -> list[Path]:
    """Return the Markdown files that are tracked, or will be."""
    command = ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard", "*.md"]
    names = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split("\0")
    return [root / name for name in sorted(names) if name and (root / name).is_file()]


def main() -> int:
    found = list(generated.stale())
    for page in pages(ROOT):
        found += link_problems(ROOT, page)
        found += command_problems(ROOT, page)
    print("\n".join([*found, f"{len(pages(ROOT))} pages, {len(found)} problems"]))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
