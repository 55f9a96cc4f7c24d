//! The answer to a batch of calls for blocks, or for receipts, cut into results that nobody has read yet.
//!
//! None for whatever else a node may say: indexer/rpc/answers.py then reads it, and names what is wrong.

use std::panic::{catch_unwind, AssertUnwindSafe};

use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::json::{Reader, Value};

/// A result as it is written, with the number of transactions or receipts; of a block also all but its transactions.
struct Found<'a> {
    json: &'a str,
    outline: Option<String>,
    count: usize,
}

type Answer<'py> = (Bound<'py, PyBytes>, Option<Bound<'py, PyBytes>>, usize);

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(split, module)?)
}

/// Return `count` results, that of call `first_id` first; None unless each is there once, and is what was asked for.
#[pyfunction]
fn split<'py>(py: Python<'py>, body: &[u8], first_id: u64, count: usize) -> Option<Vec<Answer<'py>>> {
    let found = catch_unwind(AssertUnwindSafe(|| read(body, first_id, count))).ok().flatten()?;
    let bytes = |text: &str| PyBytes::new(py, text.as_bytes());
    Some(found.iter().map(|each| (bytes(each.json), each.outline.as_deref().map(bytes), each.count)).collect())
}

fn read(body: &[u8], first_id: u64, count: usize) -> Option<Vec<Found<'_>>> {
    let mut reader = Reader::new(body)?;
    let mut found: Vec<Option<Found>> = Vec::new();
    found.resize_with(count.min(body.len()), || None); // each answer has more than a byte
    let mut put = |(id, result): (u64, _)| {
        let place = found.get_mut(usize::try_from(id.checked_sub(first_id)?).ok()?)?;
        place.replace(result).is_none().then_some(())
    };
    if reader.peek()? == b'[' {
        reader.list(|reader, _| put(envelope(reader)?))?;
    } else if count == 1 {
        put(envelope(&mut reader)?)?;
    }
    reader.end()?;
    if found.len() == count {
        found.into_iter().collect()
    } else {
        None
    }
}

fn envelope<'a>(reader: &mut Reader<'a>) -> Option<(u64, Found<'a>)> {
    let (mut id, mut result) = (None, None);
    reader.object(|reader, name| match name {
        "id" => match reader.value()? {
            Value::Other(number) => id.replace(number.parse().ok()?).is_none().then_some(()),
            _ => None,
        },
        "result" => result.replace(read_result(reader)?).is_none().then_some(()),
        "error" => matches!(reader.value()?, Value::Null).then_some(()),
        _ => reader.span().map(|_| ()),
    })?;
    Some((id?, result?))
}

fn read_result<'a>(reader: &mut Reader<'a>) -> Option<Found<'a>> {
    let start = reader.here();
    if reader.peek()? == b'[' {
        let count = objects(reader)?;
        return Some(Found { json: reader.since(start), outline: None, count });
    }
    let mut list = None;
    reader.object(|reader, name| {
        if name != "transactions" {
            return reader.span().map(|_| ());
        }
        let from = reader.here() - start;
        let count = objects(reader)?;
        list.replace((from, reader.since(start).len(), count)).is_none().then_some(())
    })?;
    let (from, to, count) = list?;
    let json = reader.since(start);
    Some(Found { json, outline: Some(format!("{}[]{}", &json[..from], &json[to..])), count })
}

fn objects(reader: &mut Reader) -> Option<usize> {
    reader.list(|reader, _| if reader.peek()? == b'{' { reader.span().map(|_| ()) } else { None })
}
