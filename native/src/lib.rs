//! The hot loops of decoder and persister, each with its Python twin as oracle and fall-back.

mod answers;
mod json;
mod prove;
mod rows;

use pyo3::prelude::*;

/// What `indexer/native.py` looks for.
#[pymodule]
fn indexer_native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    answers::register(module)?;
    prove::register(module)?;
    rows::register(module)
}
