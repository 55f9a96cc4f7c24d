"""New heads over WebSocket: a reason to look now, and nothing lost without them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from devchain.client import Devchain
from services.producer.new_heads import NewHeads
from tests.support.following import CHAIN_ID
from tests.support.waiting import wait_for

pytestmark = pytest.mark.integration


@pytest.fixture
def node(chain_cache: Path) -> Iterator[Devchain]:
    options = {"profile": "small", "blocks": 300, "chain_id": CHAIN_ID, "ethereum": True, "cache": chain_cache}
    with Devchain.simulated(head=10, ws_port=0, **options) as running:
        yield running


def listening(url: str) -> tuple[NewHeads, threading.Event]:
    wake = threading.Event()
    heads = NewHeads(url, wake)
    heads.listen()
    return heads, wake


def test_a_new_head_and_a_fork_wake_the_follower(node: Devchain) -> None:
    heads, wake = listening(node.ws_url or "")
    wait_for(lambda: heads.alive, 10)

    for change in (node.grow, lambda: node.reorg(2)):
        wake.clear()
        change()
        assert wake.wait(5)

    heads.close()


def test_a_node_that_ends_is_no_failure(node: Devchain) -> None:
    heads, _ = listening(node.ws_url or "")
    wait_for(lambda: heads.alive, 10)

    node.stop()

    wait_for(lambda: not heads.alive, 10)
    heads.close()


def test_without_a_url_nobody_listens() -> None:
    heads, wake = listening("")

    assert not heads.alive
    assert not wake.is_set()
    heads.close()
