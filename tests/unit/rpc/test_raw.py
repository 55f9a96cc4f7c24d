"""Compiled code cuts blocks and receipts out of answers only where orjson reads the same; else it declines."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from indexer.rpc.answers import read_body
from indexer.rpc.raw import RawAnswer, as_json, loaded, outlined, raw_answers, transactions_of
from tests.support.native import compiled

FIRST = 7
BLOCK = {"number": "0x1", "transactions": [{"hash": "0xab"}, {"hash": "0xcd", "accessList": []}], "uncles": []}
RECEIPTS = [{"logs": [{"data": "0x"}], "status": "0x1"}]
ANY_SETTINGS = settings(
    max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@pytest.fixture(scope="module")
def native() -> ModuleType:
    return compiled()


def envelope(number: int, result: Any, **others: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": FIRST + number, "result": result} | others


def cut(native: ModuleType, body: Any, count: int = 1) -> list[RawAnswer] | None:
    return raw_answers(body if isinstance(body, bytes) else orjson.dumps(body), FIRST, count, native.split)


def around(text: str) -> bytes:
    """An answer to one call, in which `text` is a value."""
    return b'{"jsonrpc":"2.0","id":7,"result":[{"logs":%b}]}' % text.encode("utf-8", "surrogatepass")


def agrees(native: ModuleType, body: bytes, count: int = 1) -> bool:
    """Whether compiled code took the answer; if it did, it says what orjson says."""
    found = cut(native, body, count)
    if found is None:
        return False
    expected = read_body(body, FIRST, count)
    assert [loaded(answer) for answer in found] == expected
    for answer, whole in zip(found, expected, strict=True):
        if answer.outline is None:
            assert answer.count == len(whole)
            assert all(isinstance(item, dict) for item in whole)
        else:
            assert answer.outline == whole | {"transactions": []}
            assert answer.count == len(whole["transactions"])
            assert all(isinstance(item, dict) for item in whole["transactions"])
    return True


def test_a_batch_is_cut_into_its_results(native: ModuleType) -> None:
    body = orjson.dumps([envelope(0, BLOCK), envelope(1, RECEIPTS)])

    assert cut(native, body, 2) == [
        RawAnswer(orjson.dumps(BLOCK), BLOCK | {"transactions": []}, 2),
        RawAnswer(orjson.dumps(RECEIPTS), None, 1),
    ]


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0], [1, 2, 0]])
def test_a_batch_may_be_answered_in_any_order(native: ModuleType, order: list[int]) -> None:
    body = orjson.dumps([envelope(number, [{"of": number}]) for number in order])

    found = cut(native, body, 3)

    assert found is not None
    assert [loaded(answer) for answer in found] == [[{"of": 0}], [{"of": 1}], [{"of": 2}]]


def test_a_body_may_be_any_buffer(native: ModuleType) -> None:
    body = orjson.dumps(envelope(0, RECEIPTS))

    for kind in (bytes, bytearray, memoryview):
        assert raw_answers(kind(body), FIRST, 1, native.split) == cut(native, body)


TAKEN: dict[str, Any] = {
    "one call, in a list": [envelope(0, BLOCK)],
    "one call, without a list": envelope(0, BLOCK),
    "an error that is none": envelope(0, BLOCK, error=None),
    "members that we do not know": envelope(0, BLOCK | {"more": [1, -2.5, True, False, None, "é 😀", {}]}),
    "nothing in the block": envelope(0, {"transactions": []}),
    "no receipts": envelope(0, []),
    "white space": b' \t\r\n[ { "id" : 7 , "result" : { "transactions" : [ { } , { } ] , "a" : 1 } } ] \n',
    "escapes in a value": b'{"id":7,"result":[{"a":"\\u00e9 \\n \\" \\\\ \\/"}]}',
}


@pytest.mark.parametrize("body", TAKEN.values(), ids=TAKEN.keys())
def test_what_nodes_write_is_taken(native: ModuleType, body: Any) -> None:
    assert agrees(native, body if isinstance(body, bytes) else orjson.dumps(body))


DECLINED: dict[str, Any] = {
    "an error": {"id": 7, "error": {"code": -32000, "message": "x"}},
    "an error beside a result": envelope(0, BLOCK, error={"code": 1, "message": "x"}),
    "null": envelope(0, None),
    "neither a block nor a list": envelope(0, "0x1"),
    "an object without transactions": envelope(0, {"number": "0x1"}),
    "transactions that are hashes": envelope(0, {"transactions": ["0xab"]}),
    "a null among receipts": envelope(0, [None]),
    "no id": {"result": BLOCK},
    "an id that is text": envelope(0, BLOCK, id="7"),
    "an id that is a fraction": envelope(0, BLOCK, id=7.0),
    "an id below": envelope(0, BLOCK, id=6),
    "an id above": envelope(0, BLOCK, id=8),
    "a negative id": envelope(0, BLOCK, id=-7),
    "no result": {"id": 7},
    "a call answered twice": [envelope(0, BLOCK), envelope(0, BLOCK)],
    "no call answered": [],
    "an answer too many": [envelope(0, BLOCK), envelope(1, BLOCK)],
    "an item that is no object": [envelope(0, BLOCK), 1],
    "something behind it": b'{"id":7,"result":[]} x',
    "two ids": b'{"id":7,"id":7,"result":[]}',
    "two results": b'{"id":7,"result":[],"result":[]}',
    "two lists of transactions": b'{"id":7,"result":{"transactions":[],"transactions":[]}}',
    "an escape in a name": b'{"id":7,"result":{"transactions":[],"\\u0061":1}}',
    "nothing": b"",
    "white space alone": b"  ",
    "a byte order mark": b'\xef\xbb\xbf{"id":7,"result":[]}',
}


@pytest.mark.parametrize("body", DECLINED.values(), ids=DECLINED.keys())
def test_anything_else_is_for_python_to_judge(native: ModuleType, body: Any) -> None:
    assert cut(native, body) is None


def test_a_call_that_is_not_answered_is_for_python_to_judge(native: ModuleType) -> None:
    assert cut(native, [envelope(0, BLOCK)], 2) is None
    assert cut(native, envelope(0, BLOCK), 2) is None
    assert cut(native, [], 10**15) is None


TEXTS = [
    *("0", "-0", "1.5", "-1.25", "01", "1.", ".5", "-", "+1", "1e5", "1E+5", "0x1", "NaN", "Infinity", "--1"),
    *("9" * 18, "9" * 19, "9" * 400, "1." + "1" * 30, "1 2", "1,", "[1,]", "[,]", "[1 2]", '{"a"}', '{"a":}'),
    *('{"a":1,}', "{,}", '{"a" 1}', "{1:1}", "[}", "{]", "[", "{", '"', '"a', "tru", "True", "nul", "nullx", "'a'"),
    *('"\\u12"', '"\\u12g4"', '"\\x"', '"\\', '"\\u0000"', '"\\ud83d\\ude00"', '"\\ud800"', '"\\udc00"', '"\x1f"'),
    *('"\x7f"', '"\u2028"', '"\\/"', '"\ud800"', "\x00", '"a\x00b"', '"1234567\x01"', '"12345678\n"', '"1234567\\""'),
    *("[" * 63 + "]" * 63, "[" * 500 + "]" * 500, '{"a":' * 500 + "1" + "}" * 500, "/*a*/1", "1//", '{"a":1,"a":2}'),
]


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: ascii(text)[:30])
def test_what_orjson_refuses_is_not_taken(native: ModuleType, text: str) -> None:
    agrees(native, around(text))


FRACTIONS = st.integers(-999, 999).map(lambda number: number / 4)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**18) + 1, 10**18 - 1) | st.text() | FRACTIONS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@ANY_SETTINGS
@given(value=JSON, spaces=st.sampled_from(["", " ", "\n\t", "\r\n  "]))
def test_any_value_is_taken_as_orjson_takes_it(native: ModuleType, value: Any, spaces: str) -> None:
    text = orjson.dumps(value, option=orjson.OPT_INDENT_2 if spaces else 0).decode()

    taken = agrees(native, around(spaces + text + spaces))

    assert taken or "\\" in text  # in a name


@ANY_SETTINGS
@given(text=st.text(alphabet='{}[]",:\\/u0dD8F1.-+eE tnrf\n\x00é\ud800', max_size=24))
@example(text='"\\uD8')
def test_any_text_is_taken_only_if_orjson_takes_it(native: ModuleType, text: str) -> None:
    agrees(native, around(text))


BODIES = [
    orjson.dumps([envelope(0, BLOCK), envelope(1, RECEIPTS)]),
    orjson.dumps([envelope(1, RECEIPTS), envelope(0, BLOCK | {"é": "\\\n😀", "n": [1, -2.5, None]})]),
]


@ANY_SETTINGS
@given(
    body=st.sampled_from(BODIES),
    changes=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255), st.integers(0, 2)), min_size=1, max_size=4),
)
def test_a_body_with_changed_bytes_is_taken_only_if_orjson_takes_it(
    native: ModuleType, body: bytes, changes: list[tuple[int, int, int]]
) -> None:
    for place, byte, removed in changes:
        at = place % len(body)
        body = body[:at] + bytes([byte]) + body[at + removed :]

    agrees(native, body, 2)


@pytest.mark.parametrize("body", BODIES)
def test_a_body_that_is_cut_off_is_not_taken(native: ModuleType, body: bytes) -> None:
    assert agrees(native, body, 2)
    for length in range(len(body)):
        assert cut(native, body[:length], 2) is None


def test_an_answer_is_looked_at_alike_read_or_not() -> None:
    unread = RawAnswer(orjson.dumps(BLOCK), BLOCK | {"transactions": []}, 2)

    assert loaded(unread) == loaded(BLOCK) == BLOCK
    assert orjson.loads(as_json(unread)) == orjson.loads(as_json(BLOCK))
    assert transactions_of(unread) == transactions_of(BLOCK) == 2
    assert outlined(unread)["number"] == outlined(BLOCK)["number"]
    assert transactions_of({"transactions": None}) == 0


def test_an_answer_that_cannot_be_written_again_is_nothing() -> None:
    deep: Any = orjson.loads("[" * 900 + "]" * 900)

    assert as_json(deep) == b""
