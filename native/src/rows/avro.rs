//! Avro's binary encoding, as much as a decoded block needs; everything borrows from the record.

pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub fn new(data: &'a [u8]) -> Self {
        Reader { rest: data }
    }

    pub fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    pub fn fixed(&mut self, size: usize) -> Option<&'a [u8]> {
        let (value, rest) = self.rest.split_at_checked(size)?;
        self.rest = rest;
        Some(value)
    }

    /// A zigzag varint; one that is longer than 64 bits need is for the twin to judge.
    pub fn long(&mut self) -> Option<i64> {
        let mut raw = 0u64;
        for shift in (0..63).step_by(7) {
            let byte = self.fixed(1)?[0];
            raw |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(unzigzag(raw));
            }
        }
        let last = self.fixed(1)?[0];
        if last > 1 {
            return None;
        }
        Some(unzigzag(raw | u64::from(last) << 63))
    }

    pub fn bytes(&mut self) -> Option<&'a [u8]> {
        let size = self.long()?;
        self.fixed(usize::try_from(size).ok()?)
    }

    /// A number that says which of some: a branch of a union, a symbol of an enum, an item count.
    pub fn position(&mut self, below: usize) -> Option<usize> {
        usize::try_from(self.long()?).ok().filter(|at| *at < below)
    }

    /// A union of null and something.
    pub fn maybe<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        match self.position(2)? {
            0 => Some(None),
            _ => read(self).map(Some),
        }
    }

    /// A map of strings with plain blocks; the pairs as they stand.
    pub fn map(&mut self) -> Option<Vec<(&'a [u8], &'a [u8])>> {
        let mut pairs = Vec::new();
        loop {
            let count = self.long()?;
            if count == 0 {
                return Some(pairs);
            }
            for _ in 0..usize::try_from(count).ok()? {
                pairs.push((self.bytes()?, self.bytes()?));
            }
        }
    }
}

fn unzigzag(raw: u64) -> i64 {
    (raw >> 1) as i64 ^ -((raw & 1) as i64)
}
