//! Checks a report without the vault: signatures, proofs, the patient's chain, the table.

use super::{AccessReport, FORMAT, table};
use crate::{Entry, Event, Hash, NoteError, PublicKey, leaf_hash, verify::inclusion};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Serialize;

/// What a whole report says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Accesses in its period.
    pub accesses: usize,
    /// Of these, attempts that were refused or failed.
    pub refused: usize,
    /// Entries about the patient.
    pub entries: usize,
    /// Up to when nothing is missing, milliseconds since 1970: it was asked for then, which is its last entry.
    pub up_to_ms: u64,
    /// Entries in the log when it was made: what came later is not in the report.
    pub log_entries: u64,
    /// When the witness cosigned, in seconds since 1970; `None`: no witness, or its key is not known.
    pub witnessed_at: Option<u64>,
}

/// Why a report proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReportFlaw {
    /// Another form.
    #[error("this is no report of a form that this verifier knows")]
    Format,
    /// A key does not read, or is not the one that was expected.
    #[error("the {whose} key in the report is not the one that was given to this verifier")]
    OtherKey {
        /// Whose.
        whose: &'static str,
    },
    /// The checkpoint does not stand.
    #[error("the checkpoint does not stand: {0}")]
    Checkpoint(#[source] NoteError),
    /// No witness signed it.
    #[error("the checkpoint does not carry the witness's signature")]
    NotWitnessed,
    /// An entry does not read, or is another one's.
    #[error("entry {seq} is not an entry about this patient")]
    Entry {
        /// Its place.
        seq: u64,
    },
    /// An entry is not in the log.
    #[error("entry {seq} is not in the log that was signed: it was changed or made up")]
    NotProven {
        /// Its place.
        seq: u64,
    },
    /// Entries are missing.
    #[error(
        "there is a gap: before entry {seq} the log holds {missing} more about this patient that the report does not show"
    )]
    Gap {
        /// The first entry behind the gap.
        seq: u64,
        /// How many are missing.
        missing: u64,
    },
    /// An entry does not name the one before it.
    #[error("entry {seq} does not follow the patient's entry before it")]
    Chain {
        /// Its place.
        seq: u64,
    },
    /// Its end is missing.
    #[error("the report does not end with its being asked for: its newest entries were left out")]
    End,
    /// The table was changed.
    #[error("the table of accesses is not what the proven entries say")]
    Table,
}

impl ReportFlaw {
    /// A stable word.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Format => "format",
            Self::OtherKey { .. } => "other-key",
            Self::Checkpoint(_) => "checkpoint",
            Self::NotWitnessed => "not-witnessed",
            Self::Entry { .. } => "entry",
            Self::NotProven { .. } => "not-proven",
            Self::Gap { .. } => "gap",
            Self::Chain { .. } => "chain",
            Self::End => "end",
            Self::Table => "table",
        }
    }
}

/// Checks a report. Keys that are given must be the report's; without them the report's own are taken, which proves only
/// that it fits together.
pub fn verify(
    report: &AccessReport,
    log: Option<&PublicKey>,
    witness: Option<&PublicKey>,
) -> Result<Summary, ReportFlaw> {
    if report.format != FORMAT {
        return Err(ReportFlaw::Format);
    }
    let own = PublicKey::parse(&report.vault_key).map_err(|_| ReportFlaw::OtherKey { whose: "vault's" })?;
    if log.is_some_and(|log| *log != own) {
        return Err(ReportFlaw::OtherKey { whose: "vault's" });
    }
    let other = ReportFlaw::OtherKey { whose: "witness's" };
    let theirs = report.witness_key.as_deref().map(PublicKey::parse).transpose().map_err(|_| other.clone())?;
    if theirs.is_some() && witness.is_some() && witness != theirs.as_ref() {
        return Err(other);
    }
    let head = own.verify_checkpoint(&report.checkpoint).map_err(ReportFlaw::Checkpoint)?.head;
    let witnessed_at = witness.or(theirs.as_ref()).and_then(|key| key.cosigned_at(&report.checkpoint));
    if witness.is_some() && witnessed_at.is_none() {
        return Err(ReportFlaw::NotWitnessed);
    }
    let mut entries: Vec<Entry> = Vec::with_capacity(report.entries.len());
    for proven in &report.entries {
        let seq = proven.seq;
        let leaf = STANDARD.decode(&proven.leaf).map_err(|_| ReportFlaw::Entry { seq })?;
        let entry = Entry::decode(&leaf).map_err(|_| ReportFlaw::Entry { seq })?;
        let theirs = entry.report.subject.is_some_and(|subject| hex::encode(subject.0) == report.subject);
        if entry.seq != seq || !theirs {
            return Err(ReportFlaw::Entry { seq });
        }
        let not_proven = ReportFlaw::NotProven { seq };
        let hashes: Option<Vec<Hash>> = proven.proof.iter().map(|text| hash(text)).collect();
        let hashes = hashes.ok_or_else(|| not_proven.clone())?;
        inclusion(&leaf_hash(&leaf), seq, head.size, &hashes, &head.root).map_err(|_| not_proven)?;
        follows(entries.last(), &entry)?;
        entries.push(entry);
    }
    // Asking for it is an entry about the patient, so that nobody can leave out the newest and seem to be whole.
    let asked = entries.last().filter(|last| last.report.event == Event::AuditLogUsed).ok_or(ReportFlaw::End)?;
    let up_to_ms = asked.report.time.0;
    let (accesses, others) = table(&entries, report.from_ms, report.to_ms);
    if accesses != report.accesses || others != report.others {
        return Err(ReportFlaw::Table);
    }
    Ok(Summary {
        accesses: accesses.len(),
        refused: accesses.iter().filter(|access| access.outcome != "success").count(),
        entries: entries.len(),
        up_to_ms,
        log_entries: head.size,
        witnessed_at,
    })
}

