"""One event of an ABI, compiled once into a decoder of its logs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import sha3  # type: ignore[import-untyped]  # safe-pysha3 has no stubs

from indexer.abi.errors import AbiError, DecodeError
from indexer.abi.readers import Payload, Reader, Word, WordReader, reader_of, word_reader
from indexer.abi.types import EventAbi, Parameter, parse_event

__all__ = ["AbiError", "DecodeError", "EventDecoder", "compile_event"]

_Read = Callable[[Sequence[bytes], bytes], object]  # topics, data


class EventDecoder:
    """Decodes the logs of one event, as strictly as eth-abi; like it, it overlooks data behind the values."""

    __slots__ = ("_head_size", "_plan", "indexed_count", "name", "signature", "topic0")

    def __init__(self, event: EventAbi) -> None:
        self.name = event.name
        self.signature = event.signature
        self.topic0: bytes = sha3.keccak_256(event.signature.encode()).digest()
        self._plan, self.indexed_count, self._head_size = _plan(event.parameters)

    def decode(self, topics: Sequence[bytes], data: bytes) -> dict[str, object]:
        """The arguments by name, in the order of the ABI; DecodeError when the log is not of this event.

        `topics` begins with topic0. Addresses come as 0x and lower-case hex, numbers as int, bytes as bytes,
        tuples as dict, arrays as list; an indexed array, tuple, string or bytes as the 32 bytes of its hash.
        """
        if len(topics) != self.indexed_count + 1 or topics[0] != self.topic0:
            raise DecodeError(f"topics are not those of {self.signature}")
        if len(data) < self._head_size:
            raise DecodeError("data ends early")
        return {name: read(topics, data) for name, read in self._plan}


def compile_event(abi_entry: Mapping[str, object]) -> EventDecoder:
    """Compile an ABI JSON entry of type "event"; AbiError when it is malformed or anonymous.

    An anonymous event has no topic0, any log could be one: there is nothing to tell its logs by.
    """
    event = parse_event(abi_entry)
    if event.anonymous:
        raise AbiError(f"event {event.name} is anonymous: it has no topic to be recognised by")
    try:
        decoder = EventDecoder(event)
    except AbiError as error:
        raise AbiError(f"event {event.name}: {error}") from error
    if decoder.indexed_count > 3:
        raise AbiError(f"event {event.name} has more than three indexed parameters")
    return decoder


def _plan(parameters: Sequence[Parameter]) -> tuple[list[tuple[str, _Read]], int, int]:
    """How to read each parameter, the number of topics they take besides topic0, and the size of the data's head."""
    in_data = {p.name: reader_of(p.type) for p in parameters if not p.indexed}
    slots = sum(1 if reader.dynamic else reader.slots for reader in in_data.values())
    plan: list[tuple[str, _Read]] = []
    topic = at = 0
    for parameter in parameters:
        if parameter.indexed:
            topic += 1
            plan.append((parameter.name, _from_topic(topic, parameter)))
        else:
            reader = in_data[parameter.name]
            plan.append((parameter.name, _from_data(at, reader, slots)))
            at += reader.size
    return plan, topic, at


def _from_topic(index: int, parameter: Parameter) -> _Read:
    read_word: WordReader = word_reader("bytes32" if parameter.type.hashed_when_indexed else parameter.type.base)

    def read(topics: Sequence[bytes], data: bytes) -> object:
        word = topics[index]
        if len(word) != 32:
            raise DecodeError("a topic is not 32 bytes")
        return read_word(word)

    return read


def _from_data(at: int, reader: Reader, slots: int) -> _Read:
    if isinstance(reader, Word):
        read_word, end = reader.read_word, at + 32
        return lambda topics, data: read_word(data[at:end])  # decode() has checked the length
    if not reader.dynamic:
        return lambda topics, data: reader.read(Payload(data), at)

    def read(topics: Sequence[bytes], data: bytes) -> object:
        payload = Payload(data)
        offset = payload.number(at)
        if offset < 32 * slots or offset >= len(data):
            raise DecodeError("a pointer leads outside of the data")
        return reader.read(payload, offset)

    return read
