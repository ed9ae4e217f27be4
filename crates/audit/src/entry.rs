//! Entries: what the leaves of the tree are made of.
//!
//! A [`NewEntry`] is what somebody reports; the log gives it a place and a link to the subject's previous entry and so
//! makes an [`Entry`]. Both are canonical CBOR (RFC 8949 §4.2: definite lengths, shortest integers, integer map keys
//! ascending), so one entry has exactly one byte form. Keys: AUDIT.md §1.

use crate::{Event, Hash, hash::sha256};
use leadglass_model::{ActorRef, EntryId, Fault, KeyId, Purpose, Role, StudyRef, TenantId, UnixMillis};
use minicbor::{Decoder, Encoder, data::Type};
use std::{fmt, str::FromStr};

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
    const fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Refused => 1,
            Self::Failed => 2,
        }
    }
}

struct Parts<'a> {
    seq: Option<u64>,
    report: &'a NewEntry,
    subject: Option<(u64, Option<Hash>)>,
    detail_hash: Option<Hash>,
}

/// Which of the two byte forms.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Without a place, with the detail's bytes.
    Report,
    /// With a place, with the detail's hash.
    Leaf,
}

enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    Text(&'a str),
}

/// The pairs that are there, in the order of their keys.
struct Map<'a>(Vec<(u8, Value<'a>)>);

impl<'a> Map<'a> {
    fn put(&mut self, key: u8, value: Option<Value<'a>>) {
        self.0.extend(value.map(|v| (key, v)));
    }
}

fn encode(parts: &Parts<'_>) -> Vec<u8> {
    use Value::{Bytes, Number, Text};
    let r = parts.report;
    let mut map = Map(Vec::with_capacity(26));
    let count = |n: u64| (n != 0).then_some(Number(n));
    map.put(VER, Some(Number(VERSION)));
    map.put(SEQ, parts.seq.map(Number));
    map.put(TIME, Some(Number(r.time.0)));
    map.put(EVENT, Some(Number(r.event.code().into())));
    map.put(OUTCOME, Some(Number(r.outcome.code().into())));
    map.put(ENTRY_ID, Some(Bytes(r.entry_id.as_bytes())));
    map.put(TENANT, r.tenant.as_ref().map(|v| Bytes(v.as_bytes())));
    map.put(ACTOR, r.actor.as_ref().map(|v| Bytes(&v.0)));
    map.put(CLIENT, r.client.as_ref().map(|v| Bytes(&v.0)));
    map.put(ROLE, r.role.map(|v| Text(v.as_str())));
    map.put(PURPOSE, r.purpose.map(|v| Text(v.as_str())));
    map.put(SUBJECT, r.subject.as_ref().map(|v| Bytes(&v.0)));
    map.put(SUBJECT_SEQ, parts.subject.map(|(seq, _)| Number(seq)));
    map.put(SUBJECT_PREV, parts.subject.as_ref().and_then(|(_, prev)| prev.as_ref().map(|h| Bytes(&h.0))));
    map.put(STUDY, r.study.as_ref().map(|v| Bytes(v.as_bytes())));
    map.put(KEY, r.key.as_ref().map(|v| Bytes(v.as_bytes())));
    map.put(STUDIES, count(r.counts.studies));
    map.put(SERIES, count(r.counts.series));
    map.put(INSTANCES, count(r.counts.instances));
    map.put(FRAMES, count(r.counts.frames));
    map.put(BYTES, count(r.counts.bytes));
    map.put(LEASE, r.lease.as_ref().map(|v| Bytes(&v.0)));
    map.put(RELATED, r.related.as_ref().map(|v| Bytes(v.as_bytes())));
    map.put(CODE, r.code.as_ref().map(|v| Text(v.as_str())));
    map.put(DETAIL_HASH, parts.detail_hash.as_ref().map(|h| Bytes(&h.0)));
    if parts.seq.is_none() {
        map.put(DETAIL, r.detail.as_deref().map(Bytes));
    }
    let mut out = Encoder::new(Vec::with_capacity(256));
    // Writing into a Vec cannot fail; the results are all `Ok`.
    let written = (|| {
        out.map(map.0.len() as u64)?;
        for (key, value) in &map.0 {
            out.u8(*key)?;
            match value {
                Number(n) => out.u64(*n)?,
                Bytes(b) => out.bytes(b)?,
                Text(t) => out.str(t)?,
            };
        }
        Ok::<_, minicbor::encode::Error<std::convert::Infallible>>(())
    })();
    written.expect("a Vec takes every byte");
    out.into_writer()
}

fn decode(bytes: &[u8], form: Form) -> Result<Entry, EntryError> {
    if bytes.len() > MAX_ENTRY_BYTES + MAX_DETAIL_BYTES {
        return Err(EntryError::TooLong);
    }
    let entry = read(bytes, form).map_err(|e| match e {
        ReadFailure::Unknown => EntryError::Unknown,
        ReadFailure::Malformed => EntryError::NotCanonical,
    })?;
    // One entry, one byte form: whatever else the decoder let pass (long integers, a zero count) ends here.
    let again = match form {
        Form::Report => entry.report.encode(),
        Form::Leaf => entry.encode(),
    };
    if again == bytes { Ok(entry) } else { Err(EntryError::NotCanonical) }
}

enum ReadFailure {
    Unknown,
    Malformed,
}

impl From<minicbor::decode::Error> for ReadFailure {
    fn from(_: minicbor::decode::Error) -> Self {
        Self::Malformed
    }
}

