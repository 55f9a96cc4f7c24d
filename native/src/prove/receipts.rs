//! Receipts and logs: read, encoded as they are under receiptsRoot, and packed.

use std::ops::Range;

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyFrozenSet, PyList};

use super::bloom::{self, Bloom};
use super::columns::{self, Record};
use super::fields::{self, members, Place};
use super::hexes::{self, Word};
use super::rlp;
use super::transactions::Transaction;
use crate::json::Reader;

const MOST_TOPICS: usize = 4;

members!(Item {
    block_hash: "blockHash",
    block_number: "blockNumber",
    contract: "contractAddress",
    cumulative_gas_used: "cumulativeGasUsed",
    price: "effectiveGasPrice",
    from: "from",
    gas_used: "gasUsed",
    bloom: "logsBloom",
    root: "root",
    status: "status",
    to: "to",
    transaction_hash: "transactionHash",
    index: "transactionIndex",
    kind: "type",
});

members!(LogItem {
    address: "address",
    topics: "topics",
    data: "data",
    block_number: "blockNumber",
    transaction_hash: "transactionHash",
    transaction_index: "transactionIndex",
    block_hash: "blockHash",
    index: "logIndex",
    removed: "removed",
});

pub struct Receipt {
    pub status: Option<u64>,
    root: Option<[u8; 32]>, // before Byzantium (EIP-658)
    pub gas_used: u64,
    pub cumulative_gas_used: u64,
    pub price: Option<Word>,
    pub contract: Option<[u8; 20]>,
    extra: Option<String>,
    kind: Option<u64>,
    logs: Range<usize>,
}

pub struct Log {
    owner: usize,
    pub address: [u8; 20],
    pub topics: [Option<[u8; 32]>; MOST_TOPICS],
    pub data: Vec<u8>,
}

pub struct Receipts {
    pub rows: Vec<Receipt>,
    pub logs: Vec<Log>,
}

impl Receipts {
    /// Read the receipts of `transactions`; `extra_of`: what Python makes of fields that no column holds.
    pub fn read(
        reader: &mut Reader,
        transactions: &[Transaction],
        place: &Place,
        extra_of: &Bound<PyAny>,
    ) -> Option<Receipts> {
        let count = transactions.len();
        let mut found = Receipts { rows: Vec::with_capacity(count), logs: Vec::with_capacity(2 * count) };
        let told = reader.list(|reader, index| {
            let hash = transactions.get(index)?.hash_text;
            found.read_receipt(reader, index, hash, place, extra_of)
        })?;
        let types_are_told = found.rows.iter().all(|row| row.kind.is_some());
        let types_agree = || found.rows.iter().zip(transactions).all(|(row, own)| row.kind == Some(own.kind.into()));
        (told == count && (!types_are_told || types_agree())).then_some(found)
    }

    fn read_receipt(
        &mut self,
        reader: &mut Reader,
        index: usize,
        hash: &str,
        place: &Place,
        extra_of: &Bound<PyAny>,
    ) -> Option<()> {
        let first_log = self.logs.len();
        let (mut item, mut others, mut has_logs) = (Item::default(), String::new(), false);
        reader.object(|reader, name| {
            if name == "logs" {
                self.read_logs(reader, index, hash, place)?;
                return (!std::mem::replace(&mut has_logs, true)).then_some(());
            }
            match item.member(name) {
                Some(member) => member.fill(reader),
                None => Some(add_member(&mut others, name, reader.span()?)),
            }
        })?;
        let status = item.status.read_optional(hexes::long)?;
        let placed = place.is_of(item.block_hash, item.block_number, item.index, index);
        if !placed || !item.transaction_hash.says(hash) || !has_logs || status > Some(1) {
            return None;
        }
        self.rows.push(Receipt {
            status,
            root: if status.is_none() { Some(item.root.octets()?) } else { None },
            gas_used: item.gas_used.long()?,
            cumulative_gas_used: item.cumulative_gas_used.long()?,
            price: item.price.read_optional(hexes::word)?,
            contract: item.contract.read_optional(hexes::octets)?,
            extra: if others.is_empty() { None } else { extra(&others, extra_of)? },
            kind: item.kind.read_optional(hexes::long)?,
            logs: first_log..self.logs.len(),
        });
        Some(())
    }

    fn read_logs(&mut self, reader: &mut Reader, owner: usize, hash: &str, place: &Place) -> Option<()> {
        reader.list(|reader, _| {
            let log = read_log(reader, self.logs.len(), owner, hash, place)?;
            self.logs.push(log);
            Some(())
        })?;
        Some(())
    }

    /// The encoding of each transaction's receipt, and the bloom filter of the whole block.
    pub fn encode(&self, transactions: &[Transaction]) -> (Vec<Vec<u8>>, Bloom) {
        let mut all = [0; bloom::SIZE];
        let encoded = self.rows.iter().zip(transactions).map(|(row, own)| self.encode_one(row, own.kind, &mut all));
        (encoded.collect(), all)
    }

