//! The patient's access report: who opened what, when and what for, with the proof that nothing was changed or left out.
//!
//! Form: `leadglass-access-report/1`, JSON; AUDIT.md §7. The table for people is computed from the proven entries, and the
//! verifier computes it again: a table that says anything else is refused.

mod table;
mod verify;

pub(crate) use table::word;
pub use table::{Access, Other, table};
pub use verify::{ReportFlaw, Summary, verify};

use crate::Proved;
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The name of the form.
pub const FORMAT: &str = "leadglass-access-report/1";

/// A report. Texts that name people stand in `people`, `studies` and `patient` only and are not proven; all else is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccessReport {
    /// [`FORMAT`].
    pub format: String,
    /// When it was made, milliseconds since 1970.
    pub made_ms: u64,
    /// The controller, 32 hexadecimal digits.
    pub tenant: String,
    /// The patient as the log knows them: a keyed token, 32 hexadecimal digits.
    pub subject: String,
    /// The patient in words, as who asked for the report gave them.
    pub patient: String,
    /// The table is about accesses from here, milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_ms: Option<u64>,
    /// To here, exclusive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_ms: Option<u64>,
    /// The log's public key.
    pub vault_key: String,
    /// The witness's public key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub witness_key: Option<String>,
    /// The checkpoint that the proofs lead to: a signed note, with the witness's line if there is one.
    pub checkpoint: String,
    /// Pseudonyms (32 hexadecimal digits) in words, as far as the records know them.
    #[serde(default)]
    pub people: BTreeMap<String, String>,
    /// Study references in words.
    #[serde(default)]
    pub studies: BTreeMap<String, String>,
    /// The accesses, by time.
    pub accesses: Vec<Access>,
    /// All else that the log says of the patient: stored, sent on, erased.
    pub others: Vec<Other>,
    /// Every entry about the patient from the first on, with its proof.
    pub entries: Vec<ProvenEntry>,
}

/// An entry's bytes and proof, as text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProvenEntry {
    /// Its place in the log.
    pub seq: u64,
    /// The leaf, base64.
    pub leaf: String,
    /// Inclusion proof: hashes, base64, from the leaf up.
    pub proof: Vec<String>,
}

impl From<&Proved> for ProvenEntry {
    fn from(proved: &Proved) -> Self {
        Self {
            seq: proved.seq,
            leaf: STANDARD.encode(&proved.leaf),
            proof: proved.proof.iter().map(|hash| STANDARD.encode(hash.0)).collect(),
        }
    }
}
