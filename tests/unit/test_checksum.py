"""A value's checksum in a header: written, compared, never carried over to another value."""

from __future__ import annotations

import pytest

from indexer.checksum import CHECKSUM, checksum, is_sealed, sealed, unsealed
from indexer.errors import PoisonError
from indexer.inflight import Record
from indexer.outputs import Headers

VALUE = b"the bytes of a block"


def record(headers: Headers, value: bytes | None = VALUE) -> Record:
    return Record("blocks.decoded", 0, 0, None, value, headers)


def test_the_checksum_is_that_of_every_other_program() -> None:
    assert checksum(b"123456789") == b"cbf43926"


def test_a_value_is_what_was_written() -> None:
    assert is_sealed(record(sealed((("trace", b"x"),), VALUE)))


def test_a_record_without_a_checksum_is_told_from_one_that_has_it() -> None:
    assert not is_sealed(record((("trace", b"x"),)))


@pytest.mark.parametrize("value", [VALUE[:-1], VALUE + b"\x00", b"T" + VALUE[1:], b"", None])
def test_another_value_is_poison(value: bytes | None) -> None:
    with pytest.raises(PoisonError) as refused:
        is_sealed(record(sealed((), VALUE), value))

    assert refused.value.code == "CHECKSUM_MISMATCH"


@pytest.mark.parametrize("told", [None, b"", b"CBF43926", b"\xff", b"0" * 100])
def test_a_checksum_that_somebody_altered_is_poison(told: bytes | None) -> None:
    with pytest.raises(PoisonError):
        is_sealed(record(((CHECKSUM, told),)))


def test_of_two_checksums_both_must_fit() -> None:
    with pytest.raises(PoisonError):
        is_sealed(record(((CHECKSUM, checksum(b"older")), (CHECKSUM, checksum(VALUE)))))


def test_a_new_value_does_not_keep_the_old_ones_checksum() -> None:
    older = sealed((("trace", b"x"),), b"older")

    assert sealed(older, VALUE) == (("trace", b"x"), (CHECKSUM, checksum(VALUE)))
    assert unsealed(older) == (("trace", b"x"),)
