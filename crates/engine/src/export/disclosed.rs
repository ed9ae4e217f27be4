//! Who got a study: written down before its first byte leaves, so that whoever has copies can be named later (GDPR Art.
//! 19).
//!
//! A row a study, an export and a recipient, in table `Shares` under `disclosed:`; the layout stands in EXPORT.md. A
//! row names no patient: a recipient is a peer of the configuration, or what the officer said, which is held against
//! the patient's name and number before it is taken.

use super::{
    ExportError, ExportId,
    job::{Job, List},
};
use crate::{Shared, subject::Subjects};
use leadglass_model::{SopInstanceUid, StudyRef, TenantId, UnixMillis};
use leadglass_records::{Expected, RecordError, Table, TenantRecords};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// How a recipient got something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Handed {
    /// Sent to a peer of the configuration.
    Peer,
    /// Downloaded for a recipient whom the officer named.
    Package,
}

/// What a recipient has of a study.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disclosure {
    /// Who.
    pub recipient: String,
    /// How.
    pub handed: Handed,
    /// When it began to leave.
    pub at: UnixMillis,
    /// How many of its instances left at most: what broke off or was refused counts in full.
    pub instances: u64,
    /// How many of them are known to be there.
    pub certain: u64,
    /// Only the instance of this keyed token (hexadecimal), not the study.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only: Option<String>,
}

impl Shared {
    /// Something of an export is about to leave to a recipient.
    pub(super) async fn note_disclosure(
        &self,
        tenant: TenantId,
        job: &Job,
        recipient: &str,
        handed: Handed,
    ) -> Result<(), ExportError> {
        let records = self.subjects.get(&tenant).map(Subjects::records).ok_or(ExportError::Missing)?;
        let id: ExportId = job.head.view.id.parse().map_err(|_| ExportError::Missing)?;
        let only = self.only_instance(tenant, &job.list);
        for ((study, _), part) in job.head.studies.iter().zip(&job.list.studies) {
            let key = name(*study, id, recipient, handed);
            let before = records.get(Table::Shares, &key).await?;
            let before: Option<Disclosure> =
                before.map(|record| serde_json::from_slice(record.value.expose())).transpose().map_err(unreadable)?;
            let instances = part.series.iter().map(|series| series.instances.len() as u64).sum();
            let certain = match handed {
                Handed::Package => instances,
                Handed::Peer => before.as_ref().map_or(0, |before| before.certain),
            };
            let at = before.as_ref().map_or_else(|| self.clock.now(), |before| before.at);
            let only = only.clone();
            let row = Disclosure { recipient: recipient.to_owned(), handed, at, instances, certain, only };
            put(records, &key, &row).await?;
        }
        Ok(())
    }

    /// A delivery is over and every answer is there: of each study so many instances arrived. What was refused stays in the row:
    /// its bytes were with the peer, and a refusal may be of what it has already.
    pub(super) async fn close_disclosure(
        &self,
        tenant: TenantId,
        job: &Job,
        peer: &str,
        taken: &[u64],
    ) -> Result<(), ExportError> {
        let records = self.subjects.get(&tenant).map(Subjects::records).ok_or(ExportError::Missing)?;
        let id: ExportId = job.head.view.id.parse().map_err(|_| ExportError::Missing)?;
        for ((study, _), taken) in job.head.studies.iter().zip(taken) {
            let key = name(*study, id, peer, Handed::Peer);
            let Some(record) = records.get(Table::Shares, &key).await? else { continue };
            let mut row: Disclosure = serde_json::from_slice(record.value.expose()).map_err(unreadable)?;
            row.certain = row.certain.max(*taken);
            put(records, &key, &row).await?;
        }
        Ok(())
    }

    /// The token of the instance where an export is of one alone.
    fn only_instance(&self, tenant: TenantId, list: &List) -> Option<String> {
        let (_, part) = list.instances().next().filter(|_| list.alone)?;
        Some(hex::encode(self.instance_token(tenant, &SopInstanceUid::parse(&part.uid).ok()?)?))
    }

    /// Who got something of a study.
    pub(crate) async fn disclosures(&self, tenant: TenantId, study: StudyRef) -> Result<Vec<Disclosure>, RecordError> {
        let Some(records) = self.subjects.get(&tenant).map(Subjects::records) else { return Ok(Vec::new()) };
        let rows = rows_of(records, study).await?;
        let read = |(_, value): &(_, Zeroizing<Vec<u8>>)| serde_json::from_slice(value).map_err(unreadable);
        rows.iter().map(read).collect()
    }

