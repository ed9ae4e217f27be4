//! What an export is made of, as bytes: a ZIP whose every offset is known before its first byte, a DICOMDIR, the papers that
//! go with it, and an envelope for whoever it is for.
//!
//! - [`Zip`] lays stored files out behind one another: the same list gives the same bytes, and any byte can be found.
//! - [`Directory`] writes a DICOMDIR (PS3.3 Annex F) for media as PS3.10 has them.
//! - [`papers`] are what a person reads: where to begin, and what GDPR Art. 15(1) asks to be told.
//! - [`Envelope`] is `age-encryption.org/v1` under a passphrase, of which any piece can be made again.
//!
//! **Invariant:** no I/O and no clock; nothing depends on anything but what was given, so that a download that broke off goes
//! on with the same bytes.

#![forbid(unsafe_code)]

mod directory;
mod element;
mod envelope;
mod kind;
pub mod papers;
mod passphrase;
mod zip;

pub use directory::{Directory, Listed, PatientKeys, SeriesKeys, StudyKeys};
pub use envelope::{CHUNK_LEN, Envelope, EnvelopeSecrets, TAG_LEN};
pub use kind::Kind;
pub use passphrase::passphrase;
pub use zip::{Checked, Member, Zip};
