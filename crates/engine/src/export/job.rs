//! An export's list: what is in the package, in which order, and what is known of each file.

use super::{Courier, ExportError, Printer};
use bytes::Bytes;
use leadglass_export::papers::Practice;
use leadglass_export::{
    Directory, Envelope, EnvelopeSecrets, Kind, Listed, Member, PatientKeys, SeriesKeys, StudyKeys, Zip,
};
use leadglass_model::{SeriesUid, SopInstanceUid, StudyRef, StudyUid, TenantId};
use leadglass_tap::part10::{IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME};
use lru::LruCache;
use minicbor::{Decode, Encode};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::{collections::HashMap, fmt, num::NonZeroUsize, str::FromStr, sync::Arc};
use tokio::sync::Semaphore;

/// Random name of an export.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ExportId(pub [u8; 16]);

impl fmt::Display for ExportId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for ExportId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ExportId({self})")
    }
}

impl FromStr for ExportId {
    type Err = hex::FromHexError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut id = [0; 16];
        hex::decode_to_slice(text, &mut id)?;
        Ok(Self(id))
    }
}

/// What is told of an export. It names nobody.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ExportView {
    /// Its name, 32 hexadecimal digits.
    pub id: String,
    /// Pseudonym of whoever asked for it.
    pub by: String,
    /// When it was made, milliseconds since 1970.
    pub made_ms: u64,
    /// Until when it can be had.
    pub until_ms: u64,
    /// How many studies.
    pub studies: usize,
    /// How many instances.
    pub instances: usize,
    /// Length of the file, bytes.
    pub bytes: u64,
    /// Whether a passphrase opens it.
    pub sealed: bool,
    /// Whoever is at the reception may hand it out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hand_out: bool,
    /// To whom it is handed, where that was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipient: Option<String>,
}

/// What all exports of a node share.
pub(crate) struct Exports {
    pub(super) jobs: Mutex<LruCache<ExportId, Arc<Job>>>,
    pub(crate) practices: Mutex<HashMap<TenantId, Practice>>,
    pub(super) printer: Mutex<Option<Arc<dyn Printer>>>,
    pub(crate) courier: Mutex<Option<Arc<dyn Courier>>>,
    /// Exports that are made or given out at one time.
    pub(super) turns: Arc<Semaphore>,
}

impl Default for Exports {
    fn default() -> Self {
        Self {
            jobs: Mutex::new(LruCache::new(JOBS_HELD)),
            practices: Mutex::default(),
            printer: Mutex::default(),
            courier: Mutex::default(),
            turns: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }
}

/// The part of a job that names nobody.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Head {
    pub(super) view: ExportView,
    /// The studies, and a key of each: the list opens only while all of them do.
    pub(super) studies: Vec<(StudyRef, String)>,
    pub(super) pieces: usize,
    /// How its bytes are made: [`FORM`].
    pub(super) form: u32,
}

/// The part that does; sealed once more.
#[derive(Clone, Encode, Decode)]
#[cbor(map)]
pub(super) struct List {
    #[n(0)]
    pub(super) made_ms: u64,
    #[n(1)]
    pub(super) patient: [String; 4],
    #[n(2)]
    pub(super) studies: Vec<StudyPart>,
    /// Files that were written when it was made.
    #[n(3)]
    pub(super) papers: Vec<Paper>,
    #[n(4)]
    pub(super) envelope: Option<Secrets>,
    /// One instance was asked for, not a study.
    #[n(5)]
    pub(super) alone: bool,
}

#[derive(Clone, Encode, Decode)]
#[cbor(map)]
pub(super) struct Secrets {
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    pub(super) file_key: [u8; 16],
    #[n(1)]
    #[cbor(with = "minicbor::bytes")]
    pub(super) nonce: [u8; 16],
    #[n(2)]
    #[cbor(with = "minicbor::bytes")]
    pub(super) header: Vec<u8>,
}

#[derive(Clone, Encode, Decode)]
#[cbor(map)]
pub(super) struct Paper {
    #[n(0)]
    pub(super) name: String,
    #[n(1)]
    #[cbor(with = "minicbor::bytes")]
    pub(super) bytes: Vec<u8>,
}

#[derive(Clone, Encode, Decode)]
#[cbor(map)]
pub(super) struct StudyPart {
    #[n(0)]
    pub(super) uid: String,
    /// Date, time, ID, accession number, description.
    #[n(1)]
    pub(super) words: [String; 5],
    #[n(2)]
    pub(super) series: Vec<SeriesPart>,
}