    /// Who got something of a study is not written there any more: the order of its erasure says it.
    pub(crate) async fn forget_disclosures(&self, tenant: TenantId, study: StudyRef) -> Result<(), RecordError> {
        let Some(records) = self.subjects.get(&tenant).map(Subjects::records) else { return Ok(()) };
        for (key, _) in rows_of(records, study).await? {
            records.delete(Table::Shares, &key).await?;
        }
        Ok(())
    }
}

async fn rows_of(records: &TenantRecords, study: StudyRef) -> Result<Vec<(Vec<u8>, Zeroizing<Vec<u8>>)>, RecordError> {
    let prefix = [PREFIX, study.as_bytes()].concat();
    let (mut found, mut after) = (Vec::new(), prefix.clone());
    loop {
        let page = records.scan(Table::Shares, Some(&after), PAGE).await?;
        let Some(last) = page.last() else { return Ok(found) };
        after.clone_from(&last.key);
        for record in page {
            if !record.key.starts_with(&prefix) {
                return Ok(found);
            }
            found.push((record.key, Zeroizing::new(record.value.expose().to_vec())));
        }
    }
}

async fn put(records: &TenantRecords, key: &[u8], row: &Disclosure) -> Result<(), ExportError> {
    let value = Zeroizing::new(serde_json::to_vec(row).map_err(|_| ExportError::Sealing)?);
    records.put(Table::Shares, key, value, Expected::Anything).await?;
    Ok(())
}

fn unreadable(_: serde_json::Error) -> RecordError {
    RecordError::NotAuthentic
}

/// A peer and somebody whom the officer named may be called the same.
fn name(study: StudyRef, export: ExportId, recipient: &str, handed: Handed) -> Vec<u8> {
    let how: &[u8] = match handed {
        Handed::Peer => b"peer\0",
        Handed::Package => b"package\0",
    };
    let recipient =
        blake3::derive_key("leadglass 2026 the recipient of an export", &[how, recipient.as_bytes()].concat());
    [PREFIX, study.as_bytes(), &export.0, &recipient[..16]].concat()
}

/// What the officer said of a recipient, if it fits and does not name the patient.
pub(super) fn stated_recipient(text: &str, patient: &[String; 4]) -> Result<String, ExportError> {
    let text = text.trim();
    let fits = (1..=MAX_RECIPIENT_CHARS).contains(&text.chars().count()) && !text.chars().any(is_unfit);
    if !fits {
        return Err(ExportError::Recipient);
    }
    let folded = text.to_lowercase();
    let [name, id, ..] = patient;
    let parts = name.split(['^', '=', ' ', ',']).chain([id.as_str()]);
    let mut parts = parts.map(str::trim).filter(|part| part.chars().count() >= NAMING_CHARS);
    if parts.any(|part| folded.contains(&part.to_lowercase())) {
        return Err(ExportError::RecipientNamesPatient);
    }
    Ok(text.to_owned())
}

/// Control characters, and those that turn the direction of what follows (UAX #9).
fn is_unfit(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

const PREFIX: &[u8] = b"disclosed:";
const PAGE: usize = 256;
const MAX_RECIPIENT_CHARS: usize = 100;
/// A part of a name that is shorter stands in many words.
const NAMING_CHARS: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recipient_is_named_and_the_patient_is_not() {
        let patient = ["Müller^Anna Maria".to_owned(), "P-4711".to_owned(), "19700101".to_owned(), "F".to_owned()];
        let stated = |text: &str| stated_recipient(text, &patient);
        assert_eq!(stated(" Dr. Weber, Ulm ").unwrap(), "Dr. Weber, Ulm");
        for named in ["Anna", "Praxis MÜLLER", "Akte p-4711"] {
            assert!(matches!(stated(named), Err(ExportError::RecipientNamesPatient)), "{named}");
        }
        for unfit in ["", "  ", "a\u{0}b", "a\u{202E}b", &"x".repeat(101)] {
            assert!(matches!(stated(unfit), Err(ExportError::Recipient)), "{unfit:?}");
        }
    }

    #[test]
    fn a_row_reads_back() {
        let disclosure = Disclosure {
            recipient: "colleague".to_owned(),
            handed: Handed::Peer,
            at: UnixMillis(7),
            instances: 3,
            certain: 2,
            only: None,
        };
        let text = serde_json::to_string(&disclosure).unwrap();
        assert_eq!(text, r#"{"recipient":"colleague","handed":"peer","at":7,"instances":3,"certain":2}"#);
        assert_eq!(serde_json::from_str::<Disclosure>(&text).unwrap(), disclosure);
    }
}
