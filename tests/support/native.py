"""The compiled code, where it is built; tests that need it are skipped, saying so, where it is not."""

from __future__ import annotations

from types import ModuleType

import pytest

from indexer import native


def compiled() -> ModuleType:
    module = native.load("auto")
    if module is None:
        pytest.skip("the compiled code is not built (native/)")
    return module
