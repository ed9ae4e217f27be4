//! People for whom their practice's own identity provider vouches (OpenID Connect): who it says somebody is, is whom he is here.
//!
//! A person is found by issuer and subject and by nothing else: an e-mail address or a name may be given to somebody else tomorrow.
//! Its groups say which role he has, each time he signs in; whoever has no role there any more has none here, and whoever left here
//! does not come back by it.

use crate::{
    Arrival, Deed, IdentityError, People, SignedIn, State,
    delay::Counted,
    person::{Person, VouchedAs, login_of, name_of},
    roll::Entry,
    staff::{self, is_a_persons},
};
use leadglass_model::{ActorRef, Phi, Role, TenantId};
use leadglass_policy::Principal;
use leadglass_records::Expected;
use std::sync::Arc;

/// What a provider says of somebody, after its word was checked.
pub struct Vouched {
    /// For whose practice it speaks.
    pub tenant: TenantId,
    /// Who says it.
    pub issuer: String,
    /// Whom it means.
    pub subject: String,
    /// How he would like to be called at the door; another name is found when it is taken, or none.
    pub login: Option<String>,
    /// His name for people.
    pub name: Option<String>,
    /// The role that his groups have here; none, if they have none.
    pub role: Option<Role>,
    /// Whether it says that he showed what this node takes for a passkey.
    pub strong: bool,
}

impl std::fmt::Debug for Vouched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vouched").field("tenant", &self.tenant).field("role", &self.role).finish_non_exhaustive()
    }
}

impl People {
    /// Signs somebody in for whom a provider vouches. The first time he becomes a person of this practice.
    ///
    /// # Errors
    /// [`IdentityError::Refused`] without a role, for whoever left, and for who decides about others and showed no passkey there.
    ///
    /// Cancel safety: as [`People::sign_in`].
    pub async fn sign_in_vouched(&self, vouched: Vouched, arrival: Arrival) -> Result<SignedIn, IdentityError> {
        let from = arrival.address;
        let address: Vec<Counted> = from.and_then(Counted::address).into_iter().collect();
        let now = self.0.clock.now();
        self.0.delays.lock().begin(&address, now).map_err(|seconds| IdentityError::TooSoon { seconds })?;
        let this = self.clone();
        let signed_in = self.finished(async move {
            let _turn = this.0.turn.lock().await;
            this.vouched(vouched, arrival).await
        });
        let signed_in = signed_in.await?;
        let mut delays = self.0.delays.lock();
        delays.succeeded(&address);
        delays.succeeded(&from.and_then(Counted::begun).into_iter().collect::<Vec<_>>());
        Ok(signed_in)
    }

    /// To be called in turn.
    async fn vouched(&self, vouched: Vouched, arrival: Arrival) -> Result<SignedIn, IdentityError> {
        let known = VouchedAs { issuer: Phi::new(vouched.issuer.clone()), subject: Phi::new(vouched.subject.clone()) };
        let is = |entry: &Entry| entry.tenant == vouched.tenant && entry.person.vouched.as_ref() == Some(&known);
        let found = self.0.roll.find(is);
        let Some(role) = vouched.role.filter(|role| is_a_persons(*role).is_ok()) else {
            if let Some(entry) = found.filter(|entry| entry.person.state == State::Active) {
                self.record(&entry, Deed::Unvouched, (entry.id, entry.person.role()), arrival.address).await?;
                self.end_everything(entry.id).await?;
            }
            return Err(IdentityError::Refused);
        };
        let id = found.as_ref().map_or_else(|| self.fresh_id(), |entry| entry.id);
        let after = Principal { tenant: vouched.tenant, actor: id, role };
        let has_left = found.as_ref().is_some_and(|entry| entry.person.state == State::Left);
        if has_left || (after.needs_passkey() && !vouched.strong) {
            return Err(IdentityError::Refused);
        }
        let by = (id, role);
        let entry = match found {
            Some(entry) => {
                if entry.person.state == State::Invited {
                    self.record(&entry, Deed::Joined, by, arrival.address).await?;
                }
                if entry.person.role() != role {
                    self.record(&entry, Deed::RoleChanged, by, arrival.address).await?;
                    self.end_everything(id).await?;
                }
                entry
            }
            None => {
                let person = self.newcomer(&vouched, id, role, known)?;
                let entry = Entry { tenant: vouched.tenant, id, person: Arc::new(person.clone()), version: 0 };
                self.record(&entry, Deed::Vouched, by, arrival.address).await?;
                self.write(&entry, person, Expected::Absent).await?
            }
        };
        let come = move |person: &mut Person| {
            person.set_role(role);
            person.state = State::Active;
            person.invitation = None;
        };
        self.seat(entry, arrival, come, |_, _| {}).await
    }

    /// Somebody who may do less, or other things, than before begins anew everywhere.
    async fn end_everything(&self, id: ActorRef) -> Result<(), IdentityError> {
        self.stop(id);
        self.end_tokens(id, |_, _| true).await?;
        self.end_sessions(id, |_| true).await.map(drop)
    }

    fn fresh_id(&self) -> ActorRef {
        let mut id = [0; 16];
        self.0.entropy.fill(&mut id);
        ActorRef(id)
    }

    fn newcomer(&self, vouched: &Vouched, id: ActorRef, role: Role, known: VouchedAs) -> Result<Person, IdentityError> {
        if self.0.roll.of_tenant(vouched.tenant).len() >= staff::MOST {
            let sentence = "A tenant has at most 5,000 people, those who left included.";
            return Err(IdentityError::Conflict { code: "too-many", sentence });
        }
        let is_free = |login: &String| self.0.roll.find(|entry| entry.person.login.expose() == login).is_none();
        let own = vouched.login.as_deref().and_then(login_of).filter(is_free);
        let login = own.unwrap_or_else(|| format!("oidc-{}", hex::encode(&id.0[..6])));
        let name = vouched.name.as_deref().and_then(name_of).unwrap_or_else(|| login.clone());
        let mut person = Person::invited(login, name, role, self.0.clock.now());
        person.vouched = Some(known);
        Ok(person)
    }
}
