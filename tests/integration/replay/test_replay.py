"""A replay on a real Kafka and PostgreSQL: each chosen letter once, whatever is killed meanwhile."""

from __future__ import annotations

import json
import signal
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import replace

import pytest

from indexer.codec import decode_work_item, encode_work_item
from indexer.inflight import TopicPartition
from indexer.jobs.ranges import Ranges
from indexer.kafka.brakes import Brakes
from indexer.kafka.replay import ReplayTransactions
from indexer.outputs import Output
from indexer.pipeline import Handled, Rewind
from indexer.records import BlockWorkItem, Reason
from indexer.replay.run import Replayer, carry_out
from indexer.replay.selection import Selection
from indexer.storage import dead_letters, engine, jobs, replays
from indexer.storage.replays import Run
from indexer.topics import load_topics
from services.persister.companions import Reopener
from tests.integration.replay.conftest import PARTITIONS, Desk
from tests.support.command_line import Command
from tests.support.kafka_topics import until
from tests.support.letters import put_letter, put_letters, states

pytestmark = pytest.mark.integration

PLACES = (
    "replay.before-transaction",
    "replay.between-produce-and-commit",
    "replay.after-commit",
    "replay.between-commit-and-mark",
    "replay.after-mark",
)


# What a node that is still wrong comes to, at once.
_DIE_AGAIN = """
    CREATE FUNCTION die_again() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN NEW.state = 'superseded'; RETURN NEW; END $$;
    CREATE TRIGGER die_again BEFORE UPDATE ON dead_letters FOR EACH ROW WHEN (NEW.state = 'replayed')
        EXECUTE FUNCTION die_again();
"""


def once(*numbers: int) -> Counter[int]:
    return Counter(numbers)


def test_a_replay_killed_at_every_point_and_resumed_replays_each_letter_once(desk: Desk) -> None:
    put_letters(desk.connection, desk.settings, range(700))

    first = desk.replay("--all", "--yes", order=PLACES[0])
    for place in PLACES[1:]:
        assert desk.replay("--resume", 1, order=place).returncode == -9
    last = desk.replay("--resume", 1, "--patience", 0)

    assert (first.returncode, desk.fired()) == (-9, len(PLACES))
    assert (last.returncode, last.stdout.splitlines()[0]) == (0, "replay 1 done: 700 replayed")
    assert desk.replayed() == once(*range(700))
    assert states(desk.connection) == {"replayed": 700}


@pytest.mark.parametrize(("place", "by"), [*((place, signal.SIGINT) for place in PLACES), (PLACES[1], signal.SIGTERM)])
def test_a_replay_that_is_interrupted_leaves_nothing_that_was_published_to_another(
    desk: Desk, place: str, by: signal.Signals
) -> None:
    put_letters(desk.connection, desk.settings, range(75))

    interrupted = desk.interrupt("--all", "--yes", at=place, by=by)
    runs = replays.newest(desk.connection, desk.settings.chain_id, 9)
    again = desk.replay("--all", "--yes")

    assert (interrupted, desk.fired(), [run.state for run in runs]) == (130, 1, ["stopped"])
    assert again.returncode == 0
    assert desk.replayed() == once(*range(75))


@pytest.mark.bar
def test_ten_thousand_letters_killed_five_times_are_replayed_once_each(desk: Desk) -> None:
    put_letters(desk.connection, desk.settings, range(10_000))

    with desk.reading() as delays:
        desk.replay("--all", "--yes", order=PLACES[0])
        for place in PLACES[1:]:
            assert desk.replay("--resume", 1, order=place).returncode == -9
        last = desk.replay("--resume", 1, "--patience", 0)

    assert (last.returncode, desk.fired()) == (0, 5)
    assert len(delays) == 10_000
    assert max(delays) < 2.0  # seconds from the broker's time of a record to its reader
    assert desk.replayed() == once(*range(10_000))
    assert "nothing to replay: 10,000 replayed" in desk.replay("--all", "--yes").stdout


@pytest.mark.bar
def test_a_replay_that_is_killed_inside_a_transaction_and_left_holds_no_reader_up(desk: Desk) -> None:
    put_letters(desk.connection, desk.settings, range(300))

    with desk.reading() as delays:
        with desk.feeding() as fed:
            until(lambda: delays, "the reader reads")
            killed = desk.replay("--all", "--yes", order="replay.between-produce-and-commit")
            before = len(fed)
            until(lambda: len(fed) > before + 1000, "more is published after the end")
        until(lambda: len(delays) == len(fed), "all of it is read")

    assert (killed.returncode, desk.fired()) == (-9, 1)
    assert max(delays) < 2.0
    assert replays.newest(desk.connection, desk.settings.chain_id, 1)[0].position == 0  # nobody resumed it


