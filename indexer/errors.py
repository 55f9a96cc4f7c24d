"""The four kinds of failure; code acts on the kind and the stable code, never on the text."""

from __future__ import annotations


class IndexerError(Exception):
    """Base of every error that this project raises on purpose.

    `code` is stable (`RPC_TIMEOUT`, `RECEIPTS_ROOT_MISMATCH`): it goes into dead letters, metrics and the docs.
    The message is for people; it never contains a secret (node URLs are shown by host only).
    """

    code = "INTERNAL"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code


class TransientError(IndexerError):
    """May succeed when tried again soon: a timeout, a 429, a 5xx, a deadlock. Counts as an attempt."""

    code = "TRANSIENT"


class NotYetError(TransientError):
    """The node does not have the block yet (null block, `cannot query unfinalized data`): waiting, not failure.

    Never counts as an attempt.
    """

    code = "NOT_YET"


class OutageError(IndexerError):
    """Nothing behind an edge answers (every endpoint, the database): pause, count nothing, dead-letter nothing."""

    code = "OUTAGE"


class PoisonError(IndexerError):
    """This item can never succeed as it is: bytes that do not decode, a block that fails verification everywhere."""

    code = "POISON"


class FatalError(IndexerError):
    """The process must not go on: wrong configuration, another chain's node, a full disk."""

    code = "FATAL"


class UserError(FatalError):
    """A user's mistake: printed as one line with a way out, exit code 2, never a traceback."""

    code = "USER"
