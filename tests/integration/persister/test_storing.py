"""PROTOCOL 1 and 2: which blocks become rows, and what a batch leaves behind."""

from __future__ import annotations

import random
from collections.abc import Callable

import psycopg
import pytest

from indexer.errors import PoisonError, TransientError
from indexer.records import Reason, TokenTransfers
from indexer.settings import Settings
from tests.integration.persister.harness import Persister, bits, heights, rows, state
from tests.support.blocks import BlockMaker

pytestmark = pytest.mark.integration
Make = Callable[..., Persister]
make = BlockMaker()


def stored_hash(look: psycopg.Connection, number: int) -> bytes:
    return rows(look, "SELECT hash FROM blocks WHERE number = %s", number)[0][0]


def test_a_block_becomes_rows_in_every_table(persister: Make, look: psycopg.Connection) -> None:
    block = make(7)

    persister().own().write(block)

    found = state(look)
    assert found.rows["transactions"] == len(block.transactions.hash)
    assert found.rows["logs"] == len(block.logs.log_index)
    assert found.rows["token_transfers"] == len(block.token_transfers.log_index)
    assert found.rows["decoded_events"] == 1
    assert rows(look, "SELECT status, attempts FROM block_processing") == [("stored", 1)]
    assert rows(look, "SELECT code, log_indexes FROM transaction_processing") == [("UNDECODED_LOG", [3])]


def test_the_same_message_twice_is_the_same_rows(persister: Make, look: psycopg.Connection) -> None:
    one = persister().own()
    one.write(make(7), make(8))
    before = state(look), rows(look, "SELECT number, stored_at FROM blocks ORDER BY 1")

    one.write(make(7), make(8))

    assert (state(look), rows(look, "SELECT number, stored_at FROM blocks ORDER BY 1")) == before


def test_rule_1_a_generation_below_the_floor_is_refused(
    persister: Make, look: psycopg.Connection, job: Callable[..., int]
) -> None:
    wanting = job(0)
    look.execute("INSERT INTO rollbacks VALUES (43114, 5, 3)")

    one = persister().own()
    one.write(make(4), make(7, generation=2), make(8, generation=3))

    assert heights(look) == [4, 8]
    assert bits(look, wanting) == {4, 8}
    assert rows(look, "SELECT * FROM outbox") == []
    assert one.writer.refused_blocks == 1


def test_rule_1_the_stored_hash_sets_bits_and_the_higher_generation(
    persister: Make, look: psycopg.Connection, job: Callable[..., int]
) -> None:
    one = persister().own()
    one.write(make(7, generation=1))
    wanting = job(0)

    one.write(make(7, generation=5))
    one.write(make(7, generation=2))

    assert rows(look, "SELECT generation FROM blocks") == [(5,)]
    assert bits(look, wanting) == {7}


def test_rule_1_another_hash_of_a_higher_generation_replaces(persister: Make, look: psycopg.Connection) -> None:
    one = persister().own()
    one.write(make(7), make(8))

    one.write(make(7, fork=1, generation=1))
    one.write(make(7, fork=2, generation=1))

    assert stored_hash(look, 7) == make(7, fork=1).header.hash
    fresh = state(look)
    assert fresh.rows["blocks"] == 2
    assert rows(look, "SELECT attempts FROM block_processing WHERE block_number = 7") == [(2,)]


def test_rule_1_a_repair_replaces_at_the_same_generation(persister: Make, look: psycopg.Connection) -> None:
    one = persister().own()
    one.write(make(7, fork=1))
    look.execute("UPDATE transactions SET value = value + 1")

    one.write(make(7, reason=Reason.REPAIR))

    assert stored_hash(look, 7) == make(7).header.hash
    assert [int(v) for (v,) in rows(look, "SELECT value FROM transactions ORDER BY transaction_index")] == (
        make(7).transactions.value
    )
    state(look)


