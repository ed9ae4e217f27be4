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
    /// Somebody, nobody knows who, signs in.
    SigningIn(DiscoverableAuthentication),
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
        if all.len() >= MOST {
            // Whoever floods us loses old ones; whoever is quick is served.
            if let Some(oldest) = all.iter().min_by_key(|(_, (ends, _))| *ends).map(|(name, _)| name.clone()) {
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

/// Challenges at one time.
const MOST: usize = 2_000;
