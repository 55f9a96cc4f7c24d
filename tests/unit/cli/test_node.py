"""The command line asks a node for its head, and says in one line what is wrong with one that does not answer."""

from __future__ import annotations

import base64
import socket
from dataclasses import replace

import pytest
from aiohttp import web

from indexer.cli import node
from indexer.errors import OutageError, UserError
from indexer.settings import Settings
from indexer.verification.node import Node
from tests.support.fake_node import FakeNode, block_hash


def settings(*urls: str, chain_id: int = 1337) -> Settings:
    return Settings(chain_id=chain_id, rpc_urls=urls)


def nobody_listens() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}/secret-key-0123456789"


def refusal(*urls: str) -> str:
    with pytest.raises(OutageError) as refused:
        node.head(settings(*urls))

    assert refused.value.code == "NODE_DOWN"
    text = str(refused.value)
    assert "secret" not in text
    assert "\n" not in text
    return text


def test_the_head_is_the_newest_block() -> None:
    with FakeNode(head=1000) as one:
        assert node.head(settings(one.url)) == 1000


def test_the_first_endpoint_that_answers_is_believed() -> None:
    with FakeNode(head=7) as one, FakeNode(head=9) as other:
        urls = nobody_listens(), one.url, other.url
        assert node.head(settings(*urls)) == 7
        assert node.answering(settings(*urls)) == (one.url, 7)


def test_a_node_of_another_chain_is_refused_even_if_the_next_would_do() -> None:
    with FakeNode(chain_id=1) as wrong, FakeNode() as right, pytest.raises(UserError) as refused:
        node.head(settings(wrong.url, right.url))

    assert refused.value.code == "WRONG_CHAIN"
    assert str(refused.value) == "127.0.0.1 serves chain 1, CHAIN_ID is 1337: set one of them right"


def test_user_and_password_of_a_url_are_told_to_the_node_alone() -> None:
    with FakeNode(head=7) as one:
        url = one.url.replace("//", "//user:p%40ss@")
        assert node.answering(settings(url)) == (url, 7)
        Node(url).block_hash(1)  # how `verify` goes on

    assert set(one.authorizations) == {f"Basic {base64.b64encode(b'user:p@ss').decode()}"}


def test_a_password_that_is_refused_is_not_shown() -> None:
    with FakeNode(scripted=[web.Response(status=401)]) as one:
        assert "(127.0.0.1: HTTP 401)" in refusal(one.url.replace("//", "//user:secret@"))


def test_without_a_url_the_setting_is_named() -> None:
    with pytest.raises(UserError, match="RPC_URLS not set"):
        node.head(settings())


def test_nobody_listening_is_named_by_host() -> None:
    assert refusal(nobody_listens()) == "no node answers (127.0.0.1: Connection refused): check RPC_URLS"


def test_every_endpoint_that_failed_is_named() -> None:
    with FakeNode(down=True) as hangs_up:
        text = refusal(nobody_listens(), hangs_up.url)

    assert text.startswith("no node answers (127.0.0.1: Connection refused; 127.0.0.1: RemoteDisconnected)")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (web.Response(status=401), "HTTP 401"),
        (web.Response(status=503, text="upstream"), "HTTP 503"),
        (web.Response(text="<html>hello</html>"), "no JSON-RPC answer"),
        (web.Response(text='{"result": '), "no JSON-RPC answer"),
        (web.Response(text="[]"), "no JSON-RPC answer"),
        (web.Response(text='"0x1"'), "no JSON-RPC answer"),
        (web.Response(text='{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"key"}}'), "no JSON-RPC answer"),
        (web.Response(text='{"jsonrpc":"2.0","id":1,"result":null}'), "no JSON-RPC answer"),
        (web.Response(body=b"\xff\xfe\x00"), "no JSON-RPC answer"),
    ],
)
def test_an_answer_that_is_none_is_a_node_that_does_not_answer(answer: web.Response, reason: str) -> None:
    with FakeNode(scripted=[answer]) as one:
        assert f"(127.0.0.1: {reason})" in refusal(one.url)


