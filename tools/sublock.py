"""Prints the part of requirements.lock that some extras need: `python tools/sublock.py decoder persister`.

An image then installs that part and no more, with the versions and hashes of the one lock. Runs with nothing installed.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_VIA = re.compile(r"^ +# +(?:via +)?(\S+)(?: \(pyproject\.toml\))?$")


@dataclass(frozen=True, slots=True)
class Pin:
    """A package of the lock: its lines, and the packages that need it."""

    name: str
    lines: tuple[str, ...]
    needed_by: frozenset[str]


def normalized(requirement: str) -> str:
    """Return the package's name as the lock spells it (PEP 503), without extras and versions."""
    name = re.split(r"[\[<>=!~; ]", requirement, maxsplit=1)[0]
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(lock: str) -> dict[str, Pin]:
    """Read the lock, by package."""
    found: dict[str, list[str]] = {}
    name = ""
    for line in lock.splitlines():
        if line and not line.startswith((" ", "#")):
            name = normalized(line)
        found.setdefault(name, []).append(line)
    return {name: Pin(name, tuple(lines), _needed_by(lines)) for name, lines in found.items() if name}


def _needed_by(lines: Iterable[str]) -> frozenset[str]:
    return frozenset(normalized(found[1]) for line in lines if (found := _VIA.match(line)))


def direct(project: Mapping[str, object], extras: Iterable[str]) -> set[str]:
    """Return the packages that the project and these extras name, extras of its own followed."""
    own, optional = str(project["name"]), project["optional-dependencies"]
    assert isinstance(optional, dict)
    found: set[str] = set()
    waiting = [*_strings(project["dependencies"])]
    for extra in extras:
        waiting += optional[extra]
    while waiting:
        requirement = waiting.pop()
        if normalized(requirement) == own:
            inner = requirement.partition("[")[2].partition("]")[0].split(",")
            waiting += [each for extra in inner for each in optional[extra.strip()]]
        else:
            found.add(normalized(requirement))
    return found


def _strings(value: object) -> list[str]:
    assert isinstance(value, list)
    return [str(each) for each in value]


def closure(all_pins: Mapping[str, Pin], wanted: Collection[str]) -> set[str]:
    """Return these packages and everything that they need."""
    found = set(wanted)
    while more := {pin.name for pin in all_pins.values() if pin.needed_by & found} - found:
        found |= more
    return found


def main(arguments: list[str]) -> int:
    """Print the pins of extras, or of packages named with a leading `=` (`=hatchling`)."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    every = pins((ROOT / "requirements.lock").read_text(encoding="utf-8"))
    packages = {each[1:] for each in arguments if each.startswith("=")}
    extras = [each for each in arguments if not each.startswith("=")]
    wanted = closure(every, packages | (direct(project, extras) if extras else set()))
    sys.stdout.write("".join(f"{line}\n" for name in sorted(wanted) for line in every[name].lines))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
