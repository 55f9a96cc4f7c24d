"""Files that are written from the code: `python -m tools.generated` writes them, `stale()` names those that differ."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from indexer import settings
from indexer.docs import errors, topics
from tests.mutations import page as protocol_tests

ROOT = Path(__file__).resolve().parents[1]
GENERATED: dict[str, Callable[[], str]] = {
    ".env.example": settings.example,
    "docs/reference/errors.md": errors.page,
    "docs/reference/protocol-tests.md": protocol_tests.page,
    "docs/reference/topics.md": topics.page,
}


def stale(root: Path = ROOT) -> Iterator[str]:
    """Yield a line for every generated file that is not what the code says now."""
    for name, text in GENERATED.items():
        path = root / name
        if not path.is_file() or path.read_text(encoding="utf-8") != text():
            yield f"{name}: not up to date; run `make generate`"


def main() -> int:
    for name, text in GENERATED.items():
        path = ROOT / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text(), encoding="utf-8")
        print(f"wrote {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