def test_a_second_replay_of_what_was_stored_is_a_no_op_that_says_so(desk: Desk) -> None:
    put_letters(desk.connection, desk.settings, range(20))
    desk.replay("--code", "RECEIPTS_ROOT_MISMATCH", "--yes")
    desk.store(*range(20))

    second = desk.replay("--code", "RECEIPTS_ROOT_MISMATCH", "--yes")

    assert (second.returncode, second.stdout) == (0, "nothing to replay: 20 already stored\n")
    assert desk.replayed() == once(*range(20))
    assert states(desk.connection) == {"resolved": 20}


def test_what_was_replayed_is_not_replayed_before_it_has_an_outcome(desk: Desk) -> None:
    put_letters(desk.connection, desk.settings, range(5))
    desk.replay("--all", "--yes")

    again = desk.replay("--all", "--yes")

    assert again.stdout == "nothing to replay: 5 replayed, without an outcome so far\n"
    assert desk.replayed() == once(*range(5))


def test_a_block_that_was_stored_meanwhile_is_passed_by_and_its_letter_resolved(desk: Desk) -> None:
    put_letters(desk.connection, desk.settings, [1, 2, 3])
    desk.store(2)
    desk.connection.execute("UPDATE dead_letters SET state = 'open'")

    ran = desk.replay("--all", "--yes")

    assert "2 replayed, 1 already stored" in ran.stdout
    assert desk.replayed() == once(1, 3)
    assert states(desk.connection) == {"replayed": 2, "resolved": 1}


def test_a_repair_stays_one_and_gets_the_present_hash_and_generation(desk: Desk) -> None:
    put_letter(desk.connection, desk.settings, 7, item={"reason": Reason.REPAIR, "expected_hash": b"\x01" * 32})
    desk.store(7)
    desk.connection.execute("UPDATE dead_letters SET state = 'open'")
    header = (desk.settings.chain_id, 7, b"\x02" * 32, bytes(32), 9)
    desk.connection.execute("INSERT INTO headers VALUES (%s, %s, %s, %s, %s)", header)

    desk.replay("--all", "--yes")

    (record,) = desk.records()
    item = decode_work_item(record.value() or b"")
    assert (item.reason, item.expected_hash, item.generation) == (Reason.REPAIR, b"\x02" * 32, 9)
    headers = dict(record.headers() or ())
    assert (headers["x-dlq-replay-count"], headers["x-dlq-run-id"], headers["trace"]) == (b"1", b"1", b"abc")


def test_a_run_under_way_keeps_what_it_chose(desk: Desk) -> None:
    put_letters(desk.connection, desk.settings, range(10))
    desk.replay("--blocks", "0-4", "--yes", order=PLACES[0])

    other = desk.replay("--all", "--yes")
    refused = desk.replay("--all", "--yes")

    assert "replay 2 done: 5 replayed" in other.stdout
    assert refused.stdout == "nothing to replay: 5 replayed, without an outcome so far, 5 in replay 1 (--resume 1)\n"
    assert desk.replayed() == once(5, 6, 7, 8, 9)
    assert desk.replay("--resume", 1).returncode == 0
    assert desk.replayed() == once(*range(10))


def test_two_who_choose_at_once_do_not_choose_the_same(desk: Desk) -> None:
    put_letters(desk.connection, desk.settings, range(5))
    chain = desk.settings.chain_id

    with ThreadPoolExecutor(1) as pool, engine.connect(desk.settings, "other", autocommit=True) as other:
        with desk.connection.transaction():
            first = replays.freeze(desk.connection, chain, Selection(), actor="me")
            second = pool.submit(replays.freeze, other, chain, Selection(), actor="redrive")
            wait([second], timeout=1)

        assert (first and first.total, second.result(10)) == (5, None)


def test_a_run_that_is_resumed_leaves_to_another_what_that_took_meanwhile(desk: Desk) -> None:
    put_letters(desk.connection, desk.settings, range(10))
    stopped = replays.freeze(desk.connection, desk.settings.chain_id, Selection(), actor="me", most=5)
    assert stopped is not None
    replays.end(desk.connection, stopped.id, "stopped", "interrupted at 0 of 5")
    desk.replay("--blocks", "3-9", "--yes", order="replay.between-commit-and-mark")

    resumed = desk.replay("--resume", 1)
    other = desk.replay("--resume", 2)

    assert "replay 1 done: 3 replayed, 2 in other replays" in resumed.stdout
    assert "replay 2 done: 7 replayed" in other.stdout
    assert desk.replayed() == once(*range(10))


