//! Recursive Length Prefix (Yellow Paper, appendix B), written into buffers.

use super::hexes::Word;

const STRING: u8 = 0x80;
const LIST: u8 = 0xc0;
pub const EMPTY_STRING: u8 = STRING;

fn prefix(out: &mut Vec<u8>, length: usize, short: u8) {
    if length < 56 {
        out.push(short + length as u8);
    } else {
        let bytes = (length as u64).to_be_bytes();
        let bytes = without_zeros(&bytes);
        out.push(short + 55 + bytes.len() as u8);
        out.extend_from_slice(bytes);
    }
}

fn without_zeros(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|&&byte| byte == 0).count();
    &bytes[zeros..]
}

pub fn string(out: &mut Vec<u8>, value: &[u8]) {
    if value.len() != 1 || value[0] >= STRING {
        prefix(out, value.len(), STRING);
    }
    out.extend_from_slice(value);
}

/// A number of any size, big-endian.
fn integer(out: &mut Vec<u8>, bytes: &[u8]) {
    string(out, without_zeros(bytes));
}

pub fn long(out: &mut Vec<u8>, value: u64) {
    integer(out, &value.to_be_bytes());
}

pub fn word(out: &mut Vec<u8>, value: Word) {
    if value.high == 0 {
        integer(out, &value.low.to_be_bytes());
    } else {
        integer(out, &value.to_bytes());
    }
}

pub fn optional(out: &mut Vec<u8>, value: Option<&[u8]>) {
    match value {
        Some(value) => string(out, value),
        None => out.push(EMPTY_STRING),
    }
}

/// What stands before the items of a list that are `length` bytes together.
pub fn list_prefix(out: &mut Vec<u8>, length: usize) {
    prefix(out, length, LIST);
}

/// The list of items that are encoded already.
pub fn list(out: &mut Vec<u8>, payload: &[u8]) {
    list_prefix(out, payload.len());
    out.extend_from_slice(payload);
}
