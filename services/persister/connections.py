"""The persister's connections, each with the session settings of its use."""

from __future__ import annotations

from indexer.errors import OutageError
from indexer.settings import Settings
from indexer.storage import engine
from indexer.storage.engine import Connection
from indexer.storage.leaves import BLOCK_TABLES
from indexer.storage.partitions import ensure_partitions
from indexer.storage.partitions import existing as existing_partitions
from services.persister.progress import end_blockers

SERVICE = "persister"


class RowConnections:
    """Connections for row transactions."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def open(self) -> Connection:
        """Connect; raises OutageError.

        Without waiting for the disk at a commit: rows and offsets are lost together, and come again from Kafka.
        """
        connection = engine.connect(self._settings, SERVICE)
        milliseconds = int(self._settings.lock_timeout_seconds * 1000)
        connection.execute(f"SET lock_timeout = {milliseconds}; SET synchronous_commit = off; SET jit = off")
        connection.commit()
        return connection

    def end_blockers(self, pid: int) -> None:
        with engine.connect(self._settings, SERVICE, autocommit=True, check=False) as connection:
            end_blockers(connection, pid, engine.application_prefix(self._settings, SERVICE))


class PartitionKeeper:
    """Makes sure that a row transaction never meets a missing partition; on a connection of its own."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._known: list[tuple[int, int]] = []

    def forget(self) -> None:
        """Look again which leaves there are."""
        self._known = []

    def leaf_of(self, first: int, last: int) -> int | None:
        """Return where the leaf that holds both heights begins, None when two hold them."""
        return next((start for start, end in self._known if start <= first and last < end), None)

    def __call__(self, numbers: set[int]) -> None:
        """Make the partitions of these heights; raises OutageError or TransientError."""
        unknown = {n for n in numbers if not any(start <= n < end for start, end in self._known)}
        if not unknown:
            return
        with engine.connect(self._settings, SERVICE, autocommit=True, check=False) as connection:
            ensure_partitions(connection, unknown, self._settings.partition_blocks)
            found = existing_partitions(connection)
        everywhere = set.intersection(*(set(found[table].items()) for table in BLOCK_TABLES))
        self._known = sorted(everywhere)
        missing = {n for n in unknown if not any(start <= n < end for start, end in self._known)}
        if missing:
            raise OutageError(f"partitions for block {min(missing)} are not there yet", code="PARTITION_MISSING")
