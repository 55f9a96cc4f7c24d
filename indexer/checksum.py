"""A checksum of a record's value, in a header: what was proven before it was published need not be proven again; pure.

CRC-32 of the standard library: it finds every change of up to 32 neighbouring bits, and misses one of 2^32 others. It
guards against memory, disks and programs that err, not against one who writes a header to match. Of 80 kB it takes
22 µs, BLAKE2b 99, SHA-256 51.
"""

from __future__ import annotations

import zlib

from indexer.errors import PoisonError
from indexer.inflight import Record
from indexer.outputs import Headers

CHECKSUM = "x-value-crc32"


def checksum(value: bytes) -> bytes:
    """Return the header's value: 8 hex digits."""
    return b"%08x" % zlib.crc32(value)


def sealed(headers: Headers, value: bytes) -> Headers:
    """Return `headers` with the checksum of `value` in place of any other."""
    return (*unsealed(headers), (CHECKSUM, checksum(value)))


def unsealed(headers: Headers) -> Headers:
    """Return `headers` without a checksum: a value that is made anew must not keep the old one's."""
    return tuple(header for header in headers if header[0] != CHECKSUM)


def is_sealed(record: Record) -> bool:
    """Tell whether the value is what its writer gave a checksum of; False: its writer gave none.

    Raises PoisonError CHECKSUM_MISMATCH where a checksum is there and is another one.
    """
    told = [value for name, value in record.headers if name == CHECKSUM]
    if not told:
        return False
    found = checksum(record.value or b"")
    if any(each != found for each in told):
        text = f"{len(record.value or b'')} bytes are not those that were written: their checksum differs"
        raise PoisonError(text, code="CHECKSUM_MISMATCH")
    return True
