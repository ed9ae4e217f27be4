//! How somebody comes: a link that works once, in which he chooses how he will sign in.

use crate::{
    Arrival, Challenge, Deed, IdentityError, People, SignedIn,
    ceremony::Ceremony,
    passkey::StoredPasskey,
    password::{self, COST, Verifier},
    person::{Code, Person, State},
    recovery,
    roll::Entry,
    secret::{self, SecretHash},
    totp::{SEED_BYTES, Totp},
};
use aws_lc_rs::hmac;
use leadglass_model::{ActorRef, Role, UnixMillis};
use serde_json::Value;
use zeroize::Zeroizing;

/// An invitation as a person's record holds it.
#[derive(Clone, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub(crate) struct Invitation {
    #[cbor(n(0), with = "minicbor::bytes")]
    pub(crate) hash: SecretHash,
    #[n(1)]
    pub(crate) ends: u64,
}

impl Invitation {
    /// A fresh one, and the secret that stands in its link.
    pub(crate) fn fresh(people: &People) -> (Self, Zeroizing<String>) {
        let (text, hash) = secret::fresh(WHAT_FOR, &*people.0.entropy);
        (Self { hash, ends: people.0.clock.now().plus_secs(GOOD_FOR_S).0 }, text)
    }
}

/// Somebody was invited.
#[derive(Debug)]
pub struct Invited {
    /// His pseudonym.
    pub id: ActorRef,
    /// The secret of the link: shown once, to whoever invited.
    pub secret: Zeroizing<String>,
    /// When the link ends.
    pub ends: UnixMillis,
}

/// What somebody who holds a link is offered.
#[derive(serde::Serialize)]
pub struct Offer {
    /// Under which name he will sign in.
    pub login: String,
    /// How he is called.
    pub name: String,
    /// What he may do.
    pub role: Role,
    /// Whether a password with one-time codes will do; otherwise it must be a passkey.
    pub may_password: bool,
    /// What his authenticator must know, typed.
    pub totp_secret: String,
    /// The same as an address that an authenticator opens.
    pub totp_address: String,
    /// When the link ends.
    pub ends_ms: u64,
}

impl std::fmt::Debug for Offer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Offer").field("role", &self.role).finish_non_exhaustive()
    }
}

/// How somebody wants to sign in from now on.
pub enum Proof {
    /// With a password and one-time codes; the first code shows that the authenticator knows the seed.
    Password {
        /// The password.
        password: Zeroizing<String>,
        /// The first code.
        code: String,
    },
    /// With a passkey.
    Passkey {
        /// The name of the challenge.
        challenge: String,
        /// What the browser answered.
        answer: Value,
    },
}

impl std::fmt::Debug for Proof {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if matches!(self, Self::Passkey { .. }) {
            "Passkey(‹secret›)"
        } else {
            "Password(‹secret›)"
        })
    }
}

/// Somebody took his invitation.
#[derive(Debug)]
pub struct Accepted {
    /// He is signed in.
    pub signed_in: SignedIn,
    /// For a password, codes for the day on which the authenticator is lost: shown once.
    pub codes: Vec<Zeroizing<String>>,
}

impl People {
    /// What the holder of an invitation may choose from.
    pub fn offer(&self, invitation: &str) -> Result<Offer, IdentityError> {
        let (entry, hash) = self.invited(invitation)?;
        let (person, totp) = (&entry.person, self.seed_of(&hash));
        Ok(Offer {
            login: person.login.expose().clone(),
            name: person.name.expose().clone(),
            role: person.role(),
            may_password: !person.principal(entry.tenant, entry.id).needs_passkey(),
            totp_secret: totp.text(),
            totp_address: totp.address(person.login.expose()),
            ends_ms: person.invitation.as_ref().map_or(0, |invitation| invitation.ends),
        })
    }

    /// Begins a passkey for the holder of an invitation.
    pub fn begin_joining(&self, invitation: &str) -> Result<Challenge, IdentityError> {
        let (entry, hash) = self.invited(invitation)?;
        let (login, name) = (entry.person.login.expose(), entry.person.name.expose());
        let (options, state) = self.0.passkeys.begin(entry.id, login, name, &[])?;
        Ok(self.challenge(options, Ceremony::Joining(hash, state)))
    }

