//! Receipts and logs: read, encoded as they are under receiptsRoot, and packed.

use std::ops::Range;

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList};

use super::bloom::{self, Bloom};
use super::columns;
use super::fields::{self, name, Item, Place};
use super::hexes::{self, Word};
use super::rlp;
use super::transactions::Transaction;

const MOST_TOPICS: usize = 4;

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
    address: [u8; 20],
    topics: [Option<[u8; 32]>; MOST_TOPICS],
    data: Vec<u8>,
}

pub struct Receipts {
    pub rows: Vec<Receipt>,
    pub logs: Vec<Log>,
}

impl Receipts {
    /// Read the receipts of `transactions`; `extra_of`: what Python makes of fields that no column holds.
    pub fn read(
        list: &Bound<PyList>,
        transactions: &[Transaction],
        place: &Place,
        extra_of: &Bound<PyAny>,
    ) -> Option<Receipts> {
        if list.len() != transactions.len() {
            return None;
        }
        let mut found = Receipts { rows: Vec::with_capacity(list.len()), logs: Vec::with_capacity(2 * list.len()) };
        for (index, (item, transaction)) in list.iter().zip(transactions).enumerate() {
            let item = fields::object(&item)?;
            let hash = transaction.hash_text.to_str().ok()?;
            if !place.is_of(item, name!(item, "transactionIndex"), index)
                || !fields::says(item, name!(item, "transactionHash"), hash)
            {
                return None;
            }
            found.read_receipt(item, index, hash, place, extra_of)?;
        }
        let types_are_told = found.rows.iter().all(|row| row.kind.is_some());
        let types_agree = || found.rows.iter().zip(transactions).all(|(row, own)| row.kind == Some(own.kind.into()));
        (!types_are_told || types_agree()).then_some(found)
    }

    fn read_receipt(
        &mut self,
        item: Item,
        index: usize,
        hash: &str,
        place: &Place,
        extra_of: &Bound<PyAny>,
    ) -> Option<()> {
        let first_log = self.logs.len();
        for log in fields::list(item, name!(item, "logs"))?.iter() {
            let log = read_log(fields::object(&log)?, self.logs.len(), index, hash, place)?;
            self.logs.push(log);
        }
        let status = fields::read_optional(item, name!(item, "status"), hexes::long)?;
        if status > Some(1) {
            return None;
        }
        self.rows.push(Receipt {
            status,
            root: if status.is_none() { Some(fields::octets(item, name!(item, "root"))?) } else { None },
            gas_used: fields::long(item, name!(item, "gasUsed"))?,
            cumulative_gas_used: fields::long(item, name!(item, "cumulativeGasUsed"))?,
            price: fields::read_optional(item, name!(item, "effectiveGasPrice"), hexes::word)?,
            contract: fields::read_optional(item, name!(item, "contractAddress"), hexes::octets)?,
            extra: if has_other_fields(item)? { extra_of.call1((item,)).ok()?.extract().ok()? } else { None },
            kind: fields::read_optional(item, name!(item, "type"), hexes::long)?,
            logs: first_log..self.logs.len(),
        });
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

    /// Put the columns that are the receipts' into the record of the transactions.
    pub fn pack(&self, record: &Bound<PyDict>) -> PyResult<()> {
        let rows = &self.rows;
        let put = |name: &str, packed: Vec<u8>| record.set_item(name, PyBytes::new(record.py(), &packed));
        let statuses = rows.iter().map(|row| row.status.map(Word::from)).collect();
        put("receipt_status", columns::optional(statuses, columns::uints))?;
        put("receipt_root", columns::optional(rows.iter().map(|row| row.root).collect(), columns::fixed))?;
        put("receipt_gas_used", columns::longs(rows.iter().map(|row| row.gas_used)))?;
        put("receipt_cumulative_gas_used", columns::longs(rows.iter().map(|row| row.cumulative_gas_used)))?;
        let prices = rows.iter().map(|row| row.price).collect();
        put("receipt_effective_gas_price", columns::optional(prices, columns::uints))?;
        let created = rows.iter().map(|row| row.contract).collect();
        put("receipt_contract_address", columns::optional(created, columns::fixed))?;
        let extras = rows.iter().map(|row| row.extra.as_deref()).collect();
        put("receipt_extra", columns::optional(extras, columns::blobs))
    }

    pub fn pack_logs<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let (record, logs) = (PyDict::new(py), &self.logs);
        let put = |name: &str, packed: Vec<u8>| record.set_item(name, PyBytes::new(py, &packed));
        record.set_item("count", logs.len())?;
        put("log_index", columns::longs(0..logs.len() as u64))?;
        put("transaction_index", columns::longs(logs.iter().map(|log| log.owner as u64)))?;
        put("address", columns::fixed(&logs.iter().map(|log| log.address).collect::<Vec<_>>()))?;
        for (position, name) in ["topic0", "topic1", "topic2", "topic3"].into_iter().enumerate() {
            let topics = logs.iter().map(|log| log.topics[position]).collect();
            put(name, columns::optional(topics, columns::fixed))?;
        }
        put("data", columns::blobs(&logs.iter().map(|log| &log.data).collect::<Vec<_>>()))?;
        Ok(record)
    }

