//! Cases: opened, carried on, closed, shown.

use super::{
    CaseError, CaseId, CaseLink, CasePatient, CaseState, CaseType, Channel, Deadline, Extension, IdentityCheck,
    Language, Linked, MAX_CASES, MAX_STEPS, Note, Occasion, RightsCase, RightsDecision, RightsOutcome, Seen, Stamp,
    TemplateName, Written,
    case::is_words,
    deadline::FIRST_MONTHS,
    ground::{LegalGround, NOT_IDENTIFIED},
    letter::{Facts, LawKeeps, letter, template_of},
};
use crate::{Day, Engine, Shared};
use leadglass_audit::{CodeWord, Event, NewEntry, Outcome};
use leadglass_index::StudyEntry;
use leadglass_model::{Administer, EntryId, Permit, Phi, Purpose, TenantId, UnixMillis};
use leadglass_records::Expected;
use std::sync::Arc;

/// A case as it comes in.
#[derive(Debug, Clone)]
pub struct NewCase {
    /// What is asked for.
    pub kind: CaseType,
    /// Whose data; none for a breach.
    pub patient: Option<CasePatient>,
    /// The day on which it came, in UTC; `None`: today.
    pub received: Option<Day>,
    /// Of a breach: the minute of that day, in UTC, since which it is known. `None`: now, or the day's first minute.
    pub minute: Option<u16>,
    /// How it came.
    pub channel: Channel,
}

/// A case in the list.
#[derive(Debug, Clone)]
pub struct CaseLine {
    /// Its name.
    pub id: CaseId,
    /// What is asked for.
    pub kind: CaseType,
    /// How far it is.
    pub state: CaseState,
    /// The day on which it came, in UTC.
    pub received: Day,
    /// Until when it has to be answered.
    pub deadline: Deadline,
    /// Whether that is over and it is still open.
    pub overdue: bool,
    /// The last decision.
    pub outcome: Option<RightsOutcome>,
    /// When it was closed.
    pub closed_at: Option<UnixMillis>,
    /// The last day on which it is kept, once it is closed.
    pub kept_until: Option<Day>,
    /// Whether that is over.
    pub expired: bool,
}

impl CaseLine {
    fn of(case: &RightsCase, now: UnixMillis, years: u8) -> Self {
        let kept_until = case.kept_until(years);
        Self {
            id: case.id,
            kind: case.kind,
            state: case.state(),
            received: case.received,
            deadline: case.deadline(),
            overdue: case.is_overdue(now),
            outcome: case.decisions.last().map(|last| last.outcome),
            closed_at: case.closed.as_ref().map(|end| end.stamp.at),
            expired: kept_until.is_some_and(|until| until.end() <= now),
            kept_until,
        }
    }
}

impl Engine {
    /// Opens a case.
    ///
    /// Cancel safety: dropping the future may leave an entry about a step that was not done; so for the others here.
    pub async fn open_case(&self, permit: &Permit<Administer>, new: NewCase) -> Result<RightsCase, CaseError> {
        let (shared, now) = (&self.shared, self.shared.clock.now());
        let (received, known_at) = came(&new, now)?;
        if shared.cases_as(permit.tenant(), |_| Some(())).await?.len() >= MAX_CASES {
            return Err(CaseError::TooMany);
        }
        let mut id = [0; 16];
        shared.entropy.fill(&mut id);
        let case = RightsCase {
            id: CaseId(id),
            kind: new.kind,
            patient: new.patient,
            received,
            known_at,
            channel: new.channel,
            opened: shared.stamp(permit),
            identity: Vec::new(),
            extension: None,
            decisions: Vec::new(),
            links: Vec::new(),
            notes: Vec::new(),
            closed: None,
        };
        shared.record_step(permit, &case, "case-opened", &case.opened).await?;
        shared.keep_case(permit.tenant(), &case, Expected::Absent).await?;
        Ok(case)
    }

