"""Topics in a real Kafka: described, compared with their declaration, made, altered and deleted."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # it re-exports without saying so
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    OffsetSpec,
    ResourceType,
)

from indexer.errors import FatalError, IndexerError, OutageError, UserError
from indexer.kafka.config import common
from indexer.settings import Settings
from indexer.topic_changes import (
    Alter,
    Change,
    Create,
    ExistingTopic,
    Grow,
    Refused,
    changes,
    common_partitions,
    replication_for,
)
from indexer.topics import Topics

log = logging.getLogger(__name__)

WAIT_SECONDS = 10.0
_LEADERS_SECONDS = 60.0  # every new partition's log takes a broker some milliseconds
_UNREACHABLE = (
    KafkaError._TRANSPORT,
    KafkaError._ALL_BROKERS_DOWN,
    KafkaError._TIMED_OUT,
    KafkaError._TIMED_OUT_QUEUE,
    KafkaError._RESOLVE,
)
_NOT_LED = (
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError.UNKNOWN_LEADER_EPOCH,
    KafkaError.FENCED_LEADER_EPOCH,
    KafkaError.OFFSET_NOT_AVAILABLE,
)


@dataclass(frozen=True, slots=True)
class CheckedTopics:
    """What a service needs to know about its topics when it starts."""

    partitions: int  # of every striped topic
    ids: Mapping[str, str]  # name in Kafka → topic id


class KafkaAdmin:
    """Administers the topics of one cluster; every call answers or raises within about `wait` seconds.

    Raises OutageError KAFKA_UNREACHABLE when no broker answers, FatalError KAFKA_REFUSED when Kafka says no.
    """

    def __init__(self, settings: Settings, wait: float = WAIT_SECONDS) -> None:
        settings.require("kafka_bootstrap_servers")
        self._servers = settings.kafka_bootstrap_servers
        self._wait = wait
        try:
            self._client = AdminClient({**common(settings), "log_level": 0})  # errors are raised, not printed
        except (KafkaException, ValueError) as error:
            raise UserError(f"KAFKA_BOOTSTRAP_SERVERS={self._servers}: {error}", code="SETTING_INVALID") from error

    def brokers(self) -> int:
        """Return how many brokers the cluster has; the quickest way to learn whether it answers."""
        try:
            return len(self._client.list_topics(timeout=self._wait).brokers)
        except KafkaException as error:
            raise self._translated("asking for the brokers", error) from error

    def describe(self, names: Iterable[str]) -> dict[str, ExistingTopic]:
        """Return those of `names` that exist, with their settings."""
        self.brokers()  # fails within the wait; the calls below would queue for longer
        found = self._described(names)
        resources = [ConfigResource(ResourceType.TOPIC, name) for name in found]
        configs = self._each("reading settings", self._client.describe_configs, resources) if found else {}
        settings = {resource.name: {k: v.value for k, v in entries.items()} for resource, entries in configs.items()}
        return {
            name: ExistingTopic(
                name,
                str(topic.topic_id),
                len(topic.partitions),
                min((len(each.replicas) for each in topic.partitions), default=0),
                settings[name],
            )
            for name, topic in found.items()
            if name in settings
        }

    def topic_ids(self, names: Iterable[str]) -> dict[str, str]:
        """Return the topic id (KIP-516) of those of `names` that exist."""
        return {name: str(topic.topic_id) for name, topic in self._described(names).items()}

    def diff(self, topics: Topics) -> list[Change]:
        """Return what `apply` would do; empty when Kafka is as declared."""
        return changes(topics, self.describe(topics.names), self.brokers())

    def apply(self, topics: Topics) -> list[Change]:
        """Make Kafka's topics the declared ones and return what was done.

        Raises UserError TOPIC_REFUSED, having changed nothing, when a difference cannot be made good.
        """
        todo = self.diff(topics)
        if refused := [each for each in todo if isinstance(each, Refused)]:
            more = f" (and {len(refused) - 1} more, see `indexer topics diff`)" if len(refused) > 1 else ""
            raise UserError(f"{refused[0].name}: {refused[0].reason}{more}", code="TOPIC_REFUSED")
        self._create([each for each in todo if isinstance(each, Create)])
        self._alter([each for each in todo if isinstance(each, Alter)])
        self._grow([each for each in todo if isinstance(each, Grow)])
        if todo:  # a broker learns what the controller did a little later
            self._until("the changes of topics", lambda: not self.diff(topics))
        return todo

    def await_leaders(self, topics: Topics) -> None:
        """Wait until every partition is led.

        A broker names the leaders of a new topic some hundred milliseconds before these take records; a producer that
        is earlier is refused, and tries again ever more slowly. Raises OutageError KAFKA_SLOW.
        """
        self._until("the creation of topics", lambda: self._led(topics.names), _LEADERS_SECONDS)

    def check(self, topics: Topics, *roles: str) -> CheckedTopics:
        """Return ids and the common number of partitions of the topics that a service uses (all by default).

        Raises UserError TOPIC_MISSING or TOPIC_PARTITIONS, each with a way out.
        """
        brokers, existing = self.brokers(), self.describe(topics.names)
        partitions = common_partitions(topics, existing, roles or tuple(topics.by_role))
        for each in existing.values():
            insync = each.config.get("min.insync.replicas")
            if brokers >= 3 and (each.replication < replication_for(brokers) or insync == "1"):
                log.warning(
                    "%s has %d replicas and min.insync.replicas %s: exactly-once holds only with 3 and 2",
                    each.name, each.replication, insync,
                )  # fmt: skip
        return CheckedTopics(partitions, {name: each.id for name, each in existing.items()})

    def delete(self, names: Iterable[str]) -> list[str]:
        """Delete those of `names` that exist, wait until they are gone, and return them."""
        self.brokers()
        gone = sorted(self._described(names))
        if gone:
            self._each("deleting", self._client.delete_topics, gone, ignore=(KafkaError.UNKNOWN_TOPIC_OR_PART,))
            self._until("the deletion of topics", lambda: not self._described(gone))
        return gone

    def _create(self, todo: list[Create]) -> None:
        if not todo:
            return
        new = [
            NewTopic(each.topic.name, each.topic.partitions, each.replication, config=dict(each.config))
            for each in todo
        ]
        # Another `apply` at the same moment may be first; what it made is as declared.
        self._each("creating topics", self._client.create_topics, new, ignore=(KafkaError.TOPIC_ALREADY_EXISTS,))
        names = [each.topic.name for each in todo]
        self._until("the creation of topics", lambda: self._have_leaders(names))

    def _alter(self, todo: list[Alter]) -> None:
        resources = [
            ConfigResource(
                ResourceType.TOPIC,
                each.name,
                incremental_configs=[
                    ConfigEntry(key, new, incremental_operation=AlterConfigOpType.SET)
                    for key, (_, new) in each.settings.items()
                ],
            )
            for each in todo
        ]
        if resources:
            self._each("altering topics", self._client.incremental_alter_configs, resources)

    def _grow(self, todo: list[Grow]) -> None:
        if todo:
            new = [NewPartitions(each.name, each.new) for each in todo]
            self._each("adding partitions", self._client.create_partitions, new)

    def _have_leaders(self, names: list[str]) -> bool:
        found = self._described(names)
        return len(found) == len(names) and all(
            each.leader is not None for topic in found.values() for each in topic.partitions
        )

    def _led(self, names: list[str]) -> bool:
        found = self._described(names).items()
        partitions = [TopicPartition(name, each.id) for name, topic in found for each in topic.partitions]
        asked = dict.fromkeys(partitions, OffsetSpec.latest())  # type: ignore[no-untyped-call]  # it has no types
        ends = self._each("asking for ends", self._client.list_offsets, asked, _NOT_LED)
        return len(ends) == len(partitions)

    def _described(self, names: Iterable[str]) -> dict[str, Any]:
        wanted = TopicCollection(list(names))
        return self._each(
            "describing topics",
            self._client.describe_topics,
            wanted,
            ignore=(KafkaError.UNKNOWN_TOPIC_OR_PART,),
        )

    def _each(
        self,
        what: str,
        call: Callable[..., Mapping[Any, Future[Any]]],
        argument: Any,
        ignore: Collection[int] = (),
    ) -> dict[Any, Any]:
        """Return the answer for each item of an admin call, leaving out those that failed with one of `ignore`."""
        answers = {}
        for key, future in call(argument, request_timeout=self._wait).items():
            try:
                answers[key] = future.result(self._wait + 5)
            except KafkaException as error:
                if error.args[0].code() not in ignore:
                    raise self._translated(f"{what}: {_name(key)}", error) from error
            except TimeoutError as error:
                raise self._unreachable() from error
        return answers

    def _until(self, what: str, done: Callable[[], bool], seconds: float | None = None) -> None:
        seconds = self._wait if seconds is None else seconds
        deadline = time.monotonic() + seconds
        while not done():
            if time.monotonic() > deadline:
                raise OutageError(f"Kafka has not finished {what} after {seconds:g} s", code="KAFKA_SLOW")
            time.sleep(0.05)

    def _translated(self, what: str, error: KafkaException) -> IndexerError:
        reason: KafkaError = error.args[0]
        if reason.code() in _UNREACHABLE:
            return self._unreachable()
        return FatalError(f"Kafka refused {what}: {reason.str()}", code="KAFKA_REFUSED")

    def _unreachable(self) -> OutageError:
        return OutageError(
            f"Kafka at {self._servers} does not answer within {self._wait:g} s: is it running"
            " (`indexer stack status`), and is KAFKA_BOOTSTRAP_SERVERS right?",
            code="KAFKA_UNREACHABLE",
        )


def _name(key: Any) -> str:
    return str(getattr(key, "name", key))
