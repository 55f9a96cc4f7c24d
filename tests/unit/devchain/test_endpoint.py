"""What an endpoint answers, and what goes wrong on request; without sockets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
import pytest

from devchain.chainfile import ChainFile
from devchain.endpoint import Endpoint, read
from devchain.faults import FaultError, Faults
from tests.support.ledger_oracle import balances

WAVAX = "0xb31f66aa3c1e785363f0875a1b74e27b85fd66c7"
Ask = Callable[..., Any]


@pytest.fixture
def endpoint(mixed: ChainFile) -> Endpoint:
    return Endpoint(mixed)


@pytest.fixture
def ask(endpoint: Endpoint) -> Ask:
    """The whole answer to one call."""

    def call(method: str, *params: Any) -> Any:
        request = {"jsonrpc": "2.0", "id": 7, "method": method, "params": list(params)}
        answer = send(endpoint, request)
        assert answer["id"] == 7
        return answer

    return call


def send(endpoint: Endpoint, request: Any) -> Any:
    """What comes back for a request, given as an object or as bytes."""
    body = request if isinstance(request, bytes) else orjson.dumps(request)
    answer = b"".join(map(read, endpoint.handle(body)))
    return orjson.loads(answer) if answer else None


def busy_block(ask: Ask) -> str:
    """A block whose first transaction has a log with data."""
    for number in range(1, 300):
        receipts = ask("eth_getBlockReceipts", hex(number))["result"]
        if receipts and receipts[0]["logs"] and len(receipts[0]["logs"][0]["data"]) > 2 and len(receipts) > 2:
            return hex(number)
    raise AssertionError("no such block")


def test_simple_methods(ask: Ask) -> None:
    assert ask("eth_chainId")["result"] == "0xa86a"
    assert ask("net_version")["result"] == "43114"
    assert ask("eth_blockNumber")["result"] == "0x12c"
    assert ask("eth_syncing")["result"] is False
    assert ask("web3_clientVersion")["result"].startswith("devchain/")


@pytest.mark.parametrize(
    ("tag", "number"),
    [("latest", 300), ("pending", 300), ("finalized", 300), ("safe", 300), ("earliest", 0), ("0x5", 5)],
)
def test_blocks_and_receipts_by_number_and_tag(ask: Ask, tag: str, number: int) -> None:
    assert int(ask("eth_getBlockByNumber", tag, True)["result"]["number"], 16) == number
    assert all(int(r["blockNumber"], 16) == number for r in ask("eth_getBlockReceipts", tag)["result"])


def test_the_same_block_by_number_and_by_hash(ask: Ask) -> None:
    number = busy_block(ask)
    block = ask("eth_getBlockByNumber", number, True)["result"]
    receipts = ask("eth_getBlockReceipts", number)["result"]

    assert ask("eth_getBlockByHash", block["hash"], True)["result"] == block
    assert ask("eth_getBlockReceipts", block["hash"])["result"] == receipts
    assert ask("eth_getBlockReceipts", {"blockHash": block["hash"]})["result"] == receipts
    assert ask("eth_getBlockReceipts", {"blockNumber": number})["result"] == receipts


def test_a_block_without_full_transactions_names_their_hashes(ask: Ask) -> None:
    number = busy_block(ask)
    full = ask("eth_getBlockByNumber", number, True)["result"]

    slim = ask("eth_getBlockByNumber", number, False)["result"]

    assert slim["transactions"] == [t["hash"] for t in full["transactions"]]
    assert slim | {"transactions": 0} == full | {"transactions": 0}


def test_transactions_and_receipts_one_by_one_are_those_of_the_block(ask: Ask) -> None:
    number = busy_block(ask)
    transactions = ask("eth_getBlockByNumber", number, True)["result"]["transactions"]
    hashes = [t["hash"] for t in transactions]

    assert [ask("eth_getTransactionByHash", h)["result"] for h in hashes] == transactions
    receipts = ask("eth_getBlockReceipts", number)["result"]
    assert [ask("eth_getTransactionReceipt", h)["result"] for h in hashes] == receipts


@pytest.mark.parametrize("method", ["eth_getBlockByHash", "eth_getTransactionByHash", "eth_getTransactionReceipt"])
def test_an_unknown_hash_is_null(ask: Ask, method: str) -> None:
    assert ask(method, "0x" + "11" * 32, True)["result"] is None


def test_blocks_above_the_head_are_null_or_an_error_as_on_avalanche(ask: Ask, endpoint: Endpoint) -> None:
    assert ask("eth_getBlockByNumber", "0x12d", True)["result"] is None
    assert ask("eth_getBlockReceipts", "0x12d")["result"] is None

    endpoint.faults.update({"above_head": "unfinalized"})
    assert ask("eth_getBlockByNumber", "0x12d", True)["error"]["message"] == "cannot query unfinalized data"

    endpoint.faults.update({"above_head": "unaccepted"})
    assert "after last accepted block 300" in ask("eth_getBlockByNumber", "0x12d", True)["error"]["message"]


def test_balance_of_at_a_number_a_hash_and_a_tag(ask: Ask) -> None:
    logs = ask("eth_getLogs", {"fromBlock": "0x0", "toBlock": "0xc8", "address": WAVAX})["result"]
    (_, holder, _), amount = max(balances(logs).items(), key=lambda item: item[1])
    call = {"to": WAVAX, "data": "0x70a08231" + "00" * 12 + holder[2:]}
    block_hash = ask("eth_getBlockByNumber", "0xc8", False)["result"]["hash"]

    assert int(ask("eth_call", call, "0xc8")["result"], 16) == amount > 0
    assert int(ask("eth_call", call, {"blockHash": block_hash})["result"], 16) == amount
    assert int(ask("eth_call", {"to": WAVAX, "input": call["data"]}, "earliest")["result"], 16) == 0
    assert ask("eth_call", call, "0x12d")["error"]["message"] == "header not found"


def test_calls_other_than_balance_of_return_nothing(ask: Ask) -> None:
    assert ask("eth_call", {"to": WAVAX, "data": "0x18160ddd"}, "latest")["result"] == "0x"
    assert ask("eth_call", {"to": "0x" + "11" * 20, "data": "0x70a08231" + "00" * 32}, "latest")["result"] == "0x"


def test_logs_are_found_by_topic_and_block(ask: Ask) -> None:
    number = busy_block(ask)
    receipts = ask("eth_getBlockReceipts", number)["result"]
    logs = [log for receipt in receipts for log in receipt["logs"]]
    wanted = logs[0]["topics"][0]
    same = [log for log in logs if log["topics"] and log["topics"][0] == wanted]

    assert ask("eth_getLogs", {"fromBlock": number, "toBlock": number})["result"] == logs
    assert ask("eth_getLogs", {"blockHash": logs[0]["blockHash"], "topics": [wanted]})["result"] == same
    assert ask("eth_getLogs", {"blockHash": logs[0]["blockHash"], "topics": [["0x1", wanted]]})["result"] == same
    assert ask("eth_getLogs", {"fromBlock": number, "toBlock": number, "topics": [None] * 5})["result"] == []


def test_a_batch_is_answered_in_order_with_any_kind_of_id(endpoint: Endpoint) -> None:
    ids = [1, "two", None, 3.5, 2**60]

    answers = send(endpoint, [{"jsonrpc": "2.0", "id": i, "method": "eth_chainId"} for i in ids])

    assert [answer["id"] for answer in answers] == ids
    assert {answer["result"] for answer in answers} == {"0xa86a"}


def test_an_error_in_a_batch_is_that_calls_alone(endpoint: Endpoint) -> None:
    answers = send(endpoint, [{"id": 1, "method": "eth_chainId"}, {"id": 2, "method": "eth_mine"}, 3])

    assert [answer.get("error", {}).get("code") for answer in answers] == [None, -32601, -32600]


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (b"{", -32700),
        (b"[]", -32600),
        (b"3", -32600),
        (b'{"id":1,"method":7}', -32600),
        (b'{"id":1,"method":"eth_mine","params":[]}', -32601),
        (b'{"id":1,"method":"eth_getBlockByNumber","params":{}}', -32602),
        (b'{"id":1,"method":"eth_getBlockByNumber","params":[]}', -32602),
        (b'{"id":1,"method":"eth_getBlockByNumber","params":["0xzz",true]}', -32602),
        (b'{"id":1,"method":"eth_getBlockByNumber","params":["newest",true]}', -32602),
        (b'{"id":1,"method":"eth_getBlockByNumber","params":[5,true]}', -32602),
        (b'{"id":1,"method":"eth_call","params":[{"data":"0x"}]}', -32602),
    ],
)
def test_what_is_no_request_gets_the_error_of_the_specification(endpoint: Endpoint, request_: bytes, code: int) -> None:
    assert send(endpoint, request_)["error"]["code"] == code


def test_notifications_are_not_answered(endpoint: Endpoint) -> None:
    assert send(endpoint, {"method": "eth_chainId"}) is None
    assert send(endpoint, [{"method": "eth_chainId"}, {"method": "eth_mine"}]) is None


def test_chosen_blocks_are_null_as_often_as_asked(ask: Ask, endpoint: Endpoint) -> None:
    endpoint.faults.update({"null_blocks": {"5": 2, "6": -1}})

    answers = [ask("eth_getBlockByNumber", "0x5", True)["result"] is None for _ in range(4)]

    assert answers == [True, True, False, False]
    assert all(ask("eth_getBlockByNumber", "0x6", True)["result"] is None for _ in range(5))
    assert endpoint.dice.hits["null_blocks"] == 7


def test_an_altered_log_differs_in_one_digit(ask: Ask, endpoint: Endpoint) -> None:
    number = busy_block(ask)
    honest = ask("eth_getBlockReceipts", number)["result"]
    endpoint.faults.update({"alter_log": {str(int(number, 16)): 1}})

    altered = ask("eth_getBlockReceipts", number)["result"]

    assert altered != honest
    assert altered[0]["logs"][0]["data"][:-1] == honest[0]["logs"][0]["data"][:-1]
    altered[0]["logs"][0]["data"] = honest[0]["logs"][0]["data"]
    assert altered == honest
    assert ask("eth_getBlockReceipts", number)["result"] == honest


def test_a_dropped_log_is_missing_from_one_receipt(ask: Ask, endpoint: Endpoint) -> None:
    number = busy_block(ask)
    honest = ask("eth_getBlockReceipts", number)["result"]
    endpoint.faults.update({"drop_log": [int(number, 16)]})

    assert ask("eth_getBlockReceipts", number)["result"][0]["logs"] == honest[0]["logs"][1:]
    one = ask("eth_getTransactionReceipt", honest[0]["transactionHash"])["result"]
    assert one == honest[0] | {"logs": honest[0]["logs"][1:]}


def test_an_altered_header_differs_in_the_field_asked_for(ask: Ask, endpoint: Endpoint) -> None:
    honest = ask("eth_getBlockByNumber", "0x9", True)["result"]
    endpoint.faults.update({"alter_header": {"9": 1}, "alter_field": "gasUsed"})

    altered = ask("eth_getBlockByNumber", "0x9", True)["result"]

    assert altered["gasUsed"] != honest["gasUsed"]
    assert altered | {"gasUsed": honest["gasUsed"]} == honest


def test_null_receipts_of_a_block_that_is_there(ask: Ask, endpoint: Endpoint) -> None:
    endpoint.faults.update({"null_receipts": {"9": 1}})

    assert ask("eth_getBlockReceipts", "0x9")["result"] is None
    assert ask("eth_getBlockReceipts", "0x9")["result"] is not None


def test_a_node_without_the_receipts_method(ask: Ask, endpoint: Endpoint) -> None:
    endpoint.faults.update({"receipts_method": False})

    assert ask("eth_getBlockReceipts", "0x5")["error"]["code"] == -32601


def test_a_node_of_another_chain(ask: Ask, endpoint: Endpoint) -> None:
    endpoint.faults.update({"chain_id": 5})

    assert (ask("eth_chainId")["result"], ask("net_version")["result"]) == ("0x5", "5")


def test_a_lagging_node_knows_nothing_above_its_head(ask: Ask, endpoint: Endpoint) -> None:
    hidden = ask("eth_getBlockByNumber", "latest", False)["result"]["hash"]
    endpoint.faults.update({"lag": 10})

    assert ask("eth_blockNumber")["result"] == hex(290)
    assert int(ask("eth_getBlockByNumber", "latest", False)["result"]["number"], 16) == 290
    assert ask("eth_getBlockByNumber", hex(291), False)["result"] is None
    assert ask("eth_getBlockByHash", hidden, False)["result"] is None


def test_a_head_far_beyond_what_exists(ask: Ask, endpoint: Endpoint) -> None:
    endpoint.faults.update({"head": 10_000_000})

    assert int(ask("eth_blockNumber")["result"], 16) == 10_000_000
    assert ask("eth_getBlockByNumber", hex(9_000_000), True)["result"] is None
    assert ask("eth_getBlockByNumber", "0x5", True)["result"] is not None


def test_a_batch_beyond_the_limit_is_refused_as_a_whole(endpoint: Endpoint) -> None:
    endpoint.faults.update({"max_batch": 2})
    call = {"id": 1, "method": "eth_chainId"}

    assert "batch too large" in send(endpoint, [call] * 3)["error"]["message"]
    assert len(send(endpoint, [call] * 2)) == 2


def test_errors_of_single_calls(endpoint: Endpoint) -> None:
    endpoint.faults.update({"next_error": 1})

    answers = send(endpoint, [{"id": i, "method": "eth_chainId"} for i in range(3)])

    assert ["error" in answer for answer in answers] == [True, False, False]


def test_what_was_told_is_counted_by_method_and_block(ask: Ask, endpoint: Endpoint) -> None:
    for number in ("0x5", "0x5", "0x6", "0x1fff"):
        ask("eth_getBlockByNumber", number, True)

    report = endpoint.stats.as_json(endpoint.dice.hits, blocks=True)

    assert report["calls"] == {"eth_getBlockByNumber": 4}
    assert report["blocks"] == {"eth_getBlockByNumber": {"5": 2, "6": 1}}
    assert report["blocks_served"] == {"eth_getBlockByNumber": 2}
    assert report["most_often"] == {"eth_getBlockByNumber": 2}


@pytest.mark.parametrize(
    "changes",
    [
        {"nonsense": 1},
        {"latency_ms": "long"},
        {"receipts_method": 1},
        {"next_429": True},
        {"p_429": None},
        {"above_head": "panic"},
        {"null_blocks": 5},
        {"null_blocks": {"five": 1}},
        {"head": 1, "lag": "x"},
    ],
)
def test_a_fault_that_makes_no_sense_changes_nothing(changes: dict[str, Any]) -> None:
    faults = Faults()

    with pytest.raises(FaultError):
        faults.update(changes)

    assert faults == Faults()


def test_reset_takes_back_all_but_what_comes_with_it() -> None:
    faults = Faults()
    faults.update({"latency_ms": 5, "null_blocks": [1]})

    faults.update({"reset": True, "lag": 2})

    assert faults == Faults(lag=2)
    assert faults.as_json()["lag"] == 2
