//! Rules and holds: written, confirmed, dropped, lifted; and what is over by them.

use super::{
    Confirmed, Day, Hold, HoldId, Kept, MAX_ROWS, RetentionError, Rule, WhatToHold,
    judge::{Judge, Said},
    seeds,
};
use crate::{Engine, Shared};
use leadglass_audit::{CodeWord, Event, NewEntry, Outcome};
use leadglass_index::StudyEntry;
use leadglass_model::{Administer, EntryId, Permit, Purpose, StudyRef, StudyUid, TenantId};
use leadglass_records::{Expected, Record, RecordError, Table};
use serde::{Serialize, de::DeserializeOwned};
use std::sync::Arc;
use zeroize::Zeroizing;

/// A study whose time is over.
#[derive(Debug, Clone)]
pub struct Due {
    /// Its random name.
    pub study_ref: StudyRef,
    /// Study Instance UID.
    pub study: StudyUid,
    /// The last day on which it had to be kept.
    pub until: Day,
    /// By which rule.
    pub rule: String,
}

/// What is over, the longest ago first.
#[derive(Debug, Clone)]
pub struct DueList {
    /// On which day.
    pub on: Day,
    /// At most as many as were asked for.
    pub studies: Vec<Due>,
    /// How many there are.
    pub total: usize,
}

impl Engine {
    /// The tenant's rules, by name.
    pub async fn retention_rules(&self, permit: &Permit<Administer>) -> Result<Vec<Rule>, RetentionError> {
        self.shared.rules(permit.tenant()).await
    }

    /// Writes a rule, or another in its place. It is confirmed no longer.
    ///
    /// Cancel safety: dropping the future may leave an entry about a change that was not made; so for the others here.
    pub async fn put_retention_rule(&self, permit: &Permit<Administer>, rule: Rule) -> Result<Rule, RetentionError> {
        let rule = Rule { confirmed: None, ..rule };
        if !rule.is_formed() {
            return Err(RetentionError::Form);
        }
        let all = self.shared.rules(permit.tenant()).await?;
        if all.len() >= MAX_ROWS && all.iter().all(|other| other.id != rule.id) {
            return Err(RetentionError::TooMany);
        }
        self.shared.record_change(permit, "rule-written", None).await?;
        self.shared.put(permit.tenant(), Table::Retention, rule.id.as_bytes(), &rule, Expected::Anything).await?;
        Ok(rule)
    }

    /// Puts in the rules that are known for a country and not there yet. None is confirmed.
    pub async fn seed_retention(
        &self,
        permit: &Permit<Administer>,
        country: &str,
    ) -> Result<Vec<Rule>, RetentionError> {
        let seeds = seeds::of(country);
        if seeds.is_empty() {
            return Err(RetentionError::NoSeeds);
        }
        let all = self.shared.rules(permit.tenant()).await?;
        let fresh: Vec<Rule> = seeds.into_iter().filter(|seed| all.iter().all(|rule| rule.id != seed.id)).collect();
        if all.len() + fresh.len() > MAX_ROWS {
            return Err(RetentionError::TooMany);
        }
        if !fresh.is_empty() {
            self.shared.record_change(permit, "rules-seeded", None).await?;
        }
        for rule in &fresh {
            self.shared.put(permit.tenant(), Table::Retention, rule.id.as_bytes(), rule, Expected::Absent).await?;
        }
        Ok(fresh)
    }

    /// Somebody answers for a rule as it stands: it says from now on how long something is kept.
    pub async fn confirm_retention_rule(&self, permit: &Permit<Administer>, id: &str) -> Result<Rule, RetentionError> {
        let (rule, version) = self.shared.rule(permit.tenant(), id).await?;
        if rule.confirmed.is_some() {
            return Ok(rule);
        }
        self.shared.record_change(permit, "rule-confirmed", None).await?;
        let confirmed = Confirmed { by: permit.actor().to_string(), at: self.shared.clock.now() };
        let rule = Rule { confirmed: Some(confirmed), ..rule };
        self.shared.put(permit.tenant(), Table::Retention, id.as_bytes(), &rule, Expected::Version(version)).await?;
        Ok(rule)
    }