def test_rule_1_a_newer_model_version_replaces(persister: Make, look: psycopg.Connection) -> None:
    one = persister().own()
    one.write(make(7, model_version=1))
    newer = make(7, model_version=2)
    newer.decoded_events.event = ["Exchange"]

    one.write(newer)

    assert rows(look, "SELECT event FROM decoded_events") == [("Exchange",)]
    assert rows(look, "SELECT model_version FROM blocks") == [(2,)]


def test_rule_1_a_block_of_a_job_that_nobody_knows_is_stored(persister: Make, look: psycopg.Connection) -> None:
    persister().own().write(make(7, job_id=12345))

    assert heights(look) == [7]


def test_rule_2_every_job_that_has_the_stripe_is_covered(
    persister: Make, look: psycopg.Connection, job: Callable[..., int]
) -> None:
    one, other, few, elsewhere = job(0, 1), job(0), job(0, wanted=0b1), job(7)

    persister().own().write(make(0, job_id=one), make(63), make(64))

    assert bits(look, one) == {0, 63, 64}
    assert bits(look, other) == {0, 63}
    assert bits(look, few) == {0}
    assert bits(look, elsewhere) == set()


def test_rule_2_bits_that_are_set_stay_set(persister: Make, look: psycopg.Connection, job: Callable[..., int]) -> None:
    wanting = job(0)
    one = persister().own()

    one.write(make(1))
    one.write(make(2))

    assert bits(look, wanting) == {1, 2}


def test_rule_2_dead_is_cleared_where_stored(
    persister: Make, look: psycopg.Connection, job: Callable[..., int]
) -> None:
    wanting = job(0)
    look.execute("UPDATE job_coverage SET dead = 6::bigint::bit(64)")

    persister().own().write(make(1))

    assert (bits(look, wanting), bits(look, wanting, "dead")) == ({1}, {2})


def test_rule_12_a_repair_job_is_covered_by_its_own_repairs_only(
    persister: Make, look: psycopg.Connection, job: Callable[..., int]
) -> None:
    repairing, normal = job(0, reason="repair"), job(0)
    one = persister().own()

    one.write(make(1), make(2))
    assert bits(look, repairing) == set()
    one.write(make(1, reason=Reason.REPAIR, job_id=repairing), make(2, reason=Reason.REPAIR, job_id=999))

    assert bits(look, repairing) == {1}
    assert bits(look, normal) == {1, 2}


def test_rule_13_a_straggler_of_a_cancelled_job_is_stored(
    persister: Make, look: psycopg.Connection, job: Callable[..., int]
) -> None:
    cancelled = job(0, state="cancelled")

    persister().own().write(make(3, job_id=cancelled))

    assert bits(look, cancelled) == {3}


def test_several_records_of_one_height_in_a_batch(persister: Make, look: psycopg.Connection) -> None:
    one = persister().own()
    one.write(make(7))

    one.write(make(7), make(7, fork=1, generation=1), make(7, fork=2), make(7, fork=3, generation=2), make(8))

    assert stored_hash(look, 7) == make(7, fork=3).header.hash
    assert state(look).rows["blocks"] == 2


def test_any_sequence_of_replacements_leaves_the_ledger_right(persister: Make, look: psycopg.Connection) -> None:
    rng = random.Random(11)
    one = persister().own()

    for _ in range(12):
        one.write(
            *[
                make(
                    rng.randrange(6),
                    fork=rng.randrange(4),
                    generation=rng.randrange(4),
                    reason=rng.choice([Reason.BACKFILL, Reason.REPAIR, Reason.REORG]),
                )
                for _ in range(5)
            ]
        )
        state(look)


def test_the_zero_address_holds_nothing(persister: Make, look: psycopg.Connection) -> None:
    block = make(7)
    token, holder = bytes(19) + b"\x01", bytes(19) + b"\x02"
    block.token_transfers = TokenTransfers(
        [0, 1, 2], [0, 0, 0], [token] * 3, ["erc20"] * 3, ["deposit", "transfer", "withdrawal"],
        [bytes(20), holder, holder], [holder, holder, bytes(20)], [0] * 3, [2**256 - 1, 5, 2],
    )  # fmt: skip

    persister().own().write(block)

    assert rows(look, "SELECT holder, balance FROM balances") == [(holder, 2**256 - 3)]
    assert len(rows(look, "SELECT * FROM position_entries")) == 4
    state(look)