    /// The cases of the tenant: overdue ones first, then open ones by their deadline, then closed ones, newest first.
    /// The list names nobody.
    pub async fn cases(&self, permit: &Permit<Administer>) -> Result<Vec<CaseLine>, CaseError> {
        let (now, years) = (self.shared.clock.now(), self.shared.case_times.of(permit.tenant()));
        let mut lines = self.shared.cases_as(permit.tenant(), |case| Some(CaseLine::of(&case, now, years))).await?;
        // What is overdue has the earliest deadlines.
        lines.sort_by_key(|line| (line.closed_at.map(std::cmp::Reverse), line.deadline.end(), line.id));
        Ok(lines)
    }

    /// One case with all that stands in it. That it was read is recorded.
    pub async fn case(&self, permit: &Permit<Administer>, id: CaseId) -> Result<RightsCase, CaseError> {
        let (case, _) = self.shared.case(permit.tenant(), id).await?;
        self.shared.record_step(permit, &case, "case-read", &self.shared.stamp(permit)).await?;
        Ok(case)
    }

    /// Somebody looked who asks.
    pub async fn check_identity(
        &self,
        permit: &Permit<Administer>,
        id: CaseId,
        seen: Seen,
        how: Phi<String>,
    ) -> Result<RightsCase, CaseError> {
        let change = |case: &mut RightsCase, stamp| {
            if case.kind == CaseType::Breach {
                return Err(CaseError::Form("nobody asks in a breach, so nobody is looked at"));
            }
            case.identity.push(IdentityCheck { seen, how: words(how)?, stamp });
            Ok(())
        };
        self.shared.change_case(permit, id, "case-identity", change).await
    }

    /// Gives it one or two months more, once and in the first month (Art. 12(3)).
    pub async fn extend_case(
        &self,
        permit: &Permit<Administer>,
        id: CaseId,
        months: u8,
        reason: Phi<String>,
    ) -> Result<RightsCase, CaseError> {
        let today = Day::of(self.shared.clock.now());
        let change = |case: &mut RightsCase, stamp| {
            if !(1..=2).contains(&months) {
                return Err(CaseError::Form("one or two months"));
            }
            if case.kind == CaseType::Breach {
                return Err(CaseError::NotExtendable("the 72 hours of a breach are not extended"));
            }
            if case.extension.is_some() {
                return Err(CaseError::NotExtendable("it was extended already"));
            }
            if case.received.plus_months(FIRST_MONTHS) < today {
                return Err(CaseError::NotExtendable("its first month is over"));
            }
            case.extension = Some(Extension { months, reason: words(reason)?, stamp });
            Ok(())
        };
        self.shared.change_case(permit, id, "case-extended", change).await
    }

    /// Decides. A right of a patient is decided once it is confirmed who asks; who was not recognised is refused.
    pub async fn decide_case(
        &self,
        permit: &Permit<Administer>,
        id: CaseId,
        outcome: RightsOutcome,
        ground: &str,
        said: Phi<String>,
    ) -> Result<RightsCase, CaseError> {
        let change = |case: &mut RightsCase, stamp| {
            let found = LegalGround::find(case.kind, outcome, ground)
                .ok_or_else(|| CaseError::Ground(LegalGround::that_fit(case.kind, outcome)))?;
            let refuses_a_stranger = found.code() == NOT_IDENTIFIED && !case.identity.is_empty();
            if case.kind != CaseType::Breach && !case.is_confirmed() && !refuses_a_stranger {
                return Err(CaseError::NoIdentity);
            }
            let ground = found.code().to_owned();
            case.decisions.push(RightsDecision { outcome, ground, words: words(said)?, stamp });
            Ok(())
        };
        self.shared.change_case(permit, id, "case-decided", change).await
    }

