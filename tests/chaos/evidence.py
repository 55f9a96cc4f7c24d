"""What is collected when work stands still: tables, offsets, stacks of the processes, the ends of their logs."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from confluent_kafka import Consumer, KafkaException, TopicPartition

from indexer.topics import DECODED, RETRY, WORK, load_topics
from tests.support.e2e_services import Services

_TABLES = {
    "jobs": "SELECT id, state, reason, total, published, position, lease_owner, lease_until FROM processing_jobs",
    "open stripes": "SELECT * FROM job_coverage WHERE wanted & ~(stored | dead) <> 0::bit(64) ORDER BY 1, 2",
    "progress": "SELECT * FROM consumer_progress ORDER BY 1, 2, 3",
    "chain": "SELECT * FROM chain_state",
    "sessions": "SELECT pid, application_name, state, wait_event, left(query, 80) FROM pg_stat_activity",
    "letters": "SELECT id, block_number, service, code, message FROM dead_letters",
}


def collect(running: Services, folder: Path) -> Path:
    """Write all of it into a folder, and return that."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, query in _TABLES.items():
        try:
            rows = running.database.execute(query).fetchall()
            (folder / f"{name}.txt").write_text("\n".join(map(repr, rows)))
        except Exception as error:  # what can be had is had
            (folder / f"{name}.txt").write_text(repr(error))
    (folder / "offsets.txt").write_text("\n".join(_offsets(running)))
    spy = shutil.which("py-spy")
    for child in running.everybody():
        shutil.copy(child.log, folder / child.log.name)
        if spy and child.pid is not None:
            done = subprocess.run([spy, "dump", "--pid", str(child.pid)], capture_output=True, text=True, check=False)
            (folder / f"{child.name}.stack.txt").write_text(done.stdout + done.stderr)
    return folder


def _offsets(running: Services) -> list[str]:
    """Per partition: the oldest offset, what is committed, the end that read_committed readers see, the end."""
    settings, found = running.settings, []
    topics = load_topics(settings.topic_prefix)
    for group, roles in {"decoder": (*WORK, *RETRY), "persister": (DECODED,)}.items():
        asked = [TopicPartition(topics.name(r), p) for r in roles for p in range(topics[r].partitions)]
        own = {"bootstrap.servers": settings.kafka_bootstrap_servers, "group.id": settings.topic_prefix + group}
        stable, end = (Consumer({**own, "isolation.level": f"read_{kind}"}) for kind in ("committed", "uncommitted"))
        try:
            for each in end.committed(asked, timeout=20):
                low, last = end.get_watermark_offsets(each, timeout=10)
                high = stable.get_watermark_offsets(each, timeout=10)[1]
                if each.offset != last:
                    found.append(f"{each.topic}[{each.partition}]: {low} … committed {each.offset}, {high}, {last}")
        except KafkaException as error:
            found.append(repr(error))
        finally:
            stable.close()
            end.close()
    return found
