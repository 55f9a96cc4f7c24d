//! The rows of each table, columns in the order of `COLUMNS` in services/persister/rows.py.

use std::collections::{BTreeSet, HashMap};

use super::columns::{Column, Kind, Need};
use super::copy::{put_blob, put_hashes, put_int4, put_int4s, put_int8, put_json_object, put_null};
use super::numeric::{put_uint, u64_of};
use super::record::{Header, Record, Struct};
use Kind::{Blob, Code, Fixed, Int2, Int4, Int8, Json, Numeric, Text, Word256};
use Need::{Always, Optional};

const KNOWN_PROOFS: i64 = 2047; // all bits of indexer.records.Proof
const STANDARDS: &[&str] = &["erc20", "erc721", "erc1155"];
const KINDS: &[&str] = &["transfer", "deposit", "withdrawal"];
const ROOM_OF_FIELDS: usize = 16; // bytes that a field is likely to take beyond what its column has

pub struct Packed {
    pub block: Vec<u8>,
    pub transactions: Vec<u8>,
    pub logs: Vec<u8>,
    pub transfers: Vec<u8>,
    pub events: Vec<u8>,
    pub attention: Vec<u8>,
    pub rows: usize,
}

/// Which column of the record, and how: the table's columns in their order.
type Layout = [(usize, Kind, Need)];

const TRANSACTIONS: &Layout = &[
    (0, Fixed(32), Always),
    (1, Int2, Always),
    (2, Int8, Always),
    (3, Fixed(20), Always),
    (4, Fixed(20), Optional),
    (5, Numeric, Always),
    (6, Int8, Always),
    (7, Numeric, Always),
    (8, Numeric, Optional),
    (9, Numeric, Optional),
    (10, Blob, Always),
    (11, Numeric, Always),
    (12, Word256, Always),
    (13, Word256, Always),
    (14, Json, Optional),
    (15, Int2, Optional),
    (16, Fixed(32), Optional),
    (17, Int8, Always),
    (18, Int8, Always),
    (19, Numeric, Optional),
    (20, Fixed(20), Optional),
    (21, Json, Optional),
];
const LOGS: &Layout = &[
    (0, Int4, Always),
    (1, Int4, Always),
    (2, Fixed(20), Always),
    (3, Fixed(32), Optional),
    (4, Fixed(32), Optional),
    (5, Fixed(32), Optional),
    (6, Fixed(32), Optional),
    (7, Blob, Always),
];
/// The record names the code columns before the addresses, the table after them.
const TRANSFERS: &Layout = &[
    (0, Int4, Always),
    (1, Int4, Always),
    (2, Fixed(20), Always),
    (5, Fixed(20), Always),
    (6, Fixed(20), Always),
    (3, Code(STANDARDS), Always),
    (4, Code(KINDS), Always),
    (7, Numeric, Always),
    (8, Numeric, Always),
];
const EVENTS: &Layout = &[
    (0, Int4, Always),
    (1, Text, Always),
    (2, Text, Always),
    (3, Json, Always),
];

pub fn pack(record: &Record) -> Option<Packed> {
    let mut key = Vec::with_capacity(24);
    put_int8(&mut key, record.chain_id);
    put_int8(&mut key, record.header.number);
    Some(Packed {
        block: block(record, &key)?,
        transactions: rows(&record.transactions, TRANSACTIONS, &key, 25)?,
        logs: rows(&record.logs, LOGS, &key, 10)?,
        transfers: rows(&record.transfers, TRANSFERS, &key, 11)?,
        events: rows(&record.events, EVENTS, &key, 6)?,
        attention: attention(record, &key)?,
        rows: 1
            + record.transactions.count
            + record.logs.count
            + record.transfers.count
            + record.events.count,
    })
}

/// A table with one field more than key and columns has the row's position behind the key.
fn rows<const N: usize>(
    found: &Struct<N>,
    layout: &Layout,
    key: &[u8],
    fields: u16,
) -> Option<Vec<u8>> {
    let mut columns = Vec::with_capacity(layout.len());
    for (at, kind, need) in layout {
        columns.push(Column::new(
            *kind,
            *need,
            found.columns.get(*at)?,
            found.count,
        )?);
    }
    let numbered = usize::from(fields) > 2 + layout.len();
    // The first column is never optional: it has bounded `count` before room is made for each row.
    let values: usize = found.columns.iter().map(|column| column.len()).sum();
    let mut out = Vec::with_capacity(values + found.count * usize::from(fields) * ROOM_OF_FIELDS);
    for position in 0..found.count {
        out.extend_from_slice(&fields.to_be_bytes());
        out.extend_from_slice(key);
        if numbered {
            put_int4(&mut out, i32::try_from(position).ok()?);
        }
        for column in &mut columns {
            column.put_next(&mut out)?;
        }
    }
    Some(out)
}

