//! Column layouts: all values of a column in one run of bytes (indexer/codec/columns.py has the twin of each).

use super::hexes::Word;

/// A struct of columns as Avro has it: how many rows, and each column after its length.
pub struct Record(Vec<u8>);

impl Record {
    pub fn new(rows: usize) -> Self {
        let mut record = Record(Vec::new());
        record.number(rows);
        record
    }

    pub fn put(&mut self, column: Vec<u8>) {
        self.number(column.len());
        self.0.extend(column);
    }

    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// Zig-zag, 7 bits a byte.
    fn number(&mut self, value: usize) {
        let mut rest = (value as u64) << 1;
        while rest > 0x7f {
            self.0.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        self.0.push(rest as u8);
    }
}

const ALL_PRESENT: u8 = 1;
const SOME_PRESENT: u8 = 2;

pub fn fixed<const N: usize>(values: &[[u8; N]]) -> Vec<u8> {
    values.as_flattened().to_vec()
}

/// Numbers, all as wide as the largest needs: 1, 2, 4, 8, 16 or 32 bytes.
pub fn uints(values: &[Word]) -> Vec<u8> {
    let Some(most) = values.iter().max() else { return Vec::new() };
    let width = match 256 - leading_zeros(most) {
        0..=8 => 1,
        9..=16 => 2,
        17..=32 => 4,
        33..=64 => 8,
        65..=128 => 16,
        _ => 32,
    };
    let mut packed = Vec::with_capacity(values.len() * width);
    for value in values {
        packed.extend_from_slice(&value.to_bytes()[32 - width..]);
    }
    packed
}

fn leading_zeros(value: &Word) -> u32 {
    if value.high == 0 {
        128 + value.low.leading_zeros()
    } else {
        value.high.leading_zeros()
    }
}

pub fn longs(values: impl Iterator<Item = u64>) -> Vec<u8> {
    uints(&values.map(Word::from).collect::<Vec<_>>())
}

pub fn blobs<T: AsRef<[u8]>>(values: &[T]) -> Vec<u8> {
    let total: usize = values.iter().map(|value| 4 + value.as_ref().len()).sum();
    let mut packed = Vec::with_capacity(total);
    for value in values {
        packed.extend_from_slice(&(value.as_ref().len() as u32).to_be_bytes());
    }
    for value in values {
        packed.extend_from_slice(value.as_ref());
    }
    packed
}

/// Nothing when no row has a value; else whether all have one, which, and those that there are.
pub fn optional<T>(values: Vec<Option<T>>, pack: impl Fn(&[T]) -> Vec<u8>) -> Vec<u8> {
    let mask: Vec<u8> = values.iter().map(|value| value.is_some().into()).collect();
    let present: Vec<T> = values.into_iter().flatten().collect();
    if present.is_empty() {
        return Vec::new();
    }
    let mut packed = vec![SOME_PRESENT];
    if present.len() == mask.len() {
        packed[0] = ALL_PRESENT;
    } else {
        packed.extend(mask);
    }
    packed.extend(pack(&present));
    packed
}