    /// Links what was made or done for a case. It has to be there, and to be about the same patient.
    pub async fn link_case(
        &self,
        permit: &Permit<Administer>,
        id: CaseId,
        what: Linked,
        linked: &str,
    ) -> Result<RightsCase, CaseError> {
        let (case, _) = self.shared.case(permit.tenant(), id).await?;
        self.is_output_of(permit, &case, what, linked).await?;
        let change = |case: &mut RightsCase, stamp| {
            case.links.push(CaseLink { what, id: linked.to_owned(), stamp });
            Ok(())
        };
        self.shared.change_case(permit, id, "case-linked", change).await
    }

    /// Adds a note.
    pub async fn note_case(
        &self,
        permit: &Permit<Administer>,
        id: CaseId,
        text: Phi<String>,
    ) -> Result<RightsCase, CaseError> {
        let change = |case: &mut RightsCase, stamp| {
            case.notes.push(Note { text: words(text)?, stamp });
            Ok(())
        };
        self.shared.change_case(permit, id, "case-noted", change).await
    }

    /// Closes a case that was decided, or another for a reason.
    pub async fn close_case(
        &self,
        permit: &Permit<Administer>,
        id: CaseId,
        reason: Option<Phi<String>>,
    ) -> Result<RightsCase, CaseError> {
        let change = |case: &mut RightsCase, stamp| {
            if case.decisions.is_empty() && reason.is_none() {
                return Err(CaseError::Undecided);
            }
            case.closed = Some(Written { reason: reason.map(words).transpose()?, stamp });
            Ok(())
        };
        self.shared.change_case(permit, id, "case-closed", change).await
    }

    /// A letter about the case. That it was written is recorded; the text is kept nowhere.
    pub async fn case_letter(
        &self,
        permit: &Permit<Administer>,
        id: CaseId,
        occasion: Occasion,
        language: Language,
    ) -> Result<Phi<String>, CaseError> {
        let (shared, tenant) = (&self.shared, permit.tenant());
        let (case, _) = shared.case(tenant, id).await?;
        let name = template_of(&case, occasion)?;
        let law = match &case.patient {
            Some(patient) if matches!(name, TemplateName::Refused | TemplateName::Partly) => {
                shared.law_keeps(tenant, patient).await?
            }
            _ => LawKeeps::Not,
        };
        let text = shared.template_text(tenant, name, language).await?;
        let frame = shared.template_text(tenant, TemplateName::Frame, language).await?;
        let practice = shared.practice(tenant);
        let facts = Facts { case: &case, practice: &practice, law, today: Day::of(shared.clock.now()) };
        let text = letter(&facts, (&text, &frame), language)?;
        shared.record_step(permit, &case, "case-letter", &shared.stamp(permit)).await?;
        Ok(text)
    }
}

impl Shared {
    /// One step of a case: looked at, recorded, written. The entry stands before the row, the row before the answer.
    async fn change_case(
        self: &Arc<Self>,
        permit: &Permit<Administer>,
        id: CaseId,
        code: &str,
        change: impl FnOnce(&mut RightsCase, Stamp) -> Result<(), CaseError>,
    ) -> Result<RightsCase, CaseError> {
        let (mut case, version) = self.case(permit.tenant(), id).await?;
        if case.closed.is_some() {
            return Err(CaseError::Closed);
        }
        // A case that is full can still be closed.
        if case.steps() >= MAX_STEPS && code != "case-closed" {
            return Err(CaseError::TooLong);
        }
        let stamp = self.stamp(permit).behind(&case);
        change(&mut case, stamp.clone())?;
        self.record_step(permit, &case, code, &stamp).await?;
        self.keep_case(permit.tenant(), &case, Expected::Version(version)).await?;
        Ok(case)
    }

    pub(super) fn stamp(&self, permit: &Permit<Administer>) -> Stamp {
        let entry = EntryId::random(&*self.entropy);
        Stamp { by: permit.actor().to_string(), at: self.clock.now(), entry: hex::encode(entry.as_bytes()) }
    }

