"""Token transfers by the standards: ERC-20, ERC-721, ERC-1155, and wrapped native coins, as ethers v6 reads them.

Read strictly where a wrong reading would move balances: a Transfer with any other number of topics (CryptoKitties
has one), an address longer than 20 bytes, data that ends early, batches of unequal length give no row. Data
behind the last value is overlooked, as ethers does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from indexer.records import Logs, TokenTransfers

# log_index, batch_index, token_address, standard, kind, from_address, to_address, token_id, amount
_Row = tuple[int, int, bytes, str, str, bytes, bytes, int, int]

TRANSFER = bytes.fromhex("ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef")
TRANSFER_SINGLE = bytes.fromhex("c3d58168c5ae7397731d063d5bbf3d657854427343f4c083240f7aacaa2d0f62")
TRANSFER_BATCH = bytes.fromhex("4a39dc06d4c0dbc64b70af90fd698a233a518aa5d07e595d983b8c0526c8f7fb")
DEPOSIT = bytes.fromhex("e1fffcc4923d04b559f4d29a8bfc6cda04eb5b0d3c460751c2402c5c5cc9109c")
WITHDRAWAL = bytes.fromhex("7fcf532c15f0a6db0bd6d0e038bea71d30d808c7d98cb3bf7268a95bf5081b65")

_NOBODY = bytes(20)
_PADDING = bytes(12)


def token_transfers(logs: Logs, wrapped_native: frozenset[bytes]) -> TokenTransfers:
    """All transfers in `logs`, in log order; Deposit and Withdrawal count for `wrapped_native` contracts only."""
    rows: list[_Row] = []
    for i, topic0 in enumerate(logs.topic0):
        if topic0 == TRANSFER:
            row = _transfer(logs, i)
            if row is not None:
                rows.append(row)
        elif topic0 in _OTHERS and topic0 is not None:
            rows.extend(_OTHERS[topic0](logs, i, wrapped_native))
    if not rows:
        return TokenTransfers()
    return TokenTransfers(*map(list, zip(*rows, strict=True)))


def _transfer(logs: Logs, i: int) -> _Row | None:
    sender, receiver, data = _address(logs.topic1[i]), _address(logs.topic2[i]), logs.data[i]
    if sender is None or receiver is None:
        return None
    index, token, token_id = logs.log_index[i], logs.address[i], logs.topic3[i]
    if token_id is not None and len(token_id) == 32:
        number = int.from_bytes(token_id, "big")
        return index, 0, token, "erc721", "transfer", sender, receiver, number, 1
    if token_id is not None or len(data) < 32:
        return None
    return index, 0, token, "erc20", "transfer", sender, receiver, 0, int.from_bytes(data[:32], "big")


def _single(logs: Logs, i: int, wrapped: frozenset[bytes]) -> Iterator[_Row]:
    operator, sender, receiver = (_address(topics[i]) for topics in (logs.topic1, logs.topic2, logs.topic3))
    data = logs.data[i]
    if operator is None or sender is None or receiver is None or len(data) < 64:
        return
    token_id, amount = int.from_bytes(data[:32], "big"), int.from_bytes(data[32:64], "big")
    yield logs.log_index[i], 0, logs.address[i], "erc1155", "transfer", sender, receiver, token_id, amount


def _batch(logs: Logs, i: int, wrapped: frozenset[bytes]) -> Iterator[_Row]:
    operator, sender, receiver = (_address(topics[i]) for topics in (logs.topic1, logs.topic2, logs.topic3))
    token_ids, amounts = _numbers(logs.data[i], 0), _numbers(logs.data[i], 32)
    if operator is None or sender is None or receiver is None or token_ids is None or amounts is None:
        return
    if len(token_ids) != len(amounts):
        return
    index, token = logs.log_index[i], logs.address[i]
    for batch_index, (token_id, amount) in enumerate(zip(token_ids, amounts, strict=True)):
        yield index, batch_index, token, "erc1155", "transfer", sender, receiver, token_id, amount


def _deposit(logs: Logs, i: int, wrapped: frozenset[bytes]) -> Iterator[_Row]:
    found = _holder_and_amount(logs, i, wrapped)
    if found:
        holder, amount = found
        yield logs.log_index[i], 0, logs.address[i], "erc20", "deposit", _NOBODY, holder, 0, amount


def _withdrawal(logs: Logs, i: int, wrapped: frozenset[bytes]) -> Iterator[_Row]:
    found = _holder_and_amount(logs, i, wrapped)
    if found:
        holder, amount = found
        yield logs.log_index[i], 0, logs.address[i], "erc20", "withdrawal", holder, _NOBODY, 0, amount


def _holder_and_amount(logs: Logs, i: int, wrapped: frozenset[bytes]) -> tuple[bytes, int] | None:
    if logs.address[i] not in wrapped or logs.topic2[i] is not None:
        return None
    holder, data = _address(logs.topic1[i]), logs.data[i]
    if holder is None or len(data) < 32:
        return None
    return holder, int.from_bytes(data[:32], "big")


def _address(topic: bytes | None) -> bytes | None:
    if topic is None or len(topic) != 32 or topic[:12] != _PADDING:
        return None
    return topic[12:]


def _numbers(data: bytes, pointer_at: int) -> list[int] | None:
    """The `uint256[]` that the pointer at `pointer_at` leads to; None when it is not within the data."""
    if len(data) < pointer_at + 32:
        return None
    begin = int.from_bytes(data[pointer_at : pointer_at + 32], "big")
    if begin + 32 > len(data):
        return None
    count = int.from_bytes(data[begin : begin + 32], "big")
    first = begin + 32
    if first + 32 * count > len(data):
        return None
    return [int.from_bytes(data[at : at + 32], "big") for at in range(first, first + 32 * count, 32)]


_OTHERS: dict[bytes, Callable[[Logs, int, frozenset[bytes]], Iterator[_Row]]] = {
    TRANSFER_SINGLE: _single,
    TRANSFER_BATCH: _batch,
    DEPOSIT: _deposit,
    WITHDRAWAL: _withdrawal,
}
