//! People at the door: who signed in and out, as entries of the audit log.
//!
//! Whoever fails to is a refusal and goes through [`Refusals`](crate::Refusals), which counts before it writes.

use crate::{AccessError, Engine, subject::Detail};
use leadglass_audit::{CodeWord, Event, NewEntry, Outcome};
use leadglass_model::{ActorRef, EntryId, Role, TenantId};
use std::net::IpAddr;

/// Somebody whose identity was proven, and where he sits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Person {
    /// Whose.
    pub tenant: TenantId,
    /// Pseudonym.
    pub actor: ActorRef,
    /// In which role.
    pub role: Role,
    /// The address of the browser, or of what stands before it; unknown where there is none.
    pub address: Option<IpAddr>,
}

/// What he did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signing {
    /// A session began.
    In,
    /// He came back to one that was locked.
    Resumed,
    /// He ended it.
    Out,
}

impl Signing {
    /// The word in the entry.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::In => "signed-in",
            Self::Resumed => "session-resumed",
            Self::Out => "signed-out",
        }
    }
}

impl Engine {
    /// Records that somebody signed in or out (DCM 110114). When this answers, the entry is durable.
    ///
    /// Cancel safety: dropping the future may leave a sign-in recorded whose session nobody was given.
    pub async fn record_signing(&self, who: &Person, signing: Signing) -> Result<EntryId, AccessError> {
        let shared = &self.shared;
        let id = EntryId::random(&*shared.entropy);
        let mut entry = NewEntry::new(id, shared.clock.now(), Event::UserAuthentication, Outcome::Success);
        entry.tenant = Some(who.tenant);
        entry.actor = Some(who.actor);
        entry.role = Some(who.role);
        entry.code = CodeWord::parse(signing.as_str());
        entry.subject = shared.site_token(who.tenant);
        let address = who.address.map_or_else(String::new, |address| address.to_string());
        let detail = Detail { address: &address, ..Detail::default() };
        let detail = shared.detail(who.tenant, entry.subject, id, &detail).await?;
        entry.detail = detail.bytes;
        shared.commit_entry(entry, detail.wrap).await?;
        Ok(id)
    }
}