def test_a_run_counts_only_what_it_replayed_itself(desk: Desk, command: Command) -> None:
    put_letters(desk.connection, desk.settings, range(150))
    desk.interrupt("--all", "--canary", 0, "--yes", at="replay.after-mark")
    desk.replay("--all", "--yes")

    resumed = desk.replay("--resume", 1)

    assert "replay 1 done: 100 replayed, 50 in other replays" in resumed.stdout
    assert desk.replayed() == once(*range(150))
    newer, older = command(desk.settings, "dlq", "runs", "--json").json()
    assert (older["replayed"], newer["replayed"]) == (100, 50)


def test_a_run_whose_id_was_given_out_before_a_restore_replays_its_letters(desk: Desk) -> None:
    put_letters(desk.connection, desk.settings, range(5))
    desk.replay("--all", "--yes")
    desk.connection.execute("TRUNCATE replay_runs, replay_items, dead_letters RESTART IDENTITY")
    put_letters(desk.connection, desk.settings, range(5, 10))

    ran = desk.replay("--all", "--yes")

    assert "replay 1 done: 5 replayed" in ran.stdout
    assert desk.replayed() == once(*range(10))


def test_nothing_is_replayed_to_a_service_that_the_budget_has_stopped(desk: Desk, command: Command) -> None:
    put_letters(desk.connection, desk.settings, range(5))
    interrupted = replays.freeze(desk.connection, desk.settings.chain_id, Selection(), actor="me", most=2)
    assert interrupted is not None
    with closing(Brakes(desk.settings, "decoder")) as brakes:
        brakes.put("100 of the last 100 records became dead letters")

        said = [desk.replay("--all", "--yes"), desk.replay("--resume", interrupted.id)]
        planned = desk.replay("--all", "--dry-run")
        brakes.put("")

    for each in said:
        assert each.returncode == 2
        assert "mend the cause, then `indexer dlq resume decoder`, and then replay\n" in each.stderr
    assert planned.stdout.startswith("would replay 3 dead letters")
    assert states(desk.connection) == {"open": 5}
    assert json.loads(desk.replay("--all", "--yes", "--json").stdout)["replayed"] == 3


def test_without_kafka_no_run_takes_letters(desk: Desk, command: Command) -> None:
    put_letters(desk.connection, desk.settings, range(5))
    stopped = replays.freeze(desk.connection, desk.settings.chain_id, Selection(), actor="me", most=2)
    assert stopped is not None
    replays.end(desk.connection, stopped.id, "stopped", "interrupted at 0 of 2")
    away = replace(desk.settings, kafka_bootstrap_servers="127.0.0.1:1")

    codes = [command(away, "dlq", "replay", *how).code for how in (("--all", "--yes"), ("--resume", 1))]

    assert codes == [1, 1]
    assert [run.state for run in replays.newest(desk.connection, desk.settings.chain_id, 9)] == ["stopped"]


def test_a_column_of_a_newer_release_is_in_nobodys_way(desk: Desk) -> None:
    put_letters(desk.connection, desk.settings, range(5))
    desk.connection.execute("ALTER TABLE replay_runs ADD COLUMN later integer")

    assert desk.replay("--all", "--yes").returncode == 0


def test_what_comes_after_the_freeze_is_not_eaten(desk: Desk) -> None:
    put_letters(desk.connection, desk.settings, range(3))
    desk.replay("--all", "--yes", order=PLACES[0])
    put_letters(desk.connection, desk.settings, range(3, 6))

    desk.replay("--resume", 1)

    assert desk.replayed() == once(0, 1, 2)


def test_a_run_that_is_done_cannot_be_resumed_nor_one_that_is_unknown(desk: Desk) -> None:
    put_letters(desk.connection, desk.settings, [1])
    desk.replay("--all", "--yes")

    done, unknown = desk.replay("--resume", 1), desk.replay("--resume", 99)

    assert (done.returncode, done.stderr) == (2, "error: replay 1 is done: 1 replayed\n")
    assert (unknown.returncode, unknown.stderr) == (2, "error: no replay 99: `indexer dlq runs` lists them\n")