    /// The entry that a step names. It names the patient by her token alone.
    pub(super) async fn record_step(
        self: &Arc<Self>,
        permit: &Permit<Administer>,
        case: &RightsCase,
        code: &str,
        stamp: &Stamp,
    ) -> Result<(), CaseError> {
        let event = if case.kind == CaseType::Breach { Event::SecurityAlert } else { Event::PatientRecord };
        let mut entry = NewEntry::new(stamp.entry_id(), stamp.at, event, Outcome::Success);
        entry.tenant = Some(permit.tenant());
        entry.actor = Some(permit.actor());
        entry.role = Some(permit.role());
        entry.purpose = Some(Purpose::SubjectRequest);
        entry.subject = case.patient.as_ref().and_then(|patient| self.subject_token(permit.tenant(), &patient.key()));
        entry.code = CodeWord::parse(code);
        Ok(self.commit_entry(entry, None).await?)
    }

    /// Until when rules and holds keep a patient's studies, whatever cases are open.
    async fn law_keeps(self: &Arc<Self>, tenant: TenantId, patient: &CasePatient) -> Result<LawKeeps, CaseError> {
        let (all, patient) = (self.clone(), patient.key());
        let look = move || -> Vec<StudyEntry> {
            let entries = all.catalog.study_refs(tenant).into_iter();
            let entries = entries.filter_map(|study| all.catalog.study_by_ref(tenant, study));
            entries.filter(|entry| crate::patient_key(entry).is_same(&patient)).collect()
        };
        let studies = tokio::task::spawn_blocking(look).await.map_err(|_| CaseError::Stopping)?;
        let mut latest = LawKeeps::Not;
        for kept in self.kept_by_law(tenant, &studies).await? {
            latest = latest.max(match kept.until {
                // The end of a day is the next day's beginning.
                Some(end) => LawKeeps::Until(Day::of(UnixMillis(end.0.saturating_sub(1)))),
                None => LawKeeps::WithoutEnd,
            });
        }
        Ok(latest)
    }
}

/// On which day it came, and since which moment a breach is known.
fn came(new: &NewCase, now: UnixMillis) -> Result<(Day, Option<UnixMillis>), CaseError> {
    let today = Day::of(now);
    let received = new.received.unwrap_or(today);
    if received > today {
        return Err(CaseError::Form("it cannot have come on a day that is still to come (days are those of UTC)"));
    }
    match (&new.patient, new.kind) {
        (None, CaseType::Breach) => {}
        (Some(_), CaseType::Breach) => return Err(CaseError::Form("a breach is nobody's case: leave out the patient")),
        (None, _) => return Err(CaseError::Form("whose data? Name the patient")),
        (Some(patient), _) if !patient.is_formed() => {
            return Err(CaseError::Form("a Patient ID and its issuer are one line of at most 256 bytes each"));
        }
        (Some(_), _) if new.minute.is_some() => {
            return Err(CaseError::Form("only a breach is known since a minute"));
        }
        (Some(_), _) => return Ok((received, None)),
    }
    let first = received.end().0.saturating_sub(DAY_MILLIS);
    let known = match (new.minute, new.received) {
        (Some(minute), _) if minute < MINUTES => UnixMillis(first + u64::from(minute) * 60_000),
        (Some(_), _) => return Err(CaseError::Form("a day's minutes end at 23:59")),
        (None, None) => now,
        (None, Some(_)) => UnixMillis(first),
    };
    if known > now {
        return Err(CaseError::Form("a breach cannot be known since a moment that is still to come (in UTC)"));
    }
    Ok((received, Some(known)))
}

fn words(text: Phi<String>) -> Result<Phi<String>, CaseError> {
    if is_words(&text) {
        Ok(text)
    } else {
        Err(CaseError::Form("a text is 1 to 4096 bytes without control characters"))
    }
}

const DAY_MILLIS: u64 = 24 * 3600 * 1000;
const MINUTES: u16 = 24 * 60;
