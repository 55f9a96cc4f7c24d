"""`make bench`: blocks a second end to end, everything on this machine, and where the time goes.

Stack, node, producer, decoders, persisters and this program share the cores. The time runs from the start of the
services until every block is stored and the deferred indexes are built. Fails when the bar is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import psutil
import psycopg
from confluent_kafka import Consumer, TopicPartition

from benchmarks.environment import ROOT, Environment, environment
from indexer import codec
from indexer.storage.indexes import missing_indexes
from indexer.topics import load_topics

BAR = 300.0  # blocks a second
MEMORY_BAR_MIB = 300.0  # each service and command process


def main() -> int:
    options = _options()
    node = {"profile": options.profile, "blocks": options.blocks}
    with environment("bench", node=node, echo=False) as here:
        here.environ |= dict(pair.split("=", 1) for pair in options.set)
        here.indexer_json("db", "migrate")
        here.indexer_json("topics", "apply")
        here.indexer_json("batch", "queue", "blocks", "1", str(options.blocks), "--window", str(options.window))
        before = _cpu(here)
        started = time.monotonic()
        report, peaks, spent, reached = _process(here, options)
        seconds = time.monotonic() - started
        result = {
            "blocks": options.blocks,
            "profile": options.profile,
            "cores": os.cpu_count(),
            "seconds": round(seconds, 2),
            "seconds_until": {
                "first block": round(reached.get(0, 0.0) - started, 2),
                "first tenth": round(reached.get(1, 0.0) - started, 2),
                "last block": round(reached.get(10, 0.0) - started, 2),
            },
            "blocks_per_second": round(options.blocks / seconds, 1),
            "stored": report["stored"],
            "dead": report["dead"],
            "indexes_built": report["indexes_built"],
            "indexes_missing": _indexes_missing(here),
            "peak_rss_mib": peaks,
            "cpu_ms_per_block": _per_block(before, _cpu(here) | spent, options.blocks),
            "stages_ms_per_block": _stages(here),
            "last_tenth_against_first": _steadiness(reached),
        }
        wrong = here.indexer("verify", "--sample", "20", check=False).returncode if options.verify else 0
    print(json.dumps(result, indent=2))
    missed = _missed(result, options, wrong)
    for line in missed:
        print(f"missed: {line}", file=sys.stderr)
    return 1 if missed else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blocks", type=int, default=10_000)
    parser.add_argument("--profile", default="bench")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--persisters", type=int, default=1)
    parser.add_argument("--window", type=int, default=4000)
    parser.add_argument("--bar", type=float, default=BAR, help="blocks a second")
    parser.add_argument("--steady", type=float, default=0.0, help="the last tenth's speed against the first's")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting")
    parser.add_argument("--no-verify", dest="verify", action="store_false")
    return parser.parse_args()


def _process(
    here: Environment, options: argparse.Namespace
) -> tuple[dict[str, Any], dict[str, float], dict[str, float], dict[int, float]]:
    """Run `batch process` to its end.

    Returns its report, of each process the peak memory in MiB and the CPU seconds, and when each tenth of the blocks
    was stored (0: the first block).
    """
    command = [sys.executable, "-m", "indexer.cli", "batch", "process", "--json"]
    command += ["--workers", str(options.workers), "--persisters", str(options.persisters)]
    running = subprocess.Popen(command, env=here.environ, cwd=ROOT, text=True, stdout=subprocess.PIPE)
    peaks: dict[str, float] = defaultdict(float)
    spent: dict[str, float] = {}
    reached: dict[int, float] = {}  # tenths stored -> when
    connection = here.connect()  # one for all looks: a new one each time would show among the database's figures
    while running.poll() is None:
        for process in [psutil.Process(running.pid), *psutil.Process(running.pid).children()]:
            try:
                name, times = _name(process), process.cpu_times()
                peaks[name] = max(peaks[name], _peak_mib(process))
                spent[name] = times.user + times.system
            except (psutil.Error, OSError):
                continue  # it ended while we looked
        stored = _stored(connection)
        for tenth in range(11):
            if stored >= max(options.blocks * tenth // 10, 1):
                reached.setdefault(tenth, time.monotonic())
        time.sleep(0.5)
    connection.close()
    assert running.stdout is not None
    if running.returncode not in (0, 1):
        raise SystemExit(running.returncode)
    reached.setdefault(10, time.monotonic())
    return json.loads(running.stdout.read()), dict(peaks), spent, reached


def _steadiness(reached: dict[int, float]) -> float:
    """Return how fast the last tenth of the blocks was stored against the first."""
    first, last = (reached.get(to, 0.0) - reached.get(to - 1, 0.0) for to in (1, 10))
    return round(first / last, 2) if last else 0.0


def _indexes_missing(here: Environment) -> int:
    with here.connect() as connection:
        return len(missing_indexes(connection))


def _stored(connection: psycopg.Connection[Any]) -> int:
    row = connection.execute("SELECT coalesce(sum(bit_count(stored)), 0) FROM job_coverage").fetchone()
    return int(row[0]) if row else 0


def _name(process: psutil.Process) -> str:
    words = process.cmdline()
    if not words:
        raise psutil.ZombieProcess(process.pid)  # a child that ended: its times are known already
    service = next((word.split(".")[1] for word in words if word.startswith("services.")), "batch process")
    slot = process.environ().get("SLOT", "") if service != "batch process" else ""
    return f"{service}-{slot}" if slot else service


def _peak_mib(process: psutil.Process) -> float:
    """The kernel's own high-water mark, so that nothing between two looks is missed."""
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return round(int(line.split()[1]) / 1024, 1)
    return 0.0


