//! What stands in an order. It lies sealed with the tenant's records, in table `Cases` under `erasure:` and its id; the
//! objects that are to be deleted lie beside it in pieces, under `erasure-objects:`, id and number, and so do the rows of
//! a part of a study, under `erasure-rows:`.

use super::Recipient;
use leadglass_index::Going;
use leadglass_keys::wire::SignedStatement;
use leadglass_model::{ActorRef, KeyId, ObjectId, Phi, SeriesUid, SopInstanceUid, StudyRef, StudyUid, UnixMillis};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, fmt, str::FromStr};

/// Random name of an order; it stands in both logs, in receipts and on the certificate.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ErasureId(pub [u8; 16]);

impl fmt::Display for ErasureId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for ErasureId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ErasureId({self})")
    }
}

impl FromStr for ErasureId {
    type Err = hex::FromHexError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut id = [0; 16];
        hex::decode_to_slice(text, &mut id)?;
        Ok(Self(id))
    }
}

impl Serialize for ErasureId {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ErasureId {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        text.parse().map_err(|_| serde::de::Error::custom("an erasure's id is 32 hexadecimal digits"))
    }
}

/// What is to be erased, as the person who orders it names it.
#[derive(Debug, Clone)]
pub enum WhatToErase {
    /// One study.
    Study(StudyUid),
    /// A series of a study.
    Series(StudyUid, SeriesUid),
    /// An instance of a study, with its earlier versions.
    Instance(StudyUid, SopInstanceUid),
    /// All studies of a patient, and what names her in the log.
    Patient {
        /// Patient ID.
        id: Phi<String>,
        /// Issuer of Patient ID.
        issuer: Option<Phi<String>>,
    },
}

/// How much an order covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// An instance.
    Instance,
    /// A series.
    Series,
    /// A study.
    Study,
    /// All of a patient.
    Patient,
}

/// The legal ground.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ground {
    /// GDPR Art. 17(1)(a): no longer necessary for the purposes.
    NotNecessary,
    /// GDPR Art. 17(1)(b): consent was withdrawn.
    ConsentWithdrawn,
    /// GDPR Art. 17(1)(c): the person objects.
    Objection,
    /// GDPR Art. 17(1)(d): processed unlawfully.
    Unlawful,
    /// GDPR Art. 17(1)(e): a legal obligation to erase.
    LegalObligation,
    /// The time for which it had to be kept is over.
    RetentionEnd,
}

impl Ground {
    /// As it stands on a certificate.
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::NotNecessary => "Art. 17(1)(a) GDPR: no longer necessary",
            Self::ConsentWithdrawn => "Art. 17(1)(b) GDPR: consent withdrawn",
            Self::Objection => "Art. 17(1)(c) GDPR: objection",
            Self::Unlawful => "Art. 17(1)(d) GDPR: unlawful processing",
            Self::LegalObligation => "Art. 17(1)(e) GDPR: legal obligation",
            Self::RetentionEnd => "end of the retention period",
        }
    }
}

/// How far an order is. It only goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Waits.
    Ordered,
    /// Its objects are written down; nothing comes into its studies any more.
    Listed,
    /// The keys are destroyed.
    Destroyed,
    /// The rows are gone.
    Unlisted,
    /// The objects are gone.
    Deleted,
    /// All that this node does is done.
    Done,
    /// Taken back before it began.
    Withdrawn,
}

impl Stage {
    /// The word in answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ordered => "ordered",
            Self::Listed => "listed",
            Self::Destroyed => "destroyed",
            Self::Unlisted => "unlisted",
            Self::Deleted => "deleted",
            Self::Done => "done",
            Self::Withdrawn => "withdrawn",
        }
    }

    /// Whether it began and is not at its end.
    pub const fn is_under_way(self) -> bool {
        matches!(self, Self::Listed | Self::Destroyed | Self::Unlisted | Self::Deleted)
    }
}

/// Somebody said yes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approved {
    /// Who; a pseudonym of the log.
    pub by: String,
    /// When.
    pub at: UnixMillis,
}

/// Why something is to be erased.
#[derive(Debug, Clone)]
pub struct Cause {
    /// The legal ground.
    pub ground: Ground,
    /// In the words of the person who orders it.
    pub reason: String,
    /// Whether he answers for what no retention rule is about.
    pub no_rule: bool,
}

