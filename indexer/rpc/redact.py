"""Node URLs carry keys: what may be shown of them is a label, and texts are cleaned of the rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from urllib.parse import parse_qsl, unquote, urlsplit

_HIDDEN = "***"
_SHORTEST_SECRET = 6  # shorter path parts (`ext`, `bc`, `C`, `rpc`, `v3`) are no keys, and hiding them hides the sense


def label(url: str) -> str:
    """Return `host[:port]` of `url`: all that logs, errors and metrics may show of it."""
    parts = urlsplit(url)
    host = parts.hostname or "unknown"
    host = f"[{host}]" if ":" in host else host
    try:
        port = parts.port
    except ValueError:
        port = None
    return f"{host}:{port}" if port else host


def labels(urls: Sequence[str]) -> list[str]:
    """Return a label per URL, told apart by `#1`, `#2` … where several have the same host."""
    plain = [label(url) for url in urls]
    total, seen = Counter(plain), Counter[str]()
    result = []
    for name in plain:
        seen[name] += 1
        result.append(f"{name}#{seen[name]}" if total[name] > 1 else name)
    return result


def redact(text: str, urls: Iterable[str]) -> str:
    """Return `text` without whole URLs of nodes and without the parts of them that may be keys."""
    for url in urls:
        text = text.replace(url, label(url))
        for secret in sorted(_secrets(url), key=len, reverse=True):
            text = text.replace(secret, _HIDDEN)
    return text


def _secrets(url: str) -> set[str]:
    parts = urlsplit(url)
    found = {parts.username or "", parts.password or ""}
    found.update(parts.path.split("/"))
    found.update(value for _, value in parse_qsl(parts.query, keep_blank_values=True))
    found |= {unquote(part) for part in found}
    # A part of the host's own name (`mainnet`) stays readable: it is shown in the label anyhow.
    host = parts.hostname or ""
    return {part for part in found if len(part) >= _SHORTEST_SECRET and part not in host}