    /// Takes a rule away. What it alone was about may be erased then.
    pub async fn drop_retention_rule(&self, permit: &Permit<Administer>, id: &str) -> Result<(), RetentionError> {
        self.shared.rule(permit.tenant(), id).await?;
        self.shared.record_change(permit, "rule-dropped", None).await?;
        self.shared.drop_row(permit.tenant(), Table::Retention, id.as_bytes()).await
    }

    /// The studies whose time is over today, or on another day: confirmed rules are about them, all of them over, nobody
    /// holds them and no case of the patient is open. Looks at every study.
    pub async fn retention_due(
        &self,
        permit: &Permit<Administer>,
        on: Option<Day>,
        most: usize,
    ) -> Result<DueList, RetentionError> {
        let (shared, tenant) = (&self.shared, permit.tenant());
        let on = on.unwrap_or_else(|| Day::of(shared.clock.now()));
        let judge = Judge::of(shared, tenant, None).await?;
        let mut due = Vec::new();
        for study_ref in shared.catalog.study_refs(tenant) {
            let Some(entry) = shared.catalog.study_by_ref(tenant, study_ref) else { continue };
            // What waits in quarantine waits for a person already.
            if entry.row.quarantine.is_some() {
                continue;
            }
            if let Said::Over(until, rule) = judge.say(&entry, on, true).await? {
                due.push(Due { study_ref, study: entry.row.uid, until, rule });
            }
            // A long look lets others go on.
            tokio::task::consume_budget().await;
        }
        let total = due.len();
        due.sort_by_key(|due| (due.until, due.study_ref));
        due.truncate(most);
        Ok(DueList { on, studies: due, total })
    }

    /// The holds of the tenant, oldest first.
    pub async fn holds(&self, permit: &Permit<Administer>) -> Result<Vec<Hold>, RetentionError> {
        self.shared.holds(permit.tenant()).await
    }

    /// Holds a study or all of a patient: none of it is erased until it is lifted.
    pub async fn hold(
        &self,
        permit: &Permit<Administer>,
        what: WhatToHold,
        reason: String,
    ) -> Result<Hold, RetentionError> {
        let (on, study) = self.shared.held(permit.tenant(), what).ok_or(RetentionError::Missing)?;
        if self.shared.holds(permit.tenant()).await?.len() >= MAX_ROWS {
            return Err(RetentionError::TooMany);
        }
        let mut id = [0; 16];
        self.shared.entropy.fill(&mut id);
        let id = HoldId(id);
        let hold = Hold { id: id.to_string(), on, reason, by: permit.actor().to_string(), at: self.shared.clock.now() };
        self.shared.record_change(permit, "held", study).await?;
        self.shared.put(permit.tenant(), Table::Holds, &name(id), &hold, Expected::Absent).await?;
        Ok(hold)
    }

    /// Lifts a hold.
    pub async fn lift_hold(&self, permit: &Permit<Administer>, id: HoldId) -> Result<(), RetentionError> {
        let records = self.shared.tenant_records(permit.tenant())?;
        records.get(Table::Holds, &name(id)).await?.ok_or(RetentionError::Missing)?;
        self.shared.record_change(permit, "hold-lifted", None).await?;
        self.shared.drop_row(permit.tenant(), Table::Holds, &name(id)).await
    }
}

impl Shared {
    /// Why one of these studies has to be kept now. `by_rule`: it is to be erased because its time is over, so that a rule must
    /// say so.
    pub(crate) async fn kept(
        self: &Arc<Self>,
        tenant: TenantId,
        studies: &[StudyEntry],
        by_rule: bool,
    ) -> Result<Option<Kept>, RetentionError> {
        let (judge, today) = (Judge::of(self, tenant, Some(studies)).await?, Day::of(self.clock.now()));
        for study in studies {
            match judge.say(study, today, by_rule).await? {
                Said::Kept(kept) => return Ok(Some(kept)),
                Said::Nothing if by_rule => {
                    let why = "no confirmed retention rule says that its time is over".to_owned();
                    return Ok(Some(Kept { why, until: None }));
                }
                Said::Nothing | Said::Over(..) => {}
            }
        }
        Ok(None)
    }

