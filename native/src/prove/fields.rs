//! Members of JSON objects that we know: None where one is missing, null, doubled, or of another type than expected.

use super::hexes::{self, Word};
use crate::json::{Reader, Value};

/// Define a struct of the members that an object may have, each by its name in JSON.
macro_rules! members {
    ($object:ident { $($field:ident: $name:literal),* $(,)? }) => {
        #[derive(Default)]
        struct $object<'a> {
            $($field: crate::prove::fields::Member<'a>),*
        }

        impl<'a> $object<'a> {
            fn member(&mut self, name: &str) -> Option<&mut crate::prove::fields::Member<'a>> {
                match name {
                    $($name => Some(&mut self.$field),)*
                    _ => None,
                }
            }
        }
    };
}
pub(super) use members;

#[derive(Clone, Copy, Default)]
pub struct Member<'a>(Option<Value<'a>>);

impl<'a> Member<'a> {
    /// Read the value; the last of two would count elsewhere, here none does.
    pub fn fill(&mut self, reader: &mut Reader<'a>) -> Option<()> {
        self.0.replace(reader.value()?).is_none().then_some(())
    }

    pub fn is_absent(self) -> bool {
        self.0.is_none()
    }

    pub fn text(self) -> Option<&'a str> {
        match self.0 {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }
    }

    pub fn read<T>(self, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
        parse(self.text()?)
    }

    /// Some(None) where it is missing or null.
    pub fn read_optional<T>(self, parse: impl Fn(&str) -> Option<T>) -> Option<Option<T>> {
        match self.0 {
            None | Some(Value::Null) => Some(None),
            _ => self.read(parse).map(Some),
        }
    }

    pub fn long(self) -> Option<u64> {
        self.read(hexes::long)
    }

    pub fn word(self) -> Option<Word> {
        self.read(hexes::word)
    }

    pub fn octets<const N: usize>(self) -> Option<[u8; N]> {
        self.read(hexes::octets)
    }

    pub fn says(self, expected: &str) -> bool {
        self.text() == Some(expected)
    }

    pub fn is_false_or_absent(self) -> bool {
        matches!(self.0, None | Some(Value::Null | Value::Bool(false)))
    }

    /// The member if it is a list of something; Some(None) where it is missing, null or empty.
    pub fn filled_list(self) -> Option<Option<Self>> {
        match self.0 {
            None | Some(Value::Null) => Some(None),
            Some(Value::Other(text)) => {
                let inner = text.strip_prefix('[')?;
                Some(Some(self).filter(|_| Reader::of(inner).peek() != Some(b']')))
            }
            _ => None,
        }
    }

    /// Read each item of a list.
    pub fn each(self, item: impl FnMut(&mut Reader<'a>, usize) -> Option<()>) -> Option<()> {
        match self.0 {
            Some(Value::Other(text)) => Reader::of(text).list(item).map(|_| ()),
            _ => None,
        }
    }
}

/// The next value, a string of exactly `N` bytes in hex.
pub fn octets<const N: usize>(reader: &mut Reader) -> Option<[u8; N]> {
    match reader.value()? {
        Value::Text(text) => hexes::octets(text),
        _ => None,
    }
}

/// The block that every item of both answers must name, as its own text.
pub struct Place<'a> {
    pub hash: &'a str,
    pub number: &'a str,
}

impl Place<'_> {
    /// Whether an item is of this block, and of this index in it.
    pub fn is_of(&self, hash: Member, number: Member, told: Member, index: usize) -> bool {
        hash.says(self.hash) && number.says(self.number) && told.long() == Some(index as u64)
    }
}
