"""`indexer follow --go-on --rollback-to N`: what it takes back, and whether the node agrees with what stays."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

import click

from indexer.errors import UserError
from indexer.settings import Settings

if TYPE_CHECKING:
    from indexer.storage.jobs import Connection

Known = Callable[[int], tuple[int, Collection[bytes]] | None]  # the highest known block up to a height, and its hashes
Theirs = Callable[[int], bytes | None]


def roll_back(
    connection: Connection, settings: Settings, number: int, *, dry_run: bool, yes: bool, as_json: bool
) -> bool:
    """End the pause and have all above block `number` taken back; False when that was only looked at.

    Raises UserError where nothing is paused, where the node has another block there, and without confirmation.
    """
    from indexer.cli.selecting import confirm
    from indexer.storage import following

    if not following.paused(connection, settings.chain_id):
        raise following.not_paused(settings.chain_id)
    _agreed(connection, settings, number)
    count, last = following.stored_above(connection, settings.chain_id, number)
    what = f"take back {count:,} blocks, {number + 1}–{last}" if count else f"no block is stored above {number}: go on"
    if dry_run:
        facts = {"rollback_to": number, "blocks": count, "dry_run": True}
        click.echo(json.dumps(facts) if as_json else f"would {what}" if count else what)
        return False
    confirm(f"{what}?", yes)
    following.go_on(connection, settings.chain_id, number)
    return True


def _agreed(connection: Connection, settings: Settings, number: int) -> None:
    """Raise UserError where what would stay is not the node's."""
    from indexer.cli import node
    from indexer.storage import following

    url, head = node.answering(settings)

    def known(most: int) -> tuple[int, Collection[bytes]] | None:
        return following.known_at(connection, settings.chain_id, most)

    def theirs(at: int) -> bytes | None:
        return node.hash_at(url, at) if at <= head else None

    highest = known(number)
    if highest is None:
        return
    common = highest_common(known, theirs, number)
    if common == highest[0]:
        return
    both = "no stored block is the node's" if common is None else f"both agree up to block {common}"
    raise UserError(f"the node has another block {highest[0]} than what is stored: {both}", code="ROLLBACK_TOO_HIGH")


def highest_common(known: Known, theirs: Theirs, most: int) -> int | None:
    """Return the highest known height, `most` at most, whose hash the node has; None without one.

    Hashes link: the node has all that lies below a block that it has, and nothing above one that it has not.
    """

    def agrees(found: tuple[int, Collection[bytes]]) -> bool:
        return set(found[1]) == {theirs(found[0])}

    top = known(most)
    if top is None or agrees(top):
        return None if top is None else top[0]
    common, low, high = None, -1, top[0]  # up to `low` all agree, from `high` on nothing does
    while high - low > 1:
        middle = (low + high) // 2
        found = known(middle)
        if found is None or found[0] <= low:  # nothing between
            low = middle
        elif agrees(found):
            common, low = found[0], middle
        else:
            high = found[0]
    return common