    /// Whether one of these studies is one that no rule is about: nobody has said whether the law wants it kept.
    pub(crate) async fn lacks_rule(
        self: &Arc<Self>,
        tenant: TenantId,
        studies: &[StudyEntry],
    ) -> Result<bool, RetentionError> {
        let (judge, today) = (Judge::of(self, tenant, Some(studies)).await?, Day::of(self.clock.now()));
        for study in studies {
            if matches!(judge.say_by_law(study, today).await?, Said::Nothing) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// What rules and holds say of each of these studies that has to be kept now, whatever cases are open.
    pub(crate) async fn kept_by_law(
        self: &Arc<Self>,
        tenant: TenantId,
        studies: &[StudyEntry],
    ) -> Result<Vec<Kept>, RetentionError> {
        let (judge, today) = (Judge::of(self, tenant, Some(studies)).await?, Day::of(self.clock.now()));
        let mut kept = Vec::new();
        for study in studies {
            if let Said::Kept(why) = judge.say_by_law(study, today).await? {
                kept.push(why);
            }
        }
        Ok(kept)
    }

    pub(super) async fn rules(&self, tenant: TenantId) -> Result<Vec<Rule>, RetentionError> {
        self.rows(tenant, Table::Retention).await
    }

    pub(super) async fn holds(&self, tenant: TenantId) -> Result<Vec<Hold>, RetentionError> {
        let mut holds: Vec<Hold> = self.rows(tenant, Table::Holds).await?;
        holds.sort_by_key(|hold| hold.at);
        Ok(holds)
    }

    async fn rule(&self, tenant: TenantId, id: &str) -> Result<(Rule, u64), RetentionError> {
        let record = self.tenant_records(tenant)?.get(Table::Retention, id.as_bytes()).await?;
        let record = record.filter(|_| !id.is_empty()).ok_or(RetentionError::Missing)?;
        Ok((read(&record)?, record.version))
    }

    async fn rows<T: DeserializeOwned>(&self, tenant: TenantId, table: Table) -> Result<Vec<T>, RetentionError> {
        let Ok(records) = self.tenant_records(tenant) else { return Ok(Vec::new()) };
        let (mut rows, mut after) = (Vec::new(), None::<Vec<u8>>);
        loop {
            let page = records.scan(table, after.as_deref(), PAGE).await?;
            let Some(last) = page.last() else { return Ok(rows) };
            after = Some(last.key.clone());
            for record in &page {
                rows.push(read(record)?);
            }
        }
    }

    async fn put<T: Serialize>(
        &self,
        tenant: TenantId,
        table: Table,
        key: &[u8],
        row: &T,
        expected: Expected,
    ) -> Result<(), RetentionError> {
        let value = Zeroizing::new(serde_json::to_vec(row).expect("a row has string keys and plain fields"));
        self.tenant_records(tenant)?.put(table, key, value, expected).await?;
        Ok(())
    }

    async fn drop_row(&self, tenant: TenantId, table: Table, key: &[u8]) -> Result<(), RetentionError> {
        self.tenant_records(tenant)?.delete(table, key).await?;
        Ok(())
    }

    fn tenant_records(&self, tenant: TenantId) -> Result<&leadglass_records::TenantRecords, RetentionError> {
        self.subjects.get(&tenant).map(crate::subject::Subjects::records).ok_or(RetentionError::Missing)
    }

    /// The entry stands before the change.
    async fn record_change(
        self: &Arc<Self>,
        permit: &Permit<Administer>,
        code: &str,
        study: Option<StudyRef>,
    ) -> Result<(), RetentionError> {
        let id = EntryId::random(&*self.entropy);
        let mut entry = NewEntry::new(id, self.clock.now(), Event::RetentionChange, Outcome::Success);
        entry.tenant = Some(permit.tenant());
        entry.actor = Some(permit.actor());
        entry.role = Some(permit.role());
        entry.purpose = Some(Purpose::SubjectRequest);
        entry.study = study;
        entry.code = CodeWord::parse(code);
        Ok(self.commit_entry(entry, None).await?)
    }
}

/// One that cannot be read is no rule that may be passed over.
fn read<T: DeserializeOwned>(record: &Record) -> Result<T, RetentionError> {
    serde_json::from_slice(record.value.expose()).map_err(|_| RetentionError::Records(RecordError::NotAuthentic))
}

fn name(id: HoldId) -> Vec<u8> {
    [b"hold:".as_slice(), &id.0].concat()
}

const PAGE: usize = 256;
