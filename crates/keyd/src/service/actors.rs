//! `POST /v1/actors`, and who acts: a node's session service signs it, and persons' budgets hang on what it signed.
//!
//! The key is taken at its first sight and kept; whoever comes later with the node's certificate and another key is refused.
//! What this cannot stop: whoever owns the vault itself has that key, too, and names whom he likes. Then the node's and the
//! tenant's budgets bind.

use super::{Caller, Service};
use crate::{keyring::ClientRole, refusal::Refusal, store::Table};
use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use leadglass_audit::{Event, NewEntry, Outcome};
use leadglass_keys::wire::{ActorClaim, ProblemCode, RegisterActors, Scope, UnwrapRequest};
use leadglass_model::{Purpose, UnixMillis};
use std::sync::Arc;

impl Service {
    /// Takes the key that a node's session service signs with, once.
    pub async fn register_actors(self: &Arc<Self>, caller: &Caller, ask: RegisterActors) -> Result<(), Refusal> {
        caller.needs(ClientRole::Vault)?;
        let (name, key) = (name_of(caller.node()), ask.public_key.0);
        let kept: [u8; 32] = self
            .store
            .write::<_, Refusal, _>(move |tx| {
                if let Some(kept) = tx.read(Table::Meta, &name)?.and_then(|kept| kept.try_into().ok()) {
                    return Ok(kept);
                }
                tx.put(Table::Meta, &name, &key)?;
                Ok(key)
            })
            .await?;
        let entry = self.entry_by(caller, Event::EnrolmentChange, Outcome::Success);
        if kept == key {
            return self.report(vec![NewEntry { code: leadglass_audit::CodeWord::parse("actor-key"), ..entry }]).await;
        }
        tracing::error!(
            alarm = "actor-key",
            node = hex::encode(caller.node()),
            "A node names another key for its sessions"
        );
        let refusal = Refusal::new(
            ProblemCode::Conflict,
            "another key signs for this node's sessions; `leadglass-keyd approve --readmit actor-key:NODE` lets a new one in",
        );
        self.refuse(entry, "actor-key", refusal).await
    }

    /// Forgets a node's key, so that the next one is taken. Blocks.
    pub(super) fn forget_actors(&self, node: &str) -> Result<(), Refusal> {
        let mut bytes = [0; 16];
        let unknown = || Refusal::new(ProblemCode::NotFound, "no node of this name has such a key");
        hex::decode_to_slice(node, &mut bytes).map_err(|_| unknown())?;
        let name = name_of(bytes);
        let known = self.store.write_blocking::<bool, Refusal, _>(move |tx| {
            let known = tx.read(Table::Meta, &name)?.is_some();
            tx.delete(Table::Meta, &name)?;
            Ok(known)
        })?;
        if known { Ok(()) } else { Err(unknown()) }
    }

    /// Whether the call proves who acts, where it has to: the node has a key for that, and the purpose is a person's.
    pub(super) fn prove_actor(&self, caller: &Caller, ask: &UnwrapRequest, now: UnixMillis) -> Result<(), Refusal> {
        if ask.scope != Scope::Object || !is_persons(ask.purpose) {
            return Ok(());
        }
        let kept = self.store.snapshot()?.read(Table::Meta, &name_of(caller.node()))?;
        let Some(key) = kept else { return Ok(()) };
        let unproven = || Refusal::new(ProblemCode::Forbidden, "the call does not prove who acts");
        let proof = ask.actor_proof.as_ref().ok_or_else(unproven)?;
        let claim: ActorClaim = proof.claim().ok_or_else(unproven)?;
        let good = UnparsedPublicKey::new(&ED25519, &key).verify(&claim.signed_bytes(), proof.signature()).is_ok();
        let is_this = claim.actor == ask.actor
            && claim.purpose == ask.purpose
            && ask.tenant == Some(claim.tenant)
            && now < claim.expires
            && claim.expires.millis_since(now) <= LONGEST_MS;
        if good && is_this { Ok(()) } else { Err(unproven()) }
    }
}

/// What somebody opens a study for, and no program of the node's.
const fn is_persons(purpose: Purpose) -> bool {
    matches!(purpose, Purpose::Care | Purpose::BreakGlass | Purpose::SubjectRequest | Purpose::LegalClaim)
}

fn name_of(node: [u8; 16]) -> Vec<u8> {
    [b"actor-key:".as_slice(), &node].concat()
}

/// A proof that is good for longer than this was not made for one call.
const LONGEST_MS: u64 = 600_000;
