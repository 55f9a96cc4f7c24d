//! A node's answers to proven, packed columns: either a block is usual and all that is asked holds, or None.
//!
//! None says nothing about the block: indexer/chain/parse.py and verify.py then decide, and name what is wrong.

mod bloom;
mod columns;
mod fields;
mod hexes;
mod keccak;
mod receipts;
mod rlp;
mod transactions;
mod transfers;
mod trie;

use std::collections::HashSet;
use std::panic::{catch_unwind, AssertUnwindSafe};

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyFrozenSet, PyList};

use crate::json::Reader;
use columns::Record;
use fields::Place;
use hexes::Word;
use keccak::keccak256;
use receipts::Receipts;
use transactions::{Chain, Transaction};

/// What Python has read and decided already; `prove.Task` of indexer/chain/prove.py.
#[derive(FromPyObject)]
struct Task<'py> {
    chain_id: u64,
    chain_id_text: String,
    block_hash: String,
    block_number: String,
    transactions_root: Bound<'py, PyBytes>,
    receipts_root: Bound<'py, PyBytes>,
    logs_bloom: Bound<'py, PyBytes>,
    gas_used: u64,
    base_fee: u128,
    /// Whether receipts and logs are under this header's root and bloom filter.
    execution: bool,
    /// Whether the header counts gas as the receipts do.
    gas: bool,
    /// Whether the chain's rule for the price that is paid is known.
    prices: bool,
    /// Whether a transaction of nobody is outside of the roots.
    state_sync: bool,
    /// The transaction from which on one is sought whose sender is recovered.
    sample: Option<usize>,
    /// Contracts whose Deposit and Withdrawal are token transfers.
    wrapped: Bound<'py, PyFrozenSet>,
    /// First topics of the logs whose columns are wanted.
    topics: Bound<'py, PyFrozenSet>,
    transaction_extra: Bound<'py, PyAny>,
    receipt_extra: Bound<'py, PyAny>,
}

/// A dict in Python.
#[derive(IntoPyObject)]
struct Proven<'py> {
    /// `transactions`, `logs` and `token_transfers` of the schema, encoded.
    transactions: Bound<'py, PyBytes>,
    logs: Bound<'py, PyBytes>,
    token_transfers: Bound<'py, PyBytes>,
    /// The columns of `Logs` in its order, of the logs that are wanted.
    log_columns: Vec<Bound<'py, PyList>>,
    prices_are_told: bool,
    sample: Option<Sample<'py>>,
}

/// What a sender is recovered from: who is said to be it, what was signed, and r, s and which key fits.
type Sample<'py> = (Bound<'py, PyBytes>, Bound<'py, PyBytes>, Bound<'py, PyBytes>);

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(prove_block, module)?)
}

/// Return the columns of a usual block that is what its header says; None for any other, and for what is no block.
#[pyfunction]
fn prove_block<'py>(block: &[u8], receipts: &[u8], task: &Bound<'py, PyAny>) -> Option<Proven<'py>> {
    catch_unwind(AssertUnwindSafe(|| prove_usual(block, receipts, task))).ok().flatten()
}

fn prove_usual<'py>(block: &[u8], receipts: &[u8], task: &Bound<'py, PyAny>) -> Option<Proven<'py>> {
    let py = task.py();
    let task: Task = task.extract().ok()?;
    let place = Place { hash: &task.block_hash, number: &task.block_number };
    let chain = Chain { id: task.chain_id, id_text: &task.chain_id_text, extra_of: &task.transaction_extra };
    let transactions = read_block(block, &place, &chain)?;
    let mut reader = Reader::new(receipts)?;
    let receipts = Receipts::read(&mut reader, &transactions, &place, &task.receipt_extra)?;
    reader.end()?;
    if !are_distinct(&transactions) || (task.state_sync && transactions.iter().any(|each| each.from == [0; 20])) {
        return None;
    }
    let holds = is_root_of(&task.transactions_root, transactions.iter().map(|each| &each.encoded))
        && (!task.gas || gas_adds_up(&receipts, task.gas_used))
        && (!task.execution || is_executed(&task, &transactions, &receipts))
        && transactions.iter().zip(&receipts.rows).all(|(own, receipt)| is_created_there(own, receipt));
    if !holds || (task.prices && !prices_hold(&transactions, &receipts, task.base_fee)?) {
        return None;
    }
    answer(py, &task, &transactions, &receipts)
}