#[derive(Clone, Encode, Decode)]
#[cbor(map)]
pub(super) struct SeriesPart {
    #[n(0)]
    pub(super) uid: String,
    #[n(1)]
    pub(super) modality: String,
    #[n(2)]
    pub(super) number: Option<i64>,
    #[n(3)]
    pub(super) description: String,
    #[n(4)]
    pub(super) instances: Vec<InstancePart>,
}

#[derive(Clone, Encode, Decode)]
#[cbor(map)]
pub(super) struct InstancePart {
    #[n(0)]
    pub(super) uid: String,
    #[n(1)]
    pub(super) class: String,
    #[n(2)]
    pub(super) syntax: String,
    #[n(3)]
    pub(super) number: Option<i64>,
    /// Which object it is.
    #[n(4)]
    #[cbor(with = "minicbor::bytes")]
    pub(super) stamp: [u8; 16],
    #[n(5)]
    pub(super) len: u64,
    /// Length and digest of its DICOM JSON.
    #[n(6)]
    pub(super) metadata: Fixed,
    /// What its directory record says beside its number.
    #[n(7)]
    #[cbor(with = "minicbor::bytes")]
    pub(super) keys: Vec<u8>,
    #[n(8)]
    pub(super) preview: Option<Fixed>,
}

/// Bytes that are made again when they are needed, and have to be these.
#[derive(Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(super) struct Fixed {
    #[n(0)]
    pub(super) len: u64,
    #[n(1)]
    #[cbor(with = "minicbor::bytes")]
    digest: [u8; 32],
}

impl Fixed {
    pub(super) fn of(bytes: &[u8]) -> Self {
        Self { len: bytes.len() as u64, digest: *blake3::hash(bytes).as_bytes() }
    }

    pub(super) fn holds(&self, bytes: &[u8]) -> Result<(), ExportError> {
        if Self::of(bytes) == *self { Ok(()) } else { Err(ExportError::Changed) }
    }
}

/// Where a file of the package comes from.
#[derive(Debug, Clone, Copy)]
pub(super) enum Source {
    Paper(usize),
    Directory,
    Instance(usize, usize, usize),
    Metadata(usize, usize),
    Preview(usize, usize, usize),
    Sums,
    Signature,
}

/// CRC-32 and SHA-256 of a file that went by.
#[derive(Clone, Copy)]
pub(super) struct Sum {
    pub(super) crc: u32,
    pub(super) sha: [u8; 32],
}

/// An export in memory.
pub(crate) struct Job {
    pub(super) head: Head,
    pub(super) list: List,
    pub(super) zip: Zip,
    pub(super) sources: Vec<Source>,
    pub(super) directory: Bytes,
    pub(super) envelope: Option<Envelope>,
    pub(super) sums: Mutex<Vec<Option<Sum>>>,
}

impl Job {
    /// Lays the package out.
    pub(super) fn new(head: Head, list: List) -> Result<Self, ExportError> {
        let directory = Bytes::from(directory(&head, &list));
        let (mut members, mut sources) = (Vec::new(), Vec::new());
        let mut add = |source: Source, name: String, len: u64| {
            sources.push(source);
            members.push(Member { name, len });
        };
        for (n, paper) in list.papers.iter().enumerate() {
            add(Source::Paper(n), paper.name.clone(), paper.bytes.len() as u64);
        }
        add(Source::Directory, "DICOMDIR".to_owned(), directory.len() as u64);
        let parts = || list.instances();
        for (at @ (study, series, n), part) in parts() {
            add(Source::Instance(study, series, n), place(at).join("/"), part.len);
        }
        for (study, part) in list.studies.iter().enumerate() {
            for (series, part) in part.series.iter().enumerate() {
                let texts: u64 = part.instances.iter().map(|part| part.metadata.len).sum();
                let name = format!("METADATA/ST{:06}/SE{:06}.JSN", study + 1, series + 1);
                // Brackets, and commas between.
                add(Source::Metadata(study, series), name, texts + 1 + part.instances.len() as u64);
            }
        }
        for ((study, series, n), part) in parts() {
            if let Some(preview) = part.preview {
                add(Source::Preview(study, series, n), preview_name((study, series, n)), preview.len);
            }
        }
        let sums: u64 = members.iter().map(|member| 64 + 2 + member.name.len() as u64 + 1).sum();
        let sums = sums_head(&head).len() as u64 + sums;
        for (source, name, len) in [(Source::Sums, "SHA256SUMS", sums), (Source::Signature, "SIGNATURE", SIGNATURE_LEN)]
        {
            sources.push(source);
            members.push(Member { name: name.to_owned(), len });
        }
        let known = Mutex::new(vec![None; members.len()]);
        let zip = Zip::new(members, list.made_ms / 1000);
        let envelope = list.envelope.as_ref().map(|secrets| {
            let secrets =
                EnvelopeSecrets { file_key: secrets.file_key, nonce: secrets.nonce, header: secrets.header.clone() };
            Envelope::new(&secrets, zip.len()).ok_or(ExportError::Sealing)
        });
        let envelope = envelope.transpose()?;
        Ok(Self { head, list, zip, sources, directory, envelope, sums: known })
    }

