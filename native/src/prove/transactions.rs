//! Transactions of types 0 to 4: read, checked against their own hash, and packed.

use std::ops::Range;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString};

use super::columns;
use super::fields::{self, name, Item, Place};
use super::hexes::{self, Word};
use super::keccak::keccak256;
use super::rlp;

const LAST_SIGNED_TYPE: u64 = 4;

pub struct Transaction<'py> {
    pub hash_text: Bound<'py, PyString>, // which receipts and logs repeat
    pub hash: [u8; 32],
    pub kind: u8,
    pub nonce: u64,
    pub from: [u8; 20],
    pub to: Option<[u8; 20]>,
    value: Word,
    gas: u64,
    pub gas_price: Word,
    pub cap: Option<Word>,
    pub tip: Option<Word>,
    input: Vec<u8>,
    pub v: Word,
    pub r: Word,
    pub s: Word,
    extra: Option<String>,
    /// The consensus encoding (EIP-2718).
    pub encoded: Vec<u8>,
    /// Where in it the items are that are signed: all but the signature, without the list's prefix.
    items: Range<usize>,
}

/// What reading needs to know of the chain.
pub struct Chain<'a, 'py> {
    pub id: u64,
    pub id_text: &'a str,
    /// What Python makes of an item's fields that no column holds.
    pub extra_of: &'a Bound<'py, PyAny>,
}

pub fn read_all<'py>(list: &Bound<'py, PyList>, place: &Place, chain: &Chain) -> Option<Vec<Transaction<'py>>> {
    let mut found = Vec::with_capacity(list.len());
    for (index, item) in list.iter().enumerate() {
        let item = fields::object(&item)?;
        if !place.is_of(item, name!(item, "transactionIndex"), index) {
            return None;
        }
        found.push(read(item, chain)?);
    }
    if found.iter().all(|each| each.kind == 0) {
        for each in &mut found {
            (each.cap, each.tip) = (None, None); // where all are legacy these fields mean nothing
        }
    }
    Some(found)
}

fn read<'py>(item: Item<'_, 'py>, chain: &Chain) -> Option<Transaction<'py>> {
    let kind = fields::read_optional(item, name!(item, "type"), hexes::long)?.unwrap_or(0);
    if kind > LAST_SIGNED_TYPE {
        return None;
    }
    let hash_text: Bound<PyString> = fields::get(item, name!(item, "hash"))?.downcast_into_exact().ok()?;
    let hash = hexes::octets(hash_text.to_str().ok()?)?;
    let (access_list, extra) = if kind == 0 { (None, None) } else { typed_fields(item, kind, chain)? };
    let mut transaction = Transaction {
        hash_text,
        hash,
        kind: kind as u8,
        nonce: fields::long(item, name!(item, "nonce"))?,
        from: fields::octets(item, name!(item, "from"))?,
        to: fields::read_optional(item, name!(item, "to"), hexes::octets)?,
        value: fields::word(item, name!(item, "value"))?,
        gas: fields::long(item, name!(item, "gas"))?,
        gas_price: fields::word(item, name!(item, "gasPrice"))?,
        cap: fields::read_optional(item, name!(item, "maxFeePerGas"), hexes::word)?,
        tip: fields::read_optional(item, name!(item, "maxPriorityFeePerGas"), hexes::word)?,
        input: fields::read(item, name!(item, "input"), hexes::data)?,
        v: sign(item, kind)?,
        r: fields::word(item, name!(item, "r"))?,
        s: fields::word(item, name!(item, "s"))?,
        extra,
        encoded: Vec::new(),
        items: 0..0,
    };
    transaction.encode(item, access_list, chain.id)?;
    (keccak256(&transaction.encoded) == transaction.hash).then_some(transaction)
}

/// The access list that is not empty, and the fields that no column holds as JSON.
type Typed<'py> = (Option<Bound<'py, PyList>>, Option<String>);

fn typed_fields<'py>(item: Item<'_, 'py>, kind: u64, chain: &Chain) -> Option<Typed<'py>> {
    if item.get_item(name!(item, "chainId")).ok()?.is_some_and(|id| fields::text(&id) != Some(chain.id_text)) {
        return None;
    }
    let access_list = match fields::get(item, name!(item, "accessList")) {
        Some(list) => Some(list.downcast_into_exact::<PyList>().ok()?).filter(|list| !list.is_empty()),
        None => None,
    };
    if kind <= 2 && access_list.is_none() {
        return Some((None, None));
    }
    Some((access_list, chain.extra_of.call1((item,)).ok()?.extract().ok()?))
}

fn sign(item: Item, kind: u64) -> Option<Word> {
    let v = fields::word(item, name!(item, "v"))?;
    let parity = if kind == 0 { None } else { fields::read_optional(item, name!(item, "yParity"), hexes::word)? };
    Some(parity.unwrap_or(v))
}

