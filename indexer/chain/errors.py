"""What a node is told apart by: answers that contradict themselves or each other."""

from __future__ import annotations

from indexer.errors import PoisonError
from indexer.records import Header

MALFORMED_BLOCK = "MALFORMED_BLOCK"


class VerificationError(PoisonError):
    """A block that is well-formed but not genuine; `code` says which check refused it.

    Above the finalized height the same codes may mean that two answers came from two forks; what to do about it
    is the caller's business.
    """

    code = "VERIFICATION_FAILED"


def malformed(message: str) -> PoisonError:
    """Return the error for content that is no block at all."""
    return PoisonError(message, code=MALFORMED_BLOCK)


def refused(code: str, header: Header, what: str) -> VerificationError:
    """Return the error for a block that is not genuine."""
    return VerificationError(f"block {header.number}: {what}", code=code)


def differs(code: str, header: Header, what: str, told: bytes | None, computed: bytes | None) -> VerificationError:
    """Return the error for a value that is not what comes out of the data."""
    return refused(code, header, f"{what}: told {_shown(told)}, computed {_shown(computed)}")


def _shown(value: bytes | None) -> str:
    return "none" if value is None else f"0x{value.hex()}"
