"""The compiled hot loops of native/, where they are built: accelerators, each with its Python twin as fall-back."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from indexer.errors import UserError

NAME = "indexer_native"
_NEEDED = ("split", "prove_block", "pack_block", "Deltas")


def load(setting: str) -> ModuleType | None:
    """Return the module that the setting NATIVE (auto, off, required) asks for; None: Python does it all.

    Raises UserError NATIVE_MISSING where it is required and not there.
    """
    if setting == "off":
        return None
    try:
        module = import_module(NAME)
        if missing := [name for name in _NEEDED if not hasattr(module, name)]:
            raise ImportError(f"it is older than this code, it has no {missing[0]}")
    except ImportError as error:
        if setting == "required":
            text = f"NATIVE=required, but {NAME} cannot be imported ({error}): build native/, or set NATIVE=auto"
            raise UserError(text, code="NATIVE_MISSING") from error
        return None
    return module
