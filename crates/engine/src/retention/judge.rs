//! What rules, holds and open cases say about studies.

use super::{
    Day, Kept, RetentionError,
    hold::{Hold, Whose},
    rule::{About, Rule, Since},
};
use crate::{Shared, cases::OpenCase, ingest::PatientKey};
use leadglass_index::{Pattern, Query, StudyEntry, StudyRow};
use leadglass_model::{Phi, TenantId};
use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

/// Rules, holds, open cases, and when each patient was examined last, at one moment.
pub(super) struct Judge {
    shared: Arc<Shared>,
    tenant: TenantId,
    rules: Vec<Rule>,
    holds: Vec<Hold>,
    cases: Vec<OpenCase>,
    last: HashMap<String, Day>,
}

/// What is said about a study.
pub(super) enum Said {
    /// No rule, no hold and no open case is about it.
    Nothing,
    /// It has to be kept.
    Kept(Kept),
    /// It had to be kept until this day, by this rule.
    Over(Day, String),
}

impl Judge {
    /// For these studies, or for every study.
    pub(super) async fn of(
        shared: &Arc<Shared>,
        tenant: TenantId,
        studies: Option<&[StudyEntry]>,
    ) -> Result<Self, RetentionError> {
        let (rules, holds) = (shared.rules(tenant).await?, shared.holds(tenant).await?);
        let cases = shared.open_cases(tenant).await?;
        let (all, asked) = (shared.clone(), rules.iter().any(|rule| rule.since == Since::LastExamination));
        let whose: Option<Vec<PatientKey>> = studies.map(|studies| studies.iter().map(crate::patient_key).collect());
        let look = move || match whose {
            _ if !asked => HashMap::new(),
            Some(patients) => all.last_examinations_of(tenant, &patients),
            None => all.last_examinations(tenant),
        };
        let last = tokio::task::spawn_blocking(look).await.map_err(|_| RetentionError::Stopping)?;
        Ok(Self { shared: shared.clone(), tenant, rules, holds, cases, last })
    }

    /// What holds of this study today. `by_rule`: it is to be erased because its time is over.
    pub(super) async fn say(&self, study: &StudyEntry, today: Day, by_rule: bool) -> Result<Said, RetentionError> {
        match OpenCase::kept(&self.cases, &crate::patient_key(study), by_rule) {
            Some(kept) => Ok(Said::Kept(kept)),
            None => self.say_by_law(study, today).await,
        }
    }

    /// The same, whatever cases are open.
    pub(super) async fn say_by_law(&self, study: &StudyEntry, today: Day) -> Result<Said, RetentionError> {
        let whose = Whose::of(&self.shared, self.tenant, study);
        if self.holds.iter().any(|hold| hold.on.holds(&whose)) {
            return Ok(Said::Kept(Kept { why: "somebody holds it for a legal claim".to_owned(), until: None }));
        }
        if self.rules.is_empty() {
            return Ok(Said::Nothing);
        }
        let about = self.about(study, whose).await?;
        let mut latest: Option<(Day, &Rule)> = None;
        for rule in self.rules.iter().filter(|rule| rule.class.holds(&about)) {
            if rule.confirmed.is_none() {
                let why = format!("the retention rule {} is about it and nobody has confirmed it", rule.id);
                return Ok(Said::Kept(Kept { why, until: None }));
            }
            let until = rule.keeps_until(&about);
            if latest.is_none_or(|(day, _)| day < until) {
                latest = Some((until, rule));
            }
        }
        Ok(match latest {
            None => Said::Nothing,
            Some((until, rule)) if until < today => Said::Over(until, rule.id.clone()),
            Some((until, rule)) => {
                let why = format!("{} ({}) demands it until {until}", rule.source, rule.id);
                Said::Kept(Kept { why, until: Some(until.end()) })
            }
        })
    }

    async fn about(&self, study: &StudyEntry, whose: Whose) -> Result<About, RetentionError> {
        let catalog = &self.shared.catalog;
        let series = catalog.series(self.tenant, study.study_ref);
        let sop_classes = if self.rules.iter().any(|rule| !rule.class.sop_classes.is_empty()) {
            let rows = catalog.instances(self.tenant, study.study_ref).await?;
            rows.into_iter().map(|row| row.sop_class.as_str().to_owned()).collect()
        } else {
            Default::default()
        };
        let examined = examined(&study.row);
        let last = whose.any.and_then(|token| self.last.get(&token).copied());
        Ok(About {
            modalities: series.iter().filter_map(|row| row.modality.clone()).collect(),
            body_parts: series.iter().filter_map(|row| row.body_part.clone()).collect(),
            sop_classes,
            examined,
            last_examined: last.map_or(examined, |last| last.max(examined)),
            born: study.row.birth_date.as_ref().and_then(|born| Day::of_dicom(born.expose())),
        })
    }
}

impl Shared {
    /// By the token of a Patient ID whatever its issuer: rather too long than too short. Studies without an ID are one patient.
    fn last_examinations(&self, tenant: TenantId) -> HashMap<String, Day> {
        let refs = self.catalog.study_refs(tenant).into_iter();
        self.last_of(tenant, refs.filter_map(|study| self.catalog.study_by_ref(tenant, study)).map(|study| study.row))
    }

    /// The same for some patients: what it costs does not grow with the archive as looking at every study does.
    fn last_examinations_of(&self, tenant: TenantId, patients: &[PatientKey]) -> HashMap<String, Day> {
        let mut rows = Vec::new();
        for id in patients.iter().map(|patient| patient.id.expose()).collect::<BTreeSet<_>>() {
            let Ok(Some(patient_id)) = Pattern::parse(id) else { return self.last_examinations(tenant) };
            let query = Query { patient_id: Some(patient_id), ..Query::default() };
            // Rather every patient's than one too few.
            let Ok(found) = self.catalog.find_studies(tenant, &query, || false) else {
                return self.last_examinations(tenant);
            };
            rows.extend(found.hits.into_iter().map(|hit| hit.row));
        }
        rows.extend(self.catalog.quarantined(tenant, None).into_iter().map(|case| case.row));
        self.last_of(tenant, rows.into_iter())
    }

    fn last_of(&self, tenant: TenantId, rows: impl Iterator<Item = StudyRow>) -> HashMap<String, Day> {
        let mut last: HashMap<String, Day> = HashMap::new();
        for row in rows {
            let id = row.patient_id.clone().unwrap_or_else(|| Phi::new(String::new()));
            let Some(token) = self.token_of(tenant, &PatientKey { id, issuer: None }) else { continue };
            let examined = examined(&row);
            last.entry(token).and_modify(|day| *day = examined.max(*day)).or_insert(examined);
        }
        last
    }
}

/// The day that the study says, or the day on which it came.
fn examined(row: &StudyRow) -> Day {
    let said = row.date.as_ref().and_then(|date| Day::of_dicom(date.expose()));
    said.unwrap_or_else(|| Day::of(row.created_at))
}
