"""The settings of the local stack's servers: pure functions from a layout to their configuration."""

from __future__ import annotations

from pathlib import Path

from indexer.stack.layout import Broker, Layout

MESSAGE_BYTES = 33 * 1024 * 1024 + 64 * 1024  # the largest record (33 MiB) and its batch's frame
# Two cores: the serial collector has the least work and the least memory.
BROKER_JVM = ("-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:+ExitOnOutOfMemoryError")
TOOL_JVM = ("-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")

BROKER = {
    "process.roles": "broker,controller",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "inter.broker.listener.name": "PLAINTEXT",
    "controller.listener.names": "CONTROLLER",
    "auto.create.topics.enable": "false",
    "message.max.bytes": str(MESSAGE_BYTES),
    "replica.fetch.max.bytes": str(MESSAGE_BYTES),
    # Groups: no waiting for more members, sessions of 6 s in both protocols.
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "6000",
    "group.consumer.min.session.timeout.ms": "6000",
    "group.consumer.session.timeout.ms": "6000",
    "group.consumer.min.heartbeat.interval.ms": "1500",
    "group.consumer.heartbeat.interval.ms": "1500",
    # Internal topics: 8 partitions instead of 50 start faster.
    "offsets.topic.num.partitions": "8",
    "transaction.state.log.num.partitions": "8",
    "share.coordinator.state.topic.num.partitions": "8",
    # Fast fail-over.
    "broker.heartbeat.interval.ms": "1000",
    "controller.quorum.election.timeout.ms": "1000",
    "controller.quorum.fetch.timeout.ms": "2000",
    # A small machine: few threads, little memory, the disk of deleted topics back soon.
    "num.network.threads": "2",
    "num.io.threads": "4",
    "log.cleaner.dedupe.buffer.size": "16777216",
    "log.segment.delete.delay.ms": "1000",
}


def server_properties(layout: Layout, broker: Broker, logs: Path) -> str:
    """The `server.properties` of one broker that keeps its log in `logs`."""
    replicas = min(3, len(layout.brokers))
    in_sync = max(1, replicas - 1)
    voters = ",".join(f"{b.id}@127.0.0.1:{b.controller_port}" for b in layout.brokers)
    listeners = f"PLAINTEXT://127.0.0.1:{broker.port},CONTROLLER://127.0.0.1:{broker.controller_port}"
    settings = BROKER | {
        "node.id": str(broker.id),
        "controller.quorum.voters": voters,
        "listeners": listeners,
        "advertised.listeners": listeners,
        "log.dirs": str(logs),
        "default.replication.factor": str(replicas),
        "min.insync.replicas": str(in_sync),
        # A broker that was killed and comes back waits for the end of its own former session. Alone it has nobody to be
        # told dead to, so that may be short.
        "broker.session.timeout.ms": "3000" if replicas == 1 else "6000",
        # Overdue transactions end soon, but not while a single broker comes back: its partitions have no leader then,
        # and are left out (KAFKA-20734). Ten seconds are Kafka's own default.
        "transaction.abort.timed.out.transaction.cleanup.interval.ms": "10000" if replicas == 1 else "1000",
    }
    for topic in ("offsets.topic", "transaction.state.log", "share.coordinator.state.topic"):
        settings[f"{topic}.replication.factor"] = str(replicas)
    for topic in ("transaction.state.log", "share.coordinator.state.topic"):
        settings[f"{topic}.min.isr"] = str(in_sync)
    return "".join(f"{key}={value}\n" for key, value in sorted(settings.items()))


def postgres_settings(port: int, *, lz4: bool) -> dict[str, str]:
    """PostgreSQL's settings: TCP on the loopback interface only, safe on disk, made for loading much."""
    return {
        "listen_addresses": "127.0.0.1",
        "port": str(port),
        "unix_socket_directories": "",
        "max_connections": "100",
        "shared_buffers": "1GB",
        "max_wal_size": "4GB",
        "checkpoint_timeout": "15min",
        "wal_compression": "lz4" if lz4 else "off",  # pglz costs more processor than it saves disk here
        "jit": "off",
        "autovacuum_naptime": "5min",  # every minute it would look through what a backfill has just written
        "autovacuum_vacuum_insert_scale_factor": "1",
        "max_locks_per_transaction": "256",  # partitioned tables lock every leaf
    }


def java_options(log_config: Path, level: str) -> list[str]:
    return [f"-Dlog4j2.configurationFile={log_config}", f"-Dstack.log.level={level}", "-Djava.awt.headless=true"]
