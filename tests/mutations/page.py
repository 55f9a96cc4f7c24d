"""The page of rules and what fails without them (docs/reference/protocol-tests.md)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from tests.mutations.table import Mutation, Table, load

_HEAD = """\
# Rules, and what fails without them

Each rule about who may write what, when, is taken out here part by part, and the tests named beside it fail then.
`tests/mutations/rules.toml` says which text of which file holds a part and what it becomes; this page is written from
it (`make generate`). A unit test holds the table to the code: each text is there once, each test exists, no rule is
missing. What fails is proven by running it, in throw-away copies of the tree:

```sh
make mutations                                             # all of them, on a Kafka and a PostgreSQL of their own
make mutations ARGS="--rule 7"                             # one rule; --list, --only "7 bits", --without-stack, --json
```

`tests/simulation` runs the real loops, handlers and decisions on a broker and a database in memory, and a seed decides
who is killed, frozen or cut off, which blocks fork away, what is poison, and when a database is restored. What must
hold at the end is looked at there (`checks.py`), and what no transaction may do with each commit (`laws.py`): most of
it would heal later. A part that is a switch there (`rules.py`) has a seed that fails when it is taken out; the tests
of every run prove that.

```sh
make simulate SEEDS=10000                                  # all must be clean; a seed that fails is named
.venv/bin/python -m tests.simulation --seeds 1 --from 7    # that seed again; --without "7 bits" takes a part out
```
"""


def page(table: Table | None = None) -> str:
    return "\n".join([_HEAD, *_lines(table or load())]) + "\n"


def _lines(table: Table) -> Iterator[str]:
    asked = [each for each in table.mutations if each.bar]
    yield "Three parts are asked for by name:"
    yield ""
    for bar in dict.fromkeys(each.bar for each in asked):
        yield f"- {bar}: {', '.join(f'`{each.name}`' for each in asked if each.bar == bar)}"
    yield ""
    yield "| part | in | without it | what fails |"
    yield "| --- | --- | --- | --- |"
    for each in table.mutations:
        where = f"[{Path(each.file).name}](../../{each.file})"
        yield f"| {each.name} | {where} | {each.out} | {', '.join(_what_fails(each, table))} |"


def _what_fails(each: Mutation, table: Table) -> Iterator[str]:
    for test in each.tests:
        yield f"`{re.sub(r'.*::', '', test)}`"
    if each.name in table.seeds:
        yield f"seed {table.seeds[each.name]}"
