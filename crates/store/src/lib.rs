//! Sealed objects at rest: names, durable put, uploads while bytes arrive, ranged reads.
//!
//! An object is opaque sealed bytes under a random name, `o/{first two hex digits}/{32 hex digits}`, and never changes: put
//! is create-only. What answers [`Durable`](leadglass_model::Durable) survives power loss.
//!
//! Uploads that were begun stand in the node's own [ledger](Backing::ledger) until they end. [`Objects::sweep`] takes away
//! what uploads of that list left behind, and nothing else: an object that nobody knows is somebody's only copy.
//!
//! A store is a folder of this machine ([`Objects::local`]) or a bucket ([`s3::S3`]); whatever stands there keeps the laws of
//! [`conformance`].
//!
//! **Invariant:** no key, no plaintext and no patient comes here; nothing is deleted but by [`Objects::delete`].

#![forbid(unsafe_code)]

mod backing;
mod batch;
pub mod conformance;
mod error;
pub mod faulty;
mod folder_upload;
mod ledger;
mod local;
mod name;
mod objects;
mod patience;
mod read;
pub mod s3;
mod steady;
mod sweep;
mod told;
mod upload;

pub use backing::Backing;
pub use batch::PUTS_AT_ONCE;
pub use error::StoreError;
pub use objects::Objects;
pub use patience::Patience;
pub use read::ObjectStream;
pub use sweep::SweepReport;
pub use told::Told;
pub use upload::Upload;
