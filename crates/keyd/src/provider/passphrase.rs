//! The passphrase provider: a person unseals the service after each start.

use super::{Epoch, EpochFile, ProviderError, SealProvider, epoch_file};
use argon2::{Algorithm, Argon2, Params, Version};
use leadglass_model::{Entropy, KeyId};
use leadglass_seal::{EpochKey, WrappingKey};
use serde::{Deserialize, Serialize};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};
use zeroize::{Zeroize, Zeroizing};

/// What a person typed. Wiped when dropped, mute in `Debug`.
pub struct Passphrase(Zeroizing<String>);

impl Passphrase {
    /// Takes a passphrase; a trailing line end is not part of it.
    pub fn new(text: String) -> Result<Self, ProviderError> {
        let text = Zeroizing::new(text);
        let trimmed = text.trim_end_matches(['\r', '\n']);
        if trimmed.chars().count() < MIN_PASSPHRASE_CHARS {
            return Err(ProviderError::TooShort { minimum: MIN_PASSPHRASE_CHARS });
        }
        Ok(Self(Zeroizing::new(trimmed.to_owned())))
    }
}

impl std::fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Passphrase(‹secret›)")
    }
}

/// How much work stretching takes (Argon2id, RFC 9106). Kept beside the sealed epoch key, not secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stretch {
    /// Always `argon2id`.
    algorithm: String,
    /// Memory in KiB.
    memory_kib: u32,
    /// Passes over that memory.
    passes: u32,
    /// Lanes.
    lanes: u32,
    /// 32 random bytes, hexadecimal.
    salt: String,
}

impl Stretch {
    /// Fresh parameters: 256 MiB and three passes unless told otherwise, never below 8 MiB.
    pub fn fresh(memory_kib: Option<u32>, entropy: &dyn Entropy) -> Self {
        let mut salt = [0; 32];
        entropy.fill(&mut salt);
        let memory_kib = memory_kib.unwrap_or(DEFAULT_MEMORY_KIB).clamp(MIN_MEMORY_KIB, MAX_MEMORY_KIB);
        Self { algorithm: ALGORITHM.to_owned(), memory_kib, passes: PASSES, lanes: 1, salt: hex::encode(salt) }
    }

    /// Takes about a second and the memory named, on purpose: call it where blocking is fine.
    pub fn stretch(&self, passphrase: &Passphrase) -> Result<WrappingKey, ProviderError> {
        let damaged = |what| ProviderError::Damaged { what };
        let bounded = (MIN_MEMORY_KIB..=MAX_MEMORY_KIB).contains(&self.memory_kib)
            && (1..=MAX_PASSES).contains(&self.passes)
            && (1..=MAX_LANES).contains(&self.lanes);
        if self.algorithm != ALGORITHM || !bounded {
            return Err(damaged("stretching parameters"));
        }
        let mut salt = [0; 32];
        hex::decode_to_slice(&self.salt, &mut salt).map_err(|_| damaged("salt"))?;
        let params = Params::new(self.memory_kib, self.passes, self.lanes, Some(32))
            .map_err(|_| damaged("stretching parameters"))?;
        let mut key = [0; 32];
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(passphrase.0.as_bytes(), &salt, &mut key)
            .map_err(|_| damaged("stretching parameters"))?;
        let wrapping = WrappingKey::from_bytes(key);
        key.zeroize();
        Ok(wrapping)
    }
}

/// Keeps the epoch key wrapped under a stretched passphrase.
pub struct PassphraseProvider {
    passphrase: Passphrase,
    epoch_file: PathBuf,
    memory_kib: Option<u32>,
    entropy: Arc<dyn Entropy>,
}

impl PassphraseProvider {
    /// A provider over an epoch file. `memory_kib` counts only when a new epoch is kept.
    pub fn new(
        passphrase: Passphrase,
        epoch_file: PathBuf,
        memory_kib: Option<u32>,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        Self { passphrase, epoch_file, memory_kib, entropy }
    }

    fn read(&self, path: &Path) -> Result<(Epoch, EpochKey), ProviderError> {
        let file = EpochFile::read(path)?;
        let stretch = file.stretch().ok_or(ProviderError::Damaged { what: "no stretching parameters" })?;
        file.open(&stretch.stretch(&self.passphrase)?)
    }
}

