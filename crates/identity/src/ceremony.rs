//! Challenges that were given out and wait for their answer: in memory, for five minutes, each good once.

use crate::{passkey::CEREMONY_TIME, secret::SecretHash};
use leadglass_model::{ActorRef, Entropy, UnixMillis};
use parking_lot::Mutex;
use std::collections::HashMap;
use webauthn_rs::prelude::{DiscoverableAuthentication, PasskeyRegistration};

/// What is under way.
pub(crate) enum Ceremony {
    /// A passkey for whoever holds this invitation.
    Joining(SecretHash, PasskeyRegistration),
    /// One more passkey for somebody who is signed in.
    Adding(ActorRef, PasskeyRegistration),
    /// Somebody who is signed in shows again who he is.
    Proving(ActorRef, DiscoverableAuthentication),
    /// Somebody, nobody knows who, signs in.
    SigningIn(DiscoverableAuthentication),
}

impl Ceremony {
    /// Whether anybody may begin it.
    const fn is_anybodys(&self) -> bool {
        matches!(self, Self::SigningIn(_))
    }
}

#[derive(Default)]
pub(crate) struct Ceremonies(Mutex<HashMap<String, (UnixMillis, Ceremony)>>);

impl Ceremonies {
    /// Keeps it; answers under which name.
    pub(crate) fn keep(&self, ceremony: Ceremony, now: UnixMillis, entropy: &dyn Entropy) -> String {
        let mut name = [0; 16];
        entropy.fill(&mut name);
        let name = hex::encode(name);
        let ends = now.plus_secs(CEREMONY_TIME.as_secs());
        let mut all = self.0.lock();
        all.retain(|_, (ends, _)| now < *ends);
        // Whoever floods us with sign-ins, which anybody may begin, costs none of those who were let in something.
        let of_its_kind = |(_, other): &(UnixMillis, Ceremony)| other.is_anybodys() == ceremony.is_anybodys();
        if all.values().filter(|kept| of_its_kind(kept)).count() >= MOST {
            let kept = all.iter().filter(|(_, kept)| of_its_kind(kept));
            if let Some(oldest) = kept.min_by_key(|(_, (ends, _))| *ends).map(|(name, _)| name.clone()) {
                all.remove(&oldest);
            }
        }
        all.insert(name.clone(), (ends, ceremony));
        name
    }

    /// Takes it out, if it is still good: nobody takes it twice.
    pub(crate) fn take(&self, name: &str, now: UnixMillis) -> Option<Ceremony> {
        let (ends, ceremony) = self.0.lock().remove(name)?;
        (now < ends).then_some(ceremony)
    }
}

/// Challenges at one time, of those that anybody may begin and of the others.
const MOST: usize = 2_000;
