//! Jobs that the key service does under a person's approval, and the passkeys with which people give it.
//!
//! This node shows the job and carries the person's signature; whether it counts the key service alone decides. What comes of
//! that: whoever owns this node can show another job than the one that is signed, and nothing else.

use crate::{AccessError, Engine, Person};
use leadglass_keys::{
    ServiceError,
    wire::{
        ApprovalId, ApprovalState, Assertion, Base64Bytes, EnrolPerson, Enrolled, Few, Job, LodgedJob, MAX_JOB_BYTES,
        OpenApproval, ProblemCode, Scope, Word, approval_challenge, json_from,
    },
};
use leadglass_model::{Administer, Fault, Permit, Purpose, UnixMillis};
use std::net::IpAddr;

/// A job that waits for a person, or does not any more.
#[derive(Debug, Clone)]
pub struct KeyHostJob {
    /// Its approval.
    pub id: String,
    /// `open`, `approved` or `ended`.
    pub state: &'static str,
    /// When the time to approve it is over.
    pub expires_at: UnixMillis,
    /// What happens: `destroy`, `unwrap`, …
    pub action: String,
    /// What keys are opened for.
    pub purpose: Option<Purpose>,
    /// Studies that it names, or how many it may be.
    pub studies: u64,
    /// Whether it names them.
    pub named: bool,
    /// When what was approved ends.
    pub until: UnixMillis,
    /// The bytes that are signed, with a nonce before them.
    pub text: String,
    /// What a passkey signs.
    pub challenge: [u8; 32],
}

/// A browser's answer, as bytes.
#[derive(Debug, Clone)]
pub struct KeyHostAnswer {
    /// Which credential.
    pub credential_id: Vec<u8>,
    /// `clientDataJSON`.
    pub client_data_json: Vec<u8>,
    /// `authenticatorData`.
    pub authenticator_data: Vec<u8>,
    /// The signature.
    pub signature: Vec<u8>,
}

/// A passkey on its way to the key service.
#[derive(Debug, Clone)]
pub struct NewKeyHostPasskey {
    /// The code that the key host printed.
    pub code: String,
    /// What the authenticator calls it.
    pub credential_id: Vec<u8>,
    /// COSE_Key.
    pub public_key: Vec<u8>,
    /// The relying party.
    pub rp_id: String,
}

/// Why something at the key host was not done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyHostError {
    /// No such job of this tenant.
    #[error("there is no such job")]
    Missing,
    /// What was sent is too long, or none.
    #[error("what was sent is no passkey's answer, or no job")]
    BadInput,
    /// It said no.
    #[error("the key service says: {sentence}")]
    Refused {
        /// What it said: one of its own fixed sentences.
        sentence: String,
        /// What kind of no.
        fault: Fault,
    },
    /// It did not answer.
    #[error("the key service did not answer")]
    Service(#[source] ServiceError),
    /// The entry could not be written, so nothing was sent.
    #[error("it could not be recorded, so it was not done")]
    Unrecorded(#[from] AccessError),
}

impl KeyHostError {
    /// The kind of failure.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Missing => Fault::Missing,
            Self::BadInput => Fault::BadInput,
            Self::Refused { fault, .. } => *fault,
            Self::Service(error) => error.fault(),
            Self::Unrecorded(error) => error.fault(),
        }
    }
}

impl From<ServiceError> for KeyHostError {
    fn from(error: ServiceError) -> Self {
        match error {
            ServiceError::Refused { problem } if problem.code == ProblemCode::NotFound => Self::Missing,
            ServiceError::Refused { problem } => Self::Refused { fault: problem.code.fault(), sentence: problem.title },
            other => Self::Service(other),
        }
    }
}