@pytest.mark.parametrize(
    ("confirmations", "chain_id", "tag", "final"),
    [(-1, 1337, 900, 900), (10, 1337, 900, 990), (2000, 1337, 900, 0), (-1, 1337, None, 936), (-1, 43114, 900, 1000)],
    ids=["the tag", "confirmations", "more than there are", "no tag", "accepted is final"],
)
def test_what_is_final_is_what_the_services_take_for_final(
    confirmations: int, chain_id: int, tag: int | None, final: int
) -> None:
    with FakeNode(head=1000, finalized=tag) as one:
        asked = replace(settings(one.url, chain_id=chain_id), confirmations=confirmations)

        assert node.final_to(asked, one.url, 1000) == final


def error(code: int, message: str) -> web.Response:
    return web.json_response({"jsonrpc": "2.0", "id": 1, "error": {"code": code, "message": message}})


@pytest.mark.parametrize(
    ("answer", "final"),
    [
        (web.Response(text='{"jsonrpc":"2.0","id":1,"result":null}'), 0),
        (web.Response(status=400), 936),
        (error(-32602, "invalid argument 0"), 936),
        (error(-39001, "Unknown block"), 936),
        (error(-32000, "finalized block not found"), 936),
        (error(-32000, "no such tag"), 936),
    ],
    ids=["a young chain", "refused", "invalid", "unknown", "not found", "in words of its own"],
)
def test_a_tag_without_a_block_is_told_from_a_tag_that_is_refused(answer: web.Response, final: int) -> None:
    with FakeNode(scripted=[answer]) as one:
        assert node.final_to(settings(one.url), one.url, 1000) == final


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (web.Response(status=429), "HTTP 429"),
        (web.Response(status=503), "HTTP 503"),
        (web.Response(status=401), "HTTP 401"),
        (error(-32005, "daily request limit reached"), "no JSON-RPC answer"),
        (error(-32000, "too many requests"), "no JSON-RPC answer"),
        (web.Response(text='{"result": '), "no JSON-RPC answer"),
        (web.Response(text='{"jsonrpc":"2.0","id":1,"result":{}}'), "no JSON-RPC answer"),
    ],
)
def test_a_node_that_is_busy_or_away_may_well_know_the_tag(answer: web.Response, reason: str) -> None:
    with FakeNode(scripted=[answer]) as one, pytest.raises(OutageError) as refused:
        node.final_to(settings(one.url), one.url, 1000)

    assert str(refused.value) == f"the node stopped answering (127.0.0.1: {reason})"


def test_a_node_that_goes_away_has_nothing_final() -> None:
    url = nobody_listens()

    with pytest.raises(OutageError, match="the node stopped answering"):
        node.final_to(settings(url), url, 1000)


def test_a_hash_is_the_nodes_or_none() -> None:
    with FakeNode(head=7) as one:
        assert node.hash_at(one.url, 7) == bytes.fromhex(block_hash(7)[2:])
        assert node.hash_at(one.url, 8) is None


@pytest.mark.parametrize("result", ["7", '"0x"', '{"hash": 5}', '{"hash": "0xzz"}', "{}"])
def test_a_hash_that_is_none_is_no_answer(result: str) -> None:
    answer = web.Response(text=f'{{"jsonrpc":"2.0","id":1,"result":{result}}}')
    with FakeNode(scripted=[answer]) as one, pytest.raises(OutageError) as refused:
        node.hash_at(one.url, 7)

    assert str(refused.value) == "the node stopped answering (127.0.0.1: no JSON-RPC answer)"


def test_a_node_that_stays_silent_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node, "_SECONDS", 0.2)
    with FakeNode(latency=1.0) as one:
        assert "(127.0.0.1: timed out)" in refusal(one.url)


@pytest.mark.parametrize("url", ["localhost", "http://[secret", "http:///secret", "http://h:secret/"])
def test_a_url_that_is_none_is_not_repeated(url: str) -> None:
    refusal(url)
