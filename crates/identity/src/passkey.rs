//! Passkeys (W3C WebAuthn), discoverable and with user verification: the browser says who it is, so nobody types a name.

use crate::{IdentityError, device::DeviceId};
use leadglass_model::{ActorRef, UnixMillis};
use serde_json::Value;
use std::time::Duration;
use url::Url;
use webauthn_rs::{
    Webauthn, WebauthnBuilder,
    prelude::{
        DiscoverableAuthentication, Passkey, PasskeyRegistration, PublicKeyCredential, RegisterPublicKeyCredential,
        Uuid,
    },
};

/// A passkey as a person's record holds it. It is no secret: the private key is with the person.
#[derive(Clone, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub(crate) struct StoredPasskey {
    /// What the authenticator calls it.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub(crate) id: Vec<u8>,
    /// webauthn-rs's `Passkey`, JSON.
    #[cbor(n(1), with = "minicbor::bytes")]
    credential: Vec<u8>,
    /// The device at which it was made.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub(crate) device: DeviceId,
    #[n(3)]
    pub(crate) created: u64,
    /// 0: never.
    #[n(4)]
    pub(crate) last: u64,
}

impl StoredPasskey {
    pub(crate) fn new(passkey: &Passkey, device: DeviceId, now: UnixMillis) -> Result<Self, IdentityError> {
        let credential = serde_json::to_vec(passkey).map_err(|_| IdentityError::Broken)?;
        Ok(Self { id: passkey.cred_id().to_vec(), credential, device, created: now.0, last: 0 })
    }

    /// The same, made at that device.
    pub(crate) fn made_at(self, device: DeviceId) -> Self {
        Self { device, ..self }
    }

    pub(crate) fn open(&self) -> Result<Passkey, IdentityError> {
        serde_json::from_slice(&self.credential).map_err(|_| IdentityError::Damaged)
    }
}

/// What a browser is asked to do, and under which name it answers.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Challenge {
    /// To be sent back with the answer; good once, and for five minutes.
    pub challenge: String,
    /// For `navigator.credentials`, as JSON.
    pub options: Value,
}

/// Where passkeys are good.
#[derive(Debug, Clone)]
pub struct PasskeyRules(Webauthn);

impl PasskeyRules {
    /// At the first of these hosts that is a name, whatever the port; if none is, on this very machine.
    pub fn among(hosts: &[String]) -> Self {
        hosts.iter().find_map(|host| Self::at(host)).unwrap_or_else(Self::here)
    }

    fn here() -> Self {
        Self::at("localhost").expect("localhost is a name that passkeys may have")
    }

    fn at(host: &str) -> Option<Self> {
        let origin = Url::parse(&format!("https://{host}")).ok()?;
        let name = origin.domain().filter(|name| *name == host)?.to_owned();
        let builder = WebauthnBuilder::new(&name, &origin).ok()?;
        builder.rp_name("Leadglass").timeout(CEREMONY_TIME).allow_any_port(true).build().ok().map(Self)
    }

    /// A new passkey for a person.
    pub(crate) fn begin(
        &self,
        person: ActorRef,
        login: &str,
        name: &str,
        known: &[StoredPasskey],
    ) -> Result<(Value, PasskeyRegistration), IdentityError> {
        let known = known.iter().map(|passkey| passkey.id.clone()).collect();
        let started = self.0.start_passkey_registration(Uuid::from_bytes(person.0), login, name, Some(known));
        let (options, state) = started.map_err(|_| IdentityError::Broken)?;
        let mut options = serde_json::to_value(options).map_err(|_| IdentityError::Broken)?;
        // Whoever signs in types no name, so the authenticator must know the person.
        let selection = &mut options["publicKey"]["authenticatorSelection"];
        selection["residentKey"] = "required".into();
        selection["requireResidentKey"] = true.into();
        Ok((options, state))
    }

