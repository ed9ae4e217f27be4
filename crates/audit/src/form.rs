//! The bytes of an entry: canonical CBOR, AUDIT.md §1.

use crate::{
    ClientRef, CodeWord, Entry, EntryError, Event, Hash, LeaseId, MAX_DETAIL_BYTES, NewEntry, Outcome, SubjectToken,
};
use leadglass_model::{ActorRef, EntryId, KeyId, Purpose, Role, StudyRef, TenantId, UnixMillis};
use minicbor::{Decoder, Encoder, data::Type};
use std::str::FromStr;

pub(crate) struct Parts<'a> {
    pub(crate) seq: Option<u64>,
    pub(crate) report: &'a NewEntry,
    pub(crate) subject: Option<(u64, Option<Hash>)>,
    pub(crate) detail_hash: Option<Hash>,
}

/// Which of the two byte forms.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
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

pub(crate) fn encode(parts: &Parts<'_>) -> Vec<u8> {
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

pub(crate) fn decode(bytes: &[u8], form: Form) -> Result<Entry, EntryError> {
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
