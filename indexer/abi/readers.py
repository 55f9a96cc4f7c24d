"""Readers of ABI-encoded values: one object per type, made once; strict as eth-abi is (padding, pointers).

Positions are absolute in the data. A dynamic value is reached through a pointer, relative to the frame (the
tuple or the array) that the pointer stands in. Pointers may share what they point to, so that 10 kB of nested
arrays could unfold to gigabytes: `Payload` pays for every value and refuses what costs many times its data.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from indexer.abi.errors import AbiError, DecodeError
from indexer.abi.types import AbiType

WordReader = Callable[[bytes], object]  # 32 bytes in

_ADDRESS_PADDING = bytes(12)
_UNFOLDED_AT_MOST = 8  # times the size of the data; honest encoders share nothing and need 1


class Payload:
    """The data of one log, and how much may still be read from it."""

    __slots__ = ("data", "left")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.left = _UNFOLDED_AT_MOST * len(data) + 1024

    def pay(self, size: int) -> None:
        self.left -= size
        if self.left < 0:
            raise DecodeError("values share their data too often")

    def number(self, at: int) -> int:
        word = self.data[at : at + 32]
        if len(word) != 32:
            raise DecodeError("data ends early")
        return int.from_bytes(word, "big")


class Reader(Protocol):
    """Reads the values of one type."""

    dynamic: bool
    size: int  # bytes in the head of its frame, 32 for a pointer
    slots: int  # what eth-abi counts for it when it checks where pointers may point

    def read(self, payload: Payload, at: int) -> object:
        """The value that begins at `at`; DecodeError when it is not one."""


class Word:
    """A value that fills one word: a number, an address, a bool, bytesN."""

    dynamic = False
    size = 32
    slots = 1

    def __init__(self, read_word: WordReader) -> None:
        self.read_word = read_word

    def read(self, payload: Payload, at: int) -> object:
        word = payload.data[at : at + 32]
        if len(word) != 32:
            raise DecodeError("data ends early")
        return self.read_word(word)


class Bytes:
    """`bytes` or `string`; text that is not UTF-8 gets U+FFFD, the stored log keeps the bytes."""

    dynamic = True
    size = 32
    slots = 1

    def __init__(self, *, text: bool) -> None:
        self._text = text

    def read(self, payload: Payload, at: int) -> object:
        length = payload.number(at)
        padded = (length + 31) // 32 * 32
        begin = at + 32
        if begin + padded > len(payload.data):
            raise DecodeError("data ends early")
        payload.pay(padded)
        value = payload.data[begin : begin + length]
        if payload.data[begin + length : begin + padded].strip(b"\0"):
            raise DecodeError("padding is not zero")
        return value.decode("utf-8", errors="replace") if self._text else value


class Tuple:
    """A tuple; shown as an object, since the names of its parts are known."""

    def __init__(self, names: Sequence[str], parts: Sequence[Reader]) -> None:
        self._parts = list(zip(names, parts, strict=True))
        self.dynamic = any(part.dynamic for part in parts)
        self.size = 32 if self.dynamic else sum(part.size for part in parts)
        self.slots = 1
        self._head_slots = sum(1 if part.dynamic else part.slots for part in parts)

    def read(self, payload: Payload, at: int) -> dict[str, object]:
        values: dict[str, object] = {}
        here = at
        for name, part in self._parts:
            values[name] = _read_part(payload, part, here, at, self._head_slots)
            here += part.size
        return values


class Array:
    """`T[n]` or `T[]` (length None)."""

    def __init__(self, item: Reader, length: int | None) -> None:
        self._item = item
        self._length = length
        self.dynamic = length is None or item.dynamic
        self.size = 32 if length is None or item.dynamic else length * item.size
        self.slots = 1 if length is None else length

    def read(self, payload: Payload, at: int) -> list[object]:
        item, count = self._item, self._length
        if count is None:
            count = payload.number(at)
            at += 32
        if at + count * item.size > len(payload.data):
            raise DecodeError("data ends early")
        payload.pay(count * item.size)
        if isinstance(item, Word):  # by far the most arrays; half the time
            read_word, data = item.read_word, payload.data
            return [read_word(data[i : i + 32]) for i in range(at, at + 32 * count, 32)]
        return [_read_part(payload, item, at + i * item.size, at, count) for i in range(count)]


def _read_part(payload: Payload, part: Reader, here: int, frame: int, slots: int) -> object:
    """Read a part of the frame: in place, or where its pointer at `here` leads (behind the pointers)."""
    if not part.dynamic:
        return part.read(payload, here)
    offset = payload.number(here)
    if offset < 32 * slots or frame + offset >= len(payload.data):
        raise DecodeError("a pointer leads outside of the data")
    return part.read(payload, frame + offset)


def reader_of(type_: AbiType) -> Reader:
    """The reader of a type; AbiError when a tuple's components are not known."""
    reader = _reader_of_base(type_)
    for length in type_.dimensions:
        reader = Array(reader, length)
    return reader


def _reader_of_base(type_: AbiType) -> Reader:
    if type_.base in {"bytes", "string"}:
        return Bytes(text=type_.base == "string")
    if type_.base != "tuple":
        return Word(word_reader(type_.base))
    if not type_.components:
        raise AbiError("a tuple without its components cannot be decoded")
    return Tuple([part.name for part in type_.components], [reader_of(part.type) for part in type_.components])


def word_reader(base: str) -> WordReader:
    """The reader of a type that fills one word, `uint8` … `int256`, `address`, `bool`, `bytes1` … `function`."""
    if base == "address":
        return _address
    if base == "bool":
        return _bool
    if base == "function":
        return _fixed_bytes(24)
    if base.startswith("bytes"):
        return _fixed_bytes(int(base[5:]))
    return _signed(int(base[3:])) if base.startswith("int") else _unsigned(int(base[4:]))


def _address(word: bytes) -> object:
    if word[:12] != _ADDRESS_PADDING:
        raise DecodeError("an address is longer than 20 bytes")
    return "0x" + word[12:].hex()


def _bool(word: bytes) -> object:
    number = int.from_bytes(word, "big")
    if number > 1:
        raise DecodeError("a bool is neither 0 nor 1")
    return number == 1


def _unsigned(bits: int) -> WordReader:
    def read(word: bytes) -> object:
        number = int.from_bytes(word, "big")
        if number >> bits:
            raise DecodeError(f"a number is too large for uint{bits}")
        return number

    return read


def _signed(bits: int) -> WordReader:
    limit = 1 << (bits - 1)

    def read(word: bytes) -> object:
        number = int.from_bytes(word, "big", signed=True)
        if not -limit <= number < limit:
            raise DecodeError(f"a number is too large for int{bits}")
        return number

    return read


def _fixed_bytes(size: int) -> WordReader:
    padding = bytes(32 - size)

    def read(word: bytes) -> object:
        if word[size:] != padding:
            raise DecodeError(f"bytes{size} is longer than {size} bytes")
        return word[:size]

    return read
