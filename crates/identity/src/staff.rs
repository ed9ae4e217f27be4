//! What those who run a practice do: invite people, change what they may do, end their access.

use crate::{
    Deed, IdentityError, Invited, People, PersonView, State,
    device::DeviceId,
    invitation::{Invitation, bad},
    person::{Person, login_of, name_of},
    roll::Entry,
};
use leadglass_model::{ActorRef, ManagePeople, Permit, Role, TenantId};
use leadglass_records::Expected;
use std::{collections::HashSet, net::IpAddr, sync::Arc};

/// Somebody who is to be invited.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewPerson {
    /// Under which name he will sign in: an e-mail address, or a short name.
    pub login: String,
    /// How people call him.
    pub name: String,
    /// What he may do.
    pub role: Role,
}

impl People {
    /// Everybody of the permit's tenant, those who left too.
    ///
    /// Cancel safety: it only looks.
    pub async fn list(&self, permit: &Permit<ManagePeople>) -> Result<Vec<PersonView>, IdentityError> {
        let tenant = permit.tenant();
        let tokens = self.0.sessions.tokens().of_people(|seat| seat.tenant == tenant).await?;
        let holders: HashSet<ActorRef> = tokens.iter().filter_map(|info| Some(info.seat?.person)).collect();
        let all = self.0.roll.of_tenant(tenant);
        Ok(all.iter().map(|entry| self.view(entry, holders.contains(&entry.id))).collect())
    }

    /// Names for people of everybody of a tenant, those who left too: for a report that a patient is given.
    pub fn names(&self, tenant: TenantId) -> Vec<(ActorRef, String)> {
        let all = self.0.roll.of_tenant(tenant);
        all.iter().map(|entry| (entry.id, entry.person.name.expose().clone())).collect()
    }

    /// Invites somebody.
    ///
    /// Cancel safety: a dropped call may have invited; inviting again by id gives another link.
    pub async fn invite(
        &self,
        permit: &Permit<ManagePeople>,
        new: NewPerson,
        address: Option<IpAddr>,
    ) -> Result<Invited, IdentityError> {
        let sentence = "A sign-in name is an e-mail address or 2 to 128 letters, digits, dots and hyphens.";
        let login = login_of(&new.login).ok_or(bad("login", sentence))?;
        let name = name_of(&new.name).ok_or(bad("name", "A name is 1 to 128 printable characters."))?;
        is_a_persons(new.role)?;
        let (this, permit) = (self.clone(), permit.clone());
        self.finished(async move {
            let _turn = this.0.turn.lock().await;
            if this.0.roll.find(|entry| entry.person.login.expose() == &login).is_some() {
                let sentence = "This sign-in name cannot be given; take another one.";
                return Err(IdentityError::Conflict { code: "login-taken", sentence });
            }
            if this.0.roll.of_tenant(permit.tenant()).len() >= MOST {
                let sentence = "A tenant has at most 5,000 people, those who left included.";
                return Err(IdentityError::Conflict { code: "too-many", sentence });
            }
            let mut id = [0; 16];
            this.0.entropy.fill(&mut id);
            let mut person = Person::invited(login, name, new.role, this.0.clock.now());
            let (invitation, secret) = Invitation::fresh(&this);
            let ends = leadglass_model::UnixMillis(invitation.ends);
            person.invitation = Some(invitation);
            let (tenant, id) = (permit.tenant(), ActorRef(id));
            let entry = Entry { tenant, id, person: Arc::new(person.clone()), version: 0 };
            this.record(&entry, Deed::Invited, (permit.actor(), permit.role()), address).await?;
            this.write(&entry, person, Expected::Absent).await?;
            Ok(Invited { id, secret, ends })
        })
        .await
    }

    /// Gives somebody another link: the one before it ends. Until it is taken, he signs in as before.
    ///
    /// Cancel safety: as [`People::invite`].
    pub async fn invite_again(
        &self,
        permit: &Permit<ManagePeople>,
        id: ActorRef,
        address: Option<IpAddr>,
    ) -> Result<Invited, IdentityError> {
        let (this, permit) = (self.clone(), permit.clone());
        self.finished(async move {
            let _turn = this.0.turn.lock().await;
            let entry = this.of(&permit, id)?;
            let (invitation, secret) = Invitation::fresh(&this);
            let ends = leadglass_model::UnixMillis(invitation.ends);
            this.record(&entry, Deed::Invited, (permit.actor(), permit.role()), address).await?;
            let again = |person: &mut Person| {
                person.invitation = Some(invitation);
                // Who comes back begins anew.
                if person.state == State::Left {
                    person.state = State::Invited;
                }
            };
            this.change(&entry, again).await?;
            Ok(Invited { id, secret, ends })
        })
        .await
    }