def test_a_resumed_run_can_be_looked_at_first(desk: Desk) -> None:
    put_letters(desk.connection, desk.settings, range(3))
    desk.replay("--all", "--yes", order=PLACES[0])

    dry, facts = desk.replay("--resume", 1, "--dry-run"), desk.replay("--resume", 1, "--dry-run", "--json")

    assert (dry.returncode, dry.stdout) == (0, "would go on with replay 1 at 0 of 3\n")
    assert json.loads(facts.stdout) == {"run": 1, "letters": 3, "position": 0, "dry_run": True}
    assert desk.replayed() == once()
    assert desk.replay("--resume", 1).returncode == 0
    assert desk.replay("--resume", 1, "--dry-run").returncode == 2  # it is done


def test_canaries_that_die_again_stop_it_and_it_can_be_resumed(desk: Desk) -> None:
    put_letters(desk.connection, desk.settings, range(50))
    run, ended = _with_canaries(desk, "superseded")

    assert (ended.state, ended.position) == ("stopped", 4)
    assert ended.message == "4 of 4 canaries died again: mend the cause, then resume"
    assert sorted(desk.replayed()) == [0, 1, 2, 3]
    assert replays.outcomes(desk.connection, run.id).died == 4

    assert desk.replay("--resume", run.id).returncode == 0
    assert desk.replayed() == once(*range(50))


def test_canaries_that_are_stored_let_it_go_on(desk: Desk) -> None:
    put_letters(desk.connection, desk.settings, range(50))

    _, ended = _with_canaries(desk, "resolved")

    assert (ended.state, ended.position) == ("done", 50)
    assert desk.replayed() == once(*range(50))


def test_canaries_without_an_outcome_stop_it(desk: Desk) -> None:
    put_letters(desk.connection, desk.settings, range(50))

    ran = desk.replay("--all", "--yes", "--canary", 2, "--patience", 0)

    assert ran.returncode == 1
    assert ran.stderr.splitlines()[-1] == ("error: replay 1 stopped at 2 of 50: 2 canaries have no outcome after 0 s")


def test_of_many_letters_only_the_first_go_out_while_their_cause_is_there(desk: Desk) -> None:
    put_letters(desk.connection, desk.settings, range(173))
    desk.connection.execute(_DIE_AGAIN)

    stopped = desk.replay("--all", "--yes")
    resumed = desk.replay("--resume", 1)

    assert (stopped.returncode, resumed.returncode) == (1, 1)
    assert "173 letters, 20 of them first" in stopped.stderr
    assert "replay 1 stopped at 20 of 173: 20 of 20 letters died again" in stopped.stderr
    assert "replay 1 stopped at 40 of 173: 20 of 20 letters died again" in resumed.stderr
    assert desk.replayed() == once(*range(40))


def test_without_canaries_all_letters_go_out(desk: Desk) -> None:
    put_letters(desk.connection, desk.settings, range(173))

    ran = desk.replay("--all", "--yes", "--canary", 0)

    assert (ran.returncode, "of them first" in ran.stderr) == (0, False)
    assert desk.replayed() == once(*range(173))


def test_nothing_is_done_without_a_selection_or_a_confirmation(desk: Desk) -> None:
    put_letters(desk.connection, desk.settings, range(3))

    unselected, unconfirmed, dry = desk.replay("--yes"), desk.replay("--all"), desk.replay("--all", "--dry-run")

    assert (unselected.returncode, unconfirmed.returncode) == (2, 2)
    assert "--yes" in unconfirmed.stderr
    assert dry.stdout == "would replay 3 dead letters\n"
    assert states(desk.connection) == {"open": 3}
    assert desk.replayed() == once()


def test_a_rate_and_a_limit_hold(desk: Desk) -> None:
    put_letters(desk.connection, desk.settings, range(30))
    run = replays.freeze(desk.connection, desk.settings.chain_id, Selection(), actor="me", rate=10.0, most=8)
    assert run is not None
    waits: list[float] = []

    _replay(desk, run, waits.append, clock=lambda: sum(waits))

    assert desk.replayed() == once(*range(8))
    assert sum(waits) == pytest.approx(0.6)  # the last two of eight leave after the time of six


def test_a_letter_of_another_chain_is_passed_by(desk: Desk) -> None:
    value = encode_work_item(BlockWorkItem(1, 7))
    put_letter(desk.connection, desk.settings, 7, code="OTHER_CHAIN", value=value, block_number=None, job_id=None)

    done = desk.replay("--code", "OTHER_CHAIN", "--yes")

    assert done.stdout.splitlines()[0] == "replay 1 done: 0 replayed, 1 of another chain"
    assert (desk.replayed(), states(desk.connection)) == (once(), {"open": 1})