/// An order.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Order {
    /// Its name.
    pub id: ErasureId,
    /// How much it covers.
    pub level: Level,
    /// The legal ground.
    pub ground: Ground,
    /// Why, in the words of the person who ordered it. May name somebody; it is shown to the officer alone.
    pub reason: String,
    /// No retention rule was about all of it, and who ordered it answers for that.
    #[serde(default)]
    pub no_rule: bool,
    /// Who ordered it; a pseudonym of the log.
    pub ordered_by: String,
    /// When.
    pub ordered_at: UnixMillis,
    /// When it may begin.
    pub not_before: UnixMillis,
    /// How many approvals it needs.
    pub needs: usize,
    /// Those it has.
    pub approvals: Vec<Approved>,
    /// The studies, and cases of quarantine with them.
    pub studies: Vec<StudyRef>,
    /// Keyed tokens of the UIDs of what goes, hexadecimal: of studies, else of the series or the instance.
    pub uid_tokens: Vec<String>,
    /// Only a part of the study goes, the one of this token. What stays of it is sealed anew first.
    #[serde(default)]
    pub part: Option<String>,
    /// With a part: the keys that end. Empty while nobody looked.
    #[serde(default)]
    pub keys: BTreeSet<KeyId>,
    /// With a part: what stays is sealed under this key from now on. `None` where nothing else lay under those keys.
    #[serde(default)]
    pub new_key: Option<KeyId>,
    /// With a part: nothing that stays lies under the keys that end.
    #[serde(default)]
    pub moved: bool,
    /// The patient's token in the log, hexadecimal.
    pub subject: Option<String>,
    /// Peers among those who have copies are to be told.
    #[serde(default)]
    pub tell: bool,
    /// Who has copies. Before it is known: nobody.
    #[serde(default)]
    pub recipients: Vec<Recipient>,
    /// Whether that is known.
    #[serde(default)]
    pub recipients_known: bool,
    /// How far it is.
    pub stage: Stage,
    /// The approval at the key service.
    #[serde(default)]
    pub key_approval: Option<String>,
    /// When that approval can no longer be given.
    #[serde(default)]
    pub key_approval_until: Option<UnixMillis>,
    /// Objects that are to be deleted, thumbnails counted.
    #[serde(default)]
    pub objects: u64,
    /// Instances, with their earlier versions.
    #[serde(default)]
    pub instances: u64,
    /// The key service's receipt.
    #[serde(default)]
    pub receipt: Option<SignedStatement>,
    /// When the objects were looked for and none was there.
    #[serde(default)]
    pub ciphertext_deleted_at: Option<UnixMillis>,
    /// When it came to its end here.
    #[serde(default)]
    pub done_at: Option<UnixMillis>,
}

impl Order {
    /// Who ordered it, as the log knows.
    pub fn is_by(&self, actor: ActorRef) -> bool {
        self.ordered_by == actor.to_string()
    }

    /// The subject's token in the log.
    pub(crate) fn subject_token(&self) -> Option<leadglass_audit::SubjectToken> {
        let mut token = [0; 16];
        hex::decode_to_slice(self.subject.as_ref()?, &mut token).ok()?;
        Some(leadglass_audit::SubjectToken(token))
    }

    /// The token of the part that goes; `None` where a whole study or a patient does.
    pub(crate) fn part_token(&self) -> Option<[u8; 16]> {
        let mut token = [0; 16];
        hex::decode_to_slice(self.part.as_ref()?, &mut token).ok()?;
        Some(token)
    }

    pub(crate) fn record_key(id: ErasureId) -> Vec<u8> {
        [PREFIX, &id.0].concat()
    }

    /// The piece of the objects' list with this number.
    pub(crate) fn objects_key(id: ErasureId, piece: u32) -> Vec<u8> {
        [OBJECTS_PREFIX, &id.0, &piece.to_be_bytes()].concat()
    }

    /// The piece of the rows' list with this number.
    pub(crate) fn rows_key(id: ErasureId, piece: u32) -> Vec<u8> {
        [ROWS_PREFIX, &id.0, &piece.to_be_bytes()].concat()
    }
}

/// The objects of a piece of the list.
pub(crate) fn read_objects(bytes: &[u8]) -> Vec<ObjectId> {
    bytes.as_chunks::<16>().0.iter().map(|id| ObjectId::from_bytes(*id)).collect()
}

/// The rows of a piece of the list: token of the instance, token of its series.
pub(crate) fn read_rows(bytes: &[u8]) -> Vec<Going> {
    let tokens = bytes.as_chunks::<16>().0.as_chunks::<2>().0;
    tokens.iter().map(|[instance, series]| Going { instance: *instance, series: *series }).collect()
}

/// Names of orders in table `Cases` start so.
pub(crate) const PREFIX: &[u8] = b"erasure:";
const OBJECTS_PREFIX: &[u8] = b"erasure-objects:";
const ROWS_PREFIX: &[u8] = b"erasure-rows:";
/// Objects, or rows, in one piece of the list: at most a MiB.
pub(crate) const PIECE: usize = 32 * 1024;