    /// Gives somebody another role; it holds with his next request, and what he is being given stops. Who gets one that asks for
    /// more at the door has to sign in again.
    ///
    /// Cancel safety: a dropped call changes it or not; asking again is harmless.
    pub async fn change_role(
        &self,
        permit: &Permit<ManagePeople>,
        id: ActorRef,
        role: Role,
        address: Option<IpAddr>,
    ) -> Result<(), IdentityError> {
        let (this, permit) = (self.clone(), permit.clone());
        self.finished(async move {
            let _turn = this.0.turn.lock().await;
            let entry = this.of(&permit, id)?;
            not_oneself(&permit, id)?;
            is_a_persons(role)?;
            let mut person = (*entry.person).clone();
            let before = entry.person.principal(entry.tenant, id);
            person.set_role(role);
            let after = person.principal(entry.tenant, id);
            let must = after.needs_passkey();
            if must && person.state == State::Active && person.passkeys.is_empty() {
                let sentence =
                    "Whoever decides about others signs in with a passkey: let him add one to his account first.";
                return Err(IdentityError::Conflict { code: "passkey-needed", sentence });
            }
            this.record(&entry, Deed::RoleChanged, (permit.actor(), permit.role()), address).await?;
            this.write(&entry, person, Expected::Version(entry.version)).await?;
            this.stop(id);
            // A session is as good as what it began with: another proof, or a shorter time, wants another sign-in.
            if must {
                this.end_tokens(id, |_, _| true).await?;
            }
            if must || after.session_times() < before.session_times() {
                this.end_sessions(id, |_| true).await?;
            }
            Ok(())
        })
        .await
    }

    /// Somebody does not work here any more: nothing of his signs in, and his sessions end.
    ///
    /// Cancel safety: as [`People::change_role`].
    pub async fn leave(
        &self,
        permit: &Permit<ManagePeople>,
        id: ActorRef,
        address: Option<IpAddr>,
    ) -> Result<(), IdentityError> {
        let (this, permit) = (self.clone(), permit.clone());
        self.finished(async move {
            let _turn = this.0.turn.lock().await;
            let entry = this.of(&permit, id)?;
            not_oneself(&permit, id)?;
            if entry.person.state == State::Left {
                return Ok(());
            }
            this.record(&entry, Deed::Left, (permit.actor(), permit.role()), address).await?;
            let leave = |person: &mut Person| {
                person.forget_proofs();
                person.state = State::Left;
            };
            this.change(&entry, leave).await?;
            this.stop(id);
            this.end_tokens(id, |_, _| true).await?;
            this.end_sessions(id, |_| true).await.map(drop)
        })
        .await
    }

    /// A device of somebody is lost, or all of them: as [`People::lost`], by who may manage people.
    ///
    /// Cancel safety: as [`People::change_role`].
    pub async fn lost_by(
        &self,
        permit: &Permit<ManagePeople>,
        id: ActorRef,
        device: Option<DeviceId>,
        address: Option<IpAddr>,
    ) -> Result<usize, IdentityError> {
        self.of(permit, id)?;
        self.lose((permit.actor(), permit.role()), id, device, address).await
    }

    /// The devices and ways of somebody.
    ///
    /// Cancel safety: it only looks.
    pub async fn account_of(
        &self,
        permit: &Permit<ManagePeople>,
        id: ActorRef,
    ) -> Result<crate::AccountView, IdentityError> {
        let entry = self.of(permit, id)?;
        let tokens = self.0.sessions.tokens().of_people(|seat| seat.person == id).await?;
        Ok(self.account_view(&entry, None, !tokens.is_empty()))
    }

    /// Somebody of the permit's tenant.
    fn of(&self, permit: &Permit<ManagePeople>, id: ActorRef) -> Result<Entry, IdentityError> {
        self.0.roll.get(id).filter(|entry| entry.tenant == permit.tenant()).ok_or(IdentityError::Missing)
    }
}

/// Roles of those who work here.
pub(crate) const fn is_a_persons(role: Role) -> Result<(), IdentityError> {
    match role {
        Role::Device => Err(bad("role", "A device is enrolled, not invited: `leadglass device add`.")),
        Role::Patient => Err(bad("role", "Patients are not invited; this is for those who work here.")),
        _ => Ok(()),
    }
}

/// Nobody gives himself a role, and nobody locks himself out.
fn not_oneself(permit: &Permit<ManagePeople>, id: ActorRef) -> Result<(), IdentityError> {
    if permit.actor() == id {
        let sentence = "Nobody changes his own role or ends his own access: ask another administrator.";
        return Err(IdentityError::Conflict { code: "oneself", sentence });
    }
    Ok(())
}

/// People of a tenant.
pub(crate) const MOST: usize = 5_000;
