"""What Kafka knows of a deployment: who owns which partition, which blocks its readers see, what was aborted."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from indexer import stack
from indexer.settings import Settings
from indexer.topics import DECODED, DLQ, RETRY, WORK, load_topics
from services.producer.lag import LagReader
from tests.support.kafka_topics import TestKafka

_ABORT_MARKER = re.compile(
    r"producerId: (\d+) producerEpoch: (\d+) [^\n]*isControl: true [^\n]*\n[^\n]*endTxnMarker: ABORT"
)


class Cluster:
    """The topics and groups of one deployment, as another client sees them."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.topics = load_topics(settings.topic_prefix)
        self.partitions = self.topics[DECODED].partitions
        self._admin = AdminClient({"bootstrap.servers": settings.kafka_bootstrap_servers, "log_level": 0})
        self._lag = LagReader(settings)
        self.kafka = TestKafka(settings.kafka_bootstrap_servers)

    def owners(self, group: str, role: str) -> dict[str, set[int]]:
        """Return the partitions of a topic by member id; empty while the group is being balanced."""
        name = self._settings.topic_prefix + group
        try:
            found = self._admin.describe_consumer_groups([name], request_timeout=10)[name].result(10)
        except KafkaException:
            return {}
        if found.state.name != "STABLE":
            return {}
        topic = self.topics.name(role)
        return {
            member.member_id: {
                each.partition
                for each in (member.assignment.topic_partitions if member.assignment else ())
                if each.topic == topic
            }
            for member in found.members
        }

    def balanced(self, group: str, role: str, members: int) -> bool:
        """True when so many members share all partitions of a topic."""
        owners = self.owners(group, role)
        owned = [partition for partitions in owners.values() for partition in partitions]
        return len(owners) == members and all(owners.values()) and sorted(owned) == list(range(self.partitions))

    def work_is_read(self) -> bool:
        """True when the decoders have come to the end of every work and retry topic."""
        behind = self._lag.waiting("decoder", WORK, self.partitions)
        return behind == 0 and not self._lag.lagging({"decoder": RETRY}, self.partitions)

    def work_topics_are_read(self) -> bool:
        """True when no work item waits; retries may, those of a dead fork for minutes."""
        return self._lag.waiting("decoder", WORK, self.partitions) == 0

    def heights(self, *roles: str, isolation: str = "read_committed") -> Counter[int]:
        """Return how many records of these topics a reader sees, by height."""
        found: Counter[int] = Counter()
        for role in roles:
            for record in self.kafka.read(self.topics.name(role), self.partitions, isolation):
                found[int(bytes(record.key() or b"").rpartition(b":")[2])] += 1
        return found

    def work_items(self) -> Counter[int]:
        return self.heights(*WORK)

    def dead(self) -> Counter[int]:
        return self.heights(DLQ)

    def aborted_transactions(self, data_dir: Path) -> int:
        """Count the aborted transactions by their markers in the broker's files: no client ever sees those.

        A marker per partition that the transaction had written to, so that they are told apart by producer and epoch.
        """
        files = ",".join(map(str, segments(data_dir, self.topics.decoded)))
        shown = stack.kafka_tool(
            "org.apache.kafka.tools.DumpLogSegments", "--deep-iteration", "--files", files, seconds=120
        )
        return len(set(_ABORT_MARKER.findall(shown)))


def segments(data_dir: Path, topic: str) -> Iterable[Path]:
    """Return the log files of a topic's partitions."""
    return sorted(path for path in data_dir.glob("**/*.log") if path.parent.name.rpartition("-")[0] == topic)
