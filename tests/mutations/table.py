"""The table `rules.toml`: which text of which file holds a rule, what it becomes, and which tests must fail then."""

from __future__ import annotations

import ast
import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
TABLE = Path(__file__).with_name("rules.toml")
RULES = 19
# Where compiled code does the same (native/): what is taken out of Python alone may be held there still.
TWINS = (
    "indexer/abi/", "indexer/chain/", "indexer/codec/", "indexer/rpc/raw.py", "services/persister/ledger.py",
    "services/persister/packed.py", "services/persister/rows.py",
)  # fmt: skip


class StaleError(Exception):
    """The table does not fit the code any more."""


@dataclass(frozen=True, slots=True)
class Mutation:
    """One part of a rule, and how it is taken out."""

    name: str  # its rule's number (0: of none of the nineteen) and one word
    out: str  # what happens without it
    file: str
    text: str
    becomes: str
    tests: tuple[str, ...]  # pytest's ids, from tests/ on
    bar: str = ""  # what somebody asked for by this name

    @property
    def rule(self) -> int:
        return int(self.name.split()[0])

    def apply(self, root: Path) -> None:
        """Change the file below `root`; raises StaleError unless the text is there exactly once."""
        path = root / self.file
        source = path.read_text(encoding="utf-8") if path.is_file() else ""
        if (times := source.count(self.text)) != 1:
            raise StaleError(f"{self.name}: its text is {times} times in {self.file}")
        path.write_text(source.replace(self.text, self.becomes), encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Table:
    """All mutations, and the seed of the simulation that fails without a switch of its own (`rules.py` there)."""

    mutations: tuple[Mutation, ...]
    seeds: dict[str, int]


@cache
def load(path: Path = TABLE) -> Table:
    found: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    mutations = [Mutation(**{**each, "tests": tuple(each["tests"])}) for each in found["mutation"]]
    return Table(tuple(sorted(mutations, key=lambda each: each.rule or RULES + 1)), found["seeds"])


def problems(table: Table, root: Path = ROOT) -> Iterator[str]:
    """Yield a line for everything in the table that does not fit the code."""
    for name, times in Counter(each.name for each in table.mutations).items():
        if times > 1:
            yield f"{name}: {times} mutations of this name"
    for each in table.mutations:
        path = root / each.file
        times = path.read_text(encoding="utf-8").count(each.text) if path.is_file() else 0
        if times != 1:
            yield f"{each.name}: its text is {times} times in {each.file}"
        if each.text == each.becomes or not each.tests:
            yield f"{each.name}: it changes nothing, or no test is named"
        if each.file.startswith(TWINS):
            yield f"{each.name}: {each.file} has a twin in native/, which would go on holding it"
        for test in each.tests:
            if not exists(root, test):
                yield f"{each.name}: no test {test}"
    for rule in sorted(set(range(1, RULES + 1)) - {each.rule for each in table.mutations}):
        yield f"rule {rule}: no mutation"


def exists(root: Path, test: str) -> bool:
    """Tell whether a file has the function, or the method of a class, that pytest's id names."""
    file, *names = test.partition("[")[0].split("::")
    found: list[ast.stmt] = _body(root / "tests" / file)
    for name in names:
        there = next((each for each in found if getattr(each, "name", None) == name), None)
        if there is None:
            return False
        found = there.body if isinstance(there, ast.ClassDef) else []
    return bool(names)


@cache
def _body(path: Path) -> list[ast.stmt]:
    return ast.parse(path.read_text(encoding="utf-8")).body if path.is_file() else []
