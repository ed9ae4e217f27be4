//! `POST /v1/keys/index`: the index keys of a tenant, page by page, for the projection at start.

use super::{KeyBytes, MAX_INDEX_PAGE, Record, WireError, decode_records, encode_records, record::Fields};
use leadglass_model::{KeyGen, KeyId, StudyRef, TenantId};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// Asks for one page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IndexRequest {
    /// Whose keys.
    pub tenant: TenantId,
    /// Keys after this one, in the order of their ids; without it from the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<KeyId>,
    /// How many at most, 1 to [`MAX_INDEX_PAGE`].
    pub limit: u16,
}

/// An index key. 68 bytes: `key_id[16] gen[4] study_ref[16] index_key[32]`.
#[derive(Debug)]
pub struct IndexKeyRecord {
    /// The study key it comes from.
    pub key_id: KeyId,
    /// That key's generation.
    pub key_gen: KeyGen,
    /// The study.
    pub study_ref: StudyRef,
    /// Opens study, series and instance rows.
    pub index_key: KeyBytes,
}

impl Record for IndexKeyRecord {
    const LEN: usize = 16 + 4 + 16 + 32;

    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.key_id.as_bytes());
        out.extend_from_slice(&self.key_gen.get().to_be_bytes());
        out.extend_from_slice(self.study_ref.as_bytes());
        out.extend_from_slice(self.index_key.expose());
    }

    fn take(from: &mut Fields<'_>) -> Result<Self, WireError> {
        Ok(Self {
            key_id: KeyId::from_bytes(from.array("key_id")?),
            key_gen: from.key_gen("gen")?,
            study_ref: StudyRef::from_bytes(from.array("study_ref")?),
            index_key: from.real_key("index_key")?,
        })
    }
}

/// One page, ascending by key id: the records, then one byte, 01 when there are more and 00 when not. The next page
/// is asked for with the last record's key id.
#[derive(Debug)]
pub struct IndexPage {
    /// The keys, ascending by key id.
    pub keys: Vec<IndexKeyRecord>,
    /// Whether more follow.
    pub more: bool,
}

impl IndexPage {
    /// The bytes of the answer.
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        let records = encode_records(&self.keys);
        let mut out = Zeroizing::new(Vec::with_capacity(records.len().saturating_add(1)));
        out.extend_from_slice(&records);
        out.push(u8::from(self.more));
        out
    }

    /// Reads the answer to `request`.
    ///
    /// # Errors
    /// Wrong counts or lengths, ids that do not ascend from the one asked after, or an empty page that promises more:
    /// a reader of such pages might never end.
    pub fn decode(bytes: &[u8], request: &IndexRequest) -> Result<Self, WireError> {
        let (more, records) = match bytes.split_last() {
            Some((0, records)) => (false, records),
            Some((1, records)) => (true, records),
            _ => return Err(WireError::Field { field: "more" }),
        };
        let keys: Vec<IndexKeyRecord> = decode_records(records, usize::from(request.limit).min(MAX_INDEX_PAGE))?;
        let ids = request.after.into_iter().chain(keys.iter().map(|k| k.key_id));
        if !ids.is_sorted_by(|a, b| a < b) {
            return Err(WireError::Field { field: "key_id" });
        }
        if more && keys.is_empty() {
            return Err(WireError::Field { field: "more" });
        }
        Ok(Self { keys, more })
    }
}
