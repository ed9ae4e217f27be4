//! The key-file provider: 32 random bytes that lie outside the data directory.
//!
//! For a machine that must come up without a hand: a systemd credential (`LoadCredentialEncrypted=`, bound to the TPM),
//! a file on a USB stick, or, for evaluation, a file on the same disk.

use super::{Epoch, EpochFile, ProviderError, SealProvider, epoch_file};
use crate::disk;
use leadglass_model::{Entropy, KeyId};
use leadglass_seal::{EpochKey, WrappingKey};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};
use zeroize::{Zeroize, Zeroizing};

/// Bytes of a key file.
pub const KEY_FILE_LEN: usize = 32;

/// Keeps the epoch key wrapped under the bytes of a key file.
pub struct KeyFileProvider {
    key_file: PathBuf,
    epoch_file: PathBuf,
    entropy: Arc<dyn Entropy>,
}

impl KeyFileProvider {
    /// A provider over these two files. `data_dir` may not hold the key file.
    pub fn new(
        data_dir: &Path,
        key_file: PathBuf,
        epoch_file: PathBuf,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, ProviderError> {
        if inside(data_dir, &key_file) {
            return Err(ProviderError::KeyBesideLock);
        }
        Ok(Self { key_file, epoch_file, entropy })
    }

    /// Writes a fresh key file unless one is there.
    pub fn make_key_file(&self) -> Result<(), ProviderError> {
        if self.key_file.exists() {
            return self.read().map(drop);
        }
        let mut bytes = Zeroizing::new([0; KEY_FILE_LEN]);
        self.entropy.fill(bytes.as_mut());
        if let Some(parent) = self.key_file.parent().filter(|p| !p.as_os_str().is_empty()) {
            disk::private_dir(parent)?;
        }
        Ok(disk::create(&self.key_file, bytes.as_ref())?)
    }

    fn read(&self) -> Result<WrappingKey, ProviderError> {
        let bytes = Zeroizing::new(disk::read_bounded(&self.key_file, 2 * KEY_FILE_LEN as u64 + 2)?);
        let mut key = [0; KEY_FILE_LEN];
        if bytes.len() == KEY_FILE_LEN {
            key.copy_from_slice(&bytes);
        } else if hex::decode_to_slice(bytes.trim_ascii(), &mut key).is_err() {
            return Err(ProviderError::NotAKeyFile);
        }
        let wrapping = WrappingKey::from_bytes(key);
        key.zeroize();
        Ok(wrapping)
    }
}

impl std::fmt::Debug for KeyFileProvider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KeyFileProvider({})", self.key_file.display())
    }
}

impl SealProvider for KeyFileProvider {
    fn kind(&self) -> &'static str {
        "key-file"
    }

    fn class(&self) -> char {
        'S'
    }

    fn keep(&self, epoch: Epoch, key: &EpochKey) -> Result<(), ProviderError> {
        let wrapping = self.read()?;
        EpochFile::seal(epoch, key, &wrapping, None, self.entropy.as_ref()).write(&self.epoch_file)
    }

    fn open(&self) -> Result<(Epoch, EpochKey), ProviderError> {
        EpochFile::read(&self.epoch_file)?.open(&self.read()?)
    }

    fn prepare(&self, epoch: Epoch, key: &EpochKey) -> Result<(), ProviderError> {
        let wrapping = self.read()?;
        EpochFile::seal(epoch, key, &wrapping, None, self.entropy.as_ref()).write(&epoch_file::next(&self.epoch_file))
    }

    fn prepared(&self) -> Result<Option<(Epoch, EpochKey)>, ProviderError> {
        let next = epoch_file::next(&self.epoch_file);
        if !next.exists() {
            return Ok(None);
        }
        Ok(Some(EpochFile::read(&next)?.open(&self.read()?)?))
    }

    fn promote(&self, epoch: KeyId) -> Result<(), ProviderError> {
        epoch_file::promote(&self.epoch_file, epoch)
    }

    fn destroy_disabled(&self) -> Result<(), ProviderError> {
        epoch_file::destroy_disabled(&self.epoch_file, self.entropy.as_ref())
    }
}

/// Whether `file` lies under `dir`, links followed as far as they exist.
fn inside(dir: &Path, file: &Path) -> bool {
    let real = |path: &Path| {
        let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        path.canonicalize()
            .or_else(|_| parent.canonicalize().map(|p| p.join(path.file_name().unwrap_or_default())))
            .or_else(|_| std::path::absolute(path))
            .unwrap_or_else(|_| path.to_owned())
    };
    real(file).starts_with(real(dir))
}

#[cfg(test)]
mod tests {
    use super::*;
    use leadglass_model::{KeyGen, SystemEntropy};

    #[test]
    fn a_key_file_inside_the_data_directory_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join("unseal.key");
        let made = KeyFileProvider::new(dir.path(), inner, dir.path().join("epoch.json"), Arc::new(SystemEntropy));
        assert!(matches!(made, Err(ProviderError::KeyBesideLock)));
    }

    #[test]
    fn the_kept_epoch_comes_back_with_its_key_file_and_with_no_other() {
        let (data, keys) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let provider = |name: &str| {
            let epoch = data.path().join("epoch.json");
            KeyFileProvider::new(data.path(), keys.path().join(name), epoch, Arc::new(SystemEntropy)).unwrap()
        };
        let epoch = Epoch { id: KeyId::from_bytes([7; 16]), number: KeyGen::FIRST };
        provider("one").make_key_file().unwrap();
        provider("two").make_key_file().unwrap();
        provider("one").keep(epoch, &EpochKey::from_bytes([9; 32])).unwrap();
        let (came, key) = provider("one").open().unwrap();
        assert_eq!((came, key.reveal()), (epoch, &[9; 32]));
        assert!(matches!(provider("two").open(), Err(ProviderError::Wrong)));
    }
}