/// The row of `blocks` but for generation and model_version: what is stored already may raise the generation.
fn block(record: &Record, key: &[u8]) -> Option<Vec<u8>> {
    let Header { extra, uncles, .. } = &record.header;
    let h = &record.header;
    if !(0..=KNOWN_PROOFS).contains(&record.proofs) {
        return None;
    }
    let mut row = Vec::with_capacity(1024);
    let out = &mut row;
    out.extend_from_slice(&31u16.to_be_bytes());
    out.extend_from_slice(key);
    put_blob(out, h.hash)?;
    put_blob(out, h.parent_hash)?;
    put_maybe_blob(out, h.nonce)?;
    for value in [
        h.sha3_uncles,
        h.logs_bloom,
        h.transactions_root,
        h.state_root,
        h.receipts_root,
    ] {
        put_blob(out, value)?;
    }
    put_blob(out, h.miner)?;
    put_uint(out, h.difficulty)?;
    put_maybe_uint(out, h.total_difficulty)?;
    put_int8(out, h.size);
    put_blob(out, h.extra_data)?;
    put_int8(out, h.gas_limit);
    put_int8(out, h.gas_used);
    put_int8(out, h.timestamp);
    put_int4(out, i32::try_from(record.transactions.count).ok()?);
    put_int4(out, i32::try_from(record.logs.count).ok()?);
    put_maybe_uint(out, h.base_fee_per_gas)?;
    put_maybe_blob(out, h.mix_hash)?;
    put_maybe_blob(out, h.withdrawals_root)?;
    put_maybe_int8(out, h.blob_gas_used);
    put_maybe_int8(out, h.excess_blob_gas);
    put_json_object(out, extra)?;
    put_hashes(out, uncles)?;
    put_int4(out, i32::try_from(record.proofs).ok()?);
    put_int4(out, i32::try_from(record.undecoded_logs.len() / 4).ok()?);
    Some(row)
}

/// The transactions with logs that a model named and its ABI did not fit, in the order of these logs.
fn attention(record: &Record, key: &[u8]) -> Option<Vec<u8>> {
    let wanted = record.undecoded_logs;
    if wanted.len() % 4 != 0 {
        return None;
    }
    let wanted: BTreeSet<u64> = wanted.chunks_exact(4).map(u64_of).collect();
    if wanted.is_empty() {
        return Some(Vec::new());
    }
    let transactions = transaction_of_log(&record.logs)?;
    let mut found: Vec<(i32, Vec<i32>)> = Vec::new();
    let mut place: HashMap<i32, usize> = HashMap::new();
    for log in wanted {
        let log = i32::try_from(log).ok()?;
        let transaction = *transactions.get(&log)?;
        let at = *place.entry(transaction).or_insert(found.len());
        if at == found.len() {
            found.push((transaction, Vec::new()));
        }
        found.get_mut(at)?.1.push(log);
    }
    let mut out = Vec::new();
    for (transaction, logs) in found {
        out.extend_from_slice(&5u16.to_be_bytes());
        out.extend_from_slice(key);
        put_int4(&mut out, transaction);
        put_blob(&mut out, b"UNDECODED_LOG")?;
        put_int4s(&mut out, &logs)?;
    }
    Some(out)
}

fn transaction_of_log(logs: &Struct<8>) -> Option<HashMap<i32, i32>> {
    let mut indexes = Column::new(Int4, Always, logs.columns[0], logs.count)?;
    let mut transactions = Column::new(Int4, Always, logs.columns[1], logs.count)?;
    let next = |column: &mut Column| i32::try_from(column.next_number()?).ok();
    (0..logs.count)
        .map(|_| Some((next(&mut indexes)?, next(&mut transactions)?)))
        .collect()
}

fn put_maybe_blob(out: &mut Vec<u8>, value: Option<&[u8]>) -> Option<()> {
    match value {
        Some(value) => put_blob(out, value),
        None => {
            put_null(out);
            Some(())
        }
    }
}

fn put_maybe_uint(out: &mut Vec<u8>, value: Option<&[u8]>) -> Option<()> {
    match value {
        Some(value) => put_uint(out, value),
        None => {
            put_null(out);
            Some(())
        }
    }
}

fn put_maybe_int8(out: &mut Vec<u8>, value: Option<i64>) {
    match value {
        Some(value) => put_int8(out, value),
        None => put_null(out),
    }
}
