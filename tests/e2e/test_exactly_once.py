"""Processes are killed and frozen in the middle of their work: every block still counts exactly once.

The same chain goes through two deployments: one that nobody disturbs, and one in which zombies of every kind come back
after others took over, and processes of every kind are killed at places that hooks name. Rows, balances and progress
must come out the same; and the faults must have hit.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from devchain.build import open_chain
from devchain.client import Devchain
from devchain.params import ChainParams
from indexer import codec, faults, stack
from indexer.local.supervisor import Child
from indexer.records import DecodedBlock, Reason
from indexer.settings import Settings
from indexer.storage.digest import Digest, digest, wrong_balances
from indexer.topics import DECODED, partition_of
from tests.support.deployment import own_database, own_topics
from tests.support.e2e_kafka import Cluster
from tests.support.e2e_services import Services, is_frozen, services, thaw
from tests.support.storing import decoded

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

BLOCKS = 3_000
ROUNDS = 8  # jobs that take turns in every eighth run of eight blocks, so that each has work for all partitions
OTHER_CHAIN = ChainParams(seed=2, profile="small", blocks=BLOCKS)

KILLS = {  # the places at which a process of each kind is killed, one after the other
    "producer": ["producer.between-publish-and-record"] * 3,
    "decoder": ["decoder.between-produce-and-commit", "decoder.after-commit", "decoder.between-produce-and-commit"],
    "persister": [
        "persister.before-copy",
        "persister.inside-copy",
        "persister.between-copy-and-commit",
        "persister.between-commit-and-offset",
    ],
}


@pytest.fixture(scope="module")
def node() -> Iterator[Devchain]:
    with Devchain.simulated(profile="mixed", blocks=BLOCKS) as node:
        yield node


@pytest.fixture(scope="module")
def other_node() -> Iterator[Devchain]:
    """A node with another block at every height."""
    with Devchain.simulated(profile=OTHER_CHAIN.profile, blocks=BLOCKS, seed=OTHER_CHAIN.seed) as node:
        yield node


@pytest.fixture(scope="module")
def undisturbed(
    node: Devchain, postgres: str, migrated_template: str, kafka: str, tmp_path_factory: pytest.TempPathFactory
) -> Digest:
    """The digest of a run in which nothing happens."""
    with (
        own_database(postgres, migrated_template) as migrated,
        own_topics(migrated, kafka) as settings,
        services(settings, node, tmp_path_factory.mktemp("undisturbed")) as calm,
    ):
        job = calm.queue([(1, BLOCKS + 1)])
        calm.start(producer=1, decoder=2, persister=2)
        calm.until(lambda: calm.is_done(job), 180, "the undisturbed run ends")
        return digest(calm.database, settings.chain_id)


def test_every_block_counts_once_whatever_is_killed_or_frozen(
    deployment: Settings,
    node: Devchain,
    other_node: Devchain,
    undisturbed: Digest,
    local_stack: stack.RunningStack,
    tmp_path: Path,
) -> None:
    cluster = Cluster(deployment)
    with services(deployment, node, tmp_path, LEASE_SECONDS="2") as storm:
        planted = zombies_come_back_when_others_took_over(storm, cluster, other_node)
        processes_of_every_kind_are_killed(storm)
        everything = storm.queue([(1, BLOCKS + 1)])
        storm.until(lambda: storm.is_done(everything), 180, "the job ends")

        status = storm.job(everything)
        assert (status.stored, status.dead) == (BLOCKS, 0)
        assert digest(storm.database, deployment.chain_id) == undisturbed
        assert wrong_balances(storm.database, deployment.chain_id) == []
        assert storm.database.execute("SELECT * FROM dead_letters").fetchall() == []
        storm.until(cluster.work_is_read, 60, "every work item is read")
        assert cluster.heights(DECODED) - planted == cluster.work_items()
        assert cluster.dead().total() == 0
        the_faults_hit(storm, cluster, local_stack.data_dir)


# zombies


def zombies_come_back_when_others_took_over(storm: Services, cluster: Cluster, other_node: Devchain) -> Counter[int]:
    """Freeze a producer, a decoder and two persisters, one inside COPY; thaw them when their work is another's.

    The decoder holds blocks of another chain, the first persister a block that a repair has replaced since, so that
    rows which are the same anyway cannot hide a missing fence. Returns the record that was planted for that.
    """
    persisters = [storm.alone("persister", slot) for slot in (7, 8)]
    producer, decoder = a_producer_and_a_decoder_freeze(storm, other_node)
    wrong = a_persister_freezes_with_a_wrong_block(storm, cluster, persisters[0])
    storm.order("persister.inside-copy", "stop", 8)
    storm.start(decoder=2, persister=2)
    right = storm.queue([(wrong.header.number, wrong.header.number + 1)], reason="repair")
    storm.until(lambda: is_frozen(persisters[1]), 90, "a persister is frozen inside COPY")
    storm.until(lambda: not any(storm.partitions_of(each) for each in persisters), 60, "others own their partitions")
    storm.until(lambda: storm.is_done(right), 60, "the wrong block is replaced")
    assert stored_hash(storm, wrong.header.number) != wrong.header.hash

    storm.order("decoder.before-transaction", "kill", 7)  # or it would go on with its own chain
    for zombie in (producer, decoder, *persisters):
        thaw(zombie)
    storm.until(lambda: "lease lost" in storm.log(producer), 30, "the producer hears that its lease is another's")
    storm.until(lambda: "transaction aborted" in storm.log(decoder), 30, "the decoder's offsets are refused")
    for each in persisters:
        storm.until(lambda: "have another owner" in storm.log(each), 30, f"{each.name} hears of its successor")  # noqa: B023
    storm.dismiss(kill=True)
    return Counter([wrong.header.number])


def a_producer_and_a_decoder_freeze(storm: Services, other_node: Devchain) -> tuple[Child, Child]:
    """Freeze a producer that has not noted what it published, and a decoder whose transaction is about to begin."""
    storm.order("producer.between-publish-and-record", "stop", 7)
    storm.order("decoder.before-transaction", "stop", 7)
    producer = storm.alone("producer", 7)
    feed(storm, 0)
    storm.until(lambda: is_frozen(producer), 60, "the producer is frozen")
    storm.start(producer=1)
    decoder = storm.alone("decoder", 7, RPC_URLS=other_node.url)
    storm.until(lambda: is_frozen(decoder), 60, "the decoder is frozen")
    assert other_node.stats()["blocks_served"]["eth_getBlockByNumber"] > 0
    return producer, decoder


def a_persister_freezes_with_a_wrong_block(storm: Services, cluster: Cluster, persister: Child) -> DecodedBlock:
    """Plant a block of the other chain, as a repair, where `persister` reads it; it freezes before it is stored."""
    storm.until(lambda: cluster.balanced("persister", DECODED, 2), 60, "both persisters have joined")
    mine = storm.until(lambda: storm.partitions_of(persister), 30, "it owns partitions")
    number = next(n for n in range(1, BLOCKS) if partition_of(n, cluster.partitions) in mine)
    wrong = replace(decoded(open_chain(OTHER_CHAIN), number), reason=Reason.REPAIR)
    storm.order("persister.before-transaction", "stop", 7)

    key = codec.block_key(wrong.chain_id, number)
    cluster.kafka.produce(
        cluster.topics.decoded, partition_of(number, cluster.partitions), codec.encode_block(wrong), key=key
    )

    storm.until(lambda: is_frozen(persister), 30, "the persister is frozen")
    return wrong


def stored_hash(storm: Services, number: int) -> bytes | None:
    row = storm.database.execute("SELECT hash FROM blocks WHERE number = %s", (number,)).fetchone()
    return None if row is None else bytes(row[0])


# kills


def processes_of_every_kind_are_killed(storm: Services) -> None:
    """Kill a process of each kind at each of its places, the next as soon as the last was hit, while there is work."""
    left = {kind: deque(places) for kind, places in KILLS.items()}
    feeds = iter(range(1, ROUNDS))
    jobs = [feed(storm, next(feeds))]
    for places in left.values():
        storm.order(places[0], "kill")

    def all_hit() -> bool:
        for places in left.values():
            if places and not storm.waits(places[0]):
                places.popleft()
                if places:
                    storm.order(places[0], "kill")
        if any(left.values()) and storm.is_done(jobs[-1]):
            jobs.append(feed(storm, next(feeds)))
        return not any(left.values())

    storm.until(all_hit, 180, "every order to kill is obeyed")


def feed(storm: Services, turn: int) -> int:
    """Queue every eighth run of eight blocks; published at once, so that all partitions have work."""
    runs = range(turn * 8, BLOCKS + 1, 8 * ROUNDS)
    return storm.queue([(max(first, 1), min(first + 8, BLOCKS + 1)) for first in runs], batch_size=BLOCKS)


def the_faults_hit(storm: Services, cluster: Cluster, data_dir: Path) -> None:
    """Prove that processes died, transactions were aborted, predecessors ended, and stale owners refused."""
    for kind, places in KILLS.items():
        assert storm.restarts(kind) >= len(places)
    hit = Counter({place: len(storm.fired(place)) for place in faults.PLACES})
    frozen = ("producer.between-publish-and-record", "decoder.before-transaction", "persister.before-transaction")
    killed = Counter(place for places in KILLS.values() for place in places)
    assert hit >= killed + Counter([*frozen, "persister.inside-copy"])
    assert "ended the back-end" in storm.logs("persister")
    assert cluster.heights(DECODED, isolation="read_uncommitted") > cluster.heights(DECODED)
    # Not the zombie's: librdkafka sends nothing more once its offsets are refused, and that may be before the records.
    assert cluster.aborted_transactions(data_dir) >= KILLS["decoder"].count("decoder.between-produce-and-commit")
