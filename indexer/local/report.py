"""What a run of `batch process` did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from indexer.local.supervisor import Supervisor
from indexer.storage import jobs
from indexer.storage.jobs import Connection, JobStatus


@dataclass(frozen=True, slots=True)
class Report:
    """What a run did; the last thing that `batch process --json` prints."""

    jobs: list[dict[str, object]]
    seconds: float
    stored: int
    dead: int
    blocks_per_second: float
    dead_letters: dict[str, int]
    restarts: dict[str, int]
    indexes_built: int
    stopped: dict[str, str]  # service → why the dead-letter budget has stopped it

    @property
    def complete(self) -> bool:
        """Whether every job is done with every block of it stored: none paused or cancelled, no dead letter."""
        return all(job["state"] == "done" and job["stored"] == job["total"] for job in self.jobs)

    @classmethod
    def of_nothing(cls) -> Report:
        """Return the report of a run that had no job to work on."""
        return cls([], 0.0, 0, 0, 0.0, {}, {}, 0, {})


def report_of_run(
    connection: Connection,
    finished: Sequence[JobStatus],
    before: Mapping[int, int],
    seconds: float,
    supervisor: Supervisor,
    built: int,
    stopped: Mapping[str, str],
) -> Report:
    """Return what became of the jobs since `before` (job → blocks stored)."""
    stored = sum(job.stored - before.get(job.id, 0) for job in finished)
    letters: dict[str, int] = {}
    for job in finished:
        for code, count, _ in jobs.dead_by_code(connection, job.id):
            letters[code] = letters.get(code, 0) + count
    return Report(
        jobs=[asdict(jobs.job_status(connection, job.chain_id, job.id)) for job in finished],
        seconds=round(seconds, 2),
        stored=stored,
        dead=sum(job.dead for job in finished),
        blocks_per_second=round(stored / seconds, 1),
        dead_letters=letters,
        restarts={child.name: child.restarts for child in supervisor.children if child.restarts},
        indexes_built=built,
        stopped=dict(stopped),
    )
