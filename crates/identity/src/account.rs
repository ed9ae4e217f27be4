//! What a person does with his own account: look at it, add a passkey, renew codes, say that a phone is lost.

use crate::{
    AccountView, Challenge, Deed, IdentityError, People,
    ceremony::Ceremony,
    device::DeviceId,
    invitation::over,
    passkey::StoredPasskey,
    person::{Code, Person},
    recovery,
};
use leadglass_model::{ActorRef, Role, UnixMillis};
use leadglass_records::Seat;
use serde_json::Value;
use std::net::IpAddr;
use zeroize::Zeroizing;

/// Somebody who is signed in.
#[derive(Debug, Clone, Copy)]
pub struct Owner {
    /// Who, and where.
    pub seat: Seat,
    /// When he proved who he is.
    pub begun: UnixMillis,
    /// His address.
    pub address: Option<IpAddr>,
}

impl People {
    /// His account.
    pub fn account(&self, owner: &Owner) -> Result<AccountView, IdentityError> {
        Ok(self.account_view(&self.entry(owner.seat.person)?, Some(owner.seat.device), false))
    }

    /// Begins one more passkey.
    ///
    /// # Errors
    /// [`IdentityError::StepUp`] if the last sign-in is more than ten minutes ago.
    pub fn begin_adding(&self, owner: &Owner) -> Result<Challenge, IdentityError> {
        self.is_recent(owner)?;
        let entry = self.entry(owner.seat.person)?;
        let person = &entry.person;
        has_room(person)?;
        let (login, name) = (person.login.expose(), person.name.expose());
        let (options, state) = self.0.passkeys.begin(entry.id, login, name, &person.passkeys)?;
        Ok(self.challenge(options, Ceremony::Adding(entry.id, state)))
    }

    /// Adds the passkey that an authenticator made.
    ///
    /// Cancel safety: a dropped call adds it or not; the list shows which.
    pub async fn add_passkey(&self, owner: &Owner, challenge: &str, answer: Value) -> Result<(), IdentityError> {
        self.is_recent(owner)?;
        let now = self.0.clock.now();
        let Some(Ceremony::Adding(id, state)) = self.0.ceremonies.take(challenge, now) else { return Err(over()) };
        if id != owner.seat.person {
            return Err(over());
        }
        let stored = StoredPasskey::new(&self.0.passkeys.finish(answer, &state)?, owner.seat.device, now)?;
        let add = move |person: &mut Person| {
            // Many may have been begun at once.
            has_room(person)?;
            person.passkeys.push(stored);
            Ok(())
        };
        self.own_change(owner, Deed::PasskeyAdded, add).await
    }

    /// Removes a passkey, unless nothing would be left to sign in with.
    ///
    /// Cancel safety: as [`People::add_passkey`].
    pub async fn remove_passkey(&self, owner: &Owner, passkey: &str) -> Result<(), IdentityError> {
        self.is_recent(owner)?;
        let wanted = hex::decode(passkey).map_err(|_| IdentityError::Missing)?;
        let tenant = owner.seat.tenant;
        let id = owner.seat.person;
        let remove = move |person: &mut Person| {
            let at = person.passkeys.iter().position(|p| p.id == wanted).ok_or(IdentityError::Missing)?;
            let other_way = person.password.is_some() && !person.principal(tenant, id).needs_passkey();
            if person.passkeys.len() == 1 && !other_way {
                let sentence = "This is your only way to sign in; add another passkey first.";
                return Err(IdentityError::Conflict { code: "last-passkey", sentence });
            }
            person.passkeys.remove(at);
            Ok(())
        };
        self.own_change(owner, Deed::PasskeyRemoved, remove).await
    }

    /// Ten fresh recovery codes; those before them are good no more.
    ///
    /// Cancel safety: a dropped call may have renewed them; doing it again helps.
    pub async fn renew_codes(&self, owner: &Owner) -> Result<Vec<Zeroizing<String>>, IdentityError> {
        self.is_recent(owner)?;
        let (codes, kept) = recovery::fresh(owner.seat.person, &*self.0.entropy);
        let renew = move |person: &mut Person| {
            if person.totp.is_none() {
                let sentence = "Recovery codes go with a password; you sign in with a passkey.";
                return Err(IdentityError::Conflict { code: "no-password", sentence });
            }
            person.recovery = kept.into_iter().map(Code).collect();
            Ok(())
        };
        self.own_change(owner, Deed::CodesRenewed, renew).await?;
        Ok(codes)
    }

    /// A device is lost, or all of them: its sessions, passkeys, tokens and its place in the list are gone, and what it is
    /// being given stops. How many sessions ended.
    ///
    /// Cancel safety: it is finished in any case.
    pub async fn lost(&self, owner: &Owner, device: Option<DeviceId>) -> Result<usize, IdentityError> {
        let role = self.entry(owner.seat.person)?.person.role();
        self.lose((owner.seat.person, role), owner.seat.person, device, owner.address).await
    }

    pub(crate) async fn lose(
        &self,
        by: (ActorRef, Role),
        id: ActorRef,
        device: Option<DeviceId>,
        address: Option<IpAddr>,
    ) -> Result<usize, IdentityError> {
        let this = self.clone();
        self.finished(async move {
            let _turn = this.0.turn.lock().await;
            let entry = this.entry(id)?;
            if device.is_some_and(|device| !entry.person.devices.iter().any(|known| known.id == device)) {
                return Err(IdentityError::Missing);
            }
            let is = move |of: DeviceId| device.is_none_or(|device| of == device);
            this.record(&entry, Deed::DeviceLost, by, address).await?;
            // First of all: the record says no more which device a token belongs to.
            this.end_tokens(id, move |_, seat| is(seat.device)).await?;
            let lose = |person: &mut Person| {
                person.passkeys.retain(|passkey| !is(passkey.device));
                person.devices.retain(|known| !is(known.id));
            };
            this.change(&entry, lose).await?;
            this.end_sessions(id, move |info| is(info.seat.device)).await
        })
        .await
    }

    async fn own_change(
        &self,
        owner: &Owner,
        deed: Deed,
        change: impl FnOnce(&mut Person) -> Result<(), IdentityError> + Send + 'static,
    ) -> Result<(), IdentityError> {
        let (this, owner) = (self.clone(), *owner);
        self.finished(async move {
            let _turn = this.0.turn.lock().await;
            let entry = this.entry(owner.seat.person)?;
            let mut person = (*entry.person).clone();
            change(&mut person)?;
            this.record(&entry, deed, (entry.id, entry.person.role()), owner.address).await?;
            this.write(&entry, person, leadglass_records::Expected::Version(entry.version)).await?;
            Ok(())
        })
        .await
    }

    /// Whoever finds an open browser must not make himself a way in.
    pub(crate) fn is_recent(&self, owner: &Owner) -> Result<(), IdentityError> {
        let ago = self.0.clock.now().millis_since(owner.begun);
        if ago <= RECENT_MS { Ok(()) } else { Err(IdentityError::StepUp) }
    }
}

fn has_room(person: &Person) -> Result<(), IdentityError> {
    if person.passkeys.len() < MOST_PASSKEYS {
        return Ok(());
    }
    Err(IdentityError::Conflict { code: "too-many", sentence: "There are 16 passkeys already; remove one first." })
}

const RECENT_MS: u64 = 10 * 60 * 1_000;
const MOST_PASSKEYS: usize = 16;
