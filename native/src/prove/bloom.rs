//! The 2048-bit bloom filter of log addresses and topics (Yellow Paper 4.3.1).

use std::cell::RefCell;

use super::keccak::keccak256;

pub const SIZE: usize = 256; // bytes
pub type Bloom = [u8; SIZE];

const SLOT_BITS: u32 = 14;
const MIX: u64 = 0x9e37_79b9_7f4a_7c15;

#[derive(Clone, Copy)]
struct Slot {
    length: u8, // 0: empty
    key: [u8; 32],
    bits: [u16; 3],
}

thread_local! {
    // Tokens, events and busy accounts return in every block: looking a hash up costs a tenth of computing it.
    static KNOWN: RefCell<Vec<Slot>> =
        RefCell::new(vec![Slot { length: 0, key: [0; 32], bits: [0; 3] }; 1 << SLOT_BITS]);
}

/// Add the bits of an address or a topic.
pub fn add(bloom: &mut Bloom, key: &[u8]) {
    for bit in KNOWN.with_borrow_mut(|slots| bits(slots, key)) {
        bloom[SIZE - 1 - usize::from(bit >> 3)] |= 1 << (bit & 7);
    }
}

pub fn merge(bloom: &mut Bloom, other: &Bloom) {
    for (byte, more) in bloom.iter_mut().zip(other) {
        *byte |= more;
    }
}

fn bits(slots: &mut [Slot], key: &[u8]) -> [u16; 3] {
    let slot = &mut slots[place(key)];
    if usize::from(slot.length) != key.len() || slot.key[..key.len()] != *key {
        let hash = keccak256(key);
        slot.bits = [0, 2, 4].map(|at| u16::from_be_bytes([hash[at], hash[at + 1]]) & 2047);
        slot.key[..key.len()].copy_from_slice(key);
        slot.length = key.len() as u8;
    }
    slot.bits
}

/// Of 20 or 32 bytes; addresses in topics begin, and small numbers too, with zeros: the end tells them apart.
fn place(key: &[u8]) -> usize {
    let (mut first, mut last) = ([0; 8], [0; 8]);
    first.copy_from_slice(&key[..8]);
    last.copy_from_slice(&key[key.len() - 8..]);
    let mixed = (u64::from_le_bytes(first) ^ u64::from_le_bytes(last).rotate_left(29)).wrapping_mul(MIX);
    (mixed >> (64 - SLOT_BITS)) as usize
}
