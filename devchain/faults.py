"""What a node does wrong on request: the settings, and the dice that decide when."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any, get_type_hints

FOREVER = -1  # as a number of times


class FaultError(ValueError):
    """A fault setting that does not exist or does not fit."""


@dataclass(slots=True)
class Faults:
    """The faults of one endpoint. `p_…` are probabilities, `next_…` numbers of requests to come; blocks are given
    with a number of times (-1: for ever), counted down per answer."""

    seed: int = 1
    latency_ms: float = 0  # before every answer
    retry_after: float | None = 1  # seconds, the header of a 429; None leaves it out
    max_rps: float | None = None  # requests a second; more are answered with 429
    p_429: float = 0
    next_429: int = 0
    status_5xx: int = 503
    p_5xx: float = 0
    next_5xx: int = 0
    p_hangup: float = 0  # the connection ends in the middle of the answer
    next_hangup: int = 0
    p_truncated: float = 0  # half of the JSON, as if it were all
    next_truncated: int = 0
    p_stall: float = 0  # no answer at all, the connection stays open
    next_stall: int = 0
    p_error: float = 0  # JSON-RPC error -32603 for a single call
    next_error: int = 0
    null_blocks: dict[int, int] = field(default_factory=dict)
    null_receipts: dict[int, int] = field(default_factory=dict)
    alter_log: dict[int, int] = field(default_factory=dict)  # the data of the block's first log
    drop_log: dict[int, int] = field(default_factory=dict)  # the block's first log
    alter_header: dict[int, int] = field(default_factory=dict)  # the field named by alter_field
    alter_field: str = "stateRoot"
    receipts_method: bool = True  # False: eth_getBlockReceipts does not exist
    chain_id: int | None = None  # another one than the chain's
    lag: int = 0  # blocks behind the chain's head
    branch: int | None = None  # answers from this branch (0: the first), as a node does that missed a fork
    finality: int = 0  # blocks from the head down to the one that the tag `finalized` names
    finalized_tag: bool = True  # False: the node does not know the tag
    head: int | None = None  # instead of the chain's; beyond it blocks are null
    above_head: str = "null"  # or unfinalized, unaccepted: the errors that Avalanche nodes give
    max_batch: int | None = None  # calls in one batch; more are refused as a whole

    def update(self, changes: Mapping[str, Any]) -> None:
        """Change some settings, all or none; `{"reset": true}` first puts all back."""
        fresh = Faults() if changes.get("reset") else self
        checked = {key: _checked(key, value) for key, value in changes.items() if key != "reset"}
        for spec in dataclasses.fields(Faults):
            setattr(self, spec.name, checked.get(spec.name, getattr(fresh, spec.name)))

    def as_json(self) -> dict[str, Any]:
        """The settings as they are now, counts included."""
        settings = dataclasses.asdict(self)
        for key, value in settings.items():
            if isinstance(value, dict):
                settings[key] = {str(number): times for number, times in value.items()}
        return settings


_HINTS = get_type_hints(Faults)
_ABOVE_HEAD = ("null", "unfinalized", "unaccepted")


def _checked(key: str, value: Any) -> Any:
    """The value in the type of its setting."""
    hint = _HINTS.get(key)
    if hint is None:
        raise FaultError(f"no such fault: {key} (there are: {', '.join(_HINTS)})")
    if hint == dict[int, int]:
        return _block_times(key, value)
    if key == "above_head" and value not in _ABOVE_HEAD:
        raise FaultError(f"above_head is one of {', '.join(_ABOVE_HEAD)}")
    if value is None and hint in (int | None, float | None):
        return None
    allowed: tuple[type, ...] = (int,)
    if hint in (float, float | None):
        allowed = (int, float)
    elif hint in (bool, str):
        allowed = (hint,)
    if not isinstance(value, allowed) or (isinstance(value, bool) and hint is not bool):
        raise FaultError(f"{key} does not take {value!r}")
    return value


def _block_times(key: str, value: Any) -> dict[int, int]:
    """`{"5": 2}`, or a list of blocks that fail for ever."""
    if isinstance(value, list):
        value = dict.fromkeys(value, FOREVER)
    if not isinstance(value, dict):
        raise FaultError(f'{key} takes blocks with numbers of times, such as {{"5": 2}}, or a list of blocks')
    try:
        return {int(number): FOREVER if times is None else int(times) for number, times in value.items()}
    except (TypeError, ValueError):
        raise FaultError(f"{key}: block numbers and numbers of times are integers") from None


class Dice:
    """Decides, from the seed of the settings, which request a fault hits; counts those that were hit."""

    def __init__(self, faults: Faults) -> None:
        self.faults = faults
        self.hits: Counter[str] = Counter()
        self._random = Random(faults.seed)  # noqa: S311 - repeatable on purpose
        self._tokens, self._refilled = 0.0, 0.0

    def reseed(self) -> None:
        """Start the dice again, from the seed that the settings have now."""
        self._random = Random(self.faults.seed)  # noqa: S311

    def strikes(self, name: str) -> bool:
        """Whether the fault `name` hits now."""
        left = getattr(self.faults, f"next_{name}")
        if left:
            if left > 0:
                setattr(self.faults, f"next_{name}", left - 1)
        else:
            probability = getattr(self.faults, f"p_{name}")
            if not probability or self._random.random() >= probability:
                return False
        self.hits[name] += 1
        return True

    def strikes_block(self, name: str, number: int) -> bool:
        """Whether the fault `name` hits this answer for block `number`."""
        blocks: dict[int, int] = getattr(self.faults, name)
        left = blocks.get(number, 0) if blocks else 0
        if not left:
            return False
        if left > 0:
            blocks[number] = left - 1
        self.hits[name] += 1
        return True

    def over_rate(self, now: float) -> bool:
        """Whether a request at `now` (seconds) is one too many for `max_rps`; a tenth of a second may be saved up."""
        rate = self.faults.max_rps
        if rate is None:
            return False
        limit = max(1.0, rate / 10)
        self._tokens = min(limit, self._tokens + (now - self._refilled) * rate)
        self._refilled = now
        if self._tokens < 1:
            self.hits["429"] += 1
            return True
        self._tokens -= 1
        return False
