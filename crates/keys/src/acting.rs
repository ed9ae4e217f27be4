//! Who acts when keys are asked for, and the key that says so for the node.

use crate::{
    Keys,
    wire::{ActorClaim, ActorKind, ActorProof},
};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use leadglass_model::{ActorRef, Purpose, TenantId, UnixMillis};
use sha2::{Digest, Sha256};

/// Somebody who wants to see something, or the node itself, for work of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acting {
    /// Who.
    pub actor: ActorRef,
    /// In which session; a token's is its actor. `None`: nobody asked for it.
    pub session: Option<[u8; 16]>,
}

impl From<ActorRef> for Acting {
    fn from(actor: ActorRef) -> Self {
        Self { actor, session: None }
    }
}

/// Signs who acts: the session service's key.
pub struct ActorSigner(Ed25519KeyPair);

impl ActorSigner {
    /// From its seed.
    pub fn from_seed(seed: &[u8; 32]) -> Option<Self> {
        Ed25519KeyPair::from_seed_unchecked(seed).ok().map(Self)
    }

    /// The public half, which the key service is told.
    pub fn public_key(&self) -> [u8; 32] {
        let mut key = [0; 32];
        key.copy_from_slice(self.0.public_key().as_ref());
        key
    }

    fn prove(&self, acting: Acting, tenant: TenantId, purpose: Purpose, now: UnixMillis) -> Option<ActorProof> {
        let session = acting.session?;
        let kind = if session == acting.actor.0 { ActorKind::Token } else { ActorKind::Person };
        let hash: [u8; 32] = Sha256::new_with_prefix(b"leadglass session\0").chain_update(session).finalize().into();
        let mut short = [0; 16];
        short.copy_from_slice(&hash[..16]);
        let expires = now.plus_secs(PROOF_S);
        let claim = ActorClaim { kind, tenant, actor: acting.actor, purpose, session: short, expires };
        let signature: [u8; 64] = self.0.sign(&claim.signed_bytes()).as_ref().try_into().ok()?;
        Some(claim.with_signature(&signature))
    }
}

impl std::fmt::Debug for ActorSigner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ActorSigner")
    }
}

impl Keys {
    /// From now on the key service is told, with a signature, for whom keys are opened. To be called once.
    pub fn sign_actors(&self, signer: ActorSigner) {
        let _ = self.core.signer.set(signer);
    }
}

impl crate::keys::Core {
    pub(crate) fn proof(&self, acting: Acting, tenant: TenantId, purpose: Purpose) -> Option<ActorProof> {
        self.signer.get()?.prove(acting, tenant, purpose, self.clock.now())
    }
}

/// So long a proof is good: a call's time, and clocks that differ.
const PROOF_S: u64 = 120;
