"""Client settings of librdkafka, each with the trap that it avoids."""

from __future__ import annotations

from indexer.settings import Settings

RECORD_LIMIT = 32 * 1024 * 1024  # bytes of one record, before compression
DEAD_LETTER_LIMIT = RECORD_LIMIT + 64 * 1024
TRANSACTION_SECONDS = 15.0  # an open transaction of a dead process holds read_committed readers up this long

Config = dict[str, str | int | float | bool]


def common(settings: Settings) -> Config:
    return {
        "bootstrap.servers": settings.kafka_bootstrap_servers,
        "socket.timeout.ms": 10_000,  # below the transaction's time, or a bounce outlives the transaction
        "allow.auto.create.topics": False,  # a typo must not become a topic
        "enable.metrics.push": False,
        "message.max.bytes": DEAD_LETTER_LIMIT + 64 * 1024,
        "receive.message.max.bytes": 2 * DEAD_LETTER_LIMIT,
        "reconnect.backoff.max.ms": 1_000,  # 10 s by default: a broker that is back would wait for us
        "topic.metadata.refresh.interval.ms": 60_000,
        "log_level": 4,
    }


def consumer(settings: Settings, group: str, assignor: str, *, queue_kib: int = 16 * 1024) -> Config:
    """Return the settings of a group member; `assignor` is `range` or `cooperative-sticky`.

    Under KIP-848 the broker assigns (`range` or `uniform`), and session, heartbeat and strategy are not the client's.
    """
    config: Config = {
        **common(settings),
        "group.id": settings.topic_prefix + group,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "error",  # never jump silently
        "isolation.level": "read_committed",
        "queued.max.messages.kbytes": queue_kib,  # 64 MiB by default, and overshot
        "queued.min.messages": 2_000,
        "fetch.queue.backoff.ms": 50,  # 1 s of idling by default once the queue was full
        "fetch.wait.max.ms": 300,
        "fetch.message.max.bytes": 4 * 1024 * 1024,
        "fetch.max.bytes": 8 * 1024 * 1024,  # a larger record comes alone (KIP-74)
        "message.max.bytes": 1_000_000,  # or it would raise fetch.max.bytes, and with it the memory
        "group.protocol": settings.group_protocol,
        "max.poll.interval.ms": 300_000,
    }
    if settings.group_protocol == "consumer":
        config["group.remote.assignor"] = "range" if assignor == "range" else "uniform"
    else:
        config["partition.assignment.strategy"] = assignor
        config["session.timeout.ms"] = int(settings.session_timeout_seconds * 1000)
        # What a member learns of another that comes, it learns at its next heartbeat: the other waits that long.
        config["heartbeat.interval.ms"] = int(min(3.0, settings.session_timeout_seconds / 12) * 1000)
    return config


def producer(settings: Settings) -> Config:
    """Return the settings of an idempotent producer."""
    return {
        **common(settings),
        "enable.idempotence": True,
        "compression.type": "zstd",
        "compression.level": 1,
        "linger.ms": 20,
        "queue.buffering.max.kbytes": 96 * 1024,
        "message.timeout.ms": 60_000,
    }


def transactional(settings: Settings, transactional_id: str) -> Config:
    """Return the settings of a transactional producer; the id is stable per slot (KIP-447 fences by the group)."""
    return {
        **producer(settings),
        "transactional.id": settings.topic_prefix + transactional_id,
        "transaction.timeout.ms": int(TRANSACTION_SECONDS * 1000),
        "message.timeout.ms": int(TRANSACTION_SECONDS * 1000),
        "linger.ms": 5,  # a write produces all at once and flushes
    }
