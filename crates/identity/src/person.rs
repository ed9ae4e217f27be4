//! A person as his record holds him: table `People`, key = his pseudonym of 16 random bytes, value = this, in CBOR.
//!
//! Field numbers are bytes at rest: they are never used for anything else.

use crate::{
    IdentityError, device::Device, invitation::Invitation, passkey::StoredPasskey, password::Verifier,
    secret::SecretHash, totp::Totp,
};
use leadglass_model::{ActorRef, Phi, Role, TenantId, UnixMillis};
use leadglass_policy::Principal;
use leadglass_records::TokenGrant;
use zeroize::Zeroizing;

/// Where a person stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, minicbor::Encode, minicbor::Decode)]
#[serde(rename_all = "kebab-case")]
#[cbor(index_only)]
pub enum State {
    /// Has a link, and has not taken it.
    #[n(0)]
    Invited,
    /// May sign in.
    #[n(1)]
    Active,
    /// Does not work here any more. The record stays, so that the log can be read.
    #[n(2)]
    Left,
}

#[derive(Clone, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub(crate) struct Person {
    /// In lower case.
    #[n(0)]
    pub(crate) login: Phi<String>,
    #[n(1)]
    pub(crate) name: Phi<String>,
    #[n(2)]
    role: String,
    #[n(3)]
    pub(crate) state: State,
    #[n(4)]
    pub(crate) created: u64,
    /// Last sign-in; 0: never.
    #[n(5)]
    pub(crate) last: u64,
    #[n(6)]
    pub(crate) password: Option<Verifier>,
    #[n(7)]
    pub(crate) totp: Option<Totp>,
    #[n(8)]
    pub(crate) recovery: Vec<Code>,
    #[n(9)]
    pub(crate) passkeys: Vec<StoredPasskey>,
    #[n(10)]
    pub(crate) devices: Vec<Device>,
    #[n(11)]
    pub(crate) invitation: Option<Invitation>,
    /// Who vouches for him, and as whom.
    #[n(12)]
    pub(crate) vouched: Option<VouchedAs>,
}

/// A person as his practice's own identity provider knows him.
#[derive(Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub(crate) struct VouchedAs {
    /// The provider's issuer (OpenID Connect Core §2).
    #[n(0)]
    pub(crate) issuer: Phi<String>,
    /// Its name for the person; never given to anybody else.
    #[n(1)]
    pub(crate) subject: Phi<String>,
}

/// What is kept of a recovery code.
#[derive(Clone, Copy, minicbor::Encode, minicbor::Decode)]
#[cbor(transparent)]
pub(crate) struct Code(#[cbor(n(0), with = "minicbor::bytes")] pub(crate) SecretHash);

impl Person {
    pub(crate) fn invited(login: String, name: String, role: Role, now: UnixMillis) -> Self {
        Self {
            login: Phi::new(login),
            name: Phi::new(name),
            role: role.as_str().to_owned(),
            state: State::Invited,
            created: now.0,
            last: 0,
            password: None,
            totp: None,
            recovery: Vec::new(),
            passkeys: Vec::new(),
            devices: Vec::new(),
            invitation: None,
            vouched: None,
        }
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, IdentityError> {
        let person: Self = minicbor::decode(bytes).map_err(|_| IdentityError::Damaged)?;
        person.role.parse::<Role>().map_err(|_| IdentityError::Damaged)?;
        Ok(person)
    }

    pub(crate) fn encode(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(minicbor::to_vec(self).expect("writing to memory does not fail"))
    }

    pub(crate) fn role(&self) -> Role {
        self.role.parse().expect("it was parsed when it was read, and written from a role")
    }

    pub(crate) fn set_role(&mut self, role: Role) {
        role.as_str().clone_into(&mut self.role);
    }

    /// Nothing that he could sign in with is left, nor anything that reminds of where he did.
    pub(crate) fn forget_proofs(&mut self) {
        self.password = None;
        self.totp = None;
        self.recovery.clear();
        self.passkeys.clear();
        self.devices.clear();
        self.invitation = None;
    }

    pub(crate) fn grant(&self, tenant: TenantId, actor: ActorRef) -> Option<TokenGrant> {
        let label = self.name.expose().clone();
        (self.state == State::Active).then(|| TokenGrant { actor, tenant, role: self.role(), label })
    }

    pub(crate) fn principal(&self, tenant: TenantId, actor: ActorRef) -> Principal {
        Principal { tenant, actor, role: self.role() }
    }
}

/// A login as it is compared: trimmed, in lower case. Nothing if it cannot be one.
pub(crate) fn login_of(text: &str) -> Option<String> {
    let login = text.trim().to_lowercase();
    let fits = (2..=MAX_LOGIN_CHARS).contains(&login.chars().count())
        && login.chars().all(|c| c.is_alphanumeric() || "@.-_+".contains(c));
    fits.then_some(login)
}

/// A name for people, as it is kept.
pub(crate) fn name_of(text: &str) -> Option<String> {
    let name = text.trim();
    let fits = (1..=MAX_NAME_CHARS).contains(&name.chars().count()) && !name.chars().any(char::is_control);
    fits.then(|| name.to_owned())
}

const MAX_LOGIN_CHARS: usize = 128;
const MAX_NAME_CHARS: usize = 128;
