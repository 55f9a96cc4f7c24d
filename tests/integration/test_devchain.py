"""devchain as a process: over HTTP, with the faults of the wire, from start to end."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from devchain.client import Devchain, DevchainError
from tests.support.shared_data import shared_data


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("chains")


@pytest.fixture(scope="module")
def running(cache: Path) -> Iterator[Devchain]:
    """A node with a lagging twin and one large block."""
    with Devchain.simulated(profile="small", blocks=50, huge="20:3000000", cache=cache, twin_lag=3) as node:
        yield node


@pytest.fixture
def node(running: Devchain) -> Devchain:
    """The node without faults and with its counters at zero."""
    running.faults(reset=True)
    running.reset_stats()
    return running


def connect(node: Devchain) -> http.client.HTTPConnection:
    """A connection that is kept open."""
    place = urlsplit(node.url)
    return http.client.HTTPConnection(place.hostname or "", place.port, timeout=10)


def post(connection: http.client.HTTPConnection, calls: Any) -> http.client.HTTPResponse:
    """Send calls; the response is still to be read."""
    connection.request("POST", "/", json.dumps(calls))
    return connection.getresponse()


def blocks(*numbers: int) -> list[dict[str, Any]]:
    """A batch that asks for blocks and receipts."""
    calls: list[dict[str, Any]] = []
    for number in numbers:
        calls.append({"id": len(calls), "method": "eth_getBlockByNumber", "params": [hex(number), True]})
        calls.append({"id": len(calls), "method": "eth_getBlockReceipts", "params": [hex(number)]})
    return calls


def test_many_batches_over_one_connection(node: Devchain) -> None:
    connection = connect(node)

    for first in range(0, 50, 5):
        answers = json.load(post(connection, blocks(*range(first, first + 5))))
        assert [answer["id"] for answer in answers] == list(range(10))
        numbers = [int(answer["result"]["number"], 16) for answer in answers[::2]]
        assert numbers == list(range(first, first + 5))

    assert node.stats()["requests"] == 10
    assert node.stats()["largest_batch"] == 10
    counts = node.stats(blocks=True)["blocks"]["eth_getBlockReceipts"]
    assert counts == {str(number): 1 for number in range(50)}
    connection.close()


def test_a_large_block_reaches_a_slow_reader_whole(node: Devchain) -> None:
    connection = connect(node)
    response = post(connection, blocks(20, 20, 20))

    parts = []
    while part := response.read(100_000):
        parts.append(part)
        if len(parts) % 20 == 0:
            node.call("eth_blockNumber")  # others are served meanwhile

    answers = json.loads(b"".join(parts))
    assert sum(map(len, parts)) > 9_000_000
    assert answers[0]["result"] == answers[2]["result"]
    assert len(answers[1]["result"]) == len(answers[0]["result"]["transactions"]) > 1000
    connection.close()


def test_requests_that_arrive_in_pieces_or_together(node: Devchain) -> None:
    body = b'{"id":1,"method":"eth_chainId"}'
    request = b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    place = urlsplit(node.url)
    with socket.create_connection((place.hostname or "", place.port or 0), timeout=10) as connection:
        for piece in (request[:10], request[10:60], request[60:] + request + request):
            connection.sendall(piece)

        received = b""
        while received.count(b"0xa86a") < 3:
            received += connection.recv(65_536)

    assert received.count(b"HTTP/1.1 200 OK") == 3


def test_what_is_no_json_rpc_over_http(node: Devchain) -> None:
    connection = connect(node)
    connection.request("GET", "/")
    response = connection.getresponse()
    assert (response.status, b"POST" in response.read()) == (405, True)

    connection.request("POST", "/", iter([b"{}"]), {"Transfer-Encoding": "chunked"})
    assert connection.getresponse().status == 411
    connection.close()


def test_too_many_requests_with_a_time_to_wait(node: Devchain) -> None:
    node.faults(next_429=1, retry_after=2)
    connection = connect(node)

    refused = post(connection, blocks(1))
    refused.read()
    accepted = post(connection, blocks(1))
    accepted.read()

    assert (refused.status, refused.headers["Retry-After"], accepted.status) == (429, "2", 200)
    assert node.stats()["faults_hit"] == {"429": 1}
    connection.close()


def test_a_rate_limit(node: Devchain) -> None:
    node.faults(max_rps=20, retry_after=None)
    connection = connect(node)
    statuses, refused = [], None

    for _ in range(30):
        response = post(connection, blocks(1))
        response.read()
        statuses.append(response.status)
        refused = response if response.status == 429 else refused

    assert 1 <= statuses.count(200) < 30
    assert refused is not None
    assert "Retry-After" not in refused.headers
    connection.close()


def test_server_errors(node: Devchain) -> None:
    node.faults(next_5xx=1, status_5xx=502)
    connection = connect(node)

    response = post(connection, blocks(1))

    assert response.status == 502
    with pytest.raises(json.JSONDecodeError):
        json.load(response)
    assert json.load(post(connection, blocks(1)))
    connection.close()


def test_a_connection_that_ends_in_the_middle(node: Devchain) -> None:
    node.faults(next_hangup=1)
    connection = connect(node)

    response = post(connection, blocks(20))

    with pytest.raises(http.client.IncompleteRead):
        response.read()
    connection.close()


def test_json_that_ends_in_the_middle(node: Devchain) -> None:
    node.faults(next_truncated=1)
    connection = connect(node)

    response = post(connection, blocks(1))

    assert response.status == 200
    with pytest.raises(json.JSONDecodeError):
        json.load(response)
    assert json.load(post(connection, blocks(1)))
    connection.close()


def test_an_answer_that_never_comes(node: Devchain) -> None:
    node.faults(next_stall=1)
    connection = connect(node)
    connection.timeout = 0.2

    with pytest.raises(TimeoutError):
        post(connection, blocks(1))

    assert node.call("eth_chainId") == "0xa86a"
    connection.close()


def test_latency_is_waited_for_side_by_side(node: Devchain) -> None:
    node.faults(latency_ms=200)
    connections = [connect(node) for _ in range(8)]
    body = json.dumps(blocks(1))
    started = time.monotonic()

    for connection in connections:
        connection.request("POST", "/", body)
    for connection in connections:
        assert json.load(connection.getresponse())
        connection.close()

    assert 0.2 <= time.monotonic() - started < 1.2


def test_the_twin_lags_and_has_faults_of_its_own(node: Devchain) -> None:
    assert node.twin is not None
    assert (node.call("eth_blockNumber"), node.twin.call("eth_blockNumber")) == ("0x32", "0x2f")
    assert node.twin.call("eth_getBlockByNumber", "0x30", True) is None

    node.twin.faults(lag=0, chain_id=5)

    assert (node.call("eth_chainId"), node.twin.call("eth_chainId")) == ("0xa86a", "0x5")
    node.twin.faults(reset=True, lag=3)


def test_a_fault_that_does_not_exist_is_refused_with_the_list(node: Devchain) -> None:
    with pytest.raises(DevchainError, match=r"no such fault: earthquake .*latency_ms"):
        node.faults(earthquake=9)


def test_recorded_blocks_are_served_by_chain() -> None:
    files = sorted(shared_data().glob("blocks/*.jsonl.gz"))

    with Devchain.recorded(files, chain_id=137, no_receipts_method=True) as node:
        block = node.call("eth_getBlockByNumber", hex(10_000_000), True)
        receipt = node.call("eth_getTransactionReceipt", block["transactions"][2]["hash"])

        assert (node.call("eth_chainId"), len(block["transactions"])) == ("0x89", 6)
        assert receipt["transactionIndex"] == "0x2"
        with pytest.raises(DevchainError, match="does not exist"):
            node.call("eth_getBlockReceipts", hex(10_000_000))
        assert node.call("eth_getBlockByNumber", hex(10_000_001), True) is None


def test_faults_can_be_given_at_the_start(cache: Path) -> None:
    with Devchain.simulated(profile="empty", blocks=3, cache=cache, faults={"null_blocks": [2], "head": 9}) as node:
        assert node.call("eth_blockNumber") == "0x9"
        assert node.call("eth_getBlockByNumber", "0x2", True) is None
        assert node.call("eth_getBlockByNumber", "0x1", True) is not None


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """A devchain command that ends by itself."""
    command = [sys.executable, "-m", "devchain", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_build_tells_the_head(cache: Path) -> None:
    first = run("build", "--profile", "small", "--blocks", "7", "--cache", str(cache), "--chain-id", "1", "--ethereum")
    again = run("build", "--profile", "small", "--blocks", "7", "--cache", str(cache), "--chain-id", "1", "--ethereum")

    assert first.returncode == again.returncode == 0
    assert first.stdout.startswith("chain 1, blocks 0 to 7, head 0x")
    assert first.stdout.split(":")[0] == again.stdout.split(":")[0]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["serve", "--fault", "earthquake=9"], "no such fault"),
        (["serve", "--huge", "ten"], "HEIGHT"),
        (["serve", "--profile", "large"], "'large' is not one of"),
        (["recorded", "/dev/null"], "choose one of the chains"),
        (["serve", "--blocks", "1", "--host", "192.0.2.1"], "cannot listen"),
    ],
)
def test_mistakes_get_one_line_and_no_traceback(arguments: list[str], words: str, cache: Path) -> None:
    more = ["--cache", str(cache)] if arguments[0] == "serve" else []

    ended = run(*arguments, *more)

    assert ended.returncode != 0
    assert words in ended.stderr
    assert "Traceback" not in ended.stderr


def ends_within(pid: int, seconds: float) -> bool:
    """Whether a process that is not our child is gone in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        state = Path(f"/proc/{pid}/stat")
        if not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.02)
    return False


def test_the_node_ends_with_the_process_that_started_it(cache: Path) -> None:
    script = (
        "import sys, time; from devchain.client import Devchain\n"
        f"node = Devchain.simulated(profile='empty', blocks=1, cache={str(cache)!r})\n"
        "print(node.pid, flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())

        os.kill(parent.pid, signal.SIGKILL)

        assert ends_within(pid, 10)
