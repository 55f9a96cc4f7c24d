"""What a client's group metadata says: librdkafka serialises it, Python sees bytes."""

from __future__ import annotations

_MAGIC = b"CGMDv2:"
_GENERATION_BYTES = 4


def member_id(metadata: bytes) -> bytes:
    """Return the member id; empty for a client that is no member (a broker accepts offsets from such a one).

    Layout (rd_kafka_consumer_group_metadata_write): magic, generation as int32, group id, NUL, member id, NUL, …
    Raises ValueError for anything else, so that another librdkafka is noticed.
    """
    if not metadata.startswith(_MAGIC):
        raise ValueError(f"group metadata of an unknown layout: {metadata[:7]!r}")
    _, member, *_ = metadata[len(_MAGIC) + _GENERATION_BYTES :].split(b"\0")
    return member
