"""What a consumer makes of a message, whoever wrote it."""

from __future__ import annotations

from dataclasses import dataclass, field

from indexer.kafka.source import UNREADABLE_HEADERS, _record


@dataclass
class Message:
    """As confluent-kafka hands it out."""

    names: list[bytes] = field(default_factory=list)

    def headers(self) -> list[tuple[str, bytes]]:
        return [(name.decode(), b"1") for name in self.names]

    def topic(self) -> str:
        return "work"

    def partition(self) -> int:
        return 3

    def offset(self) -> int:
        return 7

    def key(self) -> str:
        return "key"

    def value(self) -> bytes:
        return b"value"

    def timestamp(self) -> tuple[int, int]:
        return (1, 5)


def test_a_message_becomes_a_record() -> None:
    record = _record(Message([b"a", b"b"]))  # type: ignore[arg-type]

    assert (record.topic, record.partition, record.offset, record.timestamp_ms) == ("work", 3, 7, 5)
    assert (record.key, record.value, record.headers) == (b"key", b"value", (("a", b"1"), ("b", b"1")))


def test_headers_whose_names_are_not_utf_8_kill_nobody() -> None:
    record = _record(Message([b"a", b"\xff"]))  # type: ignore[arg-type]

    assert (record.value, record.headers) == (b"value", ((UNREADABLE_HEADERS, b""),))
