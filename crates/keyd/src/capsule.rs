//! Recovery: the sheet, and the capsules that only the sheet opens.
//!
//! `init` makes an X25519 pair (age, C2SP age-encryption.org/v1). Its secret half goes onto the recovery sheet and nowhere
//! else; the keyring keeps the recipient. A capsule is E_n sealed to that recipient, one file an epoch, in a folder of its
//! own: a backup with its capsule beside it would need only the sheet.

use crate::{disk, disk::DiskError, provider::Epoch};
use age::{
    secrecy::{ExposeSecret, SecretString},
    x25519::{Identity, Recipient},
};
use leadglass_model::{Fault, KeyGen, KeyId};
use leadglass_seal::EpochKey;
use std::path::{Path, PathBuf};
use zeroize::{Zeroize, Zeroizing};

/// The secret half of the recovery pair: what is printed. Mute in `Debug`.
pub struct RecoverySheet(Identity);

/// Why a capsule could not be made or opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CapsuleError {
    /// The text is not an age secret key (`AGE-SECRET-KEY-1…`).
    #[error("the recovery sheet holds no line that starts with AGE-SECRET-KEY-1")]
    NotASheet,
    /// The recipient in the keyring does not parse.
    #[error("the recovery recipient is damaged")]
    Recipient,
    /// The sheet is another one, or the capsule was changed.
    #[error("this recovery sheet does not open the capsule")]
    Wrong,
    /// There is none for this epoch.
    #[error("there is no capsule of epoch {number} in {}", folder.display())]
    Missing {
        /// The epoch that is asked for.
        number: u32,
        /// Where was looked.
        folder: PathBuf,
    },
    /// A file could not be read or written.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

impl CapsuleError {
    /// What kind of failure.
    pub fn fault(&self) -> Fault {
        match self {
            Self::NotASheet => Fault::BadInput,
            Self::Recipient => Fault::Corrupt,
            Self::Wrong => Fault::Denied,
            Self::Missing { .. } => Fault::Missing,
            Self::Disk(source) => source.fault(),
        }
    }
}

impl RecoverySheet {
    /// A fresh pair. age draws from the operating system itself.
    pub fn generate() -> Self {
        Self(Identity::generate())
    }

    /// Reads a sheet as it was printed: the one line with the secret key counts.
    pub fn parse(text: &str) -> Result<Self, CapsuleError> {
        let line = text.lines().map(str::trim).find(|l| l.starts_with("AGE-SECRET-KEY-1"));
        line.and_then(|l| l.parse().ok()).map(Self).ok_or(CapsuleError::NotASheet)
    }

    /// The public half, kept in the keyring.
    pub fn recipient(&self) -> String {
        self.0.to_public().to_string()
    }

    /// The page to print.
    pub fn page(&self) -> Zeroizing<String> {
        let secret: SecretString = self.0.to_string();
        Zeroizing::new(format!(
            "Leadglass recovery sheet\n\n\
             Print this page, check that it can be read, delete the file, lock the paper away from the key host.\n\
             Whoever holds it and a backup and a capsule holds every key. Without it a dead key host cannot be replaced.\n\n\
             {}\n\n\
             recipient: {}\n\
             To restore on an empty machine: leadglass-keyd restore --help\n",
            secret.expose_secret(),
            self.recipient()
        ))
    }
}

impl std::fmt::Debug for RecoverySheet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RecoverySheet({})", self.recipient())
    }
}

/// Writes an epoch's capsule into the folder, durably, and gives its path.
pub fn write(folder: &Path, recipient: &str, epoch: Epoch, key: &EpochKey) -> Result<PathBuf, CapsuleError> {
    let recipient: Recipient = recipient.parse().map_err(|_| CapsuleError::Recipient)?;
    let mut plain = Zeroizing::new([0; PLAIN_LEN]);
    plain[..4].copy_from_slice(&epoch.number.get().to_be_bytes());
    plain[4..20].copy_from_slice(epoch.id.as_bytes());
    plain[20..].copy_from_slice(key.reveal());
    let sealed = age::encrypt(&recipient, plain.as_ref()).map_err(|_| CapsuleError::Recipient)?;
    disk::private_dir(folder)?;
    let path = folder.join(file_name(epoch.number));
    disk::replace(&path, &sealed)?;
    Ok(path)
}

/// Opens the capsule of an epoch.
pub fn open(folder: &Path, number: KeyGen, sheet: &RecoverySheet) -> Result<(Epoch, EpochKey), CapsuleError> {
    let path = folder.join(file_name(number));
    if !path.exists() {
        return Err(CapsuleError::Missing { number: number.get(), folder: folder.to_owned() });
    }
    let sealed = disk::read_bounded(&path, MAX_CAPSULE_BYTES)?;
    let plain = Zeroizing::new(age::decrypt(&sheet.0, &sealed).map_err(|_| CapsuleError::Wrong)?);
    let plain: &[u8; PLAIN_LEN] = plain.as_slice().try_into().map_err(|_| CapsuleError::Wrong)?;
    let found = u32::from_be_bytes([plain[0], plain[1], plain[2], plain[3]]);
    if found != number.get() {
        return Err(CapsuleError::Wrong);
    }
    let mut id = [0; 16];
    id.copy_from_slice(&plain[4..20]);
    let mut key = [0; 32];
    key.copy_from_slice(&plain[20..]);
    let opened = EpochKey::from_bytes(key);
    key.zeroize();
    Ok((Epoch { id: KeyId::from_bytes(id), number }, opened))
}

/// Deletes the capsule of an epoch that is over; one that is not there is fine.
pub fn remove(folder: &Path, number: KeyGen) -> Result<(), CapsuleError> {
    Ok(disk::remove(&folder.join(file_name(number)))?)
}

fn file_name(number: KeyGen) -> String {
    format!("epoch-{:08}.age", number.get())
}

/// Number, name, key.
const PLAIN_LEN: usize = 4 + 16 + 32;
const MAX_CAPSULE_BYTES: u64 = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    const EPOCH: Epoch = Epoch { id: KeyId::from_bytes([3; 16]), number: KeyGen::FIRST };

    #[test]
    fn the_printed_sheet_opens_the_capsule_and_no_other_sheet_does() {
        let dir = tempfile::tempdir().unwrap();
        let sheet = RecoverySheet::generate();
        write(dir.path(), &sheet.recipient(), EPOCH, &EpochKey::from_bytes([9; 32])).unwrap();
        let typed = RecoverySheet::parse(&sheet.page()).unwrap();
        let (epoch, key) = open(dir.path(), EPOCH.number, &typed).unwrap();
        assert_eq!((epoch, key.reveal()), (EPOCH, &[9; 32]));
        let other = RecoverySheet::generate();
        assert!(matches!(open(dir.path(), EPOCH.number, &other), Err(CapsuleError::Wrong)));
    }

    #[test]
    fn a_capsule_that_is_not_there_names_the_folder() {
        let dir = tempfile::tempdir().unwrap();
        let missing = open(dir.path(), EPOCH.number, &RecoverySheet::generate()).unwrap_err();
        assert_eq!(missing.fault(), Fault::Missing);
    }
}
