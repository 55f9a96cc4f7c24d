"""What a client's group metadata says."""

from __future__ import annotations

import pytest

from indexer.kafka.membership import member_id


def test_the_member_is_found_behind_any_generation() -> None:
    for generation in (b"\x00\x00\x00\x00", b"\x01\x00\x00\x00", b"\xff\xff\xff\xff"):
        assert member_id(b"CGMDv2:" + generation + b"group\x00member-1\x00\x01") == b"member-1"


def test_a_client_that_is_no_member_has_none() -> None:
    assert member_id(b"CGMDv2:\xff\xff\xff\xffgroup\x00\x00\x01") == b""


def test_another_layout_is_noticed() -> None:
    with pytest.raises(ValueError, match="unknown layout"):
        member_id(b"CGMDv9:whatever")