fn read(bytes: &[u8], form: Form) -> Result<Entry, ReadFailure> {
    use ReadFailure::{Malformed, Unknown};
    let mut d = Decoder::new(bytes);
    let fields = d.map()?.ok_or(Malformed)?;
    let mut report =
        NewEntry::new(EntryId::from_bytes([0; 16]), UnixMillis(0), Event::ApplicationActivity, Outcome::Success);
    let mut entry = Entry { seq: 0, report: report.clone(), subject_seq: 0, subject_prev: None, detail_hash: None };
    let mut seen: u32 = 0;
    for _ in 0..fields {
        let key = d.u8()?;
        if key > DETAIL {
            return Err(Unknown);
        }
        seen |= 1 << key;
        match key {
            VER => {
                if d.u64()? != VERSION {
                    return Err(Unknown);
                }
            }
            SEQ if form == Form::Leaf => entry.seq = d.u64()?,
            TIME => report.time = UnixMillis(d.u64()?),
            EVENT => report.event = Event::from_code(d.u32()?).ok_or(Unknown)?,
            OUTCOME => {
                report.outcome = match d.u8()? {
                    0 => Outcome::Success,
                    1 => Outcome::Refused,
                    2 => Outcome::Failed,
                    _ => return Err(Unknown),
                }
            }
            ENTRY_ID => report.entry_id = EntryId::from_bytes(fixed(&mut d)?),
            TENANT => report.tenant = Some(TenantId::from_bytes(fixed(&mut d)?)),
            ACTOR => report.actor = Some(ActorRef(fixed(&mut d)?)),
            CLIENT => report.client = Some(ClientRef(fixed(&mut d)?)),
            ROLE => report.role = Some(Role::from_str(d.str()?).map_err(|_| Unknown)?),
            PURPOSE => report.purpose = Some(Purpose::from_str(d.str()?).map_err(|_| Unknown)?),
            SUBJECT => report.subject = Some(SubjectToken(fixed(&mut d)?)),
            SUBJECT_SEQ if form == Form::Leaf => entry.subject_seq = d.u64()?,
            SUBJECT_PREV if form == Form::Leaf => entry.subject_prev = Some(Hash(fixed(&mut d)?)),
            STUDY => report.study = Some(StudyRef::from_bytes(fixed(&mut d)?)),
            KEY => report.key = Some(KeyId::from_bytes(fixed(&mut d)?)),
            STUDIES => report.counts.studies = d.u64()?,
            SERIES => report.counts.series = d.u64()?,
            INSTANCES => report.counts.instances = d.u64()?,
            FRAMES => report.counts.frames = d.u64()?,
            BYTES => report.counts.bytes = d.u64()?,
            LEASE => report.lease = Some(LeaseId(fixed(&mut d)?)),
            RELATED => report.related = Some(EntryId::from_bytes(fixed(&mut d)?)),
            CODE => report.code = Some(CodeWord::parse(d.str()?).ok_or(Malformed)?),
            DETAIL_HASH if form == Form::Leaf => entry.detail_hash = Some(Hash(fixed(&mut d)?)),
            DETAIL if form == Form::Report => report.detail = Some(d.bytes()?.to_vec()),
            _ => return Err(Malformed),
        }
    }
    let needed = match form {
        Form::Report => 1 << VER | 1 << TIME | 1 << EVENT | 1 << OUTCOME | 1 << ENTRY_ID,
        Form::Leaf => 1 << VER | 1 << SEQ | 1 << TIME | 1 << EVENT | 1 << OUTCOME | 1 << ENTRY_ID,
    };
    if seen & needed != needed || d.position() != bytes.len() {
        return Err(Malformed);
    }
    entry.report = report;
    Ok(entry)
}

fn fixed<const N: usize>(d: &mut Decoder<'_>) -> Result<[u8; N], ReadFailure> {
    if d.datatype()? != Type::Bytes {
        return Err(ReadFailure::Malformed);
    }
    d.bytes()?.try_into().map_err(|_| ReadFailure::Malformed)
}

/// The version of the entry's form.
const VERSION: u64 = 1;
/// A leaf is at most this long; C2SP tlog-tiles allows 65,535.
pub(crate) const MAX_ENTRY_BYTES: usize = 1024;
/// Sealed details of one entry are at most this long.
pub const MAX_DETAIL_BYTES: usize = 32 * 1024;

// The keys of the map, AUDIT.md §1.
const VER: u8 = 0;
const SEQ: u8 = 1;
const TIME: u8 = 2;
const EVENT: u8 = 3;
const OUTCOME: u8 = 4;
const ENTRY_ID: u8 = 5;
const TENANT: u8 = 6;
const ACTOR: u8 = 7;
const CLIENT: u8 = 8;
const ROLE: u8 = 9;
const PURPOSE: u8 = 10;
const SUBJECT: u8 = 11;
const SUBJECT_SEQ: u8 = 12;
const SUBJECT_PREV: u8 = 13;
const STUDY: u8 = 14;
const KEY: u8 = 15;
const STUDIES: u8 = 16;
const SERIES: u8 = 17;
const INSTANCES: u8 = 18;
const FRAMES: u8 = 19;
const BYTES: u8 = 20;
const LEASE: u8 = 21;
const RELATED: u8 = 22;
const CODE: u8 = 23;
const DETAIL_HASH: u8 = 24;
const DETAIL: u8 = 25;

#[cfg(test)]
mod tests {
    use super::*;

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