impl Transaction<'_> {
    fn encode(&mut self, item: Item, access_list: Option<Bound<PyList>>, chain_id: u64) -> Option<()> {
        let mut items = Vec::with_capacity(self.input.len() + 256);
        if self.kind > 0 {
            rlp::long(&mut items, chain_id);
        }
        rlp::long(&mut items, self.nonce);
        if self.kind < 2 {
            rlp::word(&mut items, self.gas_price);
        } else {
            rlp::word(&mut items, self.tip?);
            rlp::word(&mut items, self.cap?);
        }
        rlp::long(&mut items, self.gas);
        rlp::optional(&mut items, self.to.as_ref().map(|to| to.as_slice()));
        rlp::word(&mut items, self.value);
        rlp::string(&mut items, &self.input);
        if self.kind > 0 {
            encode_access_list(&mut items, access_list.as_ref())?;
        }
        match self.kind {
            3 => encode_blob_fields(&mut items, item)?,
            4 => encode_authorizations(&mut items, item)?,
            _ => (),
        }
        let unsigned = items.len();
        for number in [self.v, self.r, self.s] {
            rlp::word(&mut items, number);
        }
        self.encoded = self.envelope(&items);
        let start = self.encoded.len() - items.len();
        self.items = start..start + unsigned;
        Some(())
    }

    fn envelope(&self, payload: &[u8]) -> Vec<u8> {
        let mut encoded = Vec::with_capacity(payload.len() + 10);
        if self.kind > 0 {
            encoded.push(self.kind);
        }
        rlp::list(&mut encoded, payload);
        encoded
    }

    /// The hash that was signed, and which of the keys that fit r and s has signed it.
    pub fn signed(&self) -> Option<([u8; 32], u8)> {
        let v = if self.v.high == 0 { self.v.low } else { return None };
        let mut items = self.encoded[self.items.clone()].to_vec();
        let parity = match (self.kind, v) {
            (0, 35..) => {
                rlp::word(&mut items, Word::from((v - 35) >> 1)); // EIP-155
                items.extend([rlp::EMPTY_STRING; 2]);
                (v - 35) & 1
            }
            (0, _) => v.checked_sub(27)?,
            _ => v,
        };
        (parity < 4).then(|| (keccak256(&self.envelope(&items)), parity as u8))
    }
}

fn encode_access_list(out: &mut Vec<u8>, access_list: Option<&Bound<PyList>>) -> Option<()> {
    let Some(access_list) = access_list else {
        out.push(rlp::EMPTY_LIST);
        return Some(());
    };
    let mut entries = Vec::new();
    for entry in access_list.iter() {
        let entry = fields::object(&entry)?;
        let mut keys = Vec::new();
        for key in fields::list(entry, name!(entry, "storageKeys"))?.iter() {
            rlp::string(&mut keys, &hexes::octets::<32>(fields::text(&key)?)?);
        }
        let mut payload = Vec::new();
        rlp::string(&mut payload, &fields::octets::<20>(entry, name!(entry, "address"))?);
        rlp::list(&mut payload, &keys);
        rlp::list(&mut entries, &payload);
    }
    rlp::list(out, &entries);
    Some(())
}

/// EIP-4844
fn encode_blob_fields(out: &mut Vec<u8>, item: Item) -> Option<()> {
    rlp::word(out, fields::word(item, name!(item, "maxFeePerBlobGas"))?);
    let mut hashes = Vec::new();
    for hash in fields::list(item, name!(item, "blobVersionedHashes"))?.iter() {
        rlp::string(&mut hashes, &hexes::octets::<32>(fields::text(&hash)?)?);
    }
    rlp::list(out, &hashes);
    Some(())
}

/// EIP-7702
fn encode_authorizations(out: &mut Vec<u8>, item: Item) -> Option<()> {
    let mut entries = Vec::new();
    for entry in fields::list(item, name!(item, "authorizationList"))?.iter() {
        let entry = fields::object(&entry)?;
        let mut payload = Vec::new();
        rlp::word(&mut payload, fields::word(entry, name!(entry, "chainId"))?);
        rlp::string(&mut payload, &fields::octets::<20>(entry, name!(entry, "address"))?);
        for number in [name!(entry, "nonce"), name!(entry, "yParity"), name!(entry, "r"), name!(entry, "s")] {
            rlp::word(&mut payload, fields::word(entry, number)?);
        }
        rlp::list(&mut entries, &payload);
    }
    rlp::list(out, &entries);
    Some(())
}

/// Put the columns that are the transactions' own into `record`.
pub fn pack(record: &Bound<PyDict>, rows: &[Transaction]) -> PyResult<()> {
    let words = |read: fn(&Transaction) -> Word| columns::uints(&rows.iter().map(read).collect::<Vec<_>>());
    let fees =
        |read: fn(&Transaction) -> Option<Word>| columns::optional(rows.iter().map(read).collect(), columns::uints);
    let put = |name: &str, packed: Vec<u8>| record.set_item(name, pyo3::types::PyBytes::new(record.py(), &packed));
    record.set_item("count", rows.len())?;
    put("hash", columns::fixed(&rows.iter().map(|row| row.hash).collect::<Vec<_>>()))?;
    put("type", columns::longs(rows.iter().map(|row| row.kind.into())))?;
    put("nonce", columns::longs(rows.iter().map(|row| row.nonce)))?;
    put("from_address", columns::fixed(&rows.iter().map(|row| row.from).collect::<Vec<_>>()))?;
    put("to_address", columns::optional(rows.iter().map(|row| row.to).collect(), columns::fixed))?;
    put("value", words(|row| row.value))?;
    put("gas", columns::longs(rows.iter().map(|row| row.gas)))?;
    put("gas_price", words(|row| row.gas_price))?;
    put("max_fee_per_gas", fees(|row| row.cap))?;
    put("max_priority_fee_per_gas", fees(|row| row.tip))?;
    put("input", columns::blobs(&rows.iter().map(|row| &row.input).collect::<Vec<_>>()))?;
    put("v", words(|row| row.v))?;
    put("r", words(|row| row.r))?;
    put("s", words(|row| row.s))?;
    put("extra", columns::optional(rows.iter().map(|row| row.extra.as_deref()).collect(), columns::blobs))
}
