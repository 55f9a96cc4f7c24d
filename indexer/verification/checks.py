"""The checks of `indexer verify`: each returns what it looked at and what it found wrong."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from indexer.chain.rules import rules_for
from indexer.chain.verify import verify
from indexer.errors import PoisonError
from indexer.storage.jobs import Connection
from indexer.storage.stored import load_block
from indexer.verification.extent import Stretch
from indexer.verification.node import Node

_SHOWN = 20  # problems that a check keeps; all are counted


@dataclass(slots=True)
class Finding:
    """The outcome of one check."""

    check: str
    looked_at: int = 0
    wrong: int = 0
    skipped: int = 0  # what could not be asked: a contract without balanceOf, a node without that height
    unanswered: int = 0  # of what was skipped: what the node had no answer for
    problems: list[str] = field(default_factory=list)

    @property
    def silent(self) -> bool:
        """The node was to be asked and answered for nothing: the check proved nothing."""
        return self.unanswered > 0 and self.looked_at == 0

    @property
    def passed(self) -> bool:
        return self.wrong == 0 and not self.silent

    def note(self, problem: str) -> None:
        self.wrong += 1
        if len(self.problems) < _SHOWN:
            self.problems.append(problem)


def gaps(connection: Connection, chain_id: int, wanted: str) -> Finding:
    """Every number of `wanted`, a literal of int8multirange, is stored; a block that is a dead letter is not."""
    finding = Finding("gaps")
    rows = connection.execute(
        """
        WITH stored AS (
            SELECT coalesce(range_agg(int8range(low, high, '[]')), '{}') AS ranges FROM (
                SELECT min(number) AS low, max(number) AS high FROM (
                    SELECT number, number - row_number() OVER (ORDER BY number) AS island FROM blocks
                    WHERE chain_id = %(chain)s AND number >= lower(%(wanted)s::int8multirange)
                      AND number < upper(%(wanted)s::int8multirange)) AS numbered
                GROUP BY island) AS islands)
        SELECT false, lower(r), upper(r) - 1 FROM unnest(%(wanted)s::int8multirange) AS r
        UNION ALL
        SELECT true, lower(r), upper(r) - 1 FROM stored, unnest(%(wanted)s::int8multirange - stored.ranges) AS r
        ORDER BY 1, 2
        """,
        {"chain": chain_id, "wanted": wanted},
    ).fetchall()
    for missing, low, high in rows:
        if missing:
            finding.note(f"blocks {low}–{high} are not stored")
            finding.wrong += high - low  # count blocks, not ranges
        else:
            finding.looked_at += high - low + 1
    return finding


def parent_links(connection: Connection, chain_id: int, first: int, last: int) -> Finding:
    """Each block names the stored block before it as its parent."""
    finding = Finding("parent links")
    row = connection.execute(
        """
        SELECT count(*), coalesce(array_agg(number ORDER BY number) FILTER (WHERE parent_hash <> before), '{}')
        FROM (SELECT number, parent_hash, lag(hash) OVER w AS before, lag(number) OVER w AS previous FROM blocks
              WHERE chain_id = %s AND number BETWEEN %s AND %s WINDOW w AS (ORDER BY number)) AS b
        WHERE previous = number - 1
        """,
        (chain_id, first, last),
    ).fetchone()
    assert row is not None
    finding.looked_at = int(row[0])
    for number in row[1]:
        finding.note(f"block {number}: its parent is not the stored block {number - 1}")
    return finding


def counts(connection: Connection, chain_id: int, first: int, last: int) -> Finding:
    """Each block has as many transactions and logs as its row says."""
    finding = Finding("counts")
    low = _lowest_stored(connection, chain_id, first, last)
    while low is not None:  # over the holes, which may be wide
        past = low + _PORTION
        named = {"chain": chain_id, "first": low, "last": min(last, past - 1)}
        rows = connection.execute(_COUNTS, named).fetchall()
        finding.looked_at += len(rows)
        for number, transactions, found_transactions, logs, found_logs in rows:
            if (transactions, logs) != (found_transactions, found_logs):
                finding.note(
                    f"block {number}: {found_transactions} of {transactions} transactions, {found_logs} of {logs} logs"
                )
        low = _lowest_stored(connection, chain_id, past, last)
    return finding


def _lowest_stored(connection: Connection, chain_id: int, first: int, last: int) -> int | None:
    row = connection.execute(
        "SELECT min(number) FROM blocks WHERE chain_id = %s AND number BETWEEN %s AND %s", (chain_id, first, last)
    ).fetchone()
    return None if row is None or row[0] is None else int(row[0])


_PORTION = 100_000  # blocks whose counts are in memory at a time
_COUNTS = """
    SELECT b.number, b.transaction_count, coalesce(t.n, 0), b.log_count, coalesce(l.n, 0) FROM blocks b
    LEFT JOIN (SELECT block_number, count(*) AS n FROM transactions
               WHERE chain_id = %(chain)s AND block_number BETWEEN %(first)s AND %(last)s GROUP BY 1) t
           ON t.block_number = b.number
    LEFT JOIN (SELECT block_number, count(*) AS n FROM logs
               WHERE chain_id = %(chain)s AND block_number BETWEEN %(first)s AND %(last)s GROUP BY 1) l
           ON l.block_number = b.number
    WHERE b.chain_id = %(chain)s AND b.number BETWEEN %(first)s AND %(last)s
