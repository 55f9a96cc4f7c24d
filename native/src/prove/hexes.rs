//! JSON-RPC's hex strings to bytes and numbers; None for whatever is not written as clients write it.

const NO_DIGIT: u8 = 0xff;
const DIGITS: [u8; 256] = digits();
const LONG_DIGITS: usize = 16;
const WORD_DIGITS: usize = 64;

const fn digits() -> [u8; 256] {
    let mut table = [NO_DIGIT; 256];
    let mut value = 0;
    while value < 16 {
        table[b"0123456789abcdef"[value] as usize] = value as u8;
        table[b"0123456789ABCDEF"[value] as usize] = value as u8;
        value += 1;
    }
    table
}

/// A number of 256 bits.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Word {
    pub high: u128,
    pub low: u128,
}

impl Word {
    pub fn is_zero(self) -> bool {
        self.high == 0 && self.low == 0
    }

    pub fn to_bytes(self) -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes[..16].copy_from_slice(&self.high.to_be_bytes());
        bytes[16..].copy_from_slice(&self.low.to_be_bytes());
        bytes
    }

    pub fn checked_add(self, other: Word) -> Option<Word> {
        let (low, carry) = self.low.overflowing_add(other.low);
        let high = self.high.checked_add(other.high)?.checked_add(carry.into())?;
        Some(Word { high, low })
    }
}

impl From<u64> for Word {
    fn from(value: u64) -> Word {
        Word { high: 0, low: value.into() }
    }
}

impl From<[u8; 32]> for Word {
    fn from(bytes: [u8; 32]) -> Word {
        let (mut high, mut low) = ([0; 16], [0; 16]);
        high.copy_from_slice(&bytes[..16]);
        low.copy_from_slice(&bytes[16..]);
        Word { high: u128::from_be_bytes(high), low: u128::from_be_bytes(low) }
    }
}

impl From<u128> for Word {
    fn from(low: u128) -> Word {
        Word { high: 0, low }
    }
}

/// Data of any length.
pub fn data(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_prefix("0x")?.as_bytes();
    let mut bytes = vec![0; digits.len() / 2];
    decode(digits, &mut bytes)?;
    Some(bytes)
}

/// Data of exactly `N` bytes.
pub fn octets<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    decode(text.strip_prefix("0x")?.as_bytes(), &mut bytes)?;
    Some(bytes)
}

fn decode(digits: &[u8], bytes: &mut [u8]) -> Option<()> {
    if digits.len() != 2 * bytes.len() {
        return None;
    }
    let mut seen = 0;
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let (high, low) = (DIGITS[pair[0] as usize], DIGITS[pair[1] as usize]);
        seen |= high | low;
        *byte = high << 4 | low;
    }
    (seen < 16).then_some(())
}

/// A quantity below 2^63.
pub fn long(text: &str) -> Option<u64> {
    let digits = quantity(text, LONG_DIGITS)?;
    let value = number(digits)? as u64;
    (value < 1 << 63).then_some(value)
}

/// A quantity below 2^256.
pub fn word(text: &str) -> Option<Word> {
    let digits = quantity(text, WORD_DIGITS)?;
    let (high, low) = digits.split_at(digits.len().saturating_sub(32));
    Some(Word { high: number(high)?, low: number(low)? })
}

fn quantity(text: &str, most: usize) -> Option<&[u8]> {
    let digits = text.strip_prefix("0x")?.as_bytes();
    (1..=most).contains(&digits.len()).then_some(digits)
}

/// At most 32 digits.
fn number(digits: &[u8]) -> Option<u128> {
    let (mut value, mut seen) = (0, 0);
    for half in digits.chunks(16) {
        let mut part = 0u64; // shifting 128 bits for each digit would cost twice as much
        for &digit in half {
            let digit = DIGITS[digit as usize];
            seen |= digit;
            part = part << 4 | u64::from(digit & 15);
        }
        value = value << (4 * half.len()) | u128::from(part);
    }
    (seen < 16).then_some(value)
}
