"""Tells whether a command that the docs name exists: a target of the Makefile, a command of `indexer` or `devchain`."""

from __future__ import annotations

import re
import shlex
from functools import cache
from pathlib import Path

import click

from devchain.__main__ import main as devchain
from indexer.cli.__main__ import cli as indexer

ROOT = Path(__file__).resolve().parents[1]
PROGRAMS: dict[str, click.Command] = {"indexer": indexer, "devchain": devchain}
_MODULES = {"indexer.cli": "indexer", "devchain": "devchain"}
_SEPARATORS = {"&&", "||", "|", ";", "&"}
_ASSIGNMENT = re.compile(r"^[A-Z_][A-Z0-9_]*=")


def problems(line: str) -> list[str]:
    """Return what is wrong with the commands of a shell line; nothing if all exist, or none is ours."""
    found = []
    for inner in re.findall(r"\$\(([^()]*)\)", line):
        found += problems(inner)
    try:
        words = shlex.split(line, comments=True)
    except ValueError:
        return found  # output that looks like a command
    for command in _split(words):
        problem = _problem(command)
        if problem:
            found.append(problem)
    return found


def _split(words: list[str]) -> list[list[str]]:
    commands: list[list[str]] = [[]]
    for word in words:
        if word in _SEPARATORS:
            commands.append([])
        else:
            commands[-1].append(word.removesuffix(";"))
            if word.endswith(";"):
                commands.append([])
    return [command for command in commands if command]


def _problem(words: list[str]) -> str | None:
    while words and _ASSIGNMENT.match(words[0]):
        words = words[1:]
    if not words:
        return None
    program, arguments = Path(words[0]).name, words[1:]
    if program.startswith("python") and arguments[:1] == ["-m"] and arguments[1] in _MODULES:
        program, arguments = _MODULES[arguments[1]], arguments[2:]
    if program == "make":
        unknown = [word for word in arguments if re.fullmatch(r"[a-z][a-z-]*", word) and word not in make_targets()]
        return f"no such target: make {unknown[0]}" if unknown else None
    return _click_problem(program, PROGRAMS[program], arguments) if program in PROGRAMS else None


def _click_problem(shown: str, command: click.Command, arguments: list[str]) -> str | None:
    """Follow the words through the groups; then every --option must be one of the command's."""
    context = click.Context(command, info_name=shown)
    rest = list(arguments)
    while isinstance(command, click.Group) and rest and re.fullmatch(r"[a-z][a-z-]*", rest[0]):
        try:
            inner = command.get_command(context, rest[0])
        except ImportError as error:
            return f"{shown} {rest[0]} cannot be imported: {error}"
        if inner is None:
            return f"no such command: {shown} {rest[0]}"
        shown, command = f"{shown} {rest.pop(0)}", inner
        context = click.Context(command, info_name=shown, parent=context)
    known = {
        "--help",
        "-h",
        *(option for each in command.get_params(context) for option in each.opts + each.secondary_opts),
    }
    options = [word.partition("=")[0] for word in rest if re.match(r"--?[a-z]", word)]
    unknown = [option for option in options if option not in known]
    return f"{shown} has no option {unknown[0]}" if unknown else None


@cache
def make_targets() -> frozenset[str]:
    """The targets that `make` lists."""
    return frozenset(re.findall(r"^([a-z][a-z0-9-]*):.*?## ", (ROOT / "Makefile").read_text(), re.MULTILINE))


def is_ours(code: str) -> bool:
    """True for a piece of inline code that is one of our commands as a reader would type it."""
    words = code.split()
    if len(words) < 2 or not re.fullmatch(r"[a-z][a-z-]*", words[1]):
        return False
    return words[0] == "make" or words[0] in PROGRAMS
