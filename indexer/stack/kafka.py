"""Kafka in KRaft mode: format, start and ask brokers."""

from __future__ import annotations

import shutil
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from indexer.errors import FatalError
from indexer.stack import aot, config, java, process
from indexer.stack.layout import Broker, Folder, Layout, new_layout

START_SECONDS = 90.0


def prepare(folder: Folder, layout: Layout) -> None:
    """Write every broker's configuration and format the storage of those that have none."""
    java.classpath()  # installs the jars once, before several brokers want them
    if java.kafka_home() is None:
        aot.ensure_trained(java.java(), java.jars(), train)
    unformatted = []
    for broker in layout.brokers:
        home = folder.broker(broker.id)
        home.mkdir(parents=True, exist_ok=True)
        _properties(home).write_text(config.server_properties(layout, broker, home / "log"))
        if not _formatted(home).exists():
            unformatted.append(home)
    if unformatted:
        with ThreadPoolExecutor(len(unformatted)) as pool:
            list(pool.map(lambda home: _format(layout.cluster_id, home, folder.alive), unformatted))


def train(scratch: Path, options: list[str]) -> None:
    """Run a broker of its own in `scratch` from start to stop, with JVM options that record what it does."""
    folder, layout = Folder(scratch), new_layout(1)
    broker = layout.brokers[0]
    home = folder.broker(broker.id)
    home.mkdir()
    _properties(home).write_text(config.server_properties(layout, broker, home / "log"))
    _format(layout.cluster_id, home, folder.alive)
    command = java.broker_command(_properties(home), options)
    guarded = process.spawn(command, log=log_file(folder, broker.id), alive=folder.alive)
    try:
        wait_ready(folder, {broker.id: guarded}, layout)
        if guarded.process is not None:
            process.end([guarded.process], signal.SIGTERM, START_SECONDS)  # what was learned is written at the end
    finally:
        guarded.close()


def _properties(home: Path) -> Path:
    return home / "server.properties"


def _formatted(home: Path) -> Path:
    """A mark that the format came to its end; storage without it is formatted again."""
    return home / "formatted"


def _format(cluster_id: str, home: Path, alive: Path) -> None:
    shutil.rmtree(home / "log", ignore_errors=True)
    process.run(java.format_command(cluster_id, _properties(home)), log=home / "format.log", alive=alive)
    _formatted(home).touch()


def log_file(folder: Folder, number: int) -> Path:
    return folder.broker(number) / "broker.out"


def start(folder: Folder, broker: Broker, remove: Path | None = None) -> process.Guarded:
    """Start a prepared broker; it ends with us until it is released."""
    command = java.broker_command(_properties(folder.broker(broker.id)))
    return process.spawn(command, log=log_file(folder, broker.id), alive=folder.alive, remove=remove)


def wait_ready(folder: Folder, running: dict[int, process.Guarded], layout: Layout) -> None:
    """Wait until these brokers listen and the cluster knows of all of them. Raises FatalError with the log's reason."""
    wanted = {broker.id: broker.port for broker in layout.brokers if broker.id in running}

    def ended() -> list[int]:
        return [number for number, guarded in running.items() if guarded.guard.poll() is not None]

    def listening() -> bool:
        return bool(ended()) or all(_listens(port) for port in wanted.values())

    ready = process.wait_until(listening, START_SECONDS)
    if ready and not ended():
        servers = ",".join(f"127.0.0.1:{port}" for port in wanted.values())
        ready = process.wait_until(lambda: bool(ended()) or set(wanted) <= known(servers), START_SECONDS)
    for number in ended() or ([] if ready else wanted):
        log = log_file(folder, number)
        raise FatalError(f"broker {number} did not start: {process.last_line(log)} (see {log})", code="STACK_KAFKA")


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def known(bootstrap_servers: str, seconds: float = 5.0) -> set[int]:
    """The ids of the brokers that a cluster answers with; empty when it does not answer."""
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    quiet: dict[str, Any] = {"log_level": 0, "error_cb": lambda _error: None, "reconnect.backoff.ms": 50}
    try:
        admin = AdminClient(quiet | {"bootstrap.servers": bootstrap_servers})
        return set(admin.list_topics(timeout=seconds).brokers)
    except KafkaException:
        return set()