    /// Takes an invitation: what the person could sign in with before is gone, and he is signed in with the new.
    ///
    /// Cancel safety: a dropped call may have taken the invitation; a new one helps.
    pub async fn accept(&self, invitation: &str, proof: Proof, arrival: Arrival) -> Result<Accepted, IdentityError> {
        let (entry, hash) = self.invited(invitation)?;
        let person = &entry.person;
        match proof {
            Proof::Password { password, code } => {
                fits(&entry, By::Password)?;
                password::is_good(&password, person.login.expose(), person.name.expose())
                    .map_err(|sentence| bad("password", sentence))?;
                let mut totp = self.seed_of(&hash);
                let sentence =
                    "This is not the code that your authenticator shows now. Is the clock of your phone right?";
                let step = totp.step_of(&code, self.0.clock.now()).ok_or_else(|| bad("code", sentence))?;
                totp.use_up(step);
                let salt = Verifier::fresh_salt(&*self.0.entropy);
                let mac = self.0.hasher.mac(entry.tenant, entry.id, password, salt, COST).await?;
                let (codes, kept) = recovery::fresh(entry.id, &*self.0.entropy);
                let set = move |person: &mut Person, _: [u8; 16]| {
                    person.password = Some(Verifier::new(salt, mac));
                    person.totp = Some(totp);
                    person.recovery = kept.into_iter().map(Code).collect();
                };
                let signed_in = self.join(entry.id, hash, By::Password, arrival, set).await?;
                Ok(Accepted { signed_in, codes })
            }
            Proof::Passkey { challenge, answer } => {
                let now = self.0.clock.now();
                let Some(Ceremony::Joining(of, state)) = self.0.ceremonies.take(&challenge, now) else {
                    return Err(over());
                };
                if of != hash {
                    return Err(over());
                }
                let passkey = self.0.passkeys.finish(answer, &state)?;
                let stored = StoredPasskey::new(&passkey, [0; 16], now)?;
                let set = move |person: &mut Person, device| person.passkeys = vec![stored.made_at(device)];
                let signed_in = self.join(entry.id, hash, By::Passkey, arrival, set).await?;
                Ok(Accepted { signed_in, codes: Vec::new() })
            }
        }
    }

    async fn join(
        &self,
        id: ActorRef,
        hash: SecretHash,
        by: By,
        arrival: Arrival,
        set: impl FnOnce(&mut Person, [u8; 16]) + Send + 'static,
    ) -> Result<SignedIn, IdentityError> {
        let this = self.clone();
        self.finished(async move {
            let _turn = this.0.turn.lock().await;
            let entry = this.entry(id)?;
            // Somebody else may have taken it meanwhile.
            entry.person.invitation.as_ref().filter(|i| i.hash == hash).ok_or(IdentityError::Invitation)?;
            // Or his role may have become one for which this will not do.
            fits(&entry, by)?;
            this.record(&entry, Deed::Joined, (id, entry.person.role()), arrival.address).await?;
            this.end_sessions(id, |_| true).await?;
            this.end_tokens(id, |_, _| true).await?;
            let clear = |person: &mut Person| {
                person.forget_proofs();
                person.state = State::Active;
            };
            this.seat(entry, arrival, clear, set).await
        })
        .await
    }

    /// Who holds this invitation.
    fn invited(&self, invitation: &str) -> Result<(Entry, SecretHash), IdentityError> {
        let hash = secret::hash_of(WHAT_FOR, invitation.trim()).ok_or(IdentityError::Invitation)?;
        let now = self.0.clock.now().0;
        let is = |entry: &Entry| {
            let invitation = entry.person.invitation.as_ref();
            entry.person.state != State::Left && invitation.is_some_and(|i| i.hash == hash && now < i.ends)
        };
        self.0.roll.find(is).map(|entry| (entry, hash)).ok_or(IdentityError::Invitation)
    }

    /// The seed that goes with an invitation: the same until this node stops, and written nowhere before it is used.
    fn seed_of(&self, invitation: &SecretHash) -> Totp {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.0.seeds[..]);
        let mac = hmac::sign(&key, invitation);
        let mut seed = [0; SEED_BYTES];
        seed.copy_from_slice(&mac.as_ref()[..SEED_BYTES]);
        Totp::new(seed)
    }
}

/// How somebody will sign in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Password,
    Passkey,
}

/// Whether the role may be signed in to this way.
fn fits(entry: &Entry, by: By) -> Result<(), IdentityError> {
    if by == By::Password && entry.person.principal(entry.tenant, entry.id).needs_passkey() {
        return Err(bad("passkey-needed", "Whoever decides about others signs in with a passkey."));
    }
    Ok(())
}

pub(crate) const fn bad(code: &'static str, sentence: &'static str) -> IdentityError {
    IdentityError::BadInput { code, sentence }
}

pub(crate) const fn over() -> IdentityError {
    bad("challenge-over", "This took too long, or was answered already. Begin again.")
}

const WHAT_FOR: &str = "invitation";
/// Seven days.
const GOOD_FOR_S: u64 = 7 * 24 * 60 * 60;
