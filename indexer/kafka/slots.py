"""A stable name for this process among its like: the slot that makes a transactional id survive a restart."""

from __future__ import annotations

import fcntl
import hashlib
import os
import socket
import tempfile
from pathlib import Path

from indexer.errors import FatalError
from indexer.settings import Settings

_MOST = 1000


class Slot:
    """A name that no other live process of this role has; released when the process ends, however it ends.

    With SLOT set (a StatefulSet's ordinal, the local runner) that is the name. Else the lowest free file in a local
    folder is locked, so that a restarted process gets its predecessor's name and ends its open transaction at once.
    """

    def __init__(self, settings: Settings, role: str, folder: Path | None = None) -> None:
        self._file: int | None = None
        self.folder = folder or _folder(settings)
        self.name = settings.slot or self._claim(self.folder, role)

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)  # which unlocks it
            self._file = None

    def _claim(self, folder: Path, role: str) -> str:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for number in range(_MOST):
            file = os.open(folder / f"{role}-{number}.slot", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(file)
                continue
            self._file = file
            return f"{socket.gethostname()}-{number}"
        raise FatalError(f"all {_MOST} slots in {folder} are taken", code="NO_SLOT")


def _folder(settings: Settings) -> Path:
    deployment = f"{settings.kafka_bootstrap_servers}\0{settings.topic_prefix}"
    name = hashlib.sha256(deployment.encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"indexer-slots-{os.getuid()}" / name