    fn encode_one(&self, row: &Receipt, kind: u8, all: &mut Bloom) -> Vec<u8> {
        let logs = &self.logs[row.logs.clone()];
        let (mut own, mut body, mut scratch) = ([0; bloom::SIZE], Vec::with_capacity(256 * logs.len()), Vec::new());
        for log in logs {
            log.encode(&mut body, &mut scratch);
            bloom::add(&mut own, &log.address);
            log.topics.iter().flatten().for_each(|topic| bloom::add(&mut own, topic));
        }
        let mut payload = Vec::with_capacity(body.len() + 300);
        match row.status {
            Some(status) => rlp::long(&mut payload, status),
            None => rlp::optional(&mut payload, row.root.as_ref().map(|root| root.as_slice())),
        }
        rlp::long(&mut payload, row.cumulative_gas_used);
        rlp::string(&mut payload, &own);
        rlp::list(&mut payload, &body);
        bloom::merge(all, &own);
        let mut encoded = Vec::with_capacity(payload.len() + 10);
        if kind > 0 {
            encoded.push(kind);
        }
        rlp::list(&mut encoded, &payload);
        encoded
    }

    /// Put the columns that are the receipts' into the record of the transactions, after theirs.
    pub fn pack(&self, record: &mut Record) {
        let rows = &self.rows;
        let statuses = rows.iter().map(|row| row.status.map(Word::from)).collect();
        record.put(columns::optional(statuses, columns::uints));
        record.put(columns::optional(rows.iter().map(|row| row.root).collect(), columns::fixed));
        record.put(columns::longs(rows.iter().map(|row| row.gas_used)));
        record.put(columns::longs(rows.iter().map(|row| row.cumulative_gas_used)));
        record.put(columns::optional(rows.iter().map(|row| row.price).collect(), columns::uints));
        record.put(columns::optional(rows.iter().map(|row| row.contract).collect(), columns::fixed));
        record.put(columns::optional(rows.iter().map(|row| row.extra.as_deref()).collect(), columns::blobs));
    }

    pub fn pack_logs(&self) -> Record {
        let logs = &self.logs;
        let mut record = Record::new(logs.len());
        record.put(columns::longs(0..logs.len() as u64));
        record.put(columns::longs(logs.iter().map(|log| log.owner as u64)));
        record.put(columns::fixed(&logs.iter().map(|log| log.address).collect::<Vec<_>>()));
        for position in 0..MOST_TOPICS {
            record.put(columns::optional(logs.iter().map(|log| log.topics[position]).collect(), columns::fixed));
        }
        record.put(columns::blobs(&logs.iter().map(|log| &log.data).collect::<Vec<_>>()));
        record
    }

    /// The columns of `Logs`, in its order, of those logs whose first topic is one of `topics`.
    pub fn log_columns<'py>(&self, topics: &Bound<'py, PyFrozenSet>) -> PyResult<Vec<Bound<'py, PyList>>> {
        let (py, logs) = (topics.py(), self.logs_of(topics)?);
        let mut columns = vec![
            PyList::new(py, logs.iter().map(|(index, _)| index))?,
            PyList::new(py, logs.iter().map(|(_, log)| log.owner))?,
            PyList::new(py, logs.iter().map(|(_, log)| PyBytes::new(py, &log.address)))?,
        ];
        for position in 0..MOST_TOPICS {
            let values = logs.iter().map(|(_, log)| log.topics[position].map(|topic| PyBytes::new(py, &topic)));
            columns.push(PyList::new(py, values)?);
        }
        columns.push(PyList::new(py, logs.iter().map(|(_, log)| PyBytes::new(py, &log.data)))?);
        Ok(columns)
    }

    fn logs_of(&self, topics: &Bound<PyFrozenSet>) -> PyResult<Vec<(usize, &Log)>> {
        let mut found = Vec::new();
        if topics.is_empty() {
            return Ok(found);
        }
        for (index, log) in self.logs.iter().enumerate() {
            if let Some(topic) = &log.topics[0] {
                if topics.contains(PyBytes::new(topics.py(), topic))? {
                    found.push((index, log));
                }
            }
        }
        Ok(found)
    }
}

impl Log {
    fn encode(&self, out: &mut Vec<u8>, scratch: &mut Vec<u8>) {
        scratch.clear();
        rlp::string(scratch, &self.address);
        rlp::list_prefix(scratch, 33 * self.topics.iter().flatten().count());
        self.topics.iter().flatten().for_each(|topic| rlp::string(scratch, topic));
        rlp::string(scratch, &self.data);
        rlp::list(out, scratch);
    }
}

fn read_log(reader: &mut Reader, index: usize, owner: usize, hash: &str, place: &Place) -> Option<Log> {
    let mut item = LogItem::default();
    reader.object(|reader, name| match item.member(name) {
        Some(member) => member.fill(reader),
        None => reader.span().map(|_| ()),
    })?;
    if !place.is_of(item.block_hash, item.block_number, item.index, index)
        || item.transaction_index.long() != Some(owner as u64)
        || !item.transaction_hash.says(hash)
        || !item.removed.is_false_or_absent()
    {
        return None;
    }
    let mut topics = [None; MOST_TOPICS];
    item.topics.each(|reader, position| {
        *topics.get_mut(position)? = Some(fields::octets(reader)?);
        Some(())
    })?;
    Some(Log { owner, address: item.address.octets()?, topics, data: item.data.read(hexes::data)? })
}

fn add_member(others: &mut String, name: &str, value: &str) {
    others.push(if others.is_empty() { '{' } else { ',' });
    others.extend(["\"", name, "\":", value]);
}

/// What Python makes of the members that not every client gives.
fn extra(others: &str, extra_of: &Bound<PyAny>) -> Option<Option<String>> {
    let json = PyBytes::new(extra_of.py(), format!("{others}}}").as_bytes());
    extra_of.call1((json,)).ok()?.extract().ok()
}