    /// Length of the file.
    pub(super) fn len(&self) -> u64 {
        self.envelope.as_ref().map_or(self.zip.len(), Envelope::len)
    }

    pub(super) fn view(&self) -> ExportView {
        ExportView { bytes: self.len(), ..self.head.view.clone() }
    }

    pub(super) fn part(&self, (study, series, n): (usize, usize, usize)) -> Option<&InstancePart> {
        self.list.studies.get(study)?.series.get(series)?.instances.get(n)
    }

    /// The UIDs of an instance.
    pub(super) fn uids(&self, at: (usize, usize, usize)) -> Option<(StudyUid, SeriesUid, SopInstanceUid)> {
        let study = self.list.studies.get(at.0)?;
        let series = study.series.get(at.1)?;
        let instance = series.instances.get(at.2)?;
        Some((
            StudyUid::parse(&study.uid).ok()?,
            SeriesUid::parse(&series.uid).ok()?,
            SopInstanceUid::parse(&instance.uid).ok()?,
        ))
    }
}

impl List {
    pub(super) fn instances(&self) -> impl Iterator<Item = ((usize, usize, usize), &InstancePart)> {
        self.studies.iter().enumerate().flat_map(|(s, study)| {
            study.series.iter().enumerate().flat_map(move |(e, series)| {
                series.instances.iter().enumerate().map(move |(n, part)| ((s, e, n), part))
            })
        })
    }
}

/// The first line of SHA256SUMS. What is signed begins with it, so that the log's key signs nothing else that looks so.
pub(super) fn sums_head(head: &Head) -> String {
    format!("# leadglass export 1 {}\n", head.view.id)
}

/// File ID: 8 characters each (PS3.10 §8.2).
fn place((study, series, n): (usize, usize, usize)) -> [String; 4] {
    ["DICOM".to_owned(), format!("ST{:06}", study + 1), format!("SE{:06}", series + 1), format!("IM{:06}", n + 1)]
}

pub(super) fn preview_name(at: (usize, usize, usize)) -> String {
    let [_, study, series, file] = place(at);
    format!("PREVIEW/{study}/{series}/{file}.JPG")
}

fn directory(head: &Head, list: &List) -> Vec<u8> {
    let id = head.view.id.parse::<ExportId>().map_or(0, |id| u128::from_be_bytes(id.0));
    let mut out = Directory::new(&format!("2.25.{id}"), IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME);
    let [name, id, birth_date, sex] = &list.patient;
    out.patient(&PatientKeys { name, id, birth_date, sex });
    for (s, study) in list.studies.iter().enumerate() {
        let [date, time, id, accession_number, description] = &study.words;
        out.study(&StudyKeys { uid: &study.uid, date, time, id, accession_number, description });
        for (e, series) in study.series.iter().enumerate() {
            out.series(&SeriesKeys {
                uid: &series.uid,
                modality: &series.modality,
                number: series.number,
                description: &series.description,
            });
            for (n, part) in series.instances.iter().enumerate() {
                out.instance(&Listed {
                    file: &place((s, e, n)),
                    sop_class: &part.class,
                    instance: &part.uid,
                    transfer_syntax: &part.syntax,
                    number: part.number,
                    keys: &part.keys,
                });
            }
        }
    }
    out.finish()
}

/// What an instance's record says, from its DICOM JSON; nothing for what needs none.
pub(super) fn record_keys(class: &str, json: &[u8]) -> Vec<u8> {
    let kind = Kind::of(class);
    if !kind.needs_metadata() {
        return Vec::new();
    }
    Directory::keys_of(kind, &serde_json::from_slice(json).unwrap_or_default())
}

/// Ed25519 (RFC 8032 §5.1.6).
const SIGNATURE_LEN: u64 = 64;
/// Whatever changes a package's bytes changes this number: lists of another one are begun anew.
pub(super) const FORM: u32 = 2;
/// So long an export can be had: seven days.
pub(super) const LASTS_S: u64 = 7 * 24 * 3600;
/// Lists in memory.
const JOBS_HELD: NonZeroUsize = NonZeroUsize::new(2).expect("not zero");
const AT_ONCE: usize = 4;
