//! Sealed rows: what the index and the DICOM-JSON table keep on disk.
//!
//! A row is bound to its table, tenant, study, row key, key and version, so that a row copied to another place, or an
//! older version under a newer number, does not open.
//! Source: FORMAT.md §8.

use crate::{
    key::RowKey,
    suite::{Backend, Cipher, Suite, TAG_LEN},
};
use leadglass_model::{Entropy, Fault, KeyGen, KeyId, StudyRef, TenantId};

/// What a row is bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowBinding<'a> {
    /// Number of the table.
    pub table: u8,
    /// The controller.
    pub tenant: TenantId,
    /// The study.
    pub study_ref: StudyRef,
    /// The row's name within the table, as on disk.
    pub row_key: &'a [u8],
    /// The study key that the row's key was derived from.
    pub key_id: KeyId,
    /// Its generation.
    pub key_gen: KeyGen,
    /// Counts the writes of this row.
    pub row_version: u64,
}

/// The part of a row that is not sealed: which key opens it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowHeader {
    /// The study key.
    pub key_id: KeyId,
    /// Its generation.
    pub key_gen: KeyGen,
    /// The write.
    pub row_version: u64,
}

/// A row did not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RowError {
    /// Too short, or of a format that this reader does not know.
    #[error("this is no sealed row")]
    NotARow,
    /// It lies under another key, or is another version, than was asked for.
    #[error("the row is another one than was asked for")]
    WrongRow,
    /// The tag does not fit: changed, or copied from another place.
    #[error("the row did not authenticate")]
    NotAuthentic,
}

impl RowError {
    /// The kind of failure.
    pub const fn fault(&self) -> Fault {
        Fault::Corrupt
    }
}

/// Seals a row under a fresh random nonce. The row is [`ROW_OVERHEAD`] bytes longer than `plain`.
pub fn seal_row(key: &impl RowKey, binding: &RowBinding<'_>, entropy: &dyn Entropy, plain: &[u8]) -> Vec<u8> {
    seal_row_on(Backend::default(), key, binding, entropy, plain)
}

/// As [`seal_row`], with the backend told.
pub fn seal_row_on(
    backend: Backend,
    key: &impl RowKey,
    binding: &RowBinding<'_>,
    entropy: &dyn Entropy,
    plain: &[u8],
) -> Vec<u8> {
    let mut nonce = [0; 12];
    entropy.fill(&mut nonce);
    let mut row = Vec::with_capacity(plain.len() + ROW_OVERHEAD);
    row.push(VERSION);
    row.extend_from_slice(binding.key_id.as_bytes());
    row.extend_from_slice(&binding.key_gen.get().to_be_bytes());
    row.extend_from_slice(&binding.row_version.to_be_bytes());
    row.extend_from_slice(&nonce);
    row.resize(plain.len() + ROW_OVERHEAD, 0);
    let cipher = Cipher::new(Suite::Aes256Gcm, backend, key.bytes());
    cipher.seal(nonce, &aad(binding), plain, &mut row[HEAD_LEN..]);
    row
}

/// Reads which key opens a row, before it is opened.
pub fn row_header(row: &[u8]) -> Result<RowHeader, RowError> {
    parse(row).map(|parsed| parsed.header)
}

/// Opens a row.
pub fn open_row(key: &impl RowKey, binding: &RowBinding<'_>, row: &[u8]) -> Result<Vec<u8>, RowError> {
    open_row_on(Backend::default(), key, binding, row)
}

/// As [`open_row`], with the backend told.
pub fn open_row_on(
    backend: Backend,
    key: &impl RowKey,
    binding: &RowBinding<'_>,
    row: &[u8],
) -> Result<Vec<u8>, RowError> {
    let Parsed { header, nonce, sealed } = parse(row)?;
    let asked = RowHeader { key_id: binding.key_id, key_gen: binding.key_gen, row_version: binding.row_version };
    if header != asked {
        return Err(RowError::WrongRow);
    }
    let mut plain = vec![0; sealed.len() - TAG_LEN];
    let cipher = Cipher::new(Suite::Aes256Gcm, backend, key.bytes());
    cipher.open(nonce, &aad(binding), sealed, &mut plain).map_err(|_| RowError::NotAuthentic)?;
    Ok(plain)
}

struct Parsed<'a> {
    header: RowHeader,
    nonce: [u8; 12],
    sealed: &'a [u8],
}

