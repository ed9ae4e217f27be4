//! Study keys as the vault sees them: the key service's words, its client, leases and the reserve.
//!
//! [`wire`] is what both sides say; [`KeyService`] is the calls as a port, [`MtlsKeyService`] the real one and
//! [`FakeKeyService`] the one of tests; [`Keys`] is what the engine uses.
//!
//! **Invariant:** no key touches a disk here, and none stands in memory past its end, but with a holder who was told.

#![forbid(unsafe_code)]

mod acting;
mod error;
mod fake;
mod flight;
mod hand_out;
mod keys;
mod lease;
mod mtls;
mod open;
mod sealing;
mod secret;
mod service;
mod watch;
pub mod wire;

#[cfg(test)]
mod tests;

pub use acting::{Acting, ActorSigner};
pub use error::{KeysError, ServiceError};
pub use fake::{CountedEntropy, FakeCalls, FakeKeyService, FakeMode};
pub use keys::{Contact, IndexKeyEntry, KeyServiceState, Keys, Notice};
pub use lease::{LEASE_S, MAX_LEASES, ObjectLease};
pub use mtls::{IdentityError, IdentityFiles, MtlsConfig, MtlsKeyService};
pub use open::OpenOutcome;
pub use sealing::{RESERVE_SIZE, SealingKey};
pub use secret::Secret;
pub use service::{KeyService, RevocationStream};
pub use wire::{KeyRefusal, Revocation, RevocationKind, SecretName};
