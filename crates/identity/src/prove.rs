//! Whoever is signed in shows once more who he is, before something that an open browser alone must not do.

use crate::{
    Challenge, IdentityError, Owner, People, ceremony::Ceremony, delay::Counted, person::State, sign_in::Second,
};
use serde_json::Value;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// What he shows.
pub enum Again {
    /// His password, and a one-time or recovery code, which is good no more afterwards.
    Password {
        /// His.
        password: Zeroizing<String>,
        /// His.
        code: String,
    },
    /// One of his passkeys.
    Passkey {
        /// From [`People::begin_proving`].
        challenge: String,
        /// What his browser answered.
        answer: Value,
    },
}

impl std::fmt::Debug for Again {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Again")
    }
}

impl People {
    /// Begins with a passkey.
    pub fn begin_proving(&self, owner: &Owner) -> Result<Challenge, IdentityError> {
        let (options, state) = self.0.passkeys.ask()?;
        Ok(self.challenge(options, Ceremony::Proving(owner.seat.person, state)))
    }

    /// Whether he is who is signed in: his own password with a code, or his own passkey, now.
    ///
    /// # Errors
    /// [`IdentityError::Refused`] whatever is wrong; [`IdentityError::TooSoon`] after too many attempts at this device.
    ///
    /// Cancel safety: a dropped call may have used the code up.
    pub async fn prove(&self, owner: &Owner, again: Again) -> Result<(), IdentityError> {
        let counted = [Counted::Device(owner.seat.device)];
        let now = self.0.clock.now();
        self.0.delays.lock().begin(&counted, now).map_err(|seconds| IdentityError::TooSoon { seconds })?;
        match again {
            Again::Password { password, code } => self.prove_by_password(owner, password, code).await?,
            Again::Passkey { challenge, answer } => self.prove_by_passkey(owner, &challenge, answer).await?,
        }
        self.0.delays.lock().succeeded(&counted);
        Ok(())
    }

    async fn prove_by_password(
        &self,
        owner: &Owner,
        password: Zeroizing<String>,
        code: String,
    ) -> Result<(), IdentityError> {
        let id = owner.seat.person;
        let entry = self.entry(id).map_err(|_| IdentityError::Refused)?;
        // A password of the time before he had his role proves nothing now.
        if entry.person.principal(entry.tenant, id).needs_passkey() {
            return Err(IdentityError::Refused);
        }
        let verifier = entry.person.password.as_ref().ok_or(IdentityError::Refused)?;
        let mac = self.0.hasher.mac(entry.tenant, id, password, verifier.salt, verifier.cost()).await?;
        if !bool::from(verifier.mac.ct_eq(&mac)) {
            return Err(IdentityError::Refused);
        }
        let (this, before) = (self.clone(), verifier.mac);
        self.finished(async move {
            let _turn = this.0.turn.lock().await;
            let entry = this.entry(id)?;
            let person = &entry.person;
            let same = person.password.as_ref().is_some_and(|verifier| verifier.mac == before);
            let second: Option<Second> = this.second(id, person, &code);
            let may = same && person.state == State::Active && !person.principal(entry.tenant, id).needs_passkey();
            let second = second.filter(|_| may).ok_or(IdentityError::Refused)?;
            this.change(&entry, |person| second.use_up(person)).await.map(drop)
        })
        .await
    }

    async fn prove_by_passkey(&self, owner: &Owner, challenge: &str, answer: Value) -> Result<(), IdentityError> {
        let now = self.0.clock.now();
        let id = owner.seat.person;
        let Some(Ceremony::Proving(of, state)) = self.0.ceremonies.take(challenge, now) else {
            return Err(IdentityError::Refused);
        };
        let (claimed, answer) = self.0.passkeys.claimed(answer)?;
        if of != id || claimed != id {
            return Err(IdentityError::Refused);
        }
        let this = self.clone();
        self.finished(async move {
            let _turn = this.0.turn.lock().await;
            let entry = this.entry(id)?;
            if entry.person.state != State::Active {
                return Err(IdentityError::Refused);
            }
            let (at, fresh) = this.0.passkeys.check(&answer, state, &entry.person.passkeys, now)?;
            this.change(&entry, move |person| person.passkeys[at] = fresh).await.map(drop)
        })
        .await
    }
}
