//! Approvals: a person's yes to a job, given on the key host.
//!
//! A job is the wire's [`Job`]: tenant, action, purpose, scope, studies or a count, an end. `POST /v1/approvals` lodges one;
//! `leadglass-keyd approve ID` gives it, `leadglass-keyd approve --action …` lodges and gives one in a step; a passkey that was
//! confirmed here gives what [`passkey_role`] says. An approval is the budget of what runs under it.
//!
//! **Limit:** the vault draws the dialog in which a person uses the passkey. Whoever owns the vault can have a person sign a job
//! that the page did not show. It cannot sign without a person, nor use a signature twice, nor for another job. Open jobs are
//! listed at the key host and told by alarm, and so is each that a passkey gave.

use crate::store::PersonRole;
use leadglass_keys::wire::{
    ApprovalState, Assertion, Base64Bytes, Hex32, INSTALLATION, Job, LogHead, MAX_PUBLIC_KEY_BYTES, Scope, Word,
};
use leadglass_model::{Entropy, Purpose, StudyRef, TenantId, UnixMillis};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// An approval as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    /// Its name.
    pub id: Word,
    /// Goes into a passkey's challenge.
    pub nonce: Hex32,
    /// The job, byte for byte as it was lodged.
    pub job_json: String,
    /// The same, read.
    pub job: Job,
    /// Where it stands.
    pub state: ApprovalState,
    /// When it was lodged.
    pub opened_at: UnixMillis,
    /// Until when it must be given; afterwards the job's own end counts.
    pub give_until: UnixMillis,
    /// How it was given: `key-host`, or the id of the person whose passkey gave it.
    pub given_by: Option<Word>,
    /// With what, where a passkey gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<Proof>,
    /// Studies that were opened under it.
    pub used: BTreeSet<StudyRef>,
}

/// A person's yes, so that whoever doubts it later can check it again over [`Approval::nonce`] and [`Approval::job_json`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proof {
    /// What the browser gave.
    pub assertion: Assertion,
    /// COSE_Key of the passkey.
    pub public_key: Base64Bytes<MAX_PUBLIC_KEY_BYTES>,
    /// When.
    pub given_at: UnixMillis,
}

/// Whose passkey approves a job. `None`: it is approved on the key host only, like all that decides about the key service itself.
pub fn passkey_role(job: &Job) -> Option<PersonRole> {
    if job.tenant == INSTALLATION {
        return None;
    }
    match (job.action.as_str(), job.purpose) {
        (ACTION_DESTROY, None) => Some(PersonRole::Dpo),
        (
            ACTION_UNWRAP,
            Some(
                Purpose::SubjectRequest | Purpose::Erasure | Purpose::Research | Purpose::Quality | Purpose::LegalClaim,
            ),
        ) => Some(PersonRole::Dpo),
        // Rebuilding an index, a full check, a rehearsal and a move open studies for this.
        (ACTION_UNWRAP, Some(Purpose::StorageCheck)) => Some(PersonRole::Admin),
        _ => None,
    }
}

/// Whether an approval covers something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cover {
    /// All of it.
    All,
    /// Only these studies; the others are not named.
    Some(BTreeSet<StudyRef>),
    /// It is for something else, not given, or over.
    Nothing,
}

impl Approval {
    /// Lodges a job.
    pub fn lodge(job_json: String, job: Job, now: UnixMillis, entropy: &dyn Entropy) -> Self {
        let mut id = [0; 8];
        let mut nonce = [0; 32];
        entropy.fill(&mut id);
        entropy.fill(&mut nonce);
        Self {
            id: Word::new(&hex::encode(id)).expect("16 hexadecimal digits are a word"),
            nonce: Hex32(nonce),
            job_json,
            job,
            state: ApprovalState::Open,
            opened_at: now,
            give_until: now.plus_secs(GIVE_WITHIN_S),
            given_by: None,
            proof: None,
            used: BTreeSet::new(),
        }
    }

    /// Where it stands now.
    pub fn state_at(&self, now: UnixMillis) -> ApprovalState {
        let end = if self.state == ApprovalState::Open { self.give_until.min(self.job.until) } else { self.job.until };
        if now >= end { ApprovalState::Ended } else { self.state }
    }

    /// What of an unwrap it covers.
    pub fn covers_unwrap(
        &self,
        tenant: TenantId,
        purpose: Purpose,
        scope: Scope,
        studies: &BTreeSet<StudyRef>,
        now: UnixMillis,
    ) -> Cover {
        let fits = self.state_at(now) == ApprovalState::Approved
            && self.job.action.as_str() == ACTION_UNWRAP
            && self.job.tenant == tenant
            && self.job.purpose == Some(purpose)
            && self.job.scope.is_none_or(|s| s == scope);
        if fits { self.covers_studies(studies) } else { Cover::Nothing }
    }

    /// Whether it covers an action on studies of a tenant.
    pub fn covers_action(&self, tenant: TenantId, action: &str, studies: &BTreeSet<StudyRef>, now: UnixMillis) -> bool {
        self.state_at(now) == ApprovalState::Approved
            && self.job.action.as_str() == action
            && self.job.tenant == tenant
            && self.covers_studies(studies) == Cover::All
    }

    /// The log that the witness is to begin anew with, where it covers that.
    pub fn believes(&self, now: UnixMillis) -> Option<LogHead> {
        self.job.log.filter(|_| self.covers_action(INSTALLATION, ACTION_LOG_RESET, &BTreeSet::new(), now))
    }

