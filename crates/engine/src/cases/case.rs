//! What stands in a case.

use super::{
    MAX_WORDS_BYTES,
    deadline::Deadline,
    serial::{named, named_or_not},
};
use crate::{Day, ingest::PatientKey};
use leadglass_model::{EntryId, Phi, UnixMillis};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// Random name of a case; it stands on letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct CaseId(pub(super) [u8; 16]);

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CaseType {
    /// GDPR Art. 15.
    Access,
    /// GDPR Art. 16.
    Rectification,
    /// GDPR Art. 17.
    Erasure,
    /// GDPR Art. 18.
    Restriction,
    /// GDPR Art. 20.
    Portability,
    /// GDPR Art. 21.
    Objection,
    /// GDPR Art. 33 and 34: nobody asks, the house itself has to tell.
    Breach,
}

/// How it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Channel {
    /// On paper.
    Letter,
    /// By e-mail.
    Email,
    /// By telephone.
    Phone,
    /// By word of mouth.
    InPerson,
    /// Through a portal.
    Portal,
}

/// How far a case is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CaseState {
    /// Waits for its end, in the first month.
    Open,
    /// Waits for its end, with more time.
    Extended,
    /// At its end.
    Closed,
}

/// Whose case it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CasePatient {
    /// Patient ID.
    #[serde(with = "named")]
    pub id: Phi<String>,
    /// Issuer of Patient ID; `None`: whatever it is.
    #[serde(with = "named_or_not")]
    pub issuer: Option<Phi<String>>,
}

/// Who did a step, when, and the entry of the log that says so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// By pseudonym.
    pub by: String,
    /// When.
    pub at: UnixMillis,
    /// The entry's id, hexadecimal.
    pub entry: String,
}

/// What a check of the person came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Seen {
    /// It is the patient, or somebody who may ask for her.
    Confirmed,
    /// That could not be seen.
    NotConfirmed,
}

/// Somebody looked who asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdentityCheck {
    /// What it came to.
    pub seen: Seen,
    /// How, in words. No copy of a paper is kept.
    #[serde(with = "named")]
    pub how: Phi<String>,
    /// By whom.
    pub stamp: Stamp,
}

/// More time (GDPR Art. 12(3)).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extension {
    /// One or two.
    pub months: u8,
    /// Why; it stands in the letter.
    #[serde(with = "named")]
    pub reason: Phi<String>,
    /// By whom.
    pub stamp: Stamp,
}

/// What is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RightsOutcome {
    /// It is done as asked. Of a breach: it is told.
    Granted,
    /// It is not done. Of a breach: it need not be told.
    Refused,
    /// A part is done, and for the rest the ground says why not.
    Partly,
}

/// A decision. The last one counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RightsDecision {
    /// What is answered.
    pub outcome: RightsOutcome,
    /// Where it stands in the GDPR, such as `17(3)(b)`.
    pub ground: String,
    /// In the officer's words; they stand in the letter.
    #[serde(with = "named")]
    pub words: Phi<String>,
    /// By whom.
    pub stamp: Stamp,
}

/// What was made or done for a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Linked {
    /// An export, by its id.
    Export,
    /// An order to erase, by its id.
    Erasure,
    /// A report on accesses, by the place in the log at which it was asked for.
    Report,
    /// A hold, by its id.
    Hold,
    /// A restricted study, by its random name.
    Restriction,
    /// A correction, by its id.
    Rectification,
}

/// A link to it. It was there when it was linked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaseLink {
    /// What it is.
    pub what: Linked,
    /// Its id.
    pub id: String,
    /// By whom.
    pub stamp: Stamp,
}

/// A note of the officer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// May name anybody.
    #[serde(with = "named")]
    pub text: Phi<String>,
    /// By whom.
    pub stamp: Stamp,
}

/// The end of a case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    /// Why it ends without a decision, where it does.
    #[serde(with = "named_or_not")]
    pub reason: Option<Phi<String>>,
    /// By whom.
    pub stamp: Stamp,
}

