"""Keys in node URLs never show."""

from __future__ import annotations

import pytest

from indexer.rpc.redact import label, labels, redact
from indexer.rpc.transport import is_loopback

KEYED = "https://user:pass-word-1@avax.example.org:8443/ext/bc/C/rpc/abcdef0123456789?token=qwertzuiop"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (KEYED, "avax.example.org:8443"),
        ("http://127.0.0.1:8545", "127.0.0.1:8545"),
        ("http://[::1]:8545/x", "[::1]:8545"),
        ("https://node/v3/0123456789abcdef", "node"),
        ("http://node:port/", "node"),
        ("nonsense", "unknown"),
    ],
)
def test_a_label_is_host_and_port(url: str, shown: str) -> None:
    assert label(url) == shown


def test_labels_of_one_host_are_told_apart() -> None:
    assert labels(["https://a/1", "https://b/2", "https://a/3"]) == ["a#1", "b", "a#2"]


def test_a_text_loses_url_and_key() -> None:
    text = f"POST {KEYED} failed; path /ext/bc/C/rpc/abcdef0123456789, token qwertzuiop, by user:pass-word-1"

    clean = redact(text, [KEYED])

    for secret in ("abcdef0123456789", "qwertzuiop", "pass-word-1"):
        assert secret not in clean
    assert "/ext/bc/C/rpc/***" in clean
    assert "avax.example.org:8443" in clean


def test_an_encoded_key_is_found_decoded_too() -> None:
    assert redact("key a+b/c=secret", ["https://x/?k=a%2Bb%2Fc%3Dsecret"]) == "key ***"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:1", True),
        ("http://localhost/x", True),
        ("http://[::1]:1", True),
        ("http://10.0.0.1", False),
        ("https://example.org", False),
    ],
)
def test_loopback_is_told_by_the_host(url: str, expected: bool) -> None:
    assert is_loopback(url) is expected