    /// The columns of `Logs`, in its order, for whoever decodes them.
    pub fn log_columns<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyList>>> {
        let logs = &self.logs;
        let mut columns = vec![
            PyList::new(py, 0..logs.len())?,
            PyList::new(py, logs.iter().map(|log| log.owner))?,
            PyList::new(py, logs.iter().map(|log| PyBytes::new(py, &log.address)))?,
        ];
        for position in 0..MOST_TOPICS {
            let topics = logs.iter().map(|log| log.topics[position].map(|topic| PyBytes::new(py, &topic)));
            columns.push(PyList::new(py, topics)?);
        }
        columns.push(PyList::new(py, logs.iter().map(|log| PyBytes::new(py, &log.data)))?);
        Ok(columns)
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

fn read_log(item: Item, index: usize, owner: usize, hash: &str, place: &Place) -> Option<Log> {
    if !place.is_of(item, name!(item, "logIndex"), index)
        || fields::long(item, name!(item, "transactionIndex")) != Some(owner as u64)
        || !fields::says(item, name!(item, "transactionHash"), hash)
        || !fields::is_false_or_absent(item, name!(item, "removed"))
    {
        return None;
    }
    let told = fields::list(item, name!(item, "topics"))?;
    let mut topics = [None; MOST_TOPICS];
    if told.len() > MOST_TOPICS {
        return None;
    }
    for (topic, told) in topics.iter_mut().zip(told.iter()) {
        *topic = Some(hexes::octets(fields::text(&told)?)?);
    }
    Some(Log {
        owner,
        address: fields::octets(item, name!(item, "address"))?,
        topics,
        data: fields::read(item, name!(item, "data"), hexes::data)?,
    })
}

/// Whether a receipt has fields besides those that every client gives.
fn has_other_fields(item: Item) -> Option<bool> {
    let usual = [
        name!(item, "blockHash"),
        name!(item, "blockNumber"),
        name!(item, "contractAddress"),
        name!(item, "cumulativeGasUsed"),
        name!(item, "effectiveGasPrice"),
        name!(item, "from"),
        name!(item, "gasUsed"),
        name!(item, "logs"),
        name!(item, "logsBloom"),
        name!(item, "root"),
        name!(item, "status"),
        name!(item, "to"),
        name!(item, "transactionHash"),
        name!(item, "transactionIndex"),
        name!(item, "type"),
    ];
    let mut found = 0;
    for name in usual {
        found += usize::from(item.contains(name).ok()?);
    }
    Some(found != item.len())
}