impl Engine {
    /// Asks for an approval to open so many studies in bulk. An erasure asks for its own.
    ///
    /// Cancel safety: a dropped call may have lodged a job that nobody approves.
    pub async fn lodge_key_host_job(
        &self,
        permit: &Permit<Administer>,
        purpose: Purpose,
        count: u32,
        lasts_s: u64,
    ) -> Result<KeyHostJob, KeyHostError> {
        let job = Job {
            tenant: permit.tenant(),
            action: Word::new("unwrap").ok_or(KeyHostError::BadInput)?,
            purpose: Some(purpose),
            scope: Some(Scope::Object),
            study_refs: Few::default(),
            count: Some(count),
            log: None,
            until: self.shared.clock.now().plus_secs(lasts_s),
        };
        let text = serde_json::to_vec(&job).map_err(|_| KeyHostError::BadInput)?;
        let job = Base64Bytes::new(&text).ok_or(KeyHostError::BadInput)?;
        let lodged = self.shared.keys.service().open_approval(&OpenApproval { job: job.clone() }).await?;
        shown(permit, LodgedJob { approval: lodged, job })
    }

    /// A job of the tenant, as it is to be signed.
    pub async fn key_host_job(&self, permit: &Permit<Administer>, id: &str) -> Result<KeyHostJob, KeyHostError> {
        let id = ApprovalId::new(id).ok_or(KeyHostError::Missing)?;
        shown(permit, self.shared.keys.service().lodged_job(&id).await?)
    }

    /// Hands a person's signature in. An entry stands before it, and the key service has its own.
    ///
    /// Cancel safety: a dropped call may have approved the job.
    pub async fn answer_key_host_job(
        &self,
        permit: &Permit<Administer>,
        id: &str,
        answer: &KeyHostAnswer,
        address: Option<IpAddr>,
    ) -> Result<(), KeyHostError> {
        let id = ApprovalId::new(id).ok_or(KeyHostError::Missing)?;
        let assertion = Assertion {
            credential_id: fits(&answer.credential_id)?,
            client_data_json: fits(&answer.client_data_json)?,
            authenticator_data: fits(&answer.authenticator_data)?,
            signature: fits(&answer.signature)?,
        };
        self.record_deed(&by(permit, address), permit.actor(), "key-host-job-signed").await?;
        self.shared.keys.service().answer_approval(&id, &assertion).await?;
        Ok(())
    }

    /// Brings a person's passkey to the key service; gives its fingerprint, which is compared at the key host.
    ///
    /// Cancel safety: a dropped call may have used the code.
    pub async fn enrol_at_key_host(
        &self,
        permit: &Permit<Administer>,
        new: &NewKeyHostPasskey,
        address: Option<IpAddr>,
    ) -> Result<String, KeyHostError> {
        let request = EnrolPerson {
            code: fits(new.code.trim().as_bytes())?,
            credential_id: fits(&new.credential_id)?,
            public_key: fits(&new.public_key)?,
            rp_id: fits(new.rp_id.as_bytes())?,
        };
        self.record_deed(&by(permit, address), permit.actor(), "key-host-passkey-brought").await?;
        let Enrolled { fingerprint, .. } = self.shared.keys.service().enrol_person(&request).await?;
        Ok(fingerprint)
    }
}

fn shown(permit: &Permit<Administer>, lodged: LodgedJob) -> Result<KeyHostJob, KeyHostError> {
    let LodgedJob { approval, job: bytes } = lodged;
    let read: Option<Job> = json_from(bytes.expose(), MAX_JOB_BYTES).ok();
    let job = read.filter(|job| job.tenant == permit.tenant()).ok_or(KeyHostError::Missing)?;
    let named = job.study_refs.len() as u64;
    Ok(KeyHostJob {
        id: approval.id.as_str().to_owned(),
        state: match approval.state {
            ApprovalState::Open => "open",
            ApprovalState::Approved => "approved",
            ApprovalState::Ended => "ended",
        },
        expires_at: approval.expires_at,
        action: job.action.as_str().to_owned(),
        purpose: job.purpose,
        studies: if named > 0 { named } else { job.count.map_or(0, u64::from) },
        named: named > 0,
        until: job.until,
        text: String::from_utf8_lossy(bytes.expose()).into_owned(),
        challenge: approval_challenge(&approval.nonce, bytes.expose()),
    })
}

fn by(permit: &Permit<Administer>, address: Option<IpAddr>) -> Person {
    Person { tenant: permit.tenant(), actor: permit.actor(), role: permit.role(), address }
}

fn fits<const MAX: usize>(bytes: &[u8]) -> Result<Base64Bytes<MAX>, KeyHostError> {
    Base64Bytes::new(bytes).filter(|_| !bytes.is_empty()).ok_or(KeyHostError::BadInput)
}
