//! Signing in: one answer and one amount of work, whatever is wrong.

use crate::{
    Challenge, IdentityError, People,
    ceremony::Ceremony,
    delay::Counted,
    device::{self, Device},
    password::COST,
    person::{Person, State, login_of},
    recovery,
    roll::Entry,
    secret,
    totp::{SEED_BYTES, Totp},
};
use leadglass_model::ActorRef;
use leadglass_records::{Seat, SessionGrant, SessionReference};
use serde_json::Value;
use std::net::IpAddr;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Where somebody comes from.
#[derive(Debug, Clone, Default)]
pub struct Arrival {
    /// His address, or that of what stands before him.
    pub address: Option<IpAddr>,
    /// What the cookie of his device says.
    pub device: Option<String>,
    /// What his browser says of itself.
    pub agent: String,
}

/// Somebody is signed in.
#[derive(Debug)]
pub struct SignedIn {
    /// For the cookie.
    pub reference: SessionReference,
    /// Who, and until when.
    pub session: SessionGrant,
    /// For the device's own cookie, when it was not known.
    pub device: Option<Zeroizing<String>>,
}

/// What a person shows beside his password.
pub(crate) enum Second {
    Step(u64),
    Recovery(usize),
}

impl Second {
    /// What is good once is used.
    pub(crate) fn use_up(self, person: &mut Person) {
        match self {
            Self::Step(step) => {
                if let Some(totp) = &mut person.totp {
                    totp.use_up(step);
                }
            }
            Self::Recovery(at) => drop(person.recovery.remove(at)),
        }
    }
}

impl People {
    /// Signs in with a password and a one-time code, or a recovery code.
    ///
    /// # Errors
    /// [`IdentityError::Refused`] whatever is wrong; [`IdentityError::TooSoon`] after too many attempts.
    ///
    /// Cancel safety: a dropped call may have begun a session that nobody knows; it ends by itself. The code is used.
    pub async fn sign_in(
        &self,
        login: &str,
        password: Zeroizing<String>,
        code: &str,
        arrival: Arrival,
    ) -> Result<SignedIn, IdentityError> {
        let login = login_of(login).unwrap_or_default();
        let entry = self.0.roll.find(|entry| entry.person.login.expose() == &login);
        let counted = self.counted(&login, entry.as_ref(), &arrival);
        self.0
            .delays
            .lock()
            .begin(&counted, self.0.clock.now())
            .map_err(|seconds| IdentityError::TooSoon { seconds })?;

        // Whoever is not there, may not, or has no password costs the same work.
        let own = entry.filter(|entry| {
            let person = &entry.person;
            let must_passkey = person.principal(entry.tenant, entry.id).needs_passkey();
            person.state == State::Active && person.password.is_some() && !must_passkey
        });
        let verifier = own.as_ref().and_then(|entry| entry.person.password.as_ref());
        let (salt, cost) = verifier.map_or((self.0.nobodys_salt, COST), |verifier| (verifier.salt, verifier.cost()));
        let tenant = own.as_ref().map(|entry| entry.tenant).or(self.0.records.first().map(|first| first.tenant()));
        let id = own.as_ref().map_or(ActorRef([0; 16]), |entry| entry.id);
        let tenant = tenant.ok_or(IdentityError::Refused)?;
        let mac = self.0.hasher.mac(tenant, id, password, salt, cost).await?;
        let is_password = verifier.map_or(&[0; 32], |verifier| &verifier.mac).ct_eq(&mac);
        let nobody = Person::invited(String::new(), String::new(), leadglass_model::Role::Device, self.0.clock.now());
        let second = self.second(id, own.as_ref().map_or(&nobody, |entry| &entry.person), code);
        let (Some(entry), Some(_), true) = (&own, second, bool::from(is_password)) else {
            return Err(IdentityError::Refused);
        };

        let (this, id, code) = (self.clone(), entry.id, code.to_owned());
        let before = entry.person.password.as_ref().map(|verifier| verifier.mac);
        let signed_in = self.finished(async move {
            let _turn = this.0.turn.lock().await;
            let entry = this.entry(id)?;
            // Meanwhile somebody else may have used the code, changed the password, or ended his access.
            let same = entry.person.password.as_ref().map(|verifier| verifier.mac) == before;
            let second = this.second(id, &entry.person, &code).filter(|_| same).ok_or(IdentityError::Refused)?;
            this.seat(entry, arrival, move |person| second.use_up(person), |_, _| {}).await
        });
        let signed_in = signed_in.await?;
        self.0.delays.lock().succeeded(&counted);
        Ok(signed_in)
    }

    /// Begins a sign-in with a passkey: the same for everybody.
    ///
    /// # Errors
    /// [`IdentityError::TooSoon`] for an address that begins again and again and goes no further.
    pub fn begin_sign_in(&self, address: Option<IpAddr>) -> Result<Challenge, IdentityError> {
        self.may_begin(address)?;
        let (options, state) = self.0.passkeys.ask()?;
        Ok(self.challenge(options, Ceremony::SigningIn(state)))
    }

