//! A record of `blocks.decoded` to the rows of COPY, and the changes of balances.
//!
//! An accelerator that may decline: `None` means that the Python twin (`services/persister/rows.py`) decides, which
//! knows every error by its name. What is given is byte for byte what the twin gives.

mod avro;
mod columns;
mod copy;
mod deltas;
mod numeric;
mod record;
mod tables;

use pyo3::prelude::*;
use pyo3::types::PyBytes;

use record::Record;

type Identity<'py> = (i64, i64, Bound<'py, PyBytes>, i64, Option<i64>, usize, i64);
type Pieces<'py> = (
    Bound<'py, PyBytes>,
    Bound<'py, PyBytes>,
    Bound<'py, PyBytes>,
    Bound<'py, PyBytes>,
    Bound<'py, PyBytes>,
    Bound<'py, PyBytes>,
);

/// Returns ((chain_id, number, hash, generation, job_id, reason, model_version), rows, pieces) or None.
///
/// `reason` is its position in the schema. The pieces are those of `blocks` (without its last two columns, generation
/// and model_version), transactions, logs, token_transfers, decoded_events and transaction_processing.
#[pyfunction]
fn pack_block<'py>(py: Python<'py>, value: &[u8]) -> Option<(Identity<'py>, usize, Pieces<'py>)> {
    let record = Record::read(value)?;
    let packed = tables::pack(&record)?;
    let bytes = |data: &[u8]| PyBytes::new(py, data);
    let identity = (
        record.chain_id,
        record.header.number,
        bytes(record.header.hash),
        record.generation,
        record.job_id,
        record.reason,
        record.model_version,
    );
    let pieces = (
        bytes(&packed.block),
        bytes(&packed.transactions),
        bytes(&packed.logs),
        bytes(&packed.transfers),
        bytes(&packed.events),
        bytes(&packed.attention),
    );
    Some((identity, packed.rows, pieces))
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<deltas::Deltas>()?;
    module.add_function(wrap_pyfunction!(pack_block, module)?)
}
