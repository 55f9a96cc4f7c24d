//! The fields of a `decoded_block` record, version 1 (schemas/decoded_block/1.avsc), in its order.

use super::avro::Reader;

const REASONS: usize = 5;
const WIRE_HEADER: usize = 5; // 0x00 and the schema's id, which the caller has looked at

pub struct Record<'a> {
    pub chain_id: i64,
    pub generation: i64,
    pub job_id: Option<i64>,
    pub reason: usize,
    pub model_version: i64,
    pub proofs: i64,
    pub undecoded_logs: &'a [u8],
    pub header: Header<'a>,
    pub transactions: Struct<'a, 22>,
    pub logs: Struct<'a, 8>,
    pub transfers: Struct<'a, 9>,
    pub events: Struct<'a, 4>,
}

pub struct Header<'a> {
    pub number: i64,
    pub hash: &'a [u8],
    pub parent_hash: &'a [u8],
    pub sha3_uncles: &'a [u8],
    pub miner: &'a [u8],
    pub state_root: &'a [u8],
    pub transactions_root: &'a [u8],
    pub receipts_root: &'a [u8],
    pub logs_bloom: &'a [u8],
    pub difficulty: &'a [u8],
    pub gas_limit: i64,
    pub gas_used: i64,
    pub timestamp: i64,
    pub extra_data: &'a [u8],
    pub size: i64,
    pub mix_hash: Option<&'a [u8]>,
    pub nonce: Option<&'a [u8]>,
    pub base_fee_per_gas: Option<&'a [u8]>,
    pub total_difficulty: Option<&'a [u8]>,
    pub withdrawals_root: Option<&'a [u8]>,
    pub blob_gas_used: Option<i64>,
    pub excess_blob_gas: Option<i64>,
    pub extra: Vec<(&'a [u8], &'a [u8])>,
    pub uncles: &'a [u8],
}

/// A struct of arrays: how many rows, and the bytes of each column.
pub struct Struct<'a, const COLUMNS: usize> {
    pub count: usize,
    pub columns: [&'a [u8]; COLUMNS],
}

impl<'a> Record<'a> {
    /// Fields in the order of the schema; a struct expression evaluates them as they are written.
    pub fn read(value: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(value.get(WIRE_HEADER..)?);
        let r = &mut reader;
        let record = Record {
            chain_id: r.long()?,
            generation: r.long()?,
            job_id: r.maybe(Reader::long)?,
            reason: r.position(REASONS)?,
            model_version: r.long()?,
            proofs: r.long()?,
            undecoded_logs: r.bytes()?,
            header: Header::read(r)?,
            transactions: Struct::read(r)?,
            logs: Struct::read(r)?,
            transfers: Struct::read(r)?,
            events: Struct::read(r)?,
        };
        reader.is_at_end().then_some(record)
    }
}

impl<'a> Header<'a> {
    fn read(r: &mut Reader<'a>) -> Option<Self> {
        Some(Header {
            number: r.long()?,
            hash: r.fixed(32)?,
            parent_hash: r.fixed(32)?,
            sha3_uncles: r.fixed(32)?,
            miner: r.fixed(20)?,
            state_root: r.fixed(32)?,
            transactions_root: r.fixed(32)?,
            receipts_root: r.fixed(32)?,
            logs_bloom: r.fixed(256)?,
            difficulty: r.bytes()?,
            gas_limit: r.long()?,
            gas_used: r.long()?,
            timestamp: r.long()?,
            extra_data: r.bytes()?,
            size: r.long()?,
            mix_hash: r.maybe(|r| r.fixed(32))?,
            nonce: r.maybe(|r| r.fixed(8))?,
            base_fee_per_gas: r.maybe(Reader::bytes)?,
            total_difficulty: r.maybe(Reader::bytes)?,
            withdrawals_root: r.maybe(|r| r.fixed(32))?,
            blob_gas_used: r.maybe(Reader::long)?,
            excess_blob_gas: r.maybe(Reader::long)?,
            extra: r.map()?,
            uncles: r.bytes()?,
        })
    }
}

impl<'a, const COLUMNS: usize> Struct<'a, COLUMNS> {
    fn read(r: &mut Reader<'a>) -> Option<Self> {
        let count = r.position(i32::MAX as usize)?;
        let mut columns = [&[][..]; COLUMNS];
        for column in &mut columns {
            *column = r.bytes()?;
        }
        Some(Struct { count, columns })
    }
}