impl std::fmt::Debug for PassphraseProvider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PassphraseProvider({})", self.epoch_file.display())
    }
}

impl SealProvider for PassphraseProvider {
    fn kind(&self) -> &'static str {
        "passphrase"
    }

    fn class(&self) -> char {
        'S'
    }

    fn keep(&self, epoch: Epoch, key: &EpochKey) -> Result<(), ProviderError> {
        let stretch = Stretch::fresh(self.memory_kib, self.entropy.as_ref());
        let wrapping = stretch.stretch(&self.passphrase)?;
        EpochFile::seal(epoch, key, &wrapping, Some(stretch), self.entropy.as_ref()).write(&self.epoch_file)
    }

    fn open(&self) -> Result<(Epoch, EpochKey), ProviderError> {
        self.read(&self.epoch_file)
    }

    fn prepare(&self, epoch: Epoch, key: &EpochKey) -> Result<(), ProviderError> {
        let stretch = Stretch::fresh(self.memory_kib, self.entropy.as_ref());
        let wrapping = stretch.stretch(&self.passphrase)?;
        EpochFile::seal(epoch, key, &wrapping, Some(stretch), self.entropy.as_ref())
            .write(&epoch_file::next(&self.epoch_file))
    }

    fn prepared(&self) -> Result<Option<(Epoch, EpochKey)>, ProviderError> {
        let next = epoch_file::next(&self.epoch_file);
        if !next.exists() {
            return Ok(None);
        }
        self.read(&next).map(Some)
    }

    fn promote(&self, epoch: KeyId) -> Result<(), ProviderError> {
        epoch_file::promote(&self.epoch_file, epoch)
    }

    fn destroy_disabled(&self) -> Result<(), ProviderError> {
        epoch_file::destroy_disabled(&self.epoch_file, self.entropy.as_ref())
    }
}

/// Shorter ones fall to guessing whatever the stretching.
const MIN_PASSPHRASE_CHARS: usize = 12;
const ALGORITHM: &str = "argon2id";
/// 256 MiB: about a second here, and a guesser needs that memory for each guess at once.
const DEFAULT_MEMORY_KIB: u32 = 256 * 1024;
const MIN_MEMORY_KIB: u32 = 8 * 1024;
/// An epoch file that asks for more was not written by us.
const MAX_MEMORY_KIB: u32 = 2 * 1024 * 1024;
const PASSES: u32 = 3;
const MAX_PASSES: u32 = 16;
const MAX_LANES: u32 = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use leadglass_model::{KeyGen, SystemEntropy};

    fn typed(text: &str) -> Passphrase {
        Passphrase::new(text.to_owned()).unwrap()
    }

    #[test]
    fn the_kept_epoch_comes_back_with_its_passphrase_and_with_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let provider = |text| {
            let file = dir.path().join("epoch.json");
            PassphraseProvider::new(typed(text), file, Some(MIN_MEMORY_KIB), Arc::new(SystemEntropy))
        };
        let epoch = Epoch { id: KeyId::from_bytes([7; 16]), number: KeyGen::FIRST };
        provider("correct horse battery").keep(epoch, &EpochKey::from_bytes([9; 32])).unwrap();
        let (came, key) = provider("correct horse battery\n").open().unwrap();
        assert_eq!((came, key.reveal()), (epoch, &[9; 32]));
        assert!(matches!(provider("correct horse batterx").open(), Err(ProviderError::Wrong)));
    }

    #[test]
    fn a_short_passphrase_is_refused() {
        assert!(matches!(Passphrase::new("eleven char".to_owned()), Err(ProviderError::TooShort { .. })));
    }

    #[test]
    fn an_epoch_file_that_asks_for_absurd_memory_is_refused_before_any_work() {
        let mut stretch = Stretch::fresh(None, &SystemEntropy);
        stretch.memory_kib = u32::MAX;
        assert!(matches!(stretch.stretch(&typed("correct horse battery")), Err(ProviderError::Damaged { .. })));
    }
}
