//! `epoch.json`: one epoch key, wrapped as SVK1 under the provider's key. In no backup.

use super::{Epoch, ProviderError, Stretch};
use crate::disk;
use leadglass_model::{Entropy, KeyGen, KeyId, TenantId};
use leadglass_seal::{EpochKey, WRAP_LEN, WrapBinding, WrapPurpose, WrappingKey};
use serde::{Deserialize, Serialize};
use std::{
    io::Write,
    path::{Path, PathBuf},
};

/// One epoch key as it lies on the disk.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EpochFile {
    /// Always [`FORMAT`].
    format: String,
    epoch_id: KeyId,
    epoch: KeyGen,
    /// Present when the provider's key is stretched from a passphrase.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    stretch: Option<Stretch>,
    /// SVK1, purpose "secret", 160 bytes, hexadecimal.
    wrap: String,
}

impl EpochFile {
    /// Wraps an epoch key. Nothing is written yet.
    pub fn seal(
        epoch: Epoch,
        key: &EpochKey,
        wrapping: &WrappingKey,
        stretch: Option<Stretch>,
        entropy: &dyn Entropy,
    ) -> Self {
        let wrap = leadglass_seal::wrap(wrapping, &binding(epoch), key.reveal(), entropy);
        Self { format: FORMAT.to_owned(), epoch_id: epoch.id, epoch: epoch.number, stretch, wrap: hex::encode(wrap) }
    }

    /// Unwraps the epoch key.
    pub fn open(&self, wrapping: &WrappingKey) -> Result<(Epoch, EpochKey), ProviderError> {
        let mut wrap = [0; WRAP_LEN];
        hex::decode_to_slice(&self.wrap, &mut wrap).map_err(|_| ProviderError::Damaged { what: "wrap" })?;
        let epoch = Epoch { id: self.epoch_id, number: self.epoch };
        let secret = leadglass_seal::unwrap(wrapping, &binding(epoch), &wrap).map_err(|_| ProviderError::Wrong)?;
        Ok((epoch, EpochKey::from_bytes(*secret.reveal())))
    }

    /// How the passphrase is to be stretched, if there is one.
    pub fn stretch(&self) -> Option<&Stretch> {
        self.stretch.as_ref()
    }

    /// Reads one.
    pub fn read(path: &Path) -> Result<Self, ProviderError> {
        let bytes = disk::read_bounded(path, MAX_FILE_BYTES)?;
        let file: Self =
            serde_json::from_slice(&bytes).map_err(|_| ProviderError::Damaged { what: "not an epoch file" })?;
        if file.format != FORMAT {
            return Err(ProviderError::Damaged { what: "another format" });
        }
        Ok(file)
    }

    /// Writes it in place of the one before, durably.
    pub fn write(&self, path: &Path) -> Result<(), ProviderError> {
        let text = serde_json::to_vec_pretty(self).expect("plain fields always serialize");
        Ok(disk::replace(path, &text)?)
    }
}

/// Where the next epoch waits beside the one in force.
pub(super) fn next(path: &Path) -> PathBuf {
    path.with_extension("next.json")
}

/// Where the epoch before is held until it is destroyed. Nothing opens it from there.
fn disabled(path: &Path) -> PathBuf {
    path.with_extension("disabled.json")
}

/// Puts the prepared epoch in force if it has this name. Dying between the renames, the next start does the second.
pub(super) fn promote(path: &Path, epoch: KeyId) -> Result<(), ProviderError> {
    let next = next(path);
    if !next.exists() || EpochFile::read(&next)?.epoch_id != epoch {
        return Ok(());
    }
    let rename = |from: &Path, to: &Path| {
        std::fs::rename(from, to).map_err(|source| disk::DiskError::new("rename to", to, source))?;
        disk::sync_parent(to)
    };
    if path.exists() {
        rename(path, &disabled(path))?;
    }
    Ok(rename(&next, path)?)
}

/// Overwrites and removes the epoch before.
pub(super) fn destroy_disabled(path: &Path, entropy: &dyn Entropy) -> Result<(), ProviderError> {
    let file = disabled(path);
    let failed = |source| disk::DiskError::new("overwrite", &file, source);
    match std::fs::File::options().write(true).open(&file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error).into()),
        Ok(mut opened) => {
            let len = opened.metadata().map_err(failed)?.len().min(MAX_FILE_BYTES);
            let mut noise = vec![0; usize::try_from(len).unwrap_or_default()];
            entropy.fill(&mut noise);
            opened.write_all(&noise).and_then(|()| opened.sync_all()).map_err(failed)?;
        }
    }
    Ok(disk::remove(&file)?)
}

/// The provider's key has no name of its own: it is known by the file it lies in, or by nobody's memory but a person's.
fn binding(epoch: Epoch) -> WrapBinding {
    WrapBinding {
        tenant: TenantId::from_bytes([0; 16]),
        purpose: WrapPurpose::Secret,
        wrapping_key_id: KeyId::from_bytes([0; 16]),
        wrapping_key_version: 1,
        key_id: epoch.id,
        key_gen: epoch.number,
    }
}

const FORMAT: &str = "leadglass epoch 1";
const MAX_FILE_BYTES: u64 = 4096;
