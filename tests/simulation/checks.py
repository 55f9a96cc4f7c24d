"""What must hold when everything has had its effect: none lost, none doubled, nothing of a losing branch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator

from indexer.deadletter import ORIGIN, REPLAY_COUNT, RUN_ID, read_letter, read_origin
from indexer.inflight import Record
from indexer.topics import DLQ, STRIPE, WORK
from tests.simulation.database import Key
from tests.simulation.world import FIRST, World


def violations(world: World) -> list[str]:
    checks = (_wanted, _rows, _balances, _letters, _replays, _coverage, _jobs)
    return [*world.database.notes, *(wrong for check in checks for wrong in check(world))]


def progress(world: World) -> list[str]:
    """What is wrong with how far it says that it is, whatever is stored."""
    return [*world.database.notes, *_coverage(world), *_jobs(world)]


def wanted(world: World) -> set[int]:
    """The heights that somebody asked for and did not cancel."""
    found: set[int] = set()
    for row in world.database.tables["processing_jobs"].values():
        if row["reason"] == "head":
            found |= set(range(FIRST, world.node.head + 1))
        elif row["state"] not in ("cancelling", "cancelled"):
            found |= row["blocks"]
    return found


def _wanted(world: World) -> Iterator[str]:
    tables = world.database.tables
    dead = {row["number"] for row in tables["dead_letters"].values() if row["state"] in ("open", "replayed")}
    for number in sorted(wanted(world)):
        if number not in tables["blocks"] and number not in dead:
            yield f"block {number} is lost: neither stored nor dead"


def _rows(world: World) -> Iterator[str]:
    rollbacks = world.database.tables["rollbacks"]
    for number, row in sorted(world.database.tables["blocks"].items()):
        if row["hash"] != world.node.blocks[number].hash:
            yield f"block {number} is of a branch that lost"
        if any(start <= number and generation > row["generation"] for start, generation in rollbacks):
            yield f"block {number} is of an older generation than a rollback below it"


def _balances(world: World) -> Iterator[str]:
    sums: Counter[tuple[bytes, int, bytes]] = Counter()
    for row in world.database.tables["blocks"].values():
        t = row["transfers"]
        for at in range(len(t.amount)):
            sums[t.token_address[at], t.token_id[at], t.from_address[at]] -= t.amount[at]
            sums[t.token_address[at], t.token_id[at], t.to_address[at]] += t.amount[at]
    told = {key: row["balance"] for key, row in world.database.tables["balances"].items() if row["balance"]}
    if told != {key: value for key, value in sums.items() if value}:
        yield "balances are not the sums over the transfers"


def _letters(world: World) -> Iterator[str]:
    for row in world.database.tables["dead_letters"].values():
        where = (row["origin_topic"], row["origin_partition"], row["origin_offset"])
        if row["number"] not in world.poisoned and where not in world.planted:
            yield f"a letter without a cause: block {row['number']}, {row['code']}, {where}"
        if row["state"] == "replayed":
            yield f"letter of block {row['number']} is replayed and has no outcome"


def _replays(world: World) -> Iterator[str]:
    tables = world.database.tables
    names = {run: f"dlq-replay-{run}-{row['nonce']}" for run, row in tables["replay_runs"].items()}
    letters = {row["id"]: key for key, row in tables["dead_letters"].items()}
    times = Counter(_published(world))
    for (name, letter), count in times.items():
        if count > 1:
            yield f"{name} replayed {letter} {count} times"
    chosen = {(names[run], letters.get(row["letter"])) for (run, _), row in tables["replay_items"].items()}
    for (run, _), row in tables["replay_items"].items():
        if row["outcome"] == "replayed" and not times[names[run], letters[row["letter"]]]:
            yield f"{names[run]} says that it replayed {letters[row['letter']]}, and did not"
    for record in _records(world, (DLQ,)):
        found = read_letter(record, record.topic)
        at = (found.origin.topic_id, found.origin.partition, found.origin.offset)
        name = names.get(int(found.run_id or 0), "")
        if times[name, (*at, found.replay_count - 1)] and (name, (*at, found.replay_count)) in chosen:
            yield f"a letter that died again, at {at}, is taken for the one that {name} replayed"


def _published(world: World) -> Iterator[tuple[str, Key]]:
    """Yield (run's name, letter's identity) of every item that was replayed."""
    for record in _records(world, WORK):
        told = dict(record.headers)
        if RUN_ID in told and (origin := read_origin(told[ORIGIN])) is not None:
            identity = (origin.topic_id, origin.partition, origin.offset, int(told[REPLAY_COUNT] or 0) - 1)
            yield world.broker.authors[record.source, record.offset], identity


def _records(world: World, topics: Collection[str]) -> Iterator[Record]:
    return (record for at in world.broker.sources(topics) for record in world.broker.log(at) if record is not None)


def _coverage(world: World) -> Iterator[str]:
    tables = world.database.tables
    for (job, stripe), row in tables["job_coverage"].items():
        reason = tables["processing_jobs"].get(job, {}).get("reason")
        for at in range(STRIPE):
            number, wants = stripe * STRIPE + at, row["wanted"] >> at & 1
            covered, has = row["stored"] >> at & 1, number in tables["blocks"]
            if covered and not has:
                yield f"job {job} says that block {number} is stored, and it is not"
            if has and wants and not covered and reason != "repair" and number <= world.node.head:
                yield f"block {number} is stored, and job {job} does not know"
            if covered and row["dead"] >> at & 1:
                yield f"job {job} says that block {number} is stored and dead"


def _jobs(world: World) -> Iterator[str]:
    for job, row in world.database.tables["processing_jobs"].items():
        if row["reason"] != "head" and row["state"] not in ("done", "cancelled"):
            yield f"job {job} ({row['reason']}) never ends: {row['state']}"
    chain = world.database.tables["chain_state"].get(0)
    if chain is None or chain["paused"]:
        yield f"the chain stands still: {chain}"
    elif chain["canonical_to"] < world.node.head and not world.poisoned:
        yield f"readers may trust {chain['canonical_to']} only, the head is {world.node.head}"
