//! What transfers do to balances: one change a (token, id, holder), in the order in which they were met first.

use std::collections::HashMap;

use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::columns::{Column, Kind, Need};
use super::copy::put_blob;
use super::numeric::{put, Wide};
use super::record::Record;

type Address = [u8; 20];

#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    token: Address,
    id: [u8; 32],
    holder: Address,
}

#[pyclass]
#[derive(Default)]
pub struct Deltas {
    at: HashMap<Key, usize>,
    changes: Vec<(Key, Wide)>,
}

struct Transfer {
    token: Address,
    id: [u8; 32],
    sender: Address,
    receiver: Address,
    amount: Wide,
}

#[pymethods]
impl Deltas {
    #[new]
    fn new() -> Self {
        Deltas::default()
    }

    fn __len__(&self) -> usize {
        self.changes.len()
    }

    /// Adds the transfers of a record of `blocks.decoded`; returns false, and adds none, when it cannot read them.
    fn add_record(&mut self, value: &[u8]) -> bool {
        Record::read(value)
            .and_then(|record| {
                let [_, _, token, _, _, sender, receiver, id, amount] = record.transfers.columns;
                transfers(record.transfers.count, token, id, sender, receiver, amount)
            })
            .is_some_and(|found| self.add_all(found))
    }

    /// Adds transfers of packed columns; returns false, and adds none, when they contradict each other.
    fn add(
        &mut self,
        count: usize,
        token: &[u8],
        id: &[u8],
        sender: &[u8],
        receiver: &[u8],
        amount: &[u8],
    ) -> bool {
        transfers(count, token, id, sender, receiver, amount)
            .is_some_and(|found| self.add_all(found))
    }

    /// Returns the changes that are not zero as rows (token_address, token_id, holder, delta).
    fn rows<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        let mut out = Vec::with_capacity(self.changes.len() * 96);
        for (key, delta) in self.changes.iter().filter(|(_, delta)| !delta.is_zero()) {
            out.extend_from_slice(&4u16.to_be_bytes());
            put_blob(&mut out, &key.token)?;
            put(&mut out, &Wide::from_bytes(&key.id)?);
            put_blob(&mut out, &key.holder)?;
            put(&mut out, delta);
        }
        Some(PyBytes::new(py, &out))
    }
}

impl Deltas {
    fn add_all(&mut self, found: Vec<Transfer>) -> bool {
        for Transfer {
            token,
            id,
            sender,
            receiver,
            amount,
        } in found
        {
            self.change(token, id, sender, |balance| balance.subtract(&amount));
            self.change(token, id, receiver, |balance| balance.add(&amount));
        }
        true
    }

    /// The zero address holds nothing: mint, burn, deposit, withdrawal.
    fn change(
        &mut self,
        token: Address,
        id: [u8; 32],
        holder: Address,
        by: impl FnOnce(&mut Wide),
    ) {
        if holder == Address::default() {
            return;
        }
        let key = Key { token, id, holder };
        let next = self.changes.len();
        let at = *self.at.entry(key.clone()).or_insert(next);
        if at == next {
            self.changes.push((key, Wide::default()));
        }
        if let Some((_, delta)) = self.changes.get_mut(at) {
            by(delta);
        }
    }
}

fn transfers(
    count: usize,
    token: &[u8],
    id: &[u8],
    sender: &[u8],
    receiver: &[u8],
    amount: &[u8],
) -> Option<Vec<Transfer>> {
    let column = |kind, data| Column::new(kind, Need::Always, data, count);
    let (mut tokens, mut ids) = (column(Kind::Fixed(20), token)?, column(Kind::Numeric, id)?);
    let mut senders = column(Kind::Fixed(20), sender)?;
    let mut receivers = column(Kind::Fixed(20), receiver)?;
    let mut amounts = column(Kind::Numeric, amount)?;
    let mut found = Vec::with_capacity(count); // which the columns have bounded
    for _ in 0..count {
        let mut wide = [0; 32];
        let id = ids.next_value()?;
        wide.get_mut(32 - id.len().min(32)..)?.copy_from_slice(id);
        found.push(Transfer {
            token: tokens.next_value()?.try_into().ok()?,
            id: wide,
            sender: senders.next_value()?.try_into().ok()?,
            receiver: receivers.next_value()?.try_into().ok()?,
            amount: Wide::from_bytes(amounts.next_value()?)?,
        });
    }
    Some(found)
}
