"""What a node is told apart by: answers that contradict themselves or each other."""

from __future__ import annotations

from indexer.errors import PoisonError

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
