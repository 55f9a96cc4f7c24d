"""What must be true when all is quiet again, and figures of what happened on the way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from devchain.client import Devchain
from indexer import codec
from indexer.errors import IndexerError
from indexer.storage.digest import Digest, wrong_balances
from indexer.topics import WORK
from tests.chaos.faults import INSIDE
from tests.chaos.reader import Block, Origin, Reader
from tests.support.e2e_kafka import Cluster
from tests.support.e2e_services import Services

_SERVICES = ("producer", "decoder", "persister")
Letter = tuple[str, int, int, int | None, str, str]  # its origin, the block that it is about, code, message


def problems(
    running: Services, node: Devchain, cluster: Cluster, reader: Reader, planted: Mapping[Origin, str], never: int
) -> list[str]:
    """Return everything that is not as it must be."""
    chain_id = running.settings.chain_id
    found = reader.problems(items(cluster, chain_id), planted)
    found += [f"wrong balance: {each}" for each in wrong_balances(running.database, chain_id)]
    found += other_letters(_letters(running), planted, never)
    found += other_blocks(
        _hashes(running), lambda number: str(node.call("eth_getBlockByNumber", hex(number), False)["hash"])
    )
    found += not_hit(inside(obeyed(running)))
    found += [f"{child.name} does not run" for child in running.children if child.pid is None]
    if "Traceback" in _logs(running):
        found.append("a service ended with a traceback: see its log")
    return found


def other_letters(rows: Collection[Letter], planted: Mapping[Origin, str], never: int) -> list[str]:
    """Each planted record is one letter, the block that never verifies at least one, and there are no others."""
    found = Counter(row[:3] for row in rows)
    wrong = [f"a letter that nobody planted: {row}" for row in rows if row[:3] not in planted and row[3] != never]
    wrong += [f"no letter of what was planted at {origin}" for origin in planted if origin not in found]
    wrong += [
        f"a letter of another code than {planted[row[:3]]}: {row}"
        for row in rows
        if row[:3] in planted and row[4] != planted[row[:3]]
    ]
    wrong += [f"{count} letters of {origin}" for origin, count in found.items() if count > 1]
    if not any(row[3] == never for row in rows):
        wrong.append(f"no letter of block {never}, which never verifies")
    return wrong


def other_blocks(hashes: Mapping[int, str], hash_of: Callable[[int], str]) -> list[str]:
    """Return the stored blocks that are not those of the winning chain."""
    return [f"block {number} is not the chain's" for number, stored in hashes.items() if hash_of(number) != stored]


def other_rows(found: Digest, wanted: Digest) -> list[str]:
    """Return the tables that differ from those of an undisturbed index."""
    return [
        f"{table}: {found.rows.get(table, 0)} rows, a fresh index has {wanted.rows[table]}, or other contents"
        for table in wanted.rows
        if (found.rows.get(table), found.hashes.get(table)) != (wanted.rows[table], wanted.hashes[table])
    ]


def missing(expected: Iterable[int], stored: Iterable[int]) -> list[int]:
    """Return the heights that are not stored."""
    return sorted(set(expected) - set(stored))


def not_hit(hits: Mapping[str, int]) -> list[str]:
    """A run whose faults miss every transaction shows nothing: say of which service that is true."""
    return [f"no fault hit inside a transaction of a {service}" for service, count in hits.items() if count == 0]


def inside(places: Collection[str]) -> dict[str, int]:
    """Return how many of these places, by service, are inside a transaction."""
    return {service: sum(place in INSIDE[service] for place in places) for service in INSIDE}


def obeyed(running: Services) -> list[str]:
    """Return the places at which processes were hit, one for each hit."""
    return [path.name.split(".fired.")[0] for path in running.hooks.iterdir() if ".fired." in path.name]


def items(cluster: Cluster, chain_id: int) -> Counter[Block]:
    """Return how many work items there were for each height and generation."""
    counted: Counter[Block] = Counter()
    for role in WORK:
        for message in cluster.kafka.read(cluster.topics.name(role), cluster.partitions):
            with suppress(IndexerError):  # planted
                item = codec.decode_work_item(bytes(message.value() or b""))
                if item.chain_id == chain_id:
                    counted[item.number, item.generation] += 1
    return counted


def figures(running: Services, cluster: Cluster, reader: Reader, data_dir: Path) -> dict[str, float]:
    """Return how often what happened."""
    logs = _logs(running)
    there = len(cluster.kafka.read(cluster.topics.decoded, cluster.partitions, "read_uncommitted"))
    hits = obeyed(running)
    within = inside(hits)
    return {
        "blocks": running.stored(),
        "faults that hit inside a transaction": sum(within.values()),
        **{f"of them inside a {service}'s": count for service, count in within.items()},
        "faults that hit beside a transaction": len(hits) - sum(within.values()),
        "aborted transactions": cluster.aborted_transactions(data_dir),
        "aborted records": there - sum(map(len, reader.seen.values())),
        "refused compare-and-sets": logs.count("have another owner by now"),
        "back-ends of predecessors ended": logs.count("ended the back-end"),
        "producers given up": logs.count("giving the producer up"),
        "assignments": logs.count("partitions assigned by the group"),
    }


def _letters(running: Services) -> list[Letter]:
    rows = running.database.execute(
        "SELECT origin_topic, origin_partition, origin_offset, block_number, code, message FROM dead_letters"
    ).fetchall()
    return [(str(topic), int(partition), int(offset), *rest) for topic, partition, offset, *rest in rows]


def _hashes(running: Services) -> dict[int, str]:
    rows = running.database.execute("SELECT number, '0x' || encode(hash, 'hex') FROM blocks ORDER BY number").fetchall()
    return {int(number): str(stored) for number, stored in rows}


def _logs(running: Services) -> str:
    return "".join(map(running.logs, _SERVICES))
