//! Columns of a struct of arrays (schemas/README.md defines the layouts), read a row at a time and written as fields.

use super::copy::{put_blob, put_int2, put_int4, put_int8, put_json, put_null};
use super::numeric::{put_uint, u64_of};

/// What a column's values are, and the field that they become.
#[derive(Clone, Copy)]
pub enum Kind {
    Fixed(usize),
    Int2,
    Int4,
    Int8,
    Numeric,
    Word256, // a number as 32 bytes
    Blob,
    Text,
    Json,
    Code(&'static [&'static str]),
}

#[derive(Clone, Copy)]
pub enum Need {
    Always,
    Optional,
}

enum Presence<'a> {
    All,
    Nobody,
    Mask(&'a [u8]),
}

/// A column that is checked against the number of rows; `put_next` moves on by a row.
pub struct Column<'a> {
    kind: Kind,
    presence: Presence<'a>,
    width: usize,
    lengths: &'a [u8], // of a blob or text
    values: &'a [u8],
}

impl<'a> Column<'a> {
    pub fn new(kind: Kind, need: Need, data: &'a [u8], rows: usize) -> Option<Self> {
        let (presence, body, present) = match need {
            Need::Always => (Presence::All, data, rows),
            Need::Optional => presence(data, rows)?,
        };
        let (width, lengths, values) = match kind {
            Kind::Fixed(width) => (width, &[][..], whole(body, present, width)?),
            Kind::Code(_) => (1, &[][..], whole(body, present, 1)?),
            Kind::Blob | Kind::Text | Kind::Json => {
                let (lengths, values) = blobs(body, present)?;
                (0, lengths, values)
            }
            _ => (uint_width(body, present)?, &[][..], body),
        };
        Some(Column {
            kind,
            presence,
            width,
            lengths,
            values,
        })
    }

    /// Writes the next row's field; None when it has no room in the table, or is not what a text should be.
    pub fn put_next(&mut self, out: &mut Vec<u8>) -> Option<()> {
        let present = match &mut self.presence {
            Presence::All => true,
            Presence::Nobody => false,
            Presence::Mask(mask) => take(mask, 1)? == [1],
        };
        if !present {
            put_null(out);
            return Some(());
        }
        let value = self.next_value()?;
        match self.kind {
            Kind::Fixed(_) | Kind::Blob => put_blob(out, value)?,
            Kind::Int2 => put_int2(out, i16::try_from(small(value)?).ok()?),
            Kind::Int4 => put_int4(out, i32::try_from(small(value)?).ok()?),
            Kind::Int8 => put_int8(out, i64::try_from(small(value)?).ok()?),
            Kind::Numeric => put_uint(out, value)?,
            Kind::Word256 => {
                let mut word = [0; 32];
                word.get_mut(32 - value.len().min(32)..)?
                    .copy_from_slice(value);
                put_blob(out, &word)?;
            }
            Kind::Text => put_blob(out, std::str::from_utf8(value).ok()?.as_bytes())?,
            Kind::Json => put_json(out, value)?,
            Kind::Code(words) => put_blob(out, words.get(usize::from(value[0]))?.as_bytes())?,
        }
        Some(())
    }

    /// Returns the next value of a column of numbers that fit 64 bits.
    pub fn next_number(&mut self) -> Option<u64> {
        small(self.next_value()?)
    }

    /// Returns the bytes of the next value that is there.
    pub fn next_value(&mut self) -> Option<&'a [u8]> {
        let size = match self.kind {
            Kind::Blob | Kind::Text | Kind::Json => u64_of(take(&mut self.lengths, 4)?) as usize,
            _ => self.width,
        };
        take(&mut self.values, size)
    }
}

fn presence(data: &[u8], rows: usize) -> Option<(Presence<'_>, &[u8], usize)> {
    match data.split_first() {
        None => Some((Presence::Nobody, data, 0)),
        Some((1, body)) => Some((Presence::All, body, rows)),
        Some((2, body)) => {
            let (mask, body) = body.split_at_checked(rows)?;
            let present = mask.iter().filter(|each| **each == 1).count();
            let absent = mask.iter().filter(|each| **each == 0).count();
            (present + absent == rows).then_some((Presence::Mask(mask), body, present))
        }
        Some(_) => None,
    }
}

fn whole(data: &[u8], rows: usize, width: usize) -> Option<&[u8]> {
    (data.len() == rows.checked_mul(width)?).then_some(data)
}

fn uint_width(data: &[u8], rows: usize) -> Option<usize> {
    if rows == 0 {
        return data.is_empty().then_some(0);
    }
    let width = data.len() / rows;
    (data.len() % rows == 0 && matches!(width, 1 | 2 | 4 | 8 | 16 | 32)).then_some(width)
}

fn blobs(data: &[u8], rows: usize) -> Option<(&[u8], &[u8])> {
    let (lengths, values) = data.split_at_checked(rows.checked_mul(4)?)?;
    let sum: u64 = lengths.chunks_exact(4).map(u64_of).sum();
    (sum == values.len() as u64).then_some((lengths, values))
}

fn take<'a>(data: &mut &'a [u8], size: usize) -> Option<&'a [u8]> {
    let (value, rest) = data.split_at_checked(size)?;
    *data = rest;
    Some(value)
}

/// Returns a number that fits 64 bits, however wide its column is.
fn small(bytes: &[u8]) -> Option<u64> {
    let (high, low) = bytes.split_at(bytes.len().saturating_sub(8));
    high.iter().all(|byte| *byte == 0).then(|| u64_of(low))
}
