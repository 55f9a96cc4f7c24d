"""A local Kafka and PostgreSQL from Python packages alone, for development, tests and `make demo`."""

from indexer.stack.java import is_installed, kafka_tool
from indexer.stack.running import RunningStack, connect, is_running, start, stop, wipe

__all__ = ["RunningStack", "connect", "is_installed", "is_running", "kafka_tool", "start", "stop", "wipe"]
