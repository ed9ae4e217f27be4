//! Seal providers: who keeps the epoch key.
//!
//! A provider holds one *epoch key* E_n at a time as a destroyable object of its own. The two here keep it in a file
//! `epoch.json`, wrapped as SVK1 under a key that is not in the data directory: stretched from a passphrase, or read from
//! a key file (a systemd credential is one). The trait names an epoch and never a path, so that a TPM or a PKCS#11
//! device, where E_n is an object handle, fits behind it.
//!
//! Law: the data directory alone never opens an epoch (`tests/stolen.rs`).

mod epoch_file;
mod key_file;
mod passphrase;

pub use epoch_file::EpochFile;
pub use key_file::{KEY_FILE_LEN, KeyFileProvider};
pub use passphrase::{Passphrase, PassphraseProvider, Stretch};

use crate::disk::DiskError;
use leadglass_model::{Fault, KeyGen, KeyId};
use leadglass_seal::EpochKey;

/// An epoch's name: random, plus its number n. Both stand in the keyring file's header as key id and generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Epoch {
    /// Random name; the `key_id` of keyring files.
    pub id: KeyId,
    /// n of E_n, from 1; the `key_gen` of keyring files.
    pub number: KeyGen,
}

/// Whoever keeps the epoch key.
pub trait SealProvider: Send + Sync {
    /// The word in status and attestation: `passphrase`, `key-file`.
    fn kind(&self) -> &'static str;

    /// Which erasure class certificates may claim: `S`, kept in software, or `H`, kept in hardware.
    fn class(&self) -> char;

    /// Takes a new epoch's key into keeping, in place of the one before. Durable when it returns.
    fn keep(&self, epoch: Epoch, key: &EpochKey) -> Result<(), ProviderError>;

    /// Gives out the epoch key that is kept.
    fn open(&self) -> Result<(Epoch, EpochKey), ProviderError>;

    /// Takes the next epoch's key beside the one in force. Durable when it returns; done again it replaces the first try.
    fn prepare(&self, epoch: Epoch, key: &EpochKey) -> Result<(), ProviderError>;

    /// Gives out the key that was prepared, if one is.
    fn prepared(&self) -> Result<Option<(Epoch, EpochKey)>, ProviderError>;

    /// If the prepared epoch has this name, it is in force from here; the one before is disabled and not yet destroyed.
    /// Repeating it is fine, and so is a name that was not prepared.
    fn promote(&self, epoch: KeyId) -> Result<(), ProviderError>;

    /// Destroys the disabled epoch's key. Repeating it is fine.
    fn destroy_disabled(&self) -> Result<(), ProviderError>;
}

/// Why an epoch key could not be kept or given out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProviderError {
    /// The passphrase or the key file is not the one that sealed the epoch file, or the epoch file was changed.
    #[error("this passphrase or key file does not open the epoch key")]
    Wrong,
    /// The epoch file is not one of ours, or asks for more work than any of ours would.
    #[error("the epoch file is damaged: {what}")]
    Damaged {
        /// Which part.
        what: &'static str,
    },
    /// A passphrase of fewer characters than the floor.
    #[error("a passphrase has at least {minimum} characters")]
    TooShort {
        /// The floor.
        minimum: usize,
    },
    /// A key file holds exactly 32 random bytes, raw or as 64 hexadecimal digits.
    #[error("a key file holds exactly {KEY_FILE_LEN} bytes, raw or as hexadecimal digits")]
    NotAKeyFile,
    /// The key file would lie inside the data directory: whoever steals the one has the other.
    #[error("the key file lies inside the data directory; keep it elsewhere, or a stolen disk opens everything")]
    KeyBesideLock,
    /// A file could not be read or written.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

impl ProviderError {
    /// What kind of failure.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Wrong => Fault::Denied,
            Self::Damaged { .. } => Fault::Corrupt,
            Self::TooShort { .. } | Self::NotAKeyFile | Self::KeyBesideLock => Fault::BadInput,
            Self::Disk(source) => source.fault(),
        }
    }
}
