//! `PUT /v1/approvals/{id}`: a passkey that was confirmed here gives an approval.
//!
//! Looked at, decided and written in one commit, so that no assertion gives two approvals and no counter is seen twice. Whoever
//! is refused hears one sentence, whatever was wrong; the own log has the word.

use super::{Caller, Service, approvals, people};
use crate::{
    approval::{self, Approval, PASSKEY_JOB_S, Proof},
    config::PasskeyConfig,
    keyring::ClientRole,
    passkey::{self, AssertionError, Expected, PublicKey},
    refusal::Refusal,
    store::{PersonRole, Table, Tx},
};
use leadglass_audit::{CodeWord, Event, NewEntry, Outcome};
use leadglass_keys::wire::{
    self, ApprovalId, ApprovalState, Assertion, Base64Bytes, LodgedJob, ProblemCode, approval_challenge,
};
use leadglass_model::{ActorRef, UnixMillis};

/// Why it was not given: what is told, and the word for the own log.
struct Unfit {
    refusal: Refusal,
    code: String,
}

impl From<Refusal> for Unfit {
    fn from(refusal: Refusal) -> Self {
        Self { refusal, code: "approval".to_owned() }
    }
}

impl From<crate::store::StoreError> for Unfit {
    fn from(error: crate::store::StoreError) -> Self {
        Refusal::from(error).into()
    }
}

impl From<AssertionError> for Unfit {
    fn from(error: AssertionError) -> Self {
        let refusal = Refusal::new(ProblemCode::Forbidden, "the assertion does not approve this job");
        Self { refusal, code: format!("assertion-{error}") }
    }
}

impl Service {
    /// A lodged job as it is to be signed, for the vault that shows it.
    pub fn lodged_job(&self, caller: &Caller, id: &ApprovalId) -> Result<LodgedJob, Refusal> {
        caller.needs(ClientRole::Vault)?;
        let found = self.approvals_for(Some(id))?.into_iter().next();
        let approval = found.filter(|approval| caller.may(approval.job.tenant)).ok_or_else(no_approval)?;
        let mut shown = approvals::on_wire(&approval);
        shown.state = approval.state_at(self.clock.now());
        let job = Base64Bytes::new(approval.job_json.as_bytes()).ok_or_else(no_approval)?;
        Ok(LodgedJob { approval: shown, job })
    }

    /// Gives an approval by a passkey.
    ///
    /// Cancel safety: a dropped call may have given it; it is not given twice.
    pub async fn answer(
        &self,
        caller: &Caller,
        id: ApprovalId,
        assertion: Assertion,
    ) -> Result<wire::Approval, Refusal> {
        caller.needs(ClientRole::Vault)?;
        let entry = self.entry_by(caller, Event::Approval, Outcome::Success);
        let Some(rules) = self.config.passkeys.clone() else {
            let refusal = Refusal::new(ProblemCode::Forbidden, "no passkey is taken here: approve on the key host");
            return self.refuse(entry, "passkey-none", refusal).await;
        };
        let (asking, now) = (caller.clone(), self.clock.now());
        let given = self.store.write(move |tx| give(tx, &asking, &id, assertion, &rules, now)).await;
        let (approval, person) = match given {
            Ok(given) => given,
            Err(Unfit { refusal, code }) => {
                tracing::warn!(alarm = "passkey", reason = code, "An approval by a passkey was refused");
                return self.refuse(entry, &code, refusal).await;
            }
        };
        let person_id = people::word(&person);
        tracing::warn!(alarm = "approval", approval = %approval.id, action = %approval.job.action, person = %person_id, "A passkey approved a job");
        let code = CodeWord::parse("passkey");
        let (tenant, actor) = (Some(approval.job.tenant), Some(ActorRef(person)));
        let purpose = approval.job.purpose;
        self.report(vec![NewEntry { tenant, actor, purpose, code, ..entry }]).await?;
        Ok(approvals::on_wire(&approval))
    }
}

/// Decides before it writes.
fn give(
    tx: &mut Tx<'_>,
    caller: &Caller,
    id: &ApprovalId,
    assertion: Assertion,
    rules: &PasskeyConfig,
    now: UnixMillis,
) -> Result<(Approval, [u8; 16]), Unfit> {
    let found = approvals::read(tx, id)?;
    let mut approval = found.filter(|approval| caller.may(approval.job.tenant)).ok_or_else(no_approval)?;
    if approval.state_at(now) != ApprovalState::Open {
        return Err(Refusal::new(ProblemCode::Conflict, "the approval is given already, or over").into());
    }
    let role = on_this_job(&approval, now)?;
    let mut all = people::everybody_in(tx)?.into_iter();
    let (person, mut row, credential) = all
        .find_map(|(person, row)| {
            let credential = row.credential.clone().filter(|c| c.id == assertion.credential_id.expose())?;
            Some((person, row, credential))
        })
        .filter(|(_, row, credential)| {
            let may = row.tenant == approval.job.tenant && row.role == role;
            may && row.confirmed_at_ms != 0 && credential.rp_id == rules.rp_id
        })
        .ok_or(AssertionError::Credential)?;
    let public_key = PublicKey::parse(&credential.public_key).ok_or(AssertionError::Credential)?;
    let challenge = approval_challenge(&approval.nonce, approval.job_json.as_bytes());
    let expected = Expected {
        challenge: &challenge,
        rp_id: &credential.rp_id,
        origins: &rules.origins,
        public_key: &public_key,
        counter: row.counter,
    };
    row.counter = passkey::check(&assertion, &expected)?;
    row.last_ms = now.0;
    approval.state = ApprovalState::Approved;
    approval.given_by = Some(people::word(&person));
    let public_key = Base64Bytes::new(&credential.public_key).ok_or(AssertionError::Credential)?;
    approval.proof = Some(Proof { assertion, public_key, given_at: now });
    approvals::put(tx, &approval)?;
    tx.put_row(Table::People, &person, &row)?;
    Ok((approval, person))
}

/// Whose passkey gives it, if one does.
fn on_this_job(approval: &Approval, now: UnixMillis) -> Result<PersonRole, Unfit> {
    let on_host = || Unfit {
        refusal: Refusal::new(ProblemCode::Forbidden, "this job is approved on the key host only"),
        code: "approval-key-host".to_owned(),
    };
    let role = approval::passkey_role(&approval.job).ok_or_else(on_host)?;
    if approval.job.until > now.plus_secs(PASSKEY_JOB_S) { Err(on_host()) } else { Ok(role) }
}

fn no_approval() -> Refusal {
    Refusal::new(ProblemCode::NotFound, "no such approval")
}