/// The transactions; what else a block has is read by Python.
fn read_block<'a>(block: &'a [u8], place: &Place, chain: &Chain) -> Option<Vec<Transaction<'a>>> {
    let (mut reader, mut found) = (Reader::new(block)?, None);
    reader.object(|reader, name| match name {
        "transactions" => found.replace(transactions::read_all(reader, place, chain)?).is_none().then_some(()),
        _ => reader.span().map(|_| ()),
    })?;
    reader.end()?;
    found
}

fn answer<'py>(
    py: Python<'py>,
    task: &Task<'py>,
    transactions: &[Transaction],
    receipts: &Receipts,
) -> Option<Proven<'py>> {
    let mut record = Record::new(transactions.len());
    transactions::pack(&mut record, transactions);
    receipts.pack(&mut record);
    Some(Proven {
        transactions: PyBytes::new(py, &record.into_bytes()),
        logs: PyBytes::new(py, &receipts.pack_logs().into_bytes()),
        token_transfers: PyBytes::new(py, &transfers::pack(&receipts.logs, &task.wrapped).ok()?.into_bytes()),
        log_columns: receipts.log_columns(&task.topics).ok()?,
        prices_are_told: receipts.rows.iter().all(|row| row.price.is_some()),
        sample: match task.sample {
            Some(start) => sample(py, transactions, start)?,
            None => None,
        },
    })
}

fn are_distinct(transactions: &[Transaction]) -> bool {
    let mut seen = HashSet::with_capacity(transactions.len());
    transactions.iter().all(|each| seen.insert(each.hash))
}

fn is_root_of<'a>(told: &Bound<PyBytes>, values: impl Iterator<Item = &'a Vec<u8>>) -> bool {
    trie::ordered_root(values.map(Vec::as_slice)) == told.as_bytes()
}

fn gas_adds_up(receipts: &Receipts, total: u64) -> bool {
    let mut sum = 0u64;
    receipts.rows.iter().all(|row| {
        sum = sum.saturating_add(row.gas_used);
        sum == row.cumulative_gas_used
    }) && sum == total
}

fn is_executed(task: &Task, transactions: &[Transaction], receipts: &Receipts) -> bool {
    let (encoded, bloom) = receipts.encode(transactions);
    bloom == task.logs_bloom.as_bytes() && is_root_of(&task.receipts_root, encoded.iter())
}

/// Whether a receipt tells the right address of a created contract (Yellow Paper 7), or rightly none.
fn is_created_there(own: &Transaction, receipt: &receipts::Receipt) -> bool {
    if own.to.is_some() || (receipt.contract.is_none() && receipt.status != Some(1)) {
        return receipt.contract.is_none();
    }
    let (mut payload, mut encoded) = (Vec::with_capacity(30), Vec::with_capacity(31));
    rlp::string(&mut payload, &own.from);
    rlp::long(&mut payload, own.nonce);
    rlp::list(&mut encoded, &payload);
    receipt.contract.is_some_and(|told| told == keccak256(&encoded)[12..])
}

/// Whether each price that is told is the transaction's own, or with EIP-1559 base fee and tip up to the cap.
fn prices_hold(transactions: &[Transaction], receipts: &Receipts, base_fee: u128) -> Option<bool> {
    for (own, receipt) in transactions.iter().zip(&receipts.rows) {
        let price =
            if own.kind < 2 { own.gas_price } else { Word::from(base_fee).checked_add(own.tip?)?.min(own.cap?) };
        if receipt.price.is_some_and(|paid| paid != price) {
            return Some(false);
        }
    }
    Some(true)
}

/// The first transaction from `start` on that is signed; None at all where its signature cannot be one.
fn sample<'py>(py: Python<'py>, transactions: &[Transaction], start: usize) -> Option<Option<Sample<'py>>> {
    let (before, after) = transactions.split_at_checked(start)?;
    let Some(drawn) = after.iter().chain(before).find(|each| !each.r.is_zero() || !each.s.is_zero()) else {
        return Some(None);
    };
    let (digest, key) = drawn.signed()?;
    let mut signature = Vec::with_capacity(65);
    signature.extend_from_slice(&drawn.r.to_bytes());
    signature.extend_from_slice(&drawn.s.to_bytes());
    signature.push(key);
    let bytes = |value: &[u8]| PyBytes::new(py, value);
    Some(Some((bytes(&drawn.from), bytes(&digest), bytes(&signature))))
}