def test_a_balance_may_grow_beyond_uint256(persister: Make, look: psycopg.Connection) -> None:
    one = persister().own()
    for number in (1, 2, 3):
        block = make(number)
        block.token_transfers = TokenTransfers(
            [0], [0], [b"t" * 20], ["erc20"], ["transfer"], [bytes(20)], [b"h" * 20], [0], [2**256 - 1]
        )
        one.write(block)

    assert rows(look, "SELECT balance FROM balances") == [(3 * (2**256 - 1),)]


def test_a_record_that_cannot_be_decoded_is_a_letter_and_its_neighbours_go_on(
    persister: Make, look: psycopg.Connection
) -> None:
    persister(now=lambda: 1234.5).own().write(make(1), PoisonError("no", code="NOT_AVRO"), make(2))

    assert heights(look) == [1, 2]
    [(topic, key, value, headers)] = rows(look, "SELECT topic, record_key, record_value, record_headers FROM outbox")
    found = {name: bytes.fromhex(text) for name, text in headers}
    assert (topic, key, value) == ("blocks.dlq", b"key", b"value")
    assert found["x-dlq-error-code"] == b"NOT_AVRO"
    assert found["x-dlq-origin-topic-id"] == b"id-1"
    assert found["x-dlq-first-failed-at"] == b"1234500"


def test_a_block_whose_values_have_no_room_is_a_letter(persister: Make, look: psycopg.Connection) -> None:
    too_big = make(2)
    too_big.logs.log_index = [2**40, 1, 2, 3]

    persister().own().write(make(1), too_big, make(3))

    assert heights(look) == [1, 3]
    assert len(rows(look, "SELECT * FROM outbox")) == 1


def test_bad_rows_are_bisected_out_of_their_batch(persister: Make, look: psycopg.Connection) -> None:
    blocks = [make(n) for n in range(20)]
    for bad in (blocks[3], blocks[11]):
        bad.logs.log_index = [0, 0, 1, 2]  # twice the same key
        bad.undecoded_logs = []

    stored = persister().own().write(*blocks)

    assert heights(look) == [n for n in range(20) if n not in (3, 11)]
    assert [n for n, each in enumerate(stored) if isinstance(each.result.value, PoisonError)] == [
        3,
        11,
    ]  # what the dead-letter budget counts
    codes = [
        bytes.fromhex(dict(headers)["x-dlq-error-code"])
        for (headers,) in rows(look, "SELECT record_headers FROM outbox")
    ]
    assert codes == [b"ROW_REFUSED", b"ROW_REFUSED"]
    state(look)


def test_nul_characters_of_a_contract_do_not_make_a_block_poison(persister: Make, look: psycopg.Connection) -> None:
    block = make(7)
    block.decoded_events.args = ['{"name":"a\\u0000b\\ud800 \\\\u0000"}']

    persister().own().write(block)

    assert rows(look, "SELECT args->>'name' FROM decoded_events") == [("a\ufffdb\ufffd \\u0000",)]


def test_a_locked_balance_is_not_waited_for_without_polling(
    persister: Make, look: psycopg.Connection, settings: Settings
) -> None:
    one = persister().own()
    one.write(make(1))
    batch = one.handle(make(2))
    with psycopg.connect(settings.database_url) as other:
        other.execute("UPDATE balances SET balance = balance")
        with pytest.raises(TransientError):
            one.write_again(batch)
        other.rollback()

    one.write_again(batch)

    assert heights(look) == [1, 2]
    state(look)


def test_positions_alone_are_stored(persister: Make, look: psycopg.Connection) -> None:
    one = persister().own()
    one.write(make(1))

    one.sink.write([], dict.fromkeys(one.progress.owned, 9))

    assert rows(look, "SELECT next_offset FROM consumer_progress") == [(9,), (9,)]
