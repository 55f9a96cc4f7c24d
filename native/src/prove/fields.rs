//! Fields of JSON objects as orjson gives them: None where a field is missing, null or of another type.

use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyList, PyString};

use super::hexes::{self, Word};

pub type Item<'a, 'py> = &'a Bound<'py, PyDict>;
pub type Name<'a, 'py> = &'a Bound<'py, PyString>;

/// A field's name, mostly the very string that is the key in what orjson has parsed: then a look-up compares nothing.
macro_rules! name {
    ($item:expr, $name:literal) => {{
        static NAME: pyo3::sync::PyOnceLock<pyo3::Py<pyo3::types::PyString>> = pyo3::sync::PyOnceLock::new();
        NAME.get_or_init($item.py(), || crate::prove::fields::key($item.py(), $name)).bind($item.py())
    }};
}
pub(super) use name;

/// The string that orjson keeps for a key.
pub fn key(py: Python, name: &str) -> Py<PyString> {
    parsed_key(py, name).unwrap_or_else(|| PyString::intern(py, name)).unbind()
}

fn parsed_key<'py>(py: Python<'py>, name: &str) -> Option<Bound<'py, PyString>> {
    let parsed = py.import("orjson").ok()?.call_method1("loads", (format!("{{\"{name}\":0}}"),)).ok()?;
    let (key, _) = object(&parsed)?.iter().next()?;
    key.downcast_into_exact().ok()
}

pub fn object<'a, 'py>(value: &'a Bound<'py, PyAny>) -> Option<Item<'a, 'py>> {
    value.downcast_exact().ok()
}

pub fn text<'a>(value: &'a Bound<'_, PyAny>) -> Option<&'a str> {
    value.downcast_exact::<PyString>().ok()?.to_str().ok()
}

pub fn get<'py>(item: Item<'_, 'py>, name: Name<'_, 'py>) -> Option<Bound<'py, PyAny>> {
    item.get_item(name).ok()?.filter(|value| !value.is_none())
}

pub fn list<'py>(item: Item<'_, 'py>, name: Name<'_, 'py>) -> Option<Bound<'py, PyList>> {
    get(item, name)?.downcast_into_exact().ok()
}

/// Whether the field has exactly this text.
pub fn says(item: Item, name: Name, expected: &str) -> bool {
    get(item, name).is_some_and(|value| text(&value) == Some(expected))
}

pub fn read<T>(item: Item, name: Name, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
    parse(text(&get(item, name)?)?)
}

/// Some(None) where the field is missing or null.
pub fn read_optional<T>(item: Item, name: Name, parse: impl Fn(&str) -> Option<T>) -> Option<Option<T>> {
    match get(item, name) {
        Some(value) => parse(text(&value)?).map(Some),
        None => Some(None),
    }
}

pub fn long(item: Item, name: Name) -> Option<u64> {
    read(item, name, hexes::long)
}

pub fn word(item: Item, name: Name) -> Option<Word> {
    read(item, name, hexes::word)
}

pub fn octets<const N: usize>(item: Item, name: Name) -> Option<[u8; N]> {
    read(item, name, hexes::octets)
}

pub fn is_false_or_absent(item: Item, name: Name) -> bool {
    get(item, name).is_none_or(|value| value.downcast_exact::<PyBool>().is_ok_and(|told| !told.is_true()))
}

/// The block that every item of both answers must name, as its own text.
pub struct Place<'a> {
    pub hash: &'a str,
    pub number: &'a str,
}

impl Place<'_> {
    /// Whether an item is of this block, and of this index in it.
    pub fn is_of(&self, item: Item, index_name: Name, index: usize) -> bool {
        says(item, name!(item, "blockHash"), self.hash)
            && says(item, name!(item, "blockNumber"), self.number)
            && long(item, index_name) == Some(index as u64)
    }
}
