//! Integers of 320 bits, wide enough for every sum of 256-bit amounts, and PostgreSQL's `numeric` of them.

const GROUP: u64 = 10_000;
const E8: u64 = 100_000_000;
const E16: u64 = E8 * E8;
const E24: u128 = E16 as u128 * E8 as u128;
const LIMBS: usize = 5;
const MOST_GROUPS: usize = 28; // 7 divisions by 10^16 exhaust 320 bits

/// Little-endian limbs; two's complement where a sign matters.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Wide([u64; LIMBS]);

impl Wide {
    /// Returns an unsigned number of up to 32 big-endian bytes.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        if bytes.len() > 32 {
            return None;
        }
        let mut limbs = [0; LIMBS];
        for (limb, chunk) in limbs.iter_mut().zip(bytes.rchunks(8)) {
            *limb = u64_of(chunk);
        }
        Some(Wide(limbs))
    }

    pub fn add(&mut self, other: &Wide) {
        let mut carry = false;
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            let (sum, over) = mine.overflowing_add(theirs);
            let (sum, over_again) = sum.overflowing_add(u64::from(carry));
            *mine = sum;
            carry = over | over_again;
        }
    }

    pub fn subtract(&mut self, other: &Wide) {
        self.add(&other.negated());
    }

    pub fn is_zero(&self) -> bool {
        self.0 == [0; LIMBS]
    }

    fn negated(&self) -> Wide {
        let mut result = Wide(self.0.map(|limb| !limb));
        let mut one = [0; LIMBS];
        one[0] = 1;
        result.add(&Wide(one));
        result
    }

    fn is_negative(&self) -> bool {
        self.0[LIMBS - 1] >> 63 == 1
    }

    fn to_u128(self) -> Option<u128> {
        let [low, high, rest @ ..] = self.0;
        (rest == [0; LIMBS - 2]).then_some(u128::from(high) << 64 | u128::from(low))
    }

    /// Divides by 10^16 and returns the remainder.
    fn divide(&mut self) -> u64 {
        let mut remainder = 0u128;
        for limb in self.0.iter_mut().rev() {
            let dividend = remainder << 64 | u128::from(*limb);
            *limb = (dividend / u128::from(E16)) as u64;
            remainder = dividend % u128::from(E16);
        }
        remainder as u64
    }
}

/// Returns a number of up to 8 big-endian bytes.
pub fn u64_of(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// Writes an unsigned number of up to 32 big-endian bytes as a field.
pub fn put_uint(out: &mut Vec<u8>, bytes: &[u8]) -> Option<()> {
    if bytes.len() <= 8 {
        let number = u64_of(bytes);
        if number < E16 {
            put_small(out, number);
            return Some(());
        }
    }
    put(out, &Wide::from_bytes(bytes)?);
    Some(())
}

/// Writes a signed number as a field, with as many groups as `binary.numeric` takes.
pub fn put(out: &mut Vec<u8>, number: &Wide) {
    let negative = number.is_negative();
    let magnitude = if negative { number.negated() } else { *number };
    match magnitude.to_u128() {
        Some(small) if !negative && small < u128::from(E16) => put_small(out, small as u64),
        Some(middle) if middle < E24 => {
            put_head(out, 6, negative);
            let (high, low) = (
                (middle / u128::from(E16)) as u64,
                (middle % u128::from(E16)) as u64,
            );
            put_groups(out, high);
            put_groups(out, low / E8);
            put_groups(out, low % E8);
        }
        _ => put_long(out, magnitude, negative),
    }
}

fn put_small(out: &mut Vec<u8>, number: u64) {
    if number < E8 {
        put_head(out, 2, false);
    } else {
        put_head(out, 4, false);
        put_groups(out, number / E8);
    }
    put_groups(out, number % E8);
}

fn put_long(out: &mut Vec<u8>, mut magnitude: Wide, negative: bool) {
    let mut groups = [0u16; MOST_GROUPS]; // the lowest first
    for four in groups.chunks_exact_mut(4) {
        let mut rest = magnitude.divide();
        for group in four {
            *group = (rest % GROUP) as u16;
            rest /= GROUP;
        }
    }
    let count = groups
        .iter()
        .rposition(|group| *group != 0)
        .map_or(0, |at| at + 1);
    put_head(out, count as u16, negative);
    for group in groups.iter().take(count).rev() {
        out.extend_from_slice(&group.to_be_bytes());
    }
}

/// Length, number of groups, weight, sign, scale.
fn put_head(out: &mut Vec<u8>, groups: u16, negative: bool) {
    let mut head = [0; 12];
    head[..4].copy_from_slice(&(8 + 2 * u32::from(groups)).to_be_bytes());
    head[4..6].copy_from_slice(&groups.to_be_bytes());
    head[6..8].copy_from_slice(&groups.wrapping_sub(1).to_be_bytes());
    head[8] = if negative { 0x40 } else { 0 };
    out.extend_from_slice(&head);
}

/// Two groups of a number below 10^8.
fn put_groups(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(&((number / GROUP) as u16).to_be_bytes());
    out.extend_from_slice(&((number % GROUP) as u16).to_be_bytes());
}
