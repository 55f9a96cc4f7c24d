//! Transactions of types 0 to 4: read, checked against their own hash, and packed.

use std::ops::Range;

use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::columns::{self, Record};
use super::fields::{self, members, Member, Place};
use super::hexes::{self, Word};
use super::keccak::keccak256;
use super::rlp;
use crate::json::Reader;

const FIRST_TYPE_WITH_FEES: u64 = 2;
const LAST_SIGNED_TYPE: u64 = 4;

// in the order in which geth writes them: what is looked for first is mostly what is there
members!(Item {
    block_hash: "blockHash",
    block_number: "blockNumber",
    from: "from",
    gas: "gas",
    gas_price: "gasPrice",
    tip: "maxPriorityFeePerGas",
    cap: "maxFeePerGas",
    hash: "hash",
    input: "input",
    nonce: "nonce",
    to: "to",
    index: "transactionIndex",
    value: "value",
    kind: "type",
    access_list: "accessList",
    chain_id: "chainId",
    v: "v",
    r: "r",
    s: "s",
    parity: "yParity",
    blob_cap: "maxFeePerBlobGas",
    blob_hashes: "blobVersionedHashes",
    authorizations: "authorizationList",
});

members!(Access { address: "address", keys: "storageKeys" });

members!(Authorization { chain_id: "chainId", address: "address", nonce: "nonce", parity: "yParity", r: "r", s: "s" });

pub struct Transaction<'a> {
    pub hash_text: &'a str, // which receipts and logs repeat
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

pub fn read_all<'a>(reader: &mut Reader<'a>, place: &Place, chain: &Chain) -> Option<Vec<Transaction<'a>>> {
    let mut found = Vec::new();
    reader.list(|reader, index| {
        let start = reader.here();
        let mut item = Item::default();
        reader.object(|reader, name| match item.member(name) {
            Some(member) => member.fill(reader),
            None => reader.span().map(|_| ()),
        })?;
        if !place.is_of(item.block_hash, item.block_number, item.index, index) {
            return None;
        }
        found.push(read(&item, reader.since(start), chain)?);
        Some(())
    })?;
    Some(found)
}

/// `json`: the whole item.
fn read<'a>(item: &Item<'a>, json: &str, chain: &Chain) -> Option<Transaction<'a>> {
    let kind = item.kind.read_optional(hexes::long)?.unwrap_or(0);
    if kind > LAST_SIGNED_TYPE {
        return None;
    }
    let (access_list, extra) = if kind == 0 { (None, None) } else { typed_fields(item, json, kind, chain)? };
    let mut transaction = Transaction {
        hash_text: item.hash.text()?,
        hash: item.hash.octets()?,
        kind: kind as u8,
        nonce: item.nonce.long()?,
        from: item.from.octets()?,
        to: item.to.read_optional(hexes::octets)?,
        value: item.value.word()?,
        gas: item.gas.long()?,
        gas_price: item.gas_price.word()?,
        cap: fee(item.cap, kind)?,
        tip: fee(item.tip, kind)?,
        input: item.input.read(hexes::data)?,
        v: sign(item, kind)?,
        r: item.r.word()?,
        s: item.s.word()?,
        extra,
        encoded: Vec::new(),
        items: 0..0,
    };
    transaction.encode(item, access_list, chain.id)?;
    (keccak256(&transaction.encoded) == transaction.hash).then_some(transaction)
}

/// The access list that is not empty, and the fields that no column holds as JSON.
type Typed<'a> = (Option<Member<'a>>, Option<String>);

fn typed_fields<'a>(item: &Item<'a>, json: &str, kind: u64, chain: &Chain) -> Option<Typed<'a>> {
    if !item.chain_id.is_absent() && !item.chain_id.says(chain.id_text) {
        return None;
    }
    let access_list = item.access_list.filled_list()?;
    if kind <= 2 && access_list.is_none() {
        return Some((None, None));
    }
    let json = PyBytes::new(chain.extra_of.py(), json.as_bytes());
    Some((access_list, chain.extra_of.call1((json,)).ok()?.extract().ok()?))
}

/// A field of EIP-1559; some nodes fill it in for the types before, which do not have it.
fn fee(told: Member, kind: u64) -> Option<Option<Word>> {
    if kind < FIRST_TYPE_WITH_FEES {
        return Some(None);
    }
    told.read_optional(hexes::word)
}

