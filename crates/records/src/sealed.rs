//! A value as it lies on disk.
//!
//! Bytes: 1 (format) ‖ version (8, big-endian) ‖ nonce (12) ‖ AES-256-GCM ciphertext ‖ tag (16). The key is
//! HKDF-SHA-256(record key, info = label ‖ tenant ‖ table ‖ record's key), the additional data are info ‖ version. So a
//! value moved to another record, table or tenant does not open, nor does one with another version number. The fields
//! before the record's key are of fixed length, so no two records have the same info.

use crate::{RecordError, Table};
use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    hkdf::{HKDF_SHA256, Salt},
};
use leadglass_model::{Entropy, TenantId};
use zeroize::Zeroizing;

/// A tenant's record key, as the key service lends it. Wiped when dropped, mute in `Debug`, not to be cloned.
pub struct RecordKey(Zeroizing<[u8; 32]>);

impl RecordKey {
    /// The key with these bytes. The caller wipes its own copy.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }
}

impl std::fmt::Debug for RecordKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RecordKey(‹secret›)")
    }
}

/// Which record a value belongs to.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) tenant: TenantId,
    pub(crate) table: Table,
    pub(crate) key: &'a [u8],
}

impl Place<'_> {
    /// The record's key in the file.
    pub(crate) fn name(&self) -> Vec<u8> {
        [self.tenant.as_bytes().as_slice(), &[self.table.number()], self.key].concat()
    }

    fn info(&self) -> Vec<u8> {
        [LABEL, &self.name()].concat()
    }
}

pub(crate) fn seal(key: &RecordKey, place: Place<'_>, version: u64, value: &[u8], entropy: &dyn Entropy) -> Vec<u8> {
    let mut nonce = [0; NONCE_LEN];
    entropy.fill(&mut nonce);
    let mut row = Vec::with_capacity(HEAD_LEN + value.len() + TAG_LEN);
    row.push(FORMAT);
    row.extend_from_slice(&version.to_be_bytes());
    row.extend_from_slice(&nonce);
    row.extend_from_slice(value);
    let tag = cipher(key, place)
        .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), aad(place, version), &mut row[HEAD_LEN..])
        .expect("a value is shorter than AES-GCM's limit of 64 GiB");
    row.extend_from_slice(tag.as_ref());
    row
}

pub(crate) fn open(key: &RecordKey, place: Place<'_>, row: &[u8]) -> Result<(u64, Zeroizing<Vec<u8>>), RecordError> {
    let version = version(row)?;
    let (nonce, sealed) =
        row.get(9..).and_then(|rest| rest.split_first_chunk::<NONCE_LEN>()).ok_or(RecordError::NotAuthentic)?;
    let mut value = Zeroizing::new(sealed.to_vec());
    let len = cipher(key, place)
        .open_in_place(Nonce::assume_unique_for_key(*nonce), aad(place, version), &mut value)
        .map_err(|_| RecordError::NotAuthentic)?
        .len();
    value.truncate(len);
    Ok((version, value))
}

/// The version that a row claims.
pub(crate) fn version(row: &[u8]) -> Result<u64, RecordError> {
    match row.split_first_chunk::<9>() {
        Some(([FORMAT, version @ ..], _)) => Ok(u64::from_be_bytes(*version)),
        _ => Err(RecordError::NotAuthentic),
    }
}

fn cipher(key: &RecordKey, place: Place<'_>) -> LessSafeKey {
    let extracted = Salt::new(HKDF_SHA256, &[]).extract(&key.0[..]);
    let info = place.info();
    let info = [info.as_slice()];
    let expanded = extracted.expand(&info, &AES_256_GCM).expect("32 bytes are within HKDF's limit");
    LessSafeKey::new(UnboundKey::from(expanded))
}

fn aad(place: Place<'_>, version: u64) -> Aad<Vec<u8>> {
    Aad::from([place.info().as_slice(), &version.to_be_bytes()].concat())
}

const FORMAT: u8 = 1;
const HEAD_LEN: usize = 1 + 8 + NONCE_LEN;
const TAG_LEN: usize = 16;
const LABEL: &[u8] = b"leadglass record v1\0";

#[cfg(test)]
mod tests {
    use super::*;
    use leadglass_model::SystemEntropy;

    const PLACE: Place<'static> =
        Place { tenant: TenantId::from_bytes([1; 16]), table: Table::Patients, key: b"random name" };

    fn key() -> RecordKey {
        RecordKey::from_bytes([9; 32])
    }

    #[test]
    fn a_value_opens_in_its_place_only() {
        let row = seal(&key(), PLACE, 3, b"a value", &SystemEntropy);
        let (version, value) = open(&key(), PLACE, &row).unwrap();
        assert_eq!((version, value.as_slice()), (3, &b"a value"[..]));
        let elsewhere = [
            Place { tenant: TenantId::from_bytes([2; 16]), ..PLACE },
            Place { table: Table::People, ..PLACE },
            Place { key: b"another name", ..PLACE },
            Place { key: b"random nam", ..PLACE },
        ];
        for place in elsewhere {
            assert!(matches!(open(&key(), place, &row), Err(RecordError::NotAuthentic)));
        }
        let other = RecordKey::from_bytes([8; 32]);
        assert!(matches!(open(&other, PLACE, &row), Err(RecordError::NotAuthentic)));
    }

    #[test]
    fn no_flipped_bit_and_no_cut_opens() {
        let row = seal(&key(), PLACE, 3, b"a value", &SystemEntropy);
        for bit in 0..row.len() * 8 {
            let mut bad = row.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(open(&key(), PLACE, &bad).is_err(), "bit {bit}");
        }
        for len in 0..row.len() {
            assert!(open(&key(), PLACE, &row[..len]).is_err(), "{len} bytes");
        }
    }

    #[test]
    fn the_same_value_twice_looks_different() {
        let rows = [1, 2].map(|_| seal(&key(), PLACE, 1, b"a value", &SystemEntropy));
        assert_ne!(rows[0], rows[1]);
    }
}
