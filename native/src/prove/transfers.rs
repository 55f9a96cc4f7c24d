//! Token transfers by the standards, packed; indexer/abi/standards.py is the twin, and says why what counts.

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyFrozenSet};

use super::columns::{self, Record};
use super::hexes::Word;
use super::receipts::Log;

type Address = [u8; 20];
type Topic = [u8; 32];

const WORD: usize = 32;
const NOBODY: Address = [0; 20];

const TRANSFER: Topic = topic("ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef");
const TRANSFER_SINGLE: Topic = topic("c3d58168c5ae7397731d063d5bbf3d657854427343f4c083240f7aacaa2d0f62");
const TRANSFER_BATCH: Topic = topic("4a39dc06d4c0dbc64b70af90fd698a233a518aa5d07e595d983b8c0526c8f7fb");
const DEPOSIT: Topic = topic("e1fffcc4923d04b559f4d29a8bfc6cda04eb5b0d3c460751c2402c5c5cc9109c");
const WITHDRAWAL: Topic = topic("7fcf532c15f0a6db0bd6d0e038bea71d30d808c7d98cb3bf7268a95bf5081b65");

const fn topic(text: &str) -> Topic {
    let (digits, mut bytes, mut at) = (text.as_bytes(), [0; WORD], 0);
    assert!(digits.len() == 2 * WORD);
    while at < digits.len() {
        let digit = if digits[at] < b'a' { digits[at] - b'0' } else { digits[at] - b'a' + 10 };
        bytes[at / 2] = bytes[at / 2] << 4 | digit;
        at += 1;
    }
    bytes
}

/// As their positions in the schema's lists.
#[derive(Clone, Copy)]
enum Standard {
    Erc20,
    Erc721,
    Erc1155,
}

#[derive(Clone, Copy)]
enum Kind {
    Transfer,
    Deposit,
    Withdrawal,
}

struct Row {
    log_index: usize,
    batch_index: usize,
    token: Address,
    standard: Standard,
    kind: Kind,
    from: Address,
    to: Address,
    token_id: Word,
    amount: Word,
}

/// All transfers in the logs of a block; Deposit and Withdrawal count for `wrapped` contracts only.
pub fn pack(logs: &[Log], wrapped: &Bound<PyFrozenSet>) -> PyResult<Record> {
    let mut rows = Vec::with_capacity(logs.len());
    for (index, log) in logs.iter().enumerate() {
        match log.topics[0] {
            Some(TRANSFER) => rows.extend(transfer(log, index)),
            Some(TRANSFER_SINGLE) => rows.extend(single(log, index)),
            Some(TRANSFER_BATCH) => rows.extend(batch(log, index).into_iter().flatten()),
            Some(DEPOSIT) if is_one_of(wrapped, log)? => rows.extend(deposit(log, index)),
            Some(WITHDRAWAL) if is_one_of(wrapped, log)? => rows.extend(withdrawal(log, index)),
            _ => {}
        }
    }
    Ok(packed(&rows))
}

fn packed(rows: &[Row]) -> Record {
    let mut record = Record::new(rows.len());
    record.put(columns::longs(rows.iter().map(|row| row.log_index as u64)));
    record.put(columns::longs(rows.iter().map(|row| row.batch_index as u64)));
    record.put(rows.iter().flat_map(|row| row.token).collect());
    record.put(rows.iter().map(|row| row.standard as u8).collect());
    record.put(rows.iter().map(|row| row.kind as u8).collect());
    record.put(rows.iter().flat_map(|row| row.from).collect());
    record.put(rows.iter().flat_map(|row| row.to).collect());
    record.put(columns::uints(&rows.iter().map(|row| row.token_id).collect::<Vec<_>>()));
    record.put(columns::uints(&rows.iter().map(|row| row.amount).collect::<Vec<_>>()));
    record
}

fn is_one_of(wrapped: &Bound<PyFrozenSet>, log: &Log) -> PyResult<bool> {
    wrapped.contains(PyBytes::new(wrapped.py(), &log.address))
}

fn transfer(log: &Log, log_index: usize) -> Option<Row> {
    let (from, to) = (address(log, 1)?, address(log, 2)?);
    let (standard, token_id, amount) = match log.topics[3] {
        Some(id) => (Standard::Erc721, Word::from(id), Word::from(1u64)),
        None => (Standard::Erc20, Word::default(), word_at(&log.data, 0)?),
    };
    let (batch_index, token, kind) = (0, log.address, Kind::Transfer);
    Some(Row { log_index, batch_index, token, standard, kind, from, to, token_id, amount })
}

fn single(log: &Log, log_index: usize) -> Option<Row> {
    let (from, to) = between(log)?;
    let (token_id, amount) = (word_at(&log.data, 0)?, word_at(&log.data, WORD)?);
    let (batch_index, token, standard, kind) = (0, log.address, Standard::Erc1155, Kind::Transfer);
    Some(Row { log_index, batch_index, token, standard, kind, from, to, token_id, amount })
}

fn batch(log: &Log, log_index: usize) -> Option<Vec<Row>> {
    let (from, to) = between(log)?;
    let (token_ids, amounts) = (words(&log.data, 0)?, words(&log.data, WORD)?);
    if token_ids.len() != amounts.len() {
        return None;
    }
    let (token, standard, kind) = (log.address, Standard::Erc1155, Kind::Transfer);
    let rows = token_ids.into_iter().zip(amounts).enumerate().map(|(batch_index, (token_id, amount))| Row {
        log_index,
        batch_index,
        token,
        standard,
        kind,
        from,
        to,
        token_id,
        amount,
    });
    Some(rows.collect())
}

fn deposit(log: &Log, log_index: usize) -> Option<Row> {
    let (to, amount) = holder_and_amount(log)?;
    let (batch_index, token, standard, kind) = (0, log.address, Standard::Erc20, Kind::Deposit);
    Some(Row { log_index, batch_index, token, standard, kind, from: NOBODY, to, token_id: Word::default(), amount })
}

fn withdrawal(log: &Log, log_index: usize) -> Option<Row> {
    let (from, amount) = holder_and_amount(log)?;
    let (batch_index, token, standard, kind) = (0, log.address, Standard::Erc20, Kind::Withdrawal);
    Some(Row { log_index, batch_index, token, standard, kind, from, to: NOBODY, token_id: Word::default(), amount })
}

fn holder_and_amount(log: &Log) -> Option<(Address, Word)> {
    let fields = (address(log, 1)?, word_at(&log.data, 0)?);
    log.topics[2].is_none().then_some(fields)
}

/// Sender and receiver of ERC-1155, behind an operator.
fn between(log: &Log) -> Option<(Address, Address)> {
    address(log, 1)?;
    Some((address(log, 2)?, address(log, 3)?))
}

fn address(log: &Log, position: usize) -> Option<Address> {
    let topic = log.topics[position].as_ref()?;
    topic.strip_prefix(&[0; WORD - 20])?.try_into().ok()
}

fn word_at(data: &[u8], at: usize) -> Option<Word> {
    data.get(at..)?.first_chunk::<WORD>().copied().map(Word::from)
}

/// The `uint256[]` that the pointer at `pointer_at` leads to; None when it is not within the data.
fn words(data: &[u8], pointer_at: usize) -> Option<Vec<Word>> {
    let begin = length(word_at(data, pointer_at)?)?;
    let count = length(word_at(data, begin)?)?;
    let items = &data[begin + WORD..];
    (0..count).map(|index| word_at(items, index * WORD)).collect() // up to the first that is not there
}

fn length(word: Word) -> Option<usize> {
    usize::try_from(word.low).ok().filter(|_| word.high == 0)
}
