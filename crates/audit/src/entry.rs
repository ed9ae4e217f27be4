//! Entries: what the leaves of the tree are made of.
//!
//! A [`NewEntry`] is what somebody reports; the log gives it a place and a link to the subject's previous entry and so
//! makes an [`Entry`]. Both are canonical CBOR (RFC 8949 §4.2: definite lengths, shortest integers, integer map keys
//! ascending), so one entry has exactly one byte form. Keys: AUDIT.md §1.

use crate::{
    Event, Hash,
    form::{Form, Parts, decode, encode},
    hash::sha256,
};
use leadglass_model::{ActorRef, EntryId, Fault, KeyId, Purpose, Role, StudyRef, TenantId, UnixMillis};
use std::fmt;

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Done.
    Success,
    /// Not allowed, or over a budget.
    Refused,
    /// Tried and failed.
    Failed,
}

/// Pseudonym of the program, device or connection through which the actor came, for example the first 16 bytes of the
/// SHA-256 of a client's public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClientRef(pub [u8; 16]);

/// Random name of a lease: all that one session read of one study for one purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LeaseId(pub [u8; 16]);

/// Keyed token of a patient: HMAC under the tenant's secret, so it says nothing without that key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubjectToken(pub [u8; 16]);

/// A stable word that says why, for example `budget-person` or `chunk-not-authentic`: 1 to 48 of `a-z 0-9 . -`.
/// Never text from outside.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CodeWord(String);

/// How much an entry speaks about. Zero is not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Studies (or keys, for the key service).
    pub studies: u64,
    /// Series.
    pub series: u64,
    /// Instances.
    pub instances: u64,
    /// Frames.
    pub frames: u64,
    /// Bytes of plaintext.
    pub bytes: u64,
}

/// A report that has no place in the log yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEntry {
    /// Random name; the key service's log carries the vault's.
    pub entry_id: EntryId,
    /// When it happened.
    pub time: UnixMillis,
    /// What.
    pub event: Event,
    /// How it ended.
    pub outcome: Outcome,
    /// In which tenant.
    pub tenant: Option<TenantId>,
    /// Who.
    pub actor: Option<ActorRef>,
    /// Through what.
    pub client: Option<ClientRef>,
    /// In which role.
    pub role: Option<Role>,
    /// What for.
    pub purpose: Option<Purpose>,
    /// About which patient.
    pub subject: Option<SubjectToken>,
    /// About which study.
    pub study: Option<StudyRef>,
    /// About which key.
    pub key: Option<KeyId>,
    /// About how much.
    pub counts: Counts,
    /// Under which lease.
    pub lease: Option<LeaseId>,
    /// The entry that this one belongs to: in the other log, or an earlier one here.
    pub related: Option<EntryId>,
    /// Why, as a stable word.
    pub code: Option<CodeWord>,
    /// Sealed details; the tree commits to their SHA-256. At most [`MAX_DETAIL_BYTES`].
    pub detail: Option<Vec<u8>>,
}

/// An entry in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its place: 0 for the first.
    pub seq: u64,
    /// What was reported, without the detail's bytes.
    pub report: NewEntry,
    /// How many entries of this subject came before it; 0 for the first. Only with a subject.
    pub subject_seq: u64,
    /// Leaf hash of the subject's previous entry; `None` for the first.
    pub subject_prev: Option<Hash>,
    /// SHA-256 of the sealed details.
    pub detail_hash: Option<Hash>,
}

/// Why bytes are not an entry, or an entry cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EntryError {
    /// Not CBOR, or not the one canonical form.
    #[error("the bytes are not an entry in canonical form")]
    NotCanonical,
    /// A version or an event code that this build does not know.
    #[error("the entry is of a kind this build does not know")]
    Unknown,
    /// Longer than an entry or a detail may be.
    #[error("the entry is longer than allowed")]
    TooLong,
}

impl EntryError {
    /// The kind of failure.
    pub const fn fault(&self) -> Fault {
        match self {
            Self::NotCanonical => Fault::Corrupt,
            Self::Unknown | Self::TooLong => Fault::BadInput,
        }
    }
}

impl NewEntry {
    /// A report with nothing but the necessary; fill the rest with struct update syntax.
    pub const fn new(entry_id: EntryId, time: UnixMillis, event: Event, outcome: Outcome) -> Self {
        Self {
            entry_id,
            time,
            event,
            outcome,
            tenant: None,
            actor: None,
            client: None,
            role: None,
            purpose: None,
            subject: None,
            study: None,
            key: None,
            counts: Counts { studies: 0, series: 0, instances: 0, frames: 0, bytes: 0 },
            lease: None,
            related: None,
            code: None,
            detail: None,
        }
    }

    /// The bytes for the journal (a report with its detail, no place).
    pub fn encode(&self) -> Vec<u8> {
        encode(&Parts { seq: None, report: self, subject: None, detail_hash: None })
    }

