"""What nodes answer in practice, sorted into kinds."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from indexer.rpc.answers import Failure, Kind, classify, of_status, read_body
from indexer.rpc.transport import retry_after_seconds


@pytest.mark.parametrize(
    ("code", "message", "kind"),
    [
        (-32000, "cannot query unfinalized data", Kind.NOT_YET),
        (-32000, "requested from block 9 after last accepted block 5", Kind.NOT_YET),
        (-32000, "header not found", Kind.MISSING),
        (-32001, "Unknown block", Kind.MISSING),
        (-32600, "batch too large", Kind.BATCH_TOO_LARGE),
        (-32005, "You exceeded the maximum batch size of 100", Kind.BATCH_TOO_LARGE),
        (-32000, "batch requests are not supported", Kind.BATCH_TOO_LARGE),
        (-32600, "Invalid Request", Kind.BATCH_TOO_LARGE),
        (-32003, "response too large", Kind.RESPONSE_TOO_LARGE),
        (-32008, "Response size exceeded the maximum of 10 MB", Kind.RESPONSE_TOO_LARGE),
        (429, "Your app has exceeded its compute units per second capacity", Kind.RATE),
        (-32005, "limit exceeded", Kind.RATE),
        (-32000, "Too many requests, slow down", Kind.RATE),
        (-32601, "the method eth_getBlockReceipts does not exist/is not available", Kind.METHOD),
        (-32000, "Method eth_getBlockReceipts is not whitelisted", Kind.METHOD),
        (-32602, "invalid argument 0: json: cannot unmarshal", Kind.PARAMS),
        (3, "execution reverted: paused", Kind.REVERTED),
        (-32603, "Internal error", Kind.SERVER),
        (None, "", Kind.SERVER),
        ({"odd": 1}, "strange", Kind.SERVER),
    ],
)
def test_errors_are_sorted(code: Any, message: str, kind: Kind) -> None:
    assert classify(code, message).kind is kind


@pytest.mark.parametrize(
    ("message", "named"),
    [
        ("batch limit 100 exceeded", 100),
        ("batch of 1000 exceeds the limit of 50", 50),
        ("batch too large", None),
    ],
)
def test_a_refusal_may_name_the_limit(message: str, named: int | None) -> None:
    assert classify(-32000, message).named_limit == named


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (429, b"", Kind.RATE),
        (413, b"", Kind.BATCH_TOO_LARGE),
        (401, b"", Kind.REFUSED),
        (403, b"not json", Kind.REFUSED),
        (403, b'{"error":{"code":429,"message":"daily request limit reached"}}', Kind.RATE),
        (500, b'{"error":{"code":1,"message":"batch too large"}}', Kind.BATCH_TOO_LARGE),
        (500, b"{}", Kind.SERVER),
        (503, b"[1]", Kind.SERVER),
    ],
)
def test_statuses_are_sorted(status: int, body: bytes, kind: Kind) -> None:
    assert of_status(status, body, None).kind is kind


NOON = 1_761_134_400.0  # Wed, 22 Oct 2025 12:00:00 GMT


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("3", 3.0),
        (" 0 ", 0.0),
        ("-5", 0.0),
        ("Wed, 22 Oct 2025 12:00:30 GMT", 30.0),
        ("Wed, 22 Oct 2025 11:00:00 GMT", 0.0),
        ("soon", None),
        ("Wed, 99 Oct 2025 12:00:30 GMT", None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str | None, seconds: float | None) -> None:
    assert retry_after_seconds(value, lambda: NOON) == seconds


class TestReadBody:
    def test_answers_may_come_in_any_order(self) -> None:
        body = orjson.dumps([{"id": 8, "result": "b"}, {"id": 7, "result": "a"}])

        assert read_body(body, 7, 2) == ["a", "b"]

    def test_one_absent_answer_fails_only_its_call(self) -> None:
        answers = read_body(orjson.dumps([{"id": 8, "result": "b"}]), 7, 2)

        assert isinstance(answers, list)
        assert answers[0].code == "RPC_ANSWER_MISSING"
        assert answers[1] == "b"

    def test_the_first_of_two_answers_counts_and_foreign_ones_do_not(self) -> None:
        items = [{"id": 7, "result": 1}, {"id": 7, "result": 2}, {"id": 99, "result": 3}, {"id": True}, 5]

        assert read_body(orjson.dumps(items), 7, 1) == [1]

    def test_an_error_stands_in_its_calls_place(self) -> None:
        answers = read_body(orjson.dumps([{"id": 7, "error": {"code": -32603, "message": "x"}}]), 7, 1)

        assert isinstance(answers, list)
        assert answers[0].kind is Kind.SERVER

    def test_one_error_for_the_batch_fails_the_request(self) -> None:
        answer = read_body(b'{"id":null,"error":{"code":-32600,"message":"batch too large"}}', 7, 2)

        assert isinstance(answer, Failure)
        assert answer.kind is Kind.BATCH_TOO_LARGE

    @pytest.mark.parametrize(
        "body", [b"", b"[", b'[{"id":7,"result":', b"3", b'"x"', b"\xff", b"[" * 5000, b'{"id":null,"error":null}']
    )
    def test_nonsense_fails_the_request(self, body: bytes) -> None:
        answer = read_body(body, 7, 2)

        assert isinstance(answer, Failure)
        assert answer.kind is Kind.MALFORMED

    @pytest.mark.parametrize("item", [{"id": 7}, {"id": 7, "error": None}])
    def test_an_answer_without_content_fails_its_call(self, item: dict[str, Any]) -> None:
        answers = read_body(orjson.dumps(item), 7, 1)

        assert isinstance(answers, list)
        assert answers[0].kind is Kind.MALFORMED

    def test_an_error_may_be_a_mere_text(self) -> None:
        answers = read_body(b'{"id":7,"error":"too many requests"}', 7, 1)

        assert isinstance(answers, list)
        assert answers[0].kind is Kind.RATE
