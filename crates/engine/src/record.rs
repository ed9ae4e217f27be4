//! What one journal record holds: the rows, audit entries and, for a small instance, the sealed object of one commit.
//!
//! ```text
//!  0  4  "LGJ2"
//!  4  2  number of rows        then each: tenant[16] row key[33] len(4) sealed row
//!  .  2  number of entries     then each: len(4) entry
//!  .  2  number of subjects    then each: tenant[16] subject[16] len(4) wrapped subject key
//!  .  1  object follows: 00 no, 01 yes
//!  . 16  object id             only with 01
//!  .  8  sealed length         only with 01
//!  .  .  sealed object         only with 01, to the end of the record
//! ```
//!
//! `"LGJ1"` is the same without subjects, and is still read. Integers are big-endian. Every byte here is sealed, random or
//! a pseudonym: nothing names a patient. The record is given to the journal as two pieces, so that a sealed object is not
//! copied on its way to the disk.

use bytes::{BufMut, Bytes, BytesMut};
use leadglass_audit::SubjectToken;
use leadglass_index::RowKey;
use leadglass_model::{Fault, ObjectId, TenantId};

/// One sealed row and where it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedRow {
    /// Whose row.
    pub tenant: TenantId,
    /// Where it lies.
    pub key: RowKey,
    /// The sealed row.
    pub bytes: Bytes,
}

/// The wrapped key of a patient whom an entry of this record, or of one before it, speaks of for the first time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubjectWrap {
    /// Whose patient.
    pub tenant: TenantId,
    /// The patient's token.
    pub subject: SubjectToken,
    /// The key under the tenant's audit secret (SVK1).
    pub wrapped: Bytes,
}

/// The content of one journal record.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Record {
    /// Rows to be written.
    pub rows: Vec<SealedRow>,
    /// Audit entries, encoded, not yet placed in the log.
    pub entries: Vec<Bytes>,
    /// Subject keys that the vault's records do not hold yet.
    pub subjects: Vec<SubjectWrap>,
    /// A sealed object that no store holds yet.
    pub object: Option<(ObjectId, Bytes)>,
}

/// A durable record does not read as one of ours. The journal's checksum held, so this is a defect or another version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a journal record is not in this version's form")]
pub struct RecordError;

impl RecordError {
    /// Always [`Fault::Corrupt`].
    pub const fn fault(&self) -> Fault {
        Fault::Corrupt
    }
}

impl Record {
    /// The record as pieces for the journal.
    pub fn encode(&self) -> Vec<Bytes> {
        let rows: usize = self.rows.iter().map(|r| ROW_HEAD + r.bytes.len()).sum();
        let entries: usize = self.entries.iter().map(|e| 4 + e.len()).sum();
        let subjects: usize = self.subjects.iter().map(|s| SUBJECT_HEAD + s.wrapped.len()).sum();
        let mut head = BytesMut::with_capacity(MAGIC.len() + 7 + rows + entries + subjects + 24);
        head.put_slice(MAGIC);
        head.put_u16(count(self.rows.len()));
        for row in &self.rows {
            head.put_slice(row.tenant.as_bytes());
            head.put_slice(&row.key.to_bytes());
            put_sized(&mut head, &row.bytes);
        }
        head.put_u16(count(self.entries.len()));
        for entry in &self.entries {
            put_sized(&mut head, entry);
        }
        head.put_u16(count(self.subjects.len()));
        for subject in &self.subjects {
            head.put_slice(subject.tenant.as_bytes());
            head.put_slice(&subject.subject.0);
            put_sized(&mut head, &subject.wrapped);
        }
        match &self.object {
            None => {
                head.put_u8(0);
                vec![head.freeze()]
            }
            Some((id, sealed)) => {
                head.put_u8(1);
                head.put_slice(id.as_bytes());
                head.put_u64(sealed.len() as u64);
                vec![head.freeze(), sealed.clone()]
            }
        }
    }

    /// Reads a record back, as pieces or whole.
    pub fn decode(pieces: &[Bytes]) -> Result<Self, RecordError> {
        let mut rest = Pieces { pieces, at: 0 };
        let has_subjects = match rest.take(MAGIC.len())?.as_ref() {
            MAGIC => true,
            MAGIC_WITHOUT_SUBJECTS => false,
            _ => return Err(RecordError),
        };
        let rows = (0..rest.u16()?)
            .map(|_| {
                let tenant = TenantId::from_bytes(rest.array()?);
                let key = RowKey::from_bytes(&rest.array::<{ RowKey::LEN }>()?).ok_or(RecordError)?;
                Ok(SealedRow { tenant, key, bytes: rest.sized()? })
            })
            .collect::<Result<_, _>>()?;
        let entries = (0..rest.u16()?).map(|_| rest.sized()).collect::<Result<_, _>>()?;
        let subjects = (0..if has_subjects { rest.u16()? } else { 0 })
            .map(|_| {
                let tenant = TenantId::from_bytes(rest.array()?);
                Ok(SubjectWrap { tenant, subject: SubjectToken(rest.array()?), wrapped: rest.sized()? })
            })
            .collect::<Result<_, _>>()?;
        let object = match rest.array::<1>()? {
            [0] => None,
            [1] => {
                let id = ObjectId::from_bytes(rest.array()?);
                let len = usize::try_from(u64::from_be_bytes(rest.array()?)).map_err(|_| RecordError)?;
                Some((id, rest.take(len)?))
            }
            _ => return Err(RecordError),
        };
        if rest.is_empty() { Ok(Self { rows, entries, subjects, object }) } else { Err(RecordError) }
    }
}