    /// Reads what [`NewEntry::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, EntryError> {
        let entry = decode(bytes, Form::Report)?;
        Ok(entry.report)
    }

    /// SHA-256 of the sealed details.
    pub fn detail_hash(&self) -> Option<Hash> {
        self.detail.as_deref().map(|d| sha256(&[d]))
    }

    /// Refuses what is too long for the log.
    pub(crate) fn check(&self) -> Result<(), EntryError> {
        let detail = self.detail.as_ref().map_or(0, Vec::len);
        if detail > MAX_DETAIL_BYTES { Err(EntryError::TooLong) } else { Ok(()) }
    }
}

impl Entry {
    /// The leaf's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let subject = self.report.subject.map(|_| (self.subject_seq, self.subject_prev));
        encode(&Parts { seq: Some(self.seq), report: &self.report, subject, detail_hash: self.detail_hash })
    }

    /// Reads a leaf. Anything but the canonical form is refused.
    pub fn decode(bytes: &[u8]) -> Result<Self, EntryError> {
        decode(bytes, Form::Leaf)
    }
}

impl CodeWord {
    /// The word, if it is one.
    pub fn parse(word: &str) -> Option<Self> {
        let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-');
        (1..=48).contains(&word.len()).then_some(())?;
        word.bytes().all(good).then(|| Self(word.to_owned()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CodeWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Outcome {
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Refused => 1,
            Self::Failed => 2,
        }
    }
}

/// Sealed details of one entry are at most this long.
pub const MAX_DETAIL_BYTES: usize = 32 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::form::MAX_ENTRY_BYTES;

    fn full() -> NewEntry {
        NewEntry {
            tenant: Some(TenantId::from_bytes([1; 16])),
            actor: Some(ActorRef([2; 16])),
            client: Some(ClientRef([3; 16])),
            role: Some(Role::Clinician),
            purpose: Some(Purpose::Care),
            subject: Some(SubjectToken([4; 16])),
            study: Some(StudyRef::from_bytes([5; 16])),
            key: Some(KeyId::from_bytes([6; 16])),
            counts: Counts { studies: 1, series: 2, instances: 300, frames: 70_000, bytes: 5_000_000_000 },
            lease: Some(LeaseId([7; 16])),
            related: Some(EntryId::from_bytes([8; 16])),
            code: CodeWord::parse("budget-person"),
            detail: Some(vec![9; 40]),
            ..NewEntry::new(
                EntryId::from_bytes([10; 16]),
                UnixMillis(1_790_000_000_000),
                Event::KeyUnwrapped,
                Outcome::Refused,
            )
        }
    }

    #[test]
    fn a_report_comes_back_with_all_its_fields() {
        assert_eq!(NewEntry::decode(&full().encode()), Ok(full()));
        let bare = NewEntry::new(EntryId::from_bytes([0; 16]), UnixMillis(0), Event::Query, Outcome::Success);
        assert_eq!(NewEntry::decode(&bare.encode()), Ok(bare));
    }

    #[test]
    fn a_leaf_comes_back_and_stays_under_its_limit() {
        let report = NewEntry { detail: None, ..full() };
        let entry = Entry {
            seq: u64::MAX,
            report,
            subject_seq: u64::MAX,
            subject_prev: Some(Hash([11; 32])),
            detail_hash: full().detail_hash(),
        };
        let bytes = entry.encode();
        assert_eq!(Entry::decode(&bytes), Ok(entry));
        assert!(bytes.len() <= MAX_ENTRY_BYTES);
    }

    #[test]
    fn a_leaf_is_not_a_report_and_the_reverse() {
        assert!(Entry::decode(&full().encode()).is_err());
        let entry = Entry {
            seq: 3,
            report: NewEntry { subject: None, detail: None, ..full() },
            subject_seq: 0,
            subject_prev: None,
            detail_hash: None,
        };
        assert!(NewEntry::decode(&entry.encode()).is_err());
    }

    #[test]
    fn other_byte_forms_of_the_same_entry_are_refused() {
        let bare = NewEntry::new(EntryId::from_bytes([0; 16]), UnixMillis(5), Event::Query, Outcome::Success);
        let good = bare.encode();
        // map(5) → an indefinite-length map
        let mut indefinite = good.clone();
        indefinite[0] = 0xbf;
        indefinite.push(0xff);
        // the version 1 in two bytes
        let mut long = good.clone();
        long.splice(2..3, [0x18, 0x01]);
        // a trailing byte
        let mut trailing = good.clone();
        trailing.push(0);
        for bad in [indefinite, long, trailing, good[..good.len() - 1].to_vec(), Vec::new()] {
            assert!(NewEntry::decode(&bad).is_err(), "{}", hex::encode(bad));
        }
    }

    #[test]
    fn a_code_word_is_a_word() {
        for bad in ["", "Upper", "with space", "naïve", &"x".repeat(49)] {
            assert_eq!(CodeWord::parse(bad), None);
        }
    }
}