def _cpu(here: Environment) -> dict[str, float]:
    """CPU seconds so far of broker, database and node; the services' own are in their outcome records."""
    found: dict[str, float] = defaultdict(float)
    for process in psutil.process_iter(["name", "cmdline", "cpu_times"]):
        words = " ".join(process.info["cmdline"] or ())
        times = process.info["cpu_times"]
        if times is None:
            continue
        spent = times.user + times.system + times.children_user + times.children_system
        if "kafka.Kafka" in words:
            found["broker"] += spent
        elif process.info["name"] == "postgres":
            found["database"] += times.user + times.system + (spent - times.user - times.system) * ("-D" in words)
        elif process.pid == here.node.pid:
            found["node"] += spent
    return found


def _per_block(before: dict[str, float], after: dict[str, float], blocks: int) -> dict[str, float]:
    return {name: round((after[name] - before.get(name, 0.0)) * 1000 / blocks, 2) for name in sorted(after)}


def _stages(here: Environment) -> dict[str, dict[str, float]]:
    """Return ms per block of each service and stage, from the outcome records on `pipeline.events`."""
    topic = load_topics(here.settings.topic_prefix).events
    consumer = Consumer(
        {"bootstrap.servers": here.environ["KAFKA_BOOTSTRAP_SERVERS"], "group.id": "bench", "enable.auto.commit": False}
    )
    partitions = consumer.list_topics(topic, 10).topics[topic].partitions
    ends = {p: consumer.get_watermark_offsets(TopicPartition(topic, p), 10) for p in partitions}
    consumer.assign([TopicPartition(topic, p, low) for p, (low, _) in ends.items()])
    left = sum(high - low for low, high in ends.values())
    seconds: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    blocks: dict[str, int] = defaultdict(int)
    while left > 0:
        message = consumer.poll(10)
        if message is None or message.error() is not None:
            break
        left -= 1
        outcome = codec.decode_outcome(message.value() or b"")
        blocks[outcome.service] += outcome.blocks
        for stage, spent in outcome.seconds.items():
            seconds[outcome.service][stage] += spent
    consumer.close()
    return {
        service: {stage: round(1000 * spent / max(blocks[service], 1), 3) for stage, spent in stages.items()}
        for service, stages in seconds.items()
    }


def _missed(result: dict[str, Any], options: argparse.Namespace, wrong: int) -> list[str]:
    missed = []
    if not options.steady and result["blocks_per_second"] < options.bar:
        missed.append(f"{result['blocks_per_second']} blocks/s, the bar is {options.bar:g}")
    if result["stored"] != options.blocks:
        missed.append(f"{result['stored']} of {options.blocks} blocks stored")
    if result["indexes_missing"]:
        missed.append(f"{result['indexes_missing']} deferred indexes were not built within the time")
    missed += [f"{n}: {mib} MiB" for n, mib in result["peak_rss_mib"].items() if mib > MEMORY_BAR_MIB]
    if result["last_tenth_against_first"] < options.steady:
        missed.append(f"the last tenth ran at {result['last_tenth_against_first']} of the first, not {options.steady}")
    if wrong:
        missed.append("`indexer verify` found something wrong")
    return missed


if __name__ == "__main__":
    sys.exit(main())
