"""What decoding again does to a block, and to balances."""

from __future__ import annotations

from dataclasses import replace

import pytest

from indexer.abi.decode import Decoded
from indexer.abi.models import Model, ModelSet
from indexer.abi.standards import token_transfers
from indexer.audit.rows import Decoding, StoredBlock, transfers_of
from indexer.records import DecodedEvents, Logs, TokenTransfers, Transactions
from indexer.redecode.changes import Fate, Redecoded, deltas, redecode
from tests.support.blocks import BlockMaker

TOKEN, NOBODY, ANNA, BERT = (bytes([n]) * 20 for n in (9, 0, 1, 2))
MADE = BlockMaker(transactions=1, logs=4, transfers=0, events=0)(7)
VERSION_3 = Decoding(ModelSet((Model("m", 2, (), None),)), frozenset())


def stored(model_version: int) -> StoredBlock:
    transfers = list(transfers_of(token_transfers(MADE.logs, frozenset())))
    return StoredBlock(MADE.header, Transactions(), MADE.logs, 0, 4, 0, 0, model_version, [], transfers)


@pytest.mark.parametrize(
    ("block", "fate"),
    [
        (stored(3), Fate.SAME),
        (stored(1), Fate.MARK),
        (stored(4), Fate.NEWER),
        (replace(stored(3), transfers=[]), Fate.REWRITE),
        (replace(stored(1), events=[(0, "old", "E", "{}")]), Fate.REWRITE),
    ],
)
def test_each_block_has_its_fate(block: StoredBlock, fate: Fate) -> None:
    found, new = redecode(block, VERSION_3)

    assert found is fate
    assert (new is not None) == (fate in (Fate.MARK, Fate.REWRITE))
    assert new is None or new.rewrite == (fate is Fate.REWRITE)


def test_balances_change_by_what_goes_and_what_comes() -> None:
    gone = [(TOKEN, 0, NOBODY, ANNA, 10), (TOKEN, 0, ANNA, BERT, 4)]
    come = TokenTransfers(
        [0, 1], [0, 0], [TOKEN] * 2, ["erc20"] * 2, ["transfer"] * 2, [NOBODY, ANNA], [ANNA, BERT], [0, 0], [12, 4]
    )
    block = Redecoded(7, b"", None, True, Decoded(come, DecodedEvents(), []), [])

    assert deltas(gone, [block]) == {(TOKEN, 0, ANNA): 2}
    assert list(deltas(gone, [])) == [(TOKEN, 0, ANNA), (TOKEN, 0, BERT)]
    assert deltas([], []) == {}
    assert redecode(replace(stored(3), logs=Logs(), transfers=[]), VERSION_3) == (Fate.SAME, None)
