"""Changes of bytes and of JSON, from a random number generator: what a broken node, disk or wire might make of them."""

from __future__ import annotations

import copy
import random
from typing import Any

_ODD: list[Any] = [None, True, False, 0, -1, 1.5, 2**53, "", "0x", "0x0", "0xzz", "0x" + "f" * 64, "0x" + "f" * 66,
                   "0x-1", "0x_1", " 0x1", "0X1", "0x\u0661", "\x00", [], {}, [None], {"hash": 1}]  # fmt: skip


def changed_bytes(data: bytes, rng: random.Random) -> bytes:
    """Flip, cut, insert, double, swap or overwrite, once or a few times."""
    found = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        if not found:
            break
        at, how = rng.randrange(len(found)), rng.randrange(8)
        piece = found[at : at + rng.choice((1, 2, 8, 32, 200))]
        if how == 0:
            found[at] ^= 1 << rng.randrange(8)
        elif how == 1:
            found[at] = rng.randrange(256)
        elif how == 2:
            del found[at:]
        elif how == 3:
            del found[at : at + len(piece)]
        elif how == 4:
            found[at:at] = piece
        elif how == 5:
            found[at:at] = rng.randbytes(rng.choice((1, 4, 100)))
        elif how == 6:
            found[at : at + len(piece)] = bytes(len(piece)) if rng.random() < 0.5 else b"\xff" * len(piece)
        else:
            to = rng.randrange(len(found))
            found[to : to + len(piece)] = piece
    return bytes(found)


def changed_json(value: Any, rng: random.Random) -> Any:
    """Change one place somewhere in it, or a few; the original stays as it is."""
    found = copy.deepcopy(value)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        found = _changed(found, rng)
    return found


def _changed(value: Any, rng: random.Random) -> Any:
    holder, key, at = None, None, value
    while isinstance(at, dict | list) and at and (holder is None or rng.random() < 0.9):
        holder = at
        key = rng.choice(list(at)) if isinstance(at, dict) else rng.randrange(len(at))
        at = holder[key]
    if holder is None:
        return _odd(rng)
    how = rng.random()
    if how < 0.15:
        del holder[key]
    elif how < 0.3 and isinstance(holder, list):
        holder.insert(rng.randrange(len(holder) + 1), copy.deepcopy(at))
    elif how < 0.4 and isinstance(holder, list):
        other = rng.randrange(len(holder))
        holder[key], holder[other] = holder[other], holder[key]
    elif how < 0.45 and isinstance(holder, dict):
        holder[rng.choice(("extra", "type", "hash", "data", "to", "root"))] = _odd(rng)
    elif how < 0.6:
        holder[key] = _odd(rng)
    else:
        holder[key] = _nearby(at, rng)
    return value


def _nearby(value: Any, rng: random.Random) -> Any:
    """Return something of the same kind: the mistakes that only a proof finds."""
    if isinstance(value, str) and value.startswith("0x") and len(value) > 2:
        at = rng.randrange(2, len(value))
        how = rng.randrange(5)
        if how == 0:
            return value[:at] + value[at + 1 :]
        if how == 1:
            return value[:at] + rng.choice("0123456789abcdef") + value[at:]
        if how == 2:
            return "0x0" + value[2:]
        if how == 3:
            return value.upper().replace("0X", "0x")
        return value[:at] + rng.choice("0123456789abcdefABCDEF") + value[at + 1 :]
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + rng.choice((-1, 1, 2**31))
    return _odd(rng)


def _odd(rng: random.Random) -> Any:
    """Return a value of its own: the next change may be inside it."""
    return copy.deepcopy(rng.choice(_ODD))