fn put_sized(head: &mut BytesMut, bytes: &[u8]) {
    head.put_u32(u32::try_from(bytes.len()).expect("rows and entries are far under 4 GiB"));
    head.put_slice(bytes);
}

fn count(n: usize) -> u16 {
    u16::try_from(n).expect("a commit has a handful of rows and entries")
}

/// A cursor over the record's pieces; what it takes must lie within one piece.
struct Pieces<'a> {
    pieces: &'a [Bytes],
    at: usize,
}

impl Pieces<'_> {
    fn take(&mut self, len: usize) -> Result<Bytes, RecordError> {
        while let Some((first, later)) = self.pieces.split_first() {
            let left = first.len() - self.at;
            if left == 0 && !later.is_empty() {
                (self.pieces, self.at) = (later, 0);
                continue;
            }
            if left < len {
                return Err(RecordError);
            }
            let taken = first.slice(self.at..self.at + len);
            self.at += len;
            return Ok(taken);
        }
        Err(RecordError)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], RecordError> {
        self.take(N)?.as_ref().try_into().map_err(|_| RecordError)
    }

    fn u16(&mut self) -> Result<u16, RecordError> {
        self.array().map(u16::from_be_bytes)
    }

    fn sized(&mut self) -> Result<Bytes, RecordError> {
        let len = usize::try_from(u32::from_be_bytes(self.array()?)).map_err(|_| RecordError)?;
        self.take(len)
    }

    fn is_empty(&self) -> bool {
        self.pieces.iter().map(Bytes::len).sum::<usize>() == self.at
    }
}

const MAGIC: &[u8] = b"LGJ2";
const MAGIC_WITHOUT_SUBJECTS: &[u8] = b"LGJ1";
const SUBJECT_HEAD: usize = 16 + 16 + 4;
const ROW_HEAD: usize = 16 + RowKey::LEN + 4;

#[cfg(test)]
mod tests {
    use super::*;
    use leadglass_index::Table;
    use leadglass_model::StudyRef;

    fn record(object: Option<&'static [u8]>) -> Record {
        let key = RowKey { table: Table::Instance, study_ref: StudyRef::from_bytes([3; 16]), uid_mac: [4; 16] };
        Record {
            rows: vec![SealedRow { tenant: TenantId::from_bytes([1; 16]), key, bytes: Bytes::from_static(b"row") }],
            entries: vec![Bytes::from_static(b"entry"), Bytes::new()],
            subjects: vec![SubjectWrap {
                tenant: TenantId::from_bytes([1; 16]),
                subject: SubjectToken([7; 16]),
                wrapped: Bytes::from_static(b"wrap"),
            }],
            object: object.map(|o| (ObjectId::from_bytes([9; 16]), Bytes::from_static(o))),
        }
    }

    #[test]
    fn a_record_comes_back_as_pieces_and_whole() {
        for object in [None, Some(&b"sealed"[..]), Some(&b""[..])] {
            let record = record(object);
            let pieces = record.encode();
            assert_eq!(Record::decode(&pieces), Ok(record.clone()));
            assert_eq!(Record::decode(&[Bytes::from(pieces.concat())]), Ok(record));
        }
    }

    #[test]
    fn a_record_of_the_version_before_is_read() {
        let record = Record { subjects: Vec::new(), ..record(Some(b"sealed")) };
        let mut whole = record.encode().concat();
        let at = whole.windows(3).rposition(|w| w == [0, 0, 1]).unwrap();
        whole.drain(at..at + 2);
        whole[..4].copy_from_slice(b"LGJ1");
        assert_eq!(Record::decode(&[Bytes::from(whole)]), Ok(record));
    }

    #[test]
    fn a_cut_or_longer_record_is_refused() {
        let whole = record(Some(b"sealed")).encode().concat();
        for len in 0..whole.len() {
            assert_eq!(Record::decode(&[Bytes::copy_from_slice(&whole[..len])]), Err(RecordError), "cut at {len}");
        }
        let longer = [whole.as_slice(), b"x"].concat();
        assert_eq!(Record::decode(&[Bytes::from(longer)]), Err(RecordError));
    }
}
