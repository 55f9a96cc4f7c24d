"""Models: which events of which contracts are decoded into rows, from which block on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from indexer.abi.args import to_json
from indexer.abi.compile import EventDecoder
from indexer.abi.errors import DecodeError
from indexer.abi.model_files import read_model
from indexer.abi.wrapped import wrapped_native
from indexer.errors import UserError
from indexer.records import DecodedEvents, Logs

__all__ = ["Model", "ModelSet", "load_models", "wrapped_native"]

_Rows = list[tuple[int, str, str, str]]  # log_index, model, event, args


@dataclass(frozen=True, slots=True)
class Model:
    """One model file, checked and compiled."""

    name: str
    version: int
    events: tuple[EventDecoder, ...]
    contracts: Mapping[bytes, int] | None  # address → start block; None: any contract, from `start_block` on
    start_block: int = 0
    wrapped_native: frozenset[bytes] = frozenset()


@dataclass(frozen=True, slots=True)
class _Match:
    """What one model makes of one topic0: the forms of the event, told apart by their indexed parameters."""

    model: str
    forms: tuple[EventDecoder, ...]
    contracts: Mapping[bytes, int] | None
    start_block: int

    def wants(self, address: bytes, block_number: int) -> bool:
        if self.contracts is None:
            return block_number >= self.start_block
        start = self.contracts.get(address)
        return start is not None and block_number >= start


@dataclass(frozen=True, slots=True)
class ModelSet:
    """All models of a deployment.

    `version` is stored with each block: 1 and the versions of all models, so it grows when a model is added or
    its version is raised, and a block decoded again under it replaces the older rows.
    """

    models: tuple[Model, ...] = ()
    version: int = field(init=False)
    wrapped_native: frozenset[bytes] = field(init=False)
    topics: frozenset[bytes] = field(init=False, repr=False)  # topic0 of every log that `decode` looks at
    _by_topic: dict[bytes, list[_Match]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "version", 1 + sum(model.version for model in self.models))
        object.__setattr__(self, "wrapped_native", frozenset().union(*(m.wrapped_native for m in self.models)))
        object.__setattr__(self, "_by_topic", _by_topic(self.models))
        object.__setattr__(self, "topics", frozenset(self._by_topic))

    def decode(self, logs: Logs, block_number: int) -> tuple[DecodedEvents, list[int]]:
        """The rows of all events that a model asks for, in log order, and the log indexes of those that did not fit.

        A log gives at most one row per model; one that no form of its event fits gives none.
        """
        by_topic = self._by_topic
        if not by_topic:
            return DecodedEvents(), []
        rows: _Rows = []
        undecoded: list[int] = []
        for i, topic0 in enumerate(logs.topic0):
            matches = by_topic.get(topic0) if topic0 is not None else None
            if matches and not _decode_log(logs, i, block_number, matches, rows):
                undecoded.append(logs.log_index[i])
        if not rows:
            return DecodedEvents(), undecoded
        return DecodedEvents(*map(list, zip(*rows, strict=True))), undecoded


def load_models(paths: Sequence[str | Path]) -> ModelSet:
    """Read model files (docs/guide/models.md); UserError, naming the file, for the first mistake in them."""
    models: dict[str, Model] = {}
    for path in map(Path, paths):
        model = Model(*read_model(path))
        if model.name in models:
            raise UserError(f"model {path}: there are two models named {model.name!r}", code="MODEL_INVALID")
        models[model.name] = model
    return ModelSet(tuple(models.values()))


def _by_topic(models: Iterable[Model]) -> dict[bytes, list[_Match]]:
    by_topic: dict[bytes, list[_Match]] = {}
    for model in models:
        forms: dict[bytes, list[EventDecoder]] = {}
        for event in model.events:
            forms.setdefault(event.topic0, []).append(event)
        for topic0, events in forms.items():
            match = _Match(model.name, tuple(events), model.contracts, model.start_block)
            by_topic.setdefault(topic0, []).append(match)
    return by_topic


def _decode_log(logs: Logs, i: int, block_number: int, matches: list[_Match], rows: _Rows) -> bool:
    """Append the log's rows; False when a model wants it and none of its forms fits."""
    fits = True
    address = logs.address[i]
    columns = (logs.topic0[i], logs.topic1[i], logs.topic2[i], logs.topic3[i])
    topics = [topic for topic in columns if topic is not None]
    for match in matches:
        if match.wants(address, block_number):
            row = _decode_as(match, logs.log_index[i], topics, logs.data[i])
            if row is None:
                fits = False
            else:
                rows.append(row)
    return fits


def _decode_as(match: _Match, index: int, topics: list[bytes], data: bytes) -> tuple[int, str, str, str] | None:
    for form in match.forms:
        if form.indexed_count == len(topics) - 1:
            try:
                return index, match.model, form.name, to_json(form.decode(topics, data))
            except DecodeError:
                continue
    return None
