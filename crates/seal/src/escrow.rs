//! The escrow key file: study keys of one tenant in clear, as JSON, for reading objects without any service.
//!
//! `leadglass-keyd escrow` writes it under an approval; `leadglass open` reads it. Whoever holds it reads those
//! studies.
//! Source: FORMAT.md §10.

use crate::key::StudyKey;
use leadglass_model::{Fault, KeyGen, KeyId, TenantId};
use serde::{
    Deserialize, Deserializer,
    de::{self, Visitor},
};
use std::{collections::BTreeMap, fmt};
use zeroize::Zeroizing;

/// Study keys of one tenant.
#[derive(Debug)]
pub struct EscrowFile {
    tenant: TenantId,
    keys: BTreeMap<(KeyId, KeyGen), StudyKey>,
}

/// Bytes are no escrow key file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EscrowError {
    /// Longer than [`MAX_ESCROW_LEN`].
    #[error("the escrow key file is larger than one may be")]
    TooLarge,
    /// Not the JSON that is written; the message gives no content.
    #[error("the escrow key file cannot be read at line {line}, column {column}")]
    Malformed {
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
    },
    /// One key stands there twice.
    #[error("the escrow key file names key {key_id} twice")]
    Twice {
        /// Which.
        key_id: KeyId,
    },
}

impl EscrowError {
    /// The kind of failure.
    pub const fn fault(&self) -> Fault {
        Fault::BadInput
    }
}

impl EscrowFile {
    /// A file without keys.
    pub const fn new(tenant: TenantId) -> Self {
        Self { tenant, keys: BTreeMap::new() }
    }

    /// Adds a key; `false` where that key and generation stands there already.
    pub fn add(&mut self, key_id: KeyId, key_gen: KeyGen, key: StudyKey) -> bool {
        use std::collections::btree_map::Entry;
        match self.keys.entry((key_id, key_gen)) {
            Entry::Occupied(_) => false,
            Entry::Vacant(free) => {
                free.insert(key);
                true
            }
        }
    }

    /// Whose keys.
    pub const fn tenant(&self) -> TenantId {
        self.tenant
    }

    /// Number of keys.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether it holds no key.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The key that an object's header names.
    pub fn find(&self, key_id: KeyId, key_gen: KeyGen) -> Option<&StudyKey> {
        self.keys.get(&(key_id, key_gen))
    }

    /// Parses a file.
    pub fn parse(json: &[u8]) -> Result<Self, EscrowError> {
        if json.len() > MAX_ESCROW_LEN {
            return Err(EscrowError::TooLarge);
        }
        let file: File = serde_json::from_slice(json)
            .map_err(|error| EscrowError::Malformed { line: error.line(), column: error.column() })?;
        let mut read = Self::new(file.tenant_id);
        for Entry { key_id, r#gen, key: Hex(key) } in file.keys {
            if !read.add(key_id, r#gen, key) {
                return Err(EscrowError::Twice { key_id });
            }
        }
        Ok(read)
    }

    /// The file's text, wiped when dropped.
    pub fn to_json(&self) -> Zeroizing<String> {
        // Written by hand into one buffer of known size: no copy of a key stays behind in a serializer's buffer.
        let mut json = Zeroizing::new(String::with_capacity(80 + self.keys.len() * ENTRY_LEN));
        json.push_str(&format!("{{\"tenant_id\":\"{}\",\"keys\":[", self.tenant));
        for (number, ((key_id, key_gen), key)) in self.keys.iter().enumerate() {
            let comma = if number == 0 { "" } else { "," };
            let hex = Zeroizing::new(hex::encode(key.reveal()));
            json.push_str(comma);
            json.push_str(&format!("\n{{\"key_id\":\"{key_id}\",\"gen\":{},\"key\":\"", key_gen.get()));
            json.push_str(&hex);
            json.push_str("\"}");
        }
        json.push_str("]}\n");
        json
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    tenant_id: TenantId,
    keys: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    key_id: KeyId,
    r#gen: KeyGen,
    key: Hex,
}

struct Hex(StudyKey);

impl<'de> Deserialize<'de> for Hex {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(HexVisitor)
    }
}

struct HexVisitor;

impl Visitor<'_> for HexVisitor {
    type Value = Hex;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("64 hexadecimal digits")
    }
    fn visit_str<E: de::Error>(self, text: &str) -> Result<Hex, E> {
        let mut bytes = Zeroizing::new([0; 32]);
        hex::decode_to_slice(text, bytes.as_mut_slice()).map_err(|_| E::custom("64 hexadecimal digits"))?;
        Ok(Hex(StudyKey::from_bytes(*bytes)))
    }
}

/// Largest file that is read: room for about a million keys.
pub const MAX_ESCROW_LEN: usize = 160 << 20;
/// Most bytes of one key's line.
const ENTRY_LEN: usize = 144;

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> EscrowFile {
        let mut file = EscrowFile::new(TenantId::from_bytes([1; 16]));
        assert!(file.add(KeyId::from_bytes([2; 16]), KeyGen::FIRST, StudyKey::from_bytes([3; 32])));
        assert!(file.add(KeyId::from_bytes([2; 16]), KeyGen::new(u32::MAX).unwrap(), StudyKey::from_bytes([4; 32])));
        assert!(!file.add(KeyId::from_bytes([2; 16]), KeyGen::FIRST, StudyKey::from_bytes([5; 32])));
        file
    }

    #[test]
    fn a_file_comes_back() {
        let json = file().to_json();
        let read = EscrowFile::parse(json.as_bytes()).unwrap();
        assert_eq!((read.tenant(), read.len()), (TenantId::from_bytes([1; 16]), 2));
        assert_eq!(read.find(KeyId::from_bytes([2; 16]), KeyGen::FIRST).unwrap().reveal(), &[3; 32]);
        assert!(read.find(KeyId::from_bytes([9; 16]), KeyGen::FIRST).is_none());
        assert!(json.len() <= 80 + 2 * ENTRY_LEN, "the buffer never grows");
    }

    #[test]
    fn what_is_no_file_is_refused_without_its_content() {
        let good = file().to_json();
        let twice = good.replace("4294967295", "1");
        assert_eq!(
            EscrowFile::parse(twice.as_bytes()).unwrap_err(),
            EscrowError::Twice { key_id: KeyId::from_bytes([2; 16]) }
        );
        for bad in [
            good.replace("\"gen\":1", "\"gen\":0"),
            good.replace("0303", "03"),
            good.replace("\"key\"", "\"key2\""),
            good.replace("}]}", "}],\"more\":1}"),
            String::new(),
        ] {
            let error = EscrowFile::parse(bad.as_bytes()).unwrap_err();
            assert!(matches!(error, EscrowError::Malformed { .. }), "{error}");
            assert!(!error.to_string().contains("0303"));
        }
    }
}