def test_a_letter_without_an_outcome_is_open_again_after_ten_minutes(desk: Desk) -> None:
    old, young = put_letters(desk.connection, desk.settings, [1, 2])
    desk.replay("--all", "--yes")
    desk.connection.execute("UPDATE dead_letters SET replayed_at = now() - interval '11 min' WHERE id = %s", (old,))

    assert dead_letters.reopen_overdue(desk.connection, desk.settings.chain_id) == 1

    found = dict(desk.connection.execute("SELECT id, state FROM dead_letters").fetchall())
    assert found == {old: "open", young: "replayed"}


def test_a_persister_opens_letters_without_an_outcome_again(desk: Desk) -> None:
    put_letters(desk.connection, desk.settings, [1, 2], state="replayed")
    desk.connection.execute(
        "UPDATE dead_letters SET replayed_at = now() - CASE block_number WHEN 1 THEN interval '11 min' ELSE '0' END"
    )

    Reopener(desk.settings.chain_id, lambda: engine.connect(desk.settings, "test"))()

    assert states(desk.connection) == {"open": 1, "replayed": 1}


def test_who_takes_a_run_up_ends_what_its_predecessor_left_open(desk: Desk) -> None:
    topics = load_topics(desk.settings.topic_prefix)
    at, value = TopicPartition(topics.dlq, 0), encode_work_item(BlockWorkItem(desk.settings.chain_id, 1))
    frozen, successor = (ReplayTransactions(desk.settings, "dlq-replay-7") for _ in range(2))
    try:
        with pytest.raises(Rewind):
            frozen.write([Handled(at, 0, (Output(topics.work[0], 0, b"", value, ()),))], {at: 1})

        assert successor.position() is None
        assert desk.replayed() == once()
    finally:
        frozen.close()
        successor.close()


def test_runs_are_listed_with_what_became_of_their_letters(desk: Desk, command: Command) -> None:
    put_letters(desk.connection, desk.settings, range(3))
    desk.replay("--all", "--yes")
    desk.store(0, 1)

    (run,) = command(desk.settings, "dlq", "runs", "--json").json()

    assert (run["total"], run["stored"], run["died"], run["state"]) == (3, 2, 0, "done")
    assert "2 stored, 0 died again, 1 without an outcome" in command(desk.settings, "dlq", "runs", 1).out
    action = desk.connection.execute("SELECT action, letters, run_id, selection FROM letter_actions").fetchone()
    assert action == ("replay", 3, 1, {"state": "open"})


def test_a_job_is_recovered_of_what_may_succeed_now_or_of_all(desk: Desk, command: Command) -> None:
    job = jobs.create_job(desk.connection, jobs.NewJob(desk.settings.chain_id, Ranges.of([(0, 100)])))
    put_letters(desk.connection, desk.settings, [1, 2], code="RPC_TIMEOUT", job_id=job)
    put_letters(desk.connection, desk.settings, [3, 4], job_id=job)
    put_letter(desk.connection, desk.settings, 5, code="OTHER_CHAIN", job_id=job)
    put_letter(desk.connection, desk.settings, 6, code="RPC_TIMEOUT", job_id=job + 1)

    selective = command(desk.settings, "batch", "recover", job, "--yes")

    assert (selective.code, desk.replayed()) == (0, once(1, 2))
    assert "3 letters are left" in selective.err
    again = command(desk.settings, "batch", "recover", job, "--yes")
    assert again.out == "nothing to replay: 0 already stored, 3 left that would fail again as they are\n"
    assert command(desk.settings, "batch", "recover", job, "--strategy", "all", "--yes").code == 0
    assert desk.replayed() == once(1, 2, 3, 4)
    assert command(desk.settings, "batch", "recover", 99, "--yes").code == 2


def _with_canaries(desk: Desk, outcome: str) -> tuple[Run, Run]:
    """Replay with four canaries, which come to `outcome` while the run waits for them."""
    run = replays.freeze(desk.connection, desk.settings.chain_id, Selection(), actor="me", canary=4)
    assert run is not None

    def come_to_an_end(_: float) -> None:
        desk.connection.execute("UPDATE dead_letters SET state = %s WHERE state = 'replayed'", (outcome,))

    return run, _replay(desk, run, come_to_an_end)


def _replay(desk: Desk, run: Run, wait: Callable[[float], None], clock: Callable[[], float] = time.monotonic) -> Run:
    transactions = ReplayTransactions(desk.settings, run.name)
    topics = load_topics(desk.settings.topic_prefix)
    try:
        replayer = Replayer(desk.connection, run, transactions, topics, PARTITIONS, clock=clock)
        return carry_out(replayer, wait, lambda _: None)
    finally:
        transactions.close()