fn follows(before: Option<&Entry>, entry: &Entry) -> Result<(), ReportFlaw> {
    let seq = entry.seq;
    let expected = before.map_or(0, |before| before.subject_seq + 1);
    match entry.subject_seq.checked_sub(expected) {
        None => Err(ReportFlaw::Chain { seq }),
        Some(0) if entry.subject_prev == before.map(|before| leaf_hash(&before.encode())) => Ok(()),
        Some(0) => Err(ReportFlaw::Chain { seq }),
        Some(missing) => Err(ReportFlaw::Gap { seq, missing }),
    }
}

fn hash(text: &str) -> Option<Hash> {
    Some(Hash(STANDARD.decode(text).ok()?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        CodeWord, Cosigner, Log, LogOptions, MemoryDisk, NewEntry, Outcome, SubjectToken, report::ProvenEntry,
    };
    use leadglass_model::{ActorRef, EntryId, Purpose, Role, StudyRef, UnixMillis};

    const SUBJECT: SubjectToken = SubjectToken([4; 16]);

    fn entry(n: u64, event: Event) -> NewEntry {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&n.to_be_bytes());
        NewEntry {
            actor: Some(ActorRef([u8::try_from(n % 5).unwrap(); 16])),
            role: Some(Role::Clinician),
            purpose: Some(if n.is_multiple_of(10) { Purpose::BreakGlass } else { Purpose::Care }),
            subject: Some(SUBJECT),
            study: Some(StudyRef::from_bytes([1; 16])),
            ..NewEntry::new(EntryId::from_bytes(id), UnixMillis(1_000 + n), event, Outcome::Success)
        }
    }

    /// 50 accesses by 5 people among entries of others, one of them refused besides.
    fn fifty() -> (AccessReport, PublicKey, PublicKey) {
        let log = Log::open_on(Box::new(MemoryDisk::default()), "log", &[5; 32], LogOptions::default()).unwrap();
        log.append(vec![entry(1_000, Event::InstancesTransferred)], None).unwrap();
        for n in 0..50 {
            let stranger = NewEntry { subject: Some(SubjectToken([9; 16])), ..entry(500 + n, Event::Query) };
            let opening = entry(n, Event::InstancesAccessed);
            let mut closing = entry(200 + n, Event::LeaseEnded);
            closing.related = Some(opening.entry_id);
            closing.counts.frames = n + 1;
            log.append(vec![opening, stranger, closing], None).unwrap();
        }
        let mut refused = entry(300, Event::InstancesAccessed);
        refused.outcome = Outcome::Refused;
        refused.code = CodeWord::parse("restricted");
        log.append(vec![refused, entry(900, Event::AuditLogUsed)], None).unwrap();
        let note = log.checkpoint();
        let witness = Cosigner::from_seed("witness", &[6; 32]).unwrap();
        let line = witness.cosign(log.public_key(), None, &note, &[], 77).unwrap().line;
        log.publish().unwrap();
        log.keep_cosignature(&note, &line).unwrap();
        let of = log.subject(SUBJECT, 0).unwrap();
        let entries: Vec<Entry> = of.entries.iter().map(|p| Entry::decode(&p.leaf).unwrap()).collect();
        let (accesses, others) = table(&entries, None, None);
        let report = AccessReport {
            format: FORMAT.to_owned(),
            made_ms: 2_000,
            tenant: String::new(),
            subject: hex::encode(SUBJECT.0),
            patient: "P-1".to_owned(),
            from_ms: None,
            to_ms: None,
            vault_key: log.public_key().to_string(),
            witness_key: Some(witness.public().to_string()),
            checkpoint: of.checkpoint,
            people: std::collections::BTreeMap::new(),
            studies: std::collections::BTreeMap::new(),
            accesses,
            others,
            entries: of.entries.iter().map(ProvenEntry::from).collect(),
        };
        (report, log.public_key().clone(), witness.public())
    }

    #[test]
    fn fifty_accesses_are_exactly_fifty_and_one_refused() {
        let (report, log, witness) = fifty();
        let report: AccessReport = serde_json::from_str(&serde_json::to_string(&report).unwrap()).unwrap();
        let summary = verify(&report, Some(&log), Some(&witness)).unwrap();
        assert_eq!((summary.accesses, summary.refused, summary.entries), (51, 1, 103));
        assert_eq!(summary.up_to_ms, 1_900);
        assert_eq!(summary.witnessed_at, Some(77));
        let by: std::collections::BTreeSet<_> = report.accesses.iter().map(|a| &a.actor).collect();
        assert_eq!(by.len(), 5);
        assert!(report.accesses[..50].iter().all(|a| a.closed_by.is_some() && a.frames > 0));
    }

    #[test]
    fn one_that_was_removed_shows_as_a_gap() {
        let (whole, log, witness) = fifty();
        let check = |report: &AccessReport| verify(report, Some(&log), Some(&witness)).unwrap_err();
        for at in [0, 1, 40, 100] {
            let mut report = whole.clone();
            report.entries.remove(at);
            let found = check(&report);
            assert_eq!(found, ReportFlaw::Gap { seq: whole.entries[at + 1].seq, missing: 1 }, "{found}");
        }
        // The newest, with proofs and table to match.
        for left in [102, 101, 1, 0] {
            let mut report = whole.clone();
            report.entries.truncate(left);
            let entries: Vec<Entry> =
                report.entries.iter().map(|p| Entry::decode(&STANDARD.decode(&p.leaf).unwrap()).unwrap()).collect();
            (report.accesses, report.others) = table(&entries, None, None);
            assert_eq!(check(&report), ReportFlaw::End, "{left} left");
        }
        // Only in the table.
        let mut report = whole;
        report.accesses.remove(7);
        assert_eq!(check(&report), ReportFlaw::Table);
    }

    #[test]
    fn what_was_changed_or_made_up_is_not_proven() {
        let (whole, log, witness) = fifty();
        let check = |report: &AccessReport| verify(report, Some(&log), Some(&witness)).unwrap_err();
        let mut report = whole.clone();
        let mut entry = Entry::decode(&STANDARD.decode(&report.entries[3].leaf).unwrap()).unwrap();
        entry.report.actor = Some(ActorRef([0xee; 16]));
        report.entries[3].leaf = STANDARD.encode(entry.encode());
        let seq = report.entries[3].seq;
        assert_eq!(check(&report), ReportFlaw::NotProven { seq });

        let mut report = whole.clone();
        report.checkpoint = report.checkpoint.replacen("\n153\n", "\n154\n", 1);
        assert_eq!(check(&report), ReportFlaw::Checkpoint(NoteError::NotSigned));

        let mut report = whole.clone();
        let own_line = report.checkpoint.rfind("\u{2014} witness").unwrap();
        report.checkpoint.truncate(own_line);
        assert_eq!(check(&report), ReportFlaw::NotWitnessed);

        let stranger = Cosigner::from_seed("log", &[1; 32]).unwrap().public();
        assert_eq!(verify(&whole, Some(&stranger), None), Err(ReportFlaw::OtherKey { whose: "vault's" }));
    }

    #[test]
    fn a_period_cuts_the_table_and_not_the_proof() {
        let (mut report, log, witness) = fifty();
        let entries: Vec<Entry> =
            report.entries.iter().map(|p| Entry::decode(&STANDARD.decode(&p.leaf).unwrap()).unwrap()).collect();
        (report.from_ms, report.to_ms) = (Some(1_010), Some(1_020));
        (report.accesses, report.others) = table(&entries, report.from_ms, report.to_ms);
        assert_eq!(verify(&report, Some(&log), Some(&witness)).unwrap().accesses, 10);
    }
}
