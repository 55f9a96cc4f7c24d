"""An audit, part by part: positions, spans of heights with every row of their blocks, the node, balances."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from indexer.audit.against_node import differences
from indexer.audit.expected import account
from indexer.audit.findings import Findings, Kind, findings_of
from indexer.audit.rows import OWN, UNPROVEN, Decoding, StoredBlock, proven, wrongly_derived
from indexer.chain.rules import ChainRules
from indexer.errors import PoisonError
from indexer.records import Proof
from indexer.storage import auditing, balances, lost_rows
from indexer.storage.engine import Connection
from indexer.storage.stored import load_blocks

SPAN = 1024  # heights whose coverage is compared at once: a portion, after which an audit can be gone on with
ROWS = 64  # blocks whose rows are in memory at once

_ALL = (
    Proof.HEADER_HASH | Proof.TRANSACTION_HASHES | Proof.TRANSACTIONS_ROOT | Proof.RECEIPTS_ROOT | Proof.LOGS_BLOOM
    | Proof.GAS_USED | Proof.CONTRACT_ADDRESSES | Proof.EFFECTIVE_GAS_PRICE | Proof.SENDERS
)  # fmt: skip


class ChainNode(Protocol):
    """A node that is asked for single blocks."""

    def block(self, number: int) -> tuple[Any, Any] | None:
        """Return a block and its receipts as the node sends them; None where it has no block."""


@dataclass(slots=True)
class Audit:
    """One audit of a range; its methods note findings and count what they looked at."""

    connection: Connection
    rules: ChainRules
    decoding: Decoding
    findings: Findings = field(default_factory=Findings)
    looked_at: Counter[str] = field(default_factory=Counter)
    unproven: Counter[str] = field(default_factory=Counter)  # proof that a chain's rules do not allow → blocks
    whole_to: int | None = None  # up to here the report has all of the heights, and nothing of those above

    def go_on(self, report: Mapping[str, Any]) -> None:
        """Take over what the report of an audit that ended half-way says."""
        self.findings = findings_of(report)
        self.looked_at = Counter(report["looked_at"])
        self.unproven = Counter(report["not_proven"]["blocks_without"])

    def heights(self, first: int, last: int, named: bool) -> Iterator[int]:
        """Look at coverage and at every row, yielding after each part up to where the rows were looked at."""
        for start in range(first, last + 1, SPAN):
            end, self.whole_to = min(start + SPAN - 1, last), None
            with auditing.snapshot(self.connection):
                span = auditing.load_span(self.connection, self.rules.chain_id, start, end, named)
                lost = lost_rows.heights(self.connection, self.rules.chain_id, start, end)
            self.looked_at["expected"] += account(span, self.findings)
            self._lost(lost)
            for low in range(start, end + 1, ROWS):
                high = min(low + ROWS - 1, end)
                self._rows(low, high)
                self.whole_to = end + 1 if high == end else None
                yield high + 1

    def beyond(self, first: int, last: int) -> None:
        """Look for rows without their block where none should be: nothing is stored or asked for there."""
        if first <= last:
            self._lost(lost_rows.heights(self.connection, self.rules.chain_id, first, last))

    def _lost(self, lost: Sequence[tuple[int, str]]) -> None:
        for number, table in lost:
            self.findings.at(Kind.ORPHANS, number, number, f"block {number}: rows in {table}")

    def _rows(self, first: int, last: int) -> None:
        chain = self.rules.chain_id
        with auditing.snapshot(self.connection):
            before = auditing.hash_at(self.connection, chain, first - 1)
            blocks = list(load_blocks(self.connection, chain, first, last))
        known = {first - 1: before} if before is not None else {}
        for block in blocks:
            number = block.header.number
            known[number] = block.header.hash
            self.looked_at["stored"] += 1
            if known.get(number - 1, block.header.parent_hash) != block.header.parent_hash:
                self.findings.at(Kind.PARENT, number, number, f"block {number}: not block {number - 1}")
            self._block(block)

    def _block(self, block: StoredBlock) -> None:
        number = block.header.number
        try:
            proofs = proven(block, self.rules)
        except PoisonError as error:
            self.findings.at(Kind.ROWS, number, number, f"block {number}: {error} [{error.code}]")
            return
        for missing in _ALL & ~proofs:
            self.unproven[str(missing.name)] += 1
        if block.model_version != self.decoding.models.version:
            self.looked_at["of other models"] += 1
        if wrong := wrongly_derived(block, self.decoding):
            self.findings.at(Kind.DERIVED, number, number, f"block {number}: {', '.join(wrong)}")

    def sample(self, numbers: Sequence[int], final: int, node: ChainNode, second: ChainNode | None) -> Iterator[int]:
        """Compare every column of these blocks with the node, and with a second one; yields after each block.

        Up to `final` the node takes no block back.
        """
        for number in numbers:
            with auditing.snapshot(self.connection):
                trusted = auditing.is_trusted(self.connection, self.rules.chain_id, number, final)
                blocks = list(load_blocks(self.connection, self.rules.chain_id, number, number)) if trusted else []
            if trusted is False:
                self.looked_at["not final"] += 1
            for block in blocks:
                self._compare(block, node, Kind.NODE, "asked the node")
                if second is not None:
                    self._compare(block, second, Kind.SECOND_NODE, "asked the second node")
            yield number

    def _compare(self, block: StoredBlock, node: ChainNode, kind: Kind, counted: str) -> None:
        number = block.header.number
        answers = node.block(number)
        if answers is None:
            self.looked_at[f"{counted}, which has no such block"] += 1
            return
        self.looked_at[counted] += 1
        try:
            wrong = differences(block, *answers, self.rules)
        except PoisonError as error:
            wrong = [f"{error} [{error.code}]"]
        if wrong:
            self.findings.at(kind, number, number, f"block {number}: {', '.join(wrong)}")

    def balances(self, tick: Callable[[], None] = lambda: None) -> None:
        """Compare every balance with the sum of its transfers; the database does the sums."""
        for token, token_id, holder in balances.wrong_keys(self.connection, self.rules.chain_id):
            self.findings.note(Kind.BALANCES, f"0x{holder.hex()} of token 0x{token.hex()}, id {token_id}")
            tick()
        self.looked_at["balances"] += balances.count(self.connection, self.rules.chain_id)

    def report(self, first: int, last: int) -> dict[str, Any]:
        return {
            "chain_id": self.rules.chain_id,
            "from": first,
            "to": last,
            "clean": self.findings.count == 0,
            "looked_at": dict(self.looked_at),
            **self.findings.to_json(),
            "not_proven": {
                "columns": list(UNPROVEN),
                "own_columns": list(OWN),
                "blocks_without": dict(self.unproven),
            },
        }