    fn covers_studies(&self, studies: &BTreeSet<StudyRef>) -> Cover {
        if studies.is_empty() {
            return Cover::All;
        }
        if !self.job.study_refs.is_empty() {
            let named: BTreeSet<StudyRef> = self.job.study_refs.iter().copied().collect();
            let covered: BTreeSet<StudyRef> = studies.intersection(&named).copied().collect();
            return if covered.len() == studies.len() { Cover::All } else { Cover::Some(covered) };
        }
        let fresh = studies.difference(&self.used).count();
        match self.job.count {
            Some(count) if self.used.len() + fresh <= count as usize => Cover::All,
            Some(_) => Cover::Some(studies.intersection(&self.used).copied().collect()),
            None => Cover::Nothing,
        }
    }
}

/// The action under which keys are opened.
pub const ACTION_UNWRAP: &str = "unwrap";
/// The action under which keys are destroyed.
pub const ACTION_DESTROY: &str = "destroy";
/// The action under which an escrow file is written.
pub const ACTION_ESCROW: &str = "escrow";
/// The action under which a vault's log begins anew.
pub const ACTION_LOG_RESET: &str = "log-reset";
/// The action under which an epoch ends.
pub const ACTION_EPOCH: &str = "epoch-advance";
/// A passkey gives a job that ends within this time. A person does not look at a date twice; the key host may give longer ones.
pub const PASSKEY_JOB_S: u64 = 7 * 24 * 3600;
/// A lodged job waits so long for its yes.
const GIVE_WITHIN_S: u64 = 600;

#[cfg(test)]
mod tests {
    use super::*;
    use leadglass_keys::wire::Few;
    use leadglass_model::SystemEntropy;

    fn given(study_refs: Vec<StudyRef>, count: Option<u32>) -> Approval {
        let job = Job {
            tenant: TenantId::from_bytes([1; 16]),
            action: Word::new(ACTION_UNWRAP).unwrap(),
            purpose: Some(Purpose::Research),
            scope: Some(Scope::Object),
            study_refs: Few::new(study_refs).unwrap(),
            count,
            log: None,
            until: UnixMillis(10_000),
        };
        let mut approval = Approval::lodge(String::new(), job, UnixMillis(0), &SystemEntropy);
        approval.state = ApprovalState::Approved;
        approval
    }

    fn covers(approval: &Approval, numbers: &[u8], purpose: Purpose, at: u64) -> Cover {
        let studies = numbers.iter().map(|n| StudyRef::from_bytes([*n; 16])).collect();
        approval.covers_unwrap(TenantId::from_bytes([1; 16]), purpose, Scope::Object, &studies, UnixMillis(at))
    }

    #[test]
    fn named_studies_are_covered_and_no_others() {
        let approval = given(vec![StudyRef::from_bytes([1; 16])], None);
        assert_eq!(covers(&approval, &[1], Purpose::Research, 0), Cover::All);
        assert_eq!(covers(&approval, &[2], Purpose::Research, 0), Cover::Some(BTreeSet::new()));
        assert_eq!(covers(&approval, &[1], Purpose::Quality, 0), Cover::Nothing);
    }

    #[test]
    fn a_count_is_used_up_by_distinct_studies() {
        let mut approval = given(vec![], Some(2));
        approval.used.insert(StudyRef::from_bytes([1; 16]));
        assert_eq!(covers(&approval, &[1, 2], Purpose::Research, 0), Cover::All);
        assert!(matches!(covers(&approval, &[2, 3], Purpose::Research, 0), Cover::Some(_)));
    }

    #[test]
    fn a_lodged_job_waits_ten_minutes_for_its_yes_and_then_its_own_end_counts() {
        let mut approval = given(vec![StudyRef::from_bytes([1; 16])], None);
        approval.job.until = UnixMillis(3_600_000);
        approval.state = ApprovalState::Open;
        assert_eq!(approval.state_at(UnixMillis(599_999)), ApprovalState::Open);
        assert_eq!(approval.state_at(UnixMillis(600_000)), ApprovalState::Ended);
        approval.state = ApprovalState::Approved;
        assert_eq!(approval.state_at(UnixMillis(600_000)), ApprovalState::Approved);
        assert_eq!(approval.state_at(UnixMillis(3_600_000)), ApprovalState::Ended);
        // A job that ends earlier does not wait longer than that.
        (approval.state, approval.job.until) = (ApprovalState::Open, UnixMillis(1_000));
        assert_eq!(approval.state_at(UnixMillis(1_000)), ApprovalState::Ended);
    }

    #[test]
    fn only_a_given_log_reset_is_believed_and_only_for_the_log_that_it_names() {
        let mut approval = given(vec![], None);
        let head = LogHead { size: 7, root: Hex32([9; 32]) };
        (approval.job.tenant, approval.job.log) = (INSTALLATION, Some(head));
        assert_eq!(approval.believes(UnixMillis(0)), None, "it is an unwrap");
        approval.job.action = Word::new(ACTION_LOG_RESET).unwrap();
        assert_eq!(approval.believes(UnixMillis(0)), Some(head));
        assert_eq!(approval.believes(UnixMillis(10_000)), None, "it is over");
        approval.state = ApprovalState::Open;
        assert_eq!(approval.believes(UnixMillis(0)), None, "nobody gave it");
        assert_eq!(head.to_string().parse(), Ok(head));
    }

    #[test]
    fn nothing_is_covered_before_the_yes_and_after_the_end() {
        let mut approval = given(vec![StudyRef::from_bytes([1; 16])], None);
        assert_eq!(covers(&approval, &[1], Purpose::Research, 10_000), Cover::Nothing);
        approval.state = ApprovalState::Open;
        assert_eq!(covers(&approval, &[1], Purpose::Research, 0), Cover::Nothing);
    }
}
