//! Rows between their CBOR and their sealed form.
//!
//! The CBOR is padded with zeros to a multiple of 256 bytes before it is sealed, so that a row's length does not tell how
//! long a name is; a reader stops at the end of the CBOR.

use crate::{IndexError, InstanceRow, RowKey, SeriesRow, StudyRow, Table};
use bytes::Bytes;
use leadglass_model::{Entropy, KeyGen, KeyId, TenantId};
use leadglass_seal::{RowBinding, RowHeader, open_row, row_header, seal_row};

/// A row of one table.
pub trait Row: minicbor::Encode<()> + for<'b> minicbor::Decode<'b, ()> {
    /// Which.
    const TABLE: Table;
}

impl Row for StudyRow {
    const TABLE: Table = Table::Study;
}
impl Row for SeriesRow {
    const TABLE: Table = Table::Series;
}
impl Row for InstanceRow {
    const TABLE: Table = Table::Instance;
}

/// Seals the bytes of a row.
pub(crate) fn seal(
    key: &impl leadglass_seal::RowKey,
    tenant: TenantId,
    row_key: &RowKey,
    header: RowHeader,
    entropy: &dyn Entropy,
    plain: &[u8],
) -> Bytes {
    let name = row_key.to_bytes();
    Bytes::from(seal_row(key, &binding(tenant, row_key, &name, header), entropy, plain))
}

/// Opens the bytes of a row.
pub(crate) fn open(
    key: &impl leadglass_seal::RowKey,
    tenant: TenantId,
    row_key: &RowKey,
    header: RowHeader,
    sealed: &[u8],
) -> Result<Vec<u8>, IndexError> {
    let name = row_key.to_bytes();
    let corrupt = |_| IndexError::Corrupt { table: row_key.table };
    open_row(key, &binding(tenant, row_key, &name, header), sealed).map_err(corrupt)
}

/// Which key opens a row, and which version it is.
pub(crate) fn header(row_key: &RowKey, sealed: &[u8]) -> Result<RowHeader, IndexError> {
    row_header(sealed).map_err(|_| IndexError::Corrupt { table: row_key.table })
}

/// The row's CBOR, padded.
pub(crate) fn encode<R: Row>(row: &R) -> Vec<u8> {
    let mut plain = minicbor::to_vec(row).expect("a Vec takes every byte");
    plain.resize(plain.len().next_multiple_of(PAD), 0);
    plain
}

/// The row.
pub(crate) fn decode<R: Row>(plain: &[u8]) -> Result<R, IndexError> {
    minicbor::Decoder::new(plain).decode().map_err(|_| IndexError::Corrupt { table: R::TABLE })
}

/// Header of a row that is to be written.
pub(crate) const fn new_header(key_id: KeyId, key_gen: KeyGen, row_version: u64) -> RowHeader {
    RowHeader { key_id, key_gen, row_version }
}

const fn binding<'a>(tenant: TenantId, row_key: &RowKey, name: &'a [u8], header: RowHeader) -> RowBinding<'a> {
    RowBinding {
        table: row_key.table.number(),
        tenant,
        study_ref: row_key.study_ref,
        row_key: name,
        key_id: header.key_id,
        key_gen: header.key_gen,
        row_version: header.row_version,
    }
}

const PAD: usize = 256;
