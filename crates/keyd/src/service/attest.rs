//! What the service signs: receipts and `GET /v1/attest`.

use super::Service;
use crate::refusal::Refusal;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use leadglass_keys::wire::{AttestStatement, Hex32, ProblemCode, SignedStatement, Word};
use serde::Serialize;

impl Service {
    /// Says what runs here, signed, over the caller's nonce.
    pub fn attest(&self, nonce: Hex32) -> Result<SignedStatement, Refusal> {
        let statement = AttestStatement {
            nonce,
            at: self.clock.now(),
            build: concat!("leadglass-keyd ", env!("CARGO_PKG_VERSION")).to_owned(),
            config_digest: Hex32(self.config.digest()),
            provider: Word::new(self.provider_kind).expect("provider kinds are words"),
            epoch: self.epoch().number.get(),
            budgets: self.config.budgets.on_wire(),
            checkpoint: self.log.checkpoint(),
        };
        sign(self, &statement)
    }
}

/// Signs a statement with the receipt key.
pub(super) fn sign(service: &Service, statement: &impl Serialize) -> Result<SignedStatement, Refusal> {
    let text = serde_json::to_string(statement).map_err(Refusal::broken)?;
    let keyring = service.keyring();
    let pair = Ed25519KeyPair::from_seed_unchecked(keyring.own.receipt.reveal())
        .map_err(|_| Refusal::new(ProblemCode::Internal, "the receipt key cannot sign"))?;
    let mut signer = [0; 32];
    signer.copy_from_slice(pair.public_key().as_ref());
    let signature = hex::encode(pair.sign(text.as_bytes()).as_ref());
    Ok(SignedStatement { statement: text, signer: Hex32(signer), signature })
}
