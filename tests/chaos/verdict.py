"""What must be true when all is quiet again, and figures of what happened on the way."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from devchain.client import Devchain
from indexer import codec
from indexer.errors import IndexerError
from indexer.storage.digest import wrong_balances
from indexer.topics import WORK
from tests.chaos.faults import Origin
from tests.chaos.reader import Counted, Reader
from tests.support.e2e_kafka import Cluster
from tests.support.e2e_services import Services

_SERVICES = ("producer", "decoder", "persister")
_INSIDE = re.compile(r"(before-transaction|between|inside-copy|before-copy)")


def problems(
    running: Services, node: Devchain, cluster: Cluster, reader: Reader, planted: Collection[Origin], never: int
) -> list[str]:
    """Return everything that is not as it must be."""
    found = reader.problems(items(cluster))
    found += [f"wrong balance: {each}" for each in wrong_balances(running.database, running.settings.chain_id)]
    found += letters(running, set(planted), never)
    found += other_blocks(running, node)
    found += [f"{child.name} does not run" for child in running.children if child.pid is None]
    if "Traceback" in _logs(running):
        found.append("a service ended with a traceback: see its log")
    return found


def letters(running: Services, planted: set[Origin], never: int) -> list[str]:
    """Each planted record is one letter, the block that never verifies at least one, and there are no others."""
    rows = running.database.execute(
        "SELECT origin_topic, origin_partition, origin_offset, block_number, code, message FROM dead_letters"
    ).fetchall()
    found = Counter((str(topic), int(partition), int(offset)) for topic, partition, offset, *_ in rows)
    wrong = [f"a letter that nobody planted: {row}" for row in rows if row[:3] not in planted and row[3] != never]
    wrong += [f"no letter of what was planted at {origin}" for origin in planted - found.keys()]
    wrong += [f"{count} letters of {origin}" for origin, count in found.items() if count > 1]
    if not any(row[3] == never for row in rows):
        wrong.append(f"no letter of block {never}, which never verifies")
    return wrong


def other_blocks(running: Services, node: Devchain) -> list[str]:
    """Return the stored blocks that are not those of the winning chain."""
    rows = running.database.execute("SELECT number, encode(hash, 'hex') FROM blocks ORDER BY number").fetchall()
    return [
        f"block {number} is not the chain's"
        for number, stored in rows
        if node.call("eth_getBlockByNumber", hex(number), False)["hash"] != f"0x{stored}"
    ]


def items(cluster: Cluster) -> Counted:
    """Return how many work items there were for each height and generation."""
    counted: Counter[tuple[int, int]] = Counter()
    for role in WORK:
        for message in cluster.kafka.read(cluster.topics.name(role), cluster.partitions):
            with suppress(IndexerError):  # planted
                item = codec.decode_work_item(bytes(message.value() or b""))
                counted[item.number, item.generation] += 1
    return counted


def figures(running: Services, cluster: Cluster, reader: Reader, data_dir: Path) -> dict[str, float]:
    """Return how often what happened."""
    logs = _logs(running)
    there = len(cluster.kafka.read(cluster.topics.decoded, cluster.partitions, "read_uncommitted"))
    obeyed = [path.name for path in running.hooks.iterdir() if ".fired." in path.name]
    return {
        "blocks": running.stored(),
        "faults that hit inside a transaction": sum(1 for name in obeyed if _INSIDE.search(name)),
        "aborted transactions": cluster.aborted_transactions(data_dir),
        "aborted records": there - sum(map(len, reader.seen.values())),
        "refused compare-and-sets": logs.count("have another owner by now"),
        "back-ends of predecessors ended": logs.count("ended the back-end"),
        "producers given up": logs.count("giving the producer up"),
        "assignments": logs.count("partitions assigned by the group"),
    }


def _logs(running: Services) -> str:
    return "".join(map(running.logs, _SERVICES))