"""


def roots(connection: Connection, node: Node, chain_id: int, numbers: Iterable[int]) -> Finding:
    """The hash and the roots recomputed from the stored rows are those that the node has at that height."""
    finding = Finding("roots")
    rules = rules_for(chain_id)
    for number in numbers:
        stored, remote = load_block(connection, chain_id, number), node.block_hash(number)
        if stored is None or remote is None:
            finding.skipped += 1
            finding.unanswered += remote is None
            continue
        finding.looked_at += 1
        try:
            verify(*stored, rules, expected_hash=remote)
        except PoisonError as error:
            finding.note(f"block {number}: {error} [{error.code}]")
    return finding


def transfers_in_balances(connection: Connection, chain_id: int) -> Finding:
    """Each balance is the sum of the transfers of the stored blocks."""
    finding = Finding("balances")
    row = connection.execute(
        """
        WITH summed AS (
            SELECT token_address, token_id, holder, sum(delta) AS balance FROM position_entries e
            WHERE chain_id = %(chain)s
              AND EXISTS (SELECT FROM blocks b WHERE b.chain_id = %(chain)s AND b.number = e.block_number)
            GROUP BY 1, 2, 3
        ), kept AS (
            SELECT token_address, token_id, holder, balance FROM balances WHERE chain_id = %(chain)s
        )
        SELECT count(*), coalesce((array_agg(encode(holder, 'hex') || ' of token ' || encode(token_address, 'hex')
                   ORDER BY holder) FILTER (WHERE wrong))[1:20], '{}'), count(*) FILTER (WHERE wrong)
        FROM (SELECT token_address, holder, coalesce(s.balance, 0) <> coalesce(k.balance, 0) AS wrong
              FROM summed s FULL JOIN kept k USING (token_address, token_id, holder)) AS compared
        """,
        {"chain": chain_id},
    ).fetchone()
    assert row is not None
    finding.looked_at, finding.wrong = int(row[0]), int(row[2])
    finding.problems = [f"holder 0x{each}: the balance is not the sum of its transfers" for each in row[1]]
    return finding


def ledger(
    connection: Connection, node: Node, chain_id: int, heights: Sequence[tuple[Stretch, list[int]]], most: int
) -> Finding:
    """What a holder gained over a stretch is balanceOf(its last) − balanceOf(its first − 1), on a sample of holders.

    Over a hole nothing can be compared: what was gained in blocks that are not stored is not known.
    """
    finding = Finding("ledger")
    blocks = sum(len(numbers) for _, numbers in heights)
    for (first, last), numbers in heights:
        share = max(most * len(numbers) // blocks, 1)
        for token, token_id, standard, holder, gained in _holders(connection, chain_id, first, last, numbers, share):
            after = node.balance_of(standard, token, token_id, holder, last)
            before = node.balance_of(standard, token, token_id, holder, first - 1) if first > 0 else 0
            if after is None or before is None:
                finding.skipped += 1
                continue
            finding.looked_at += 1
            if after - before != gained:
                finding.note(f"0x{holder.hex()} of {standard} 0x{token.hex()}: ledger {gained}, node {after - before}")
    return finding


def _holders(
    connection: Connection, chain_id: int, first: int, last: int, blocks: list[int], most: int
) -> list[tuple[bytes, int, str, bytes, int]]:
    """Return (token, token id, standard, holder, gained from first to last) of a sample of the holders in blocks."""
    rows = connection.execute(
        """
        WITH touched AS (
            SELECT DISTINCT token_address, holder, standard,
                   CASE standard WHEN 'erc1155' THEN token_id END AS token_id
            FROM position_entries
            WHERE chain_id = %(chain)s AND block_number = ANY(%(blocks)s)
        ), chosen AS (SELECT * FROM touched ORDER BY md5(holder || token_address) LIMIT %(most)s)
        SELECT c.token_address, coalesce(c.token_id, 0), c.standard, c.holder, (
            SELECT coalesce(sum(CASE WHEN t.to_address = c.holder THEN t.amount ELSE 0 END
                     - CASE WHEN t.from_address = c.holder THEN t.amount ELSE 0 END), 0)
            FROM token_transfers t
            WHERE t.chain_id = %(chain)s AND t.block_number BETWEEN %(first)s AND %(last)s
              AND t.token_address = c.token_address AND (c.token_id IS NULL OR t.token_id = c.token_id)
              AND (t.to_address = c.holder OR t.from_address = c.holder))
        FROM chosen c
        """,
        {"chain": chain_id, "first": first, "last": last, "blocks": blocks, "most": most},
    ).fetchall()
    return [(bytes(t), int(i), str(s), bytes(h), int(g)) for t, i, s, h, g in rows]