fn sign(item: &Item, kind: u64) -> Option<Word> {
    let v = item.v.word()?;
    let parity = if kind == 0 { None } else { item.parity.read_optional(hexes::word)? };
    Some(parity.unwrap_or(v))
}

impl Transaction<'_> {
    fn encode(&mut self, item: &Item, access_list: Option<Member>, chain_id: u64) -> Option<()> {
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
            encode_access_list(&mut items, access_list)?;
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

fn encode_access_list(out: &mut Vec<u8>, access_list: Option<Member>) -> Option<()> {
    let mut entries = Vec::new();
    if let Some(access_list) = access_list {
        access_list.each(|reader, _| encode_access(&mut entries, reader))?;
    }
    rlp::list(out, &entries);
    Some(())
}

fn encode_access(entries: &mut Vec<u8>, reader: &mut Reader) -> Option<()> {
    let mut access = Access::default();
    reader.object(|reader, name| match access.member(name) {
        Some(member) => member.fill(reader),
        None => reader.span().map(|_| ()),
    })?;
    let (mut keys, mut payload) = (Vec::new(), Vec::new());
    access.keys.each(|reader, _| Some(rlp::string(&mut keys, &fields::octets::<32>(reader)?)))?;
    rlp::string(&mut payload, &access.address.octets::<20>()?);
    rlp::list(&mut payload, &keys);
    rlp::list(entries, &payload);
    Some(())
}

/// EIP-4844
fn encode_blob_fields(out: &mut Vec<u8>, item: &Item) -> Option<()> {
    rlp::word(out, item.blob_cap.word()?);
    let mut hashes = Vec::new();
    item.blob_hashes.each(|reader, _| Some(rlp::string(&mut hashes, &fields::octets::<32>(reader)?)))?;
    rlp::list(out, &hashes);
    Some(())
}

/// EIP-7702
fn encode_authorizations(out: &mut Vec<u8>, item: &Item) -> Option<()> {
    let mut entries = Vec::new();
    item.authorizations.each(|reader, _| encode_authorization(&mut entries, reader))?;
    rlp::list(out, &entries);
    Some(())
}

fn encode_authorization(entries: &mut Vec<u8>, reader: &mut Reader) -> Option<()> {
    let mut entry = Authorization::default();
    reader.object(|reader, name| match entry.member(name) {
        Some(member) => member.fill(reader),
        None => reader.span().map(|_| ()),
    })?;
    let mut payload = Vec::new();
    rlp::word(&mut payload, entry.chain_id.word()?);
    rlp::string(&mut payload, &entry.address.octets::<20>()?);
    for number in [entry.nonce, entry.parity, entry.r, entry.s] {
        rlp::word(&mut payload, number.word()?);
    }
    rlp::list(entries, &payload);
    Some(())
}

/// Put the columns that are the transactions' own into `record`, in the order of the schema.
pub fn pack(record: &mut Record, rows: &[Transaction]) {
    let words = |read: fn(&Transaction) -> Word| columns::uints(&rows.iter().map(read).collect::<Vec<_>>());
    let fees =
        |read: fn(&Transaction) -> Option<Word>| columns::optional(rows.iter().map(read).collect(), columns::uints);
    record.put(columns::fixed(&rows.iter().map(|row| row.hash).collect::<Vec<_>>()));
    record.put(columns::longs(rows.iter().map(|row| row.kind.into())));
    record.put(columns::longs(rows.iter().map(|row| row.nonce)));
    record.put(columns::fixed(&rows.iter().map(|row| row.from).collect::<Vec<_>>()));
    record.put(columns::optional(rows.iter().map(|row| row.to).collect(), columns::fixed));
    record.put(words(|row| row.value));
    record.put(columns::longs(rows.iter().map(|row| row.gas)));
    record.put(words(|row| row.gas_price));
    record.put(fees(|row| row.cap));
    record.put(fees(|row| row.tip));
    record.put(columns::blobs(&rows.iter().map(|row| &row.input).collect::<Vec<_>>()));
    record.put(words(|row| row.v));
    record.put(words(|row| row.r));
    record.put(words(|row| row.s));
    record.put(columns::optional(rows.iter().map(|row| row.extra.as_deref()).collect(), columns::blobs));
}