/// A case as it is kept. Serialized it names the patient: that is for the sealed row alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RightsCase {
    /// Its name.
    pub id: CaseId,
    /// What is asked for.
    #[serde(rename = "type")]
    pub kind: CaseType,
    /// Whose it is; nobody's for a breach.
    pub patient: Option<CasePatient>,
    /// The day on which it came, in UTC; of a breach, on which it was known.
    pub received: Day,
    /// Since when a breach is known.
    pub known_at: Option<UnixMillis>,
    /// How it came.
    pub channel: Channel,
    /// Who opened it.
    pub opened: Stamp,
    /// Checks of who asks, oldest first. The last one counts.
    pub identity: Vec<IdentityCheck>,
    /// More time.
    pub extension: Option<Extension>,
    /// Decisions, oldest first.
    pub decisions: Vec<RightsDecision>,
    /// What was made or done.
    pub links: Vec<CaseLink>,
    /// Notes, oldest first.
    pub notes: Vec<Note>,
    /// Its end.
    pub closed: Option<Written>,
}

impl RightsCase {
    /// How far it is.
    pub const fn state(&self) -> CaseState {
        match (&self.closed, &self.extension) {
            (Some(_), _) => CaseState::Closed,
            (None, Some(_)) => CaseState::Extended,
            (None, None) => CaseState::Open,
        }
    }

    /// Until when it has to be answered.
    pub fn deadline(&self) -> Deadline {
        Deadline::of(self.received, self.extension.as_ref().map(|more| more.months), self.known_at)
    }

    /// Whether it should have been answered before this moment.
    pub fn is_overdue(&self, now: UnixMillis) -> bool {
        self.closed.is_none() && self.deadline().is_over(now)
    }

    /// What was done, in order: the step's word, who, when, and the entry of the log.
    pub fn trail(&self) -> Vec<(&'static str, &Stamp)> {
        let mut trail = vec![("opened", &self.opened)];
        trail.extend(self.identity.iter().map(|check| ("identity", &check.stamp)));
        trail.extend(self.extension.iter().map(|more| ("extended", &more.stamp)));
        trail.extend(self.decisions.iter().map(|decision| ("decided", &decision.stamp)));
        trail.extend(self.links.iter().map(|link| ("linked", &link.stamp)));
        trail.extend(self.notes.iter().map(|note| ("noted", &note.stamp)));
        trail.extend(self.closed.iter().map(|end| ("closed", &end.stamp)));
        trail.sort_by_key(|(_, stamp)| stamp.at);
        trail
    }

    pub(super) fn steps(&self) -> usize {
        self.identity.len() + self.decisions.len() + self.links.len() + self.notes.len()
    }

    pub(super) fn is_confirmed(&self) -> bool {
        self.identity.last().is_some_and(|check| check.seen == Seen::Confirmed)
    }
}

impl Stamp {
    /// The same, behind all that was done in a case: two steps within a millisecond have an order, too.
    pub(super) fn behind(mut self, case: &RightsCase) -> Self {
        let last = case.trail().last().map_or(0, |(_, stamp)| stamp.at.0);
        if (self.at.0..self.at.0 + ONE_MOMENT_MS).contains(&last) {
            self.at = UnixMillis(last + 1);
        }
        self
    }

    pub(super) fn entry_id(&self) -> EntryId {
        let mut id = [0; 16];
        hex::decode_to_slice(&self.entry, &mut id).expect("a stamp's entry is 16 bytes in hexadecimal");
        EntryId::from_bytes(id)
    }
}

impl CaseType {
    /// Whether the patient's studies stay while such a case is open.
    pub(super) const fn keeps(self) -> bool {
        matches!(self, Self::Access | Self::Restriction | Self::Objection | Self::Erasure)
    }

    /// Its word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Access => "access",
            Self::Rectification => "rectification",
            Self::Erasure => "erasure",
            Self::Restriction => "restriction",
            Self::Portability => "portability",
            Self::Objection => "objection",
            Self::Breach => "breach",
        }
    }
}

impl CasePatient {
    pub(super) fn key(&self) -> PatientKey {
        PatientKey { id: self.id.clone(), issuer: self.issuer.clone() }
    }

