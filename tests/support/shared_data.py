"""Where the recorded chain data is; tests that need it are skipped, saying so, where it is absent."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def shared_data() -> Path:
    """The folder of recorded blocks: INDEXER_SHARED_DATA, or `shared/data` beside the repository."""
    beside = Path(__file__).resolve().parents[3] / "shared" / "data"
    folder = Path(os.environ.get("INDEXER_SHARED_DATA") or beside)
    if not folder.is_dir():
        pytest.skip(f"no recorded chain data at {folder} (set INDEXER_SHARED_DATA)")
    return folder
