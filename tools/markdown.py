"""Reads what the docs checks need from a Markdown file: links, anchors, commands."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_FENCE = re.compile(r"^\s*(`{3,}|~{3,})\s*([\w-]*)")
_HEADING = re.compile(r"^#{1,6}\s+(.*?)\s*#*$")
_LINK = re.compile(r"!?\[(?:[^\]\[]|\[[^\]]*\])*\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)")
_REFERENCE = re.compile(r"^\s*\[[^\]]+\]:\s*<?([^\s>]+)")
_HTML_ANCHOR = re.compile(r"<a\s+(?:id|name)=\"([^\"]+)\"")
_CODE = re.compile(r"`([^`]+)`")
_SHELL = {"", "sh", "bash", "shell", "console", "text"}


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a file, and whether it stands in a fenced block, of which language."""

    number: int
    text: str
    fence: str | None = None  # None: not in a block


def lines(text: str) -> Iterator[Line]:
    """Yield every line but the fences themselves."""
    closing, language = "", None
    for number, line in enumerate(text.splitlines(), 1):
        found = _FENCE.match(line)
        if found and language is None:
            closing, language = found[1], found[2].lower()
        elif found and line.strip().startswith(closing) and not found[2]:
            language = None
        else:
            yield Line(number, line, language)


def links(text: str) -> Iterator[tuple[int, str]]:
    """Yield the target of every link outside code, with its line's number."""
    for line in lines(text):
        if line.fence is None:
            prose = _CODE.sub("", line.text)
            for found in (*_LINK.finditer(prose), *_REFERENCE.finditer(prose)):
                yield line.number, found[1]


def anchors(text: str) -> set[str]:
    """Return the anchors that GitHub makes of the headings, and those that are written out."""
    seen: dict[str, int] = {}
    found = set(_HTML_ANCHOR.findall(text))
    for line in lines(text):
        heading = _HEADING.match(line.text) if line.fence is None else None
        if heading:
            slug = _slug(heading[1])
            found.add(f"{slug}-{seen[slug]}" if slug in seen else slug)
            seen[slug] = seen.get(slug, 0) + 1
    return found


def _slug(heading: str) -> str:
    shown = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").replace("*", "")
    return re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-")


def commands(text: str) -> Iterator[tuple[int, str]]:
    """Yield the command lines of shell blocks, with the number of the line where each begins.

    In a block with a prompt (`$ `), lines without one are output. A backslash at the end joins the next line.
    """
    for block in _blocks(text):
        prompts = any(line.text.lstrip().startswith("$ ") for line in block)
        joined, began = "", 0
        for line in block:
            stripped = line.text.strip()
            if not joined:
                if prompts and not stripped.startswith("$ "):
                    continue
                began, stripped = line.number, stripped.removeprefix("$ ")
            joined += stripped.removesuffix("\\")
            if not stripped.endswith("\\"):
                yield began, joined
                joined = ""


def _blocks(text: str) -> Iterator[list[Line]]:
    block: list[Line] = []
    for line in [*lines(text), Line(0, "")]:
        follows = block and line.number == block[-1].number + 1
        if block and not (follows and line.fence == block[-1].fence):
            yield block
            block = []
        if line.fence is not None and line.fence in _SHELL:
            block.append(line)


def inline_code(text: str) -> Iterator[tuple[int, str]]:
    """Yield every piece of `code` in prose, with its line's number."""
    for line in lines(text):
        if line.fence is None:
            for found in _CODE.findall(line.text):
                yield line.number, found