    /// Whether both texts are what a device may send (PS3.5 §6.2, LO), with room for those who send more.
    pub(super) fn is_formed(&self) -> bool {
        let good = |text: &Phi<String>| {
            (1..=MAX_NAME_BYTES).contains(&text.expose().len()) && !text.expose().contains(char::is_control)
        };
        good(&self.id) && self.issuer.as_ref().is_none_or(good)
    }
}

/// Whether a text may stand in a case: there is one, of bounded length, and no control character but the end of a line.
pub(super) fn is_words(text: &Phi<String>) -> bool {
    let text = text.expose();
    let control = |c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t');
    !text.trim().is_empty() && text.len() <= MAX_WORDS_BYTES && !text.contains(control)
}

impl fmt::Display for CaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl FromStr for CaseId {
    type Err = hex::FromHexError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut id = [0; 16];
        hex::decode_to_slice(text, &mut id)?;
        Ok(Self(id))
    }
}

impl From<CaseId> for String {
    fn from(id: CaseId) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for CaseId {
    type Error = hex::FromHexError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

const MAX_NAME_BYTES: usize = 256;
/// So far a step may stand behind the clock; a clock that was set back by more has its own way.
const ONE_MOMENT_MS: u64 = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    /// As `CASES.md` writes it.
    const ROW: &str = r#"{"id":"000102030405060708090a0b0c0d0e0f","type":"erasure","patient":{"id":"P-1","issuer":null},"received":"2026-01-31","known_at":null,"channel":"letter","opened":{"by":"07","at":1,"entry":"0a"},"identity":[{"seen":"confirmed","how":"came in person","stamp":{"by":"07","at":2,"entry":"0b"}}],"extension":{"months":2,"reason":"many images","stamp":{"by":"07","at":3,"entry":"0c"}},"decisions":[{"outcome":"refused","ground":"17(3)(b)","words":"The law.","stamp":{"by":"07","at":4,"entry":"0d"}}],"links":[{"what":"hold","id":"aa","stamp":{"by":"07","at":5,"entry":"0e"}}],"notes":[{"text":"She called.","stamp":{"by":"07","at":6,"entry":"0f"}}],"closed":{"reason":null,"stamp":{"by":"07","at":7,"entry":"10"}}}"#;

    #[test]
    fn a_row_is_read_and_written_as_documented_and_its_debug_names_nobody() {
        let case: RightsCase = serde_json::from_str(ROW).unwrap();
        assert_eq!(serde_json::to_string(&case).unwrap(), ROW);
        assert_eq!((case.state(), case.deadline().to_string().as_str()), (CaseState::Closed, "2026-04-30"));
        let trail: Vec<&str> = case.trail().iter().map(|(what, _)| *what).collect();
        assert_eq!(trail, ["opened", "identity", "extended", "decided", "linked", "noted", "closed"]);
        let shown = format!("{case:?}");
        for text in ["P-1", "came in person", "many images", "The law.", "She called."] {
            assert!(!shown.contains(text), "{text}");
        }
        assert!(serde_json::from_str::<RightsCase>(&ROW.replace("\"notes\"", "\"more\"")).is_err());
    }

    #[test]
    fn steps_within_a_millisecond_have_an_order_and_a_clock_that_was_set_back_has_its_own() {
        let case: RightsCase = serde_json::from_str(ROW).unwrap();
        let behind = |last: u64, now: u64| {
            let mut case = case.clone();
            case.notes[0].stamp.at = UnixMillis(last);
            Stamp { at: UnixMillis(now), ..case.opened.clone() }.behind(&case).at.0
        };
        assert_eq!([behind(50, 50), behind(51, 50), behind(49, 50), behind(1_049, 50)], [51, 52, 50, 1_050]);
        assert_eq!(behind(1_050, 50), 50);
    }

    #[test]
    fn texts_have_bounds() {
        let words = |text: &str| is_words(&Phi::new(text.to_owned()));
        assert!(words("Two lines,\nand a tab\t."));
        assert!(!words("") && !words(" \n") && !words("\u{1b}[31m") && !words(&"x".repeat(MAX_WORDS_BYTES + 1)));
        let patient = |id: &str| CasePatient { id: Phi::new(id.to_owned()), issuer: None }.is_formed();
        assert!(patient("P-1") && !patient("") && !patient("a\nb") && !patient(&"x".repeat(257)));
    }
}