    /// What the authenticator made.
    pub(crate) fn finish(&self, answer: Value, state: &PasskeyRegistration) -> Result<Passkey, IdentityError> {
        let answer: RegisterPublicKeyCredential = serde_json::from_value(answer).map_err(|_| not_an_answer())?;
        self.0.finish_passkey_registration(&answer, state).map_err(|_| IdentityError::BadInput {
            code: "passkey",
            sentence: "The passkey was not made for this, or without your fingerprint, face or PIN. Try again.",
        })
    }

    /// Somebody wants to sign in.
    pub(crate) fn ask(&self) -> Result<(Value, DiscoverableAuthentication), IdentityError> {
        let (options, state) = self.0.start_discoverable_authentication().map_err(|_| IdentityError::Broken)?;
        let options = serde_json::to_value(options).map_err(|_| IdentityError::Broken)?;
        Ok((serde_json::json!({ "publicKey": options["publicKey"] }), state))
    }

    /// Who an answer claims to come from.
    pub(crate) fn claimed(&self, answer: Value) -> Result<(ActorRef, PublicKeyCredential), IdentityError> {
        let answer: PublicKeyCredential = serde_json::from_value(answer).map_err(|_| not_an_answer())?;
        let (person, _) = self.0.identify_discoverable_authentication(&answer).map_err(|_| IdentityError::Refused)?;
        Ok((ActorRef(person.into_bytes()), answer))
    }

    /// Whether one of these passkeys made the answer; then its place, and the passkey with its new counter.
    pub(crate) fn check(
        &self,
        answer: &PublicKeyCredential,
        state: DiscoverableAuthentication,
        passkeys: &[StoredPasskey],
        now: UnixMillis,
    ) -> Result<(usize, StoredPasskey), IdentityError> {
        let wanted: &[u8] = answer.raw_id.as_ref();
        let at = passkeys.iter().position(|passkey| passkey.id == wanted).ok_or(IdentityError::Refused)?;
        let mut passkey = passkeys[at].open()?;
        let checked = self.0.finish_discoverable_authentication_v2(answer, state, &passkey);
        let result = checked.map_err(|_| IdentityError::Refused)?;
        if !result.user_verified() {
            return Err(IdentityError::Refused);
        }
        passkey.update_credential(&result);
        let before = &passkeys[at];
        let fresh = StoredPasskey::new(&passkey, before.device, now)?;
        Ok((at, StoredPasskey { created: before.created, last: now.0, ..fresh }))
    }
}

const fn not_an_answer() -> IdentityError {
    IdentityError::BadInput { code: "passkey", sentence: "This is not what a browser answers for a passkey." }
}

/// A person reaches for a phone meanwhile.
pub(crate) const CEREMONY_TIME: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passkeys_are_good_at_names_and_not_at_addresses() {
        assert!(PasskeyRules::at("vault.example.org").is_some());
        for host in ["192.0.2.1", "[::1]", "", "a/b@c:d"] {
            assert!(PasskeyRules::at(host).is_none(), "{host}");
        }
        let rules = PasskeyRules::among(&["192.0.2.1".to_owned(), "vault.example.org".to_owned()]);
        assert_eq!(rules.ask().unwrap().0["publicKey"]["rpId"], "vault.example.org");
    }

    #[test]
    fn a_browser_is_asked_for_a_passkey_that_knows_its_person_and_verifies_him() {
        let rules = PasskeyRules::here();
        let (options, _) = rules.begin(ActorRef([7; 16]), "erika", "Erika", &[]).unwrap();
        let selection = &options["publicKey"]["authenticatorSelection"];
        assert_eq!(
            (&selection["residentKey"], &selection["userVerification"]),
            (&"required".into(), &"required".into())
        );
        let (options, _) = rules.ask().unwrap();
        assert_eq!(options["publicKey"]["userVerification"], "required");
        assert_eq!(options["publicKey"]["rpId"], "localhost");
        assert!(options["publicKey"]["allowCredentials"].as_array().is_none_or(Vec::is_empty), "it names nobody");
    }
}