    /// Counts somebody who begins to sign in, and who has proven nothing yet.
    ///
    /// # Errors
    /// [`IdentityError::TooSoon`] for an address that begins again and again and goes no further.
    pub fn may_begin(&self, address: Option<IpAddr>) -> Result<(), IdentityError> {
        let begun: Vec<Counted> = address.and_then(Counted::begun).into_iter().collect();
        let now = self.0.clock.now();
        self.0.delays.lock().begin(&begun, now).map_err(|seconds| IdentityError::TooSoon { seconds })
    }

    /// Signs in with a passkey.
    ///
    /// # Errors
    /// As [`People::sign_in`].
    ///
    /// Cancel safety: as [`People::sign_in`].
    pub async fn sign_in_with_passkey(
        &self,
        challenge: &str,
        answer: Value,
        arrival: Arrival,
    ) -> Result<SignedIn, IdentityError> {
        let from = arrival.address;
        let address: Vec<Counted> = from.and_then(Counted::address).into_iter().collect();
        let now = self.0.clock.now();
        self.0.delays.lock().begin(&address, now).map_err(|seconds| IdentityError::TooSoon { seconds })?;
        let Some(Ceremony::SigningIn(state)) = self.0.ceremonies.take(challenge, now) else {
            return Err(IdentityError::Refused);
        };
        let (id, answer) = self.0.passkeys.claimed(answer)?;
        let this = self.clone();
        let signed_in = self.finished(async move {
            let _turn = this.0.turn.lock().await;
            let entry = this.entry(id).map_err(|_| IdentityError::Refused)?;
            let (at, fresh) = this.0.passkeys.check(&answer, state, &entry.person.passkeys, now)?;
            this.seat(entry, arrival, move |person| person.passkeys[at] = fresh, |_, _| {}).await
        });
        let signed_in = signed_in.await?;
        let mut delays = self.0.delays.lock();
        delays.succeeded(&address);
        delays.succeeded(&from.and_then(Counted::begun).into_iter().collect::<Vec<_>>());
        Ok(signed_in)
    }

    /// Gives somebody whose identity was proven a session at his device. To be called in turn.
    pub(crate) async fn seat(
        &self,
        entry: Entry,
        arrival: Arrival,
        before: impl FnOnce(&mut Person),
        after: impl FnOnce(&mut Person, device::DeviceId),
    ) -> Result<SignedIn, IdentityError> {
        let now = self.0.clock.now();
        let mut person = (*entry.person).clone();
        before(&mut person);
        if person.state != State::Active {
            return Err(IdentityError::Refused);
        }
        let hash = arrival.device.as_deref().and_then(device::hash_of);
        let (device, cookie) = match person.devices.iter_mut().find(|device| Some(device.secret) == hash) {
            Some(known) => {
                known.last = now.0;
                (known.id, None)
            }
            None => {
                // A browser that somebody else uses, too, keeps the secret it has; only one of ours is taken for that.
                let shared = hash.filter(|hash| self.0.roll.knows_device(hash));
                let (fresh, cookie) = Device::fresh(&arrival.agent, now, shared, &*self.0.entropy);
                let id = fresh.id;
                device::make_room(&mut person.devices);
                person.devices.push(fresh);
                (id, cookie)
            }
        };
        after(&mut person, device);
        person.last = now.0;
        let times = person.principal(entry.tenant, entry.id).session_times();
        let times = times.ok_or(IdentityError::Refused)?;
        self.write(&entry, person, leadglass_records::Expected::Version(entry.version)).await?;
        let seat = Seat { tenant: entry.tenant, person: entry.id, device };
        let begun = self.0.sessions.begin_at(seat, times, arrival.address).await?;
        let (reference, session) = begun.ok_or(IdentityError::Refused)?;
        Ok(SignedIn { reference, session, device: cookie })
    }

    /// How somebody may show who he is at his open session: with a password, with a passkey.
    pub fn ways(&self, id: ActorRef) -> (bool, bool) {
        self.0.roll.get(id).map_or((false, false), |entry| {
            let person = &entry.person;
            let password = person.password.is_some() && !person.principal(entry.tenant, id).needs_passkey();
            (password, !person.passkeys.is_empty())
        })
    }

    /// What a code is good as, all possibilities being looked at.
    pub(crate) fn second(&self, id: ActorRef, person: &Person, code: &str) -> Option<Second> {
        let nobodys = Totp::new([0; SEED_BYTES]);
        let step = person.totp.as_ref().unwrap_or(&nobodys).step_of(code, self.0.clock.now());
        let kept: Vec<_> = person.recovery.iter().map(|code| code.0).collect();
        let recovery = recovery::find(id, &kept, code);
        let step = step.filter(|_| person.totp.is_some());
        step.map(Second::Step).or(recovery.map(Second::Recovery))
    }

    /// What an attempt counts for. A device that this person used before is counted for itself.
    fn counted(&self, login: &str, entry: Option<&Entry>, arrival: &Arrival) -> Vec<Counted> {
        let hash = arrival.device.as_deref().and_then(device::hash_of);
        let devices = entry.map_or(&[][..], |entry| &entry.person.devices);
        if let Some(known) = devices.iter().find(|device| Some(device.secret) == hash) {
            return vec![Counted::Device(known.id)];
        }
        let login = Counted::Login(secret::hash("login", login.as_bytes()));
        std::iter::once(login).chain(arrival.address.and_then(Counted::address)).collect()
    }
}