fn parse(row: &[u8]) -> Result<Parsed<'_>, RowError> {
    fn take<'a, const N: usize>(rest: &mut &'a [u8]) -> Result<&'a [u8; N], RowError> {
        let (head, tail) = rest.split_first_chunk().ok_or(RowError::NotARow)?;
        *rest = tail;
        Ok(head)
    }
    let mut rest = row;
    if take(&mut rest)? != &[VERSION] {
        return Err(RowError::NotARow);
    }
    let key_id = KeyId::from_bytes(*take(&mut rest)?);
    let key_gen = KeyGen::new(u32::from_be_bytes(*take(&mut rest)?)).ok_or(RowError::NotARow)?;
    let row_version = u64::from_be_bytes(*take(&mut rest)?);
    let nonce = *take(&mut rest)?;
    if rest.len() < TAG_LEN {
        return Err(RowError::NotARow);
    }
    Ok(Parsed { header: RowHeader { key_id, key_gen, row_version }, nonce, sealed: rest })
}

/// The row key is the one field of open length; what stands around it is fixed, so no two bindings give one text.
fn aad(binding: &RowBinding<'_>) -> Vec<u8> {
    let mut aad = Vec::with_capacity(LABEL.len() + 61 + binding.row_key.len());
    aad.extend_from_slice(LABEL);
    aad.push(binding.table);
    aad.extend_from_slice(binding.tenant.as_bytes());
    aad.extend_from_slice(binding.study_ref.as_bytes());
    aad.extend_from_slice(binding.row_key);
    aad.extend_from_slice(binding.key_id.as_bytes());
    aad.extend_from_slice(&binding.key_gen.get().to_be_bytes());
    aad.extend_from_slice(&binding.row_version.to_be_bytes());
    aad
}

/// Bytes that a sealed row is longer than what it holds.
pub const ROW_OVERHEAD: usize = HEAD_LEN + TAG_LEN;
const HEAD_LEN: usize = 41;
const VERSION: u8 = 1;
const LABEL: &[u8] = b"leadglass row v1\0";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{IndexKey, MetaKey};
    use leadglass_model::SystemEntropy;

    fn binding() -> RowBinding<'static> {
        RowBinding {
            table: 2,
            tenant: TenantId::from_bytes([1; 16]),
            study_ref: StudyRef::from_bytes([2; 16]),
            row_key: b"row key",
            key_id: KeyId::from_bytes([3; 16]),
            key_gen: KeyGen::FIRST,
            row_version: 9,
        }
    }

    #[test]
    fn a_row_comes_back_on_both_backends() {
        let key = IndexKey::from_bytes([5; 32]);
        for (seal, open) in [(Backend::AwsLc, Backend::Portable), (Backend::Portable, Backend::AwsLc)] {
            let row = seal_row_on(seal, &key, &binding(), &SystemEntropy, b"a row");
            assert_eq!(row.len(), 5 + ROW_OVERHEAD);
            assert_eq!(open_row_on(open, &key, &binding(), &row).unwrap(), b"a row");
            let header = RowHeader { key_id: binding().key_id, key_gen: KeyGen::FIRST, row_version: 9 };
            assert_eq!(row_header(&row), Ok(header));
        }
    }

    #[test]
    fn a_row_opens_only_where_it_was_put() {
        let key = IndexKey::from_bytes([5; 32]);
        let row = seal_row(&key, &binding(), &SystemEntropy, b"a row");
        let elsewhere = [
            RowBinding { table: 3, ..binding() },
            RowBinding { tenant: TenantId::from_bytes([9; 16]), ..binding() },
            RowBinding { study_ref: StudyRef::from_bytes([9; 16]), ..binding() },
            RowBinding { row_key: b"row kex", ..binding() },
            RowBinding { row_key: b"row key\x03", ..binding() },
        ];
        for binding in elsewhere {
            assert_eq!(open_row(&key, &binding, &row), Err(RowError::NotAuthentic));
        }
        let other = [
            RowBinding { key_id: KeyId::from_bytes([9; 16]), ..binding() },
            RowBinding { key_gen: KeyGen::new(2).unwrap(), ..binding() },
            RowBinding { row_version: 8, ..binding() },
        ];
        for binding in other {
            assert_eq!(open_row(&key, &binding, &row), Err(RowError::WrongRow));
        }
        assert_eq!(open_row(&IndexKey::from_bytes([6; 32]), &binding(), &row), Err(RowError::NotAuthentic));
        assert_eq!(open_row(&MetaKey::from_bytes([6; 32]), &binding(), &row), Err(RowError::NotAuthentic));
    }

    #[test]
    fn every_flip_and_every_cut_of_a_row_is_refused() {
        let key = MetaKey::from_bytes([5; 32]);
        let row = seal_row(&key, &binding(), &SystemEntropy, b"a row");
        for at in 0..row.len() {
            assert!(open_row(&key, &binding(), &row[..at]).is_err(), "cut at {at}");
            for bit in 0..8 {
                let mut flipped = row.clone();
                flipped[at] ^= 1 << bit;
                assert!(open_row(&key, &binding(), &flipped).is_err(), "byte {at} bit {bit}");
            }
        }
    }
}
