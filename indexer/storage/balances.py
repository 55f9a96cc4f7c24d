"""Balances brought back to the sum of the stored transfers, while persisters go on (PROTOCOL 18).

Transfers count whose block is stored: rows that lie at a height without one are of nobody's chain.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal

from indexer.storage.engine import Connection
from indexer.storage.odd_values import whole

Key = tuple[bytes, int | Decimal, bytes]  # token address, token id (a Decimal: NaN), holder

_AT_ONCE = 200  # a persister that needs one of these keys waits no longer than this many sums take


def wrong_keys(connection: Connection, chain_id: int) -> Iterator[Key]:
    """Yield the keys of balances that are not the sum of the stored transfers, in key order, from one snapshot."""
    with connection.transaction(), connection.cursor(name="wrong_balances") as cursor:
        cursor.execute(_WRONG, {"chain": chain_id})
        for token, token_id, holder in cursor:
            yield bytes(token), whole(token_id), bytes(holder)


def repair(
    connection: Connection, chain_id: int, keys: Sequence[Key], locked: Callable[[], None] = lambda: None
) -> None:
    """Set these balances to the sum of the stored transfers; `locked` is called when their rows are ours.

    The rows are locked first, in the order in which persisters take them, and the sum is a statement of its own: it
    sees what the transaction that we waited for has stored. A persister that comes later adds to what we wrote.
    """
    ordered = sorted(set(keys), key=_place)
    for at in range(0, len(ordered), _AT_ONCE):
        chosen = ordered[at : at + _AT_ONCE]
        named = {
            "chain": chain_id,
            "tokens": [token for token, _, _ in chosen],
            "ids": [Decimal(token_id) for _, token_id, _ in chosen],
            "holders": [holder for _, _, holder in chosen],
        }
        with connection.transaction():
            connection.execute(_LOCK, named)
            locked()
            connection.execute(_SUM, named)


def _place(key: Key) -> tuple[bytes, bool, int | Decimal, bytes]:
    """Return where a key stands in the database's order, in which NaN comes last."""
    token, token_id, holder = key
    return (token, False, token_id, holder) if isinstance(token_id, int) else (token, True, 0, holder)


_WRONG = """
    SELECT token_address, token_id, holder
    FROM (SELECT token_address, token_id, holder, sum(delta) AS balance FROM position_entries e
          WHERE chain_id = %(chain)s
            AND EXISTS (SELECT FROM blocks k WHERE k.chain_id = %(chain)s AND k.number = e.block_number)
          GROUP BY 1, 2, 3) AS s
    FULL JOIN (SELECT token_address, token_id, holder, balance FROM balances WHERE chain_id = %(chain)s) AS b
        USING (token_address, token_id, holder)
    WHERE coalesce(s.balance, 0) <> coalesce(b.balance, 0)
    ORDER BY 1, 2, 3
"""

_KEYS = "unnest(%(tokens)s::bytea[], %(ids)s::numeric[], %(holders)s::bytea[]) AS k (token, id, holder)"

_LOCK = f"""
    INSERT INTO balances AS b (chain_id, token_address, token_id, holder, balance)
    SELECT %(chain)s, k.token, k.id, k.holder, 0 FROM {_KEYS} ORDER BY k.token, k.id, k.holder
    ON CONFLICT (chain_id, token_address, token_id, holder) DO UPDATE SET balance = b.balance + 0
"""  # noqa: S608  # constants only

_SUM = f"""
    UPDATE balances b SET balance = coalesce((
        SELECT sum(CASE WHEN t.to_address = k.holder THEN t.amount ELSE 0 END
                 - CASE WHEN t.from_address = k.holder THEN t.amount ELSE 0 END)
        FROM token_transfers t
        WHERE t.chain_id = %(chain)s AND t.token_address = k.token AND t.token_id = k.id
          AND (t.from_address = k.holder OR t.to_address = k.holder)
          AND EXISTS (SELECT FROM blocks x WHERE x.chain_id = %(chain)s AND x.number = t.block_number)), 0)
    FROM {_KEYS}
    WHERE b.chain_id = %(chain)s AND b.token_address = k.token AND b.token_id = k.id AND b.holder = k.holder
"""  # noqa: S608


def count(connection: Connection, chain_id: int) -> int:
    row = connection.execute("SELECT count(*) FROM balances WHERE chain_id = %s", (chain_id,)).fetchone()
    return 0 if row is None else int(row[0])
