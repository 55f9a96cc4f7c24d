"""A chain that grows and forks: branches, heads, what is final, and the script."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson
import pytest

from devchain.admin import administer
from devchain.build import open_chain
from devchain.chain import Chain, ChainError, Reorg, seeded_reorgs
from devchain.chainfile import ChainFile
from devchain.endpoint import Endpoint, read
from devchain.faults import Faults
from devchain.params import ChainParams
from devchain.store import Store
from indexer.chain.parse import parse_block
from indexer.chain.rules import rules_for
from indexer.chain.verify import verify
from tests.support.ledger_oracle import balances

PARAMS = ChainParams(profile="small", blocks=40, chain_id=31337, ethereum=True)


@pytest.fixture
def chain(cache: Path) -> Chain:
    def fork(branch: Store, height: int, salt: int) -> Store:
        assert isinstance(branch, ChainFile)
        return open_chain(branch.params.forked(height, salt), cache, jobs=1)

    return Chain(open_chain(PARAMS, cache, jobs=1), head=20, open_fork=fork)


def ask(endpoint: Endpoint, method: str, *params: Any) -> Any:
    call = {"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)}
    return orjson.loads(b"".join(map(read, endpoint.handle(orjson.dumps(call)))))["result"]


def block(endpoint: Endpoint, number: int | str) -> Any:
    name = number if isinstance(number, str) else hex(number)
    return ask(endpoint, "eth_getBlockByNumber", name, True)


def test_a_fork_leaves_what_is_below_it_and_links_to_it(chain: Chain) -> None:
    endpoint = Endpoint(chain)
    before = [block(endpoint, number) for number in range(21)]

    assert chain.reorg(5, 7) == 22

    after = [block(endpoint, number) for number in range(23)]
    assert after[:16] == before[:16]
    assert not {each["hash"] for each in before[16:]} & {each["hash"] for each in after[16:]}
    assert all(child["parentHash"] == parent["hash"] for parent, child in pairwise(after))
    assert ask(endpoint, "eth_getBlockByHash", before[18]["hash"], False) is None


def test_the_blocks_of_a_fork_are_genuine_and_balances_theirs(chain: Chain) -> None:
    chain.reorg(5, 7)
    store, rules = chain.branch(), rules_for(PARAMS.chain_id)
    raw = [[orjson.loads(read(part)) for part in (store.block(n), store.receipts(n)) if part] for n in range(23)]

    for block_json, receipts in raw:
        columns = parse_block(block_json, receipts, rules)
        verify(*columns, rules, "senders")

    logs = [log for _, receipts in raw for receipt in receipts for log in receipt["logs"]]
    assert all(amount >= 0 for amount in balances(logs).values())


def test_a_shorter_branch_and_a_fork_of_a_fork(chain: Chain) -> None:
    endpoint = Endpoint(chain)

    assert chain.reorg(6, 2) == 16
    first = block(endpoint, 15)["hash"]
    assert chain.reorg(1) == 17
    assert block(endpoint, 15)["hash"] == first
    assert block(endpoint, 18) is None


def test_the_same_forks_give_the_same_bytes(chain: Chain, cache: Path, tmp_path: Path) -> None:
    chain.reorg(5, 7)

    anew = open_chain(PARAMS.forked(16, 1), tmp_path, jobs=1)

    assert [read(each) for n in range(40) if (each := anew.block(n))] == [
        read(each) for n in range(40) if (each := chain.branch().block(n))
    ]


def test_a_twin_that_missed_the_fork_disagrees(chain: Chain) -> None:
    endpoint, twin = Endpoint(chain), Endpoint(chain, Faults(branch=0))
    chain.reorg(3, 6)

    assert block(twin, 18) != block(endpoint, 18)
    assert ask(twin, "eth_blockNumber") == "0x14"
    assert ask(endpoint, "eth_blockNumber") == "0x17"


def test_what_is_final_lags_behind_and_never_goes_back(chain: Chain) -> None:
    endpoint = Endpoint(chain, Faults(finality=4))
    assert block(endpoint, "finalized")["number"] == "0x10"
    assert block(endpoint, "safe")["number"] == "0x10"

    chain.reorg(3, 1)
    assert block(endpoint, "finalized")["number"] == "0x10"

    endpoint.faults.update({"finality": 100})
    assert block(Endpoint(chain, endpoint.faults), "finalized") is None


def test_a_node_may_not_know_the_tag(chain: Chain) -> None:
    endpoint = Endpoint(chain, Faults(finalized_tag=False))

    answer = b"".join(
        map(read, endpoint.handle(b'{"id":1,"method":"eth_getBlockByNumber","params":["finalized",false]}'))
    )

    assert orjson.loads(answer)["error"]["code"] == -32602


def test_growth_follows_the_script_and_is_told(cache: Path) -> None:
    opened: list[tuple[int, int]] = []

    def fork(branch: Store, height: int, salt: int) -> Store:
        opened.append((height, salt))
        return branch

    chain = Chain(open_chain(PARAMS, cache, jobs=1), head=10, open_fork=fork, script=[Reorg(12, 3, 2), Reorg(15, 1, 2)])
    told: list[range] = []
    chain.listen(told.append)

    chain.grow(12)

    assert opened == [(10, 1), (15, 2)]
    assert told[:4] == [range(11, 12), range(12, 13), range(10, 12), range(12, 13)]
    assert chain.grow(100) == 40  # no more than were built


def test_forks_by_chance_follow_from_the_seed() -> None:
    forks = seeded_reorgs(7, 10, 1000, every=20, depth=5)

    assert forks == seeded_reorgs(7, 10, 1000, every=20, depth=5)
    assert forks != seeded_reorgs(8, 10, 1000, every=20, depth=5)
    assert 30 <= len(forks) <= 70
    assert {each.depth for each in forks} == {1, 2, 3, 4, 5}
    assert any(each.length < each.depth for each in forks)


def test_impossible_forks_are_refused(chain: Chain, mixed: ChainFile) -> None:
    for depth, length in ((0, 1), (21, 1), (1, 0), (1, 30)):
        with pytest.raises(ChainError):
            chain.reorg(depth, length)
    with pytest.raises(ChainError, match="recorded"):
        Chain(mixed).reorg(1)
    with pytest.raises(ChainError, match="branch"):
        chain.branch(3)


def test_a_running_chain_is_directed(chain: Chain) -> None:
    endpoint = Endpoint(chain)

    assert administer(endpoint, "POST", "/chain", b'{"grow": 2}') == (200, {"head": 22, "forks": 0})
    assert administer(endpoint, "POST", "/chain", b'{"reorg": {"depth": 2}}') == (200, {"head": 23, "forks": 1})
    assert administer(endpoint, "GET", "/chain", b"") == (200, {"head": 23, "forks": 1})
    assert administer(endpoint, "POST", "/chain", b'{"reorg": {"depth": 200}}')[0] == 400
    assert administer(endpoint, "POST", "/chain", b"[]")[0] == 200
    assert administer(endpoint, "POST", "/chain", b"3")[0] == 400
