//! `init`: an empty directory becomes a key service.
//!
//! Order: configuration, epoch key kept by the provider, capsule, keyring, and the key database last: a directory with a
//! database is whole. A crash before that leaves a directory that `init` refuses and that holds nothing yet.

use crate::{
    capsule::{self, RecoverySheet},
    config::{Config, ProviderConfig},
    disk,
    keyring::Keyring,
    layout::Layout,
    provider::{Epoch, KeyFileProvider, Passphrase, PassphraseProvider, SealProvider},
    refusal::Refusal,
    service::meta_records,
    store::Store,
};
use leadglass_keys::wire::ProblemCode;
use leadglass_model::{Clock, Entropy, KeyGen, KeyId};
use leadglass_seal::EpochKey;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

/// What `init` made.
#[derive(Debug)]
pub struct Made {
    /// The sheet to be printed. Its secret half is kept nowhere.
    pub sheet: RecoverySheet,
    /// The first epoch's capsule.
    pub capsule: PathBuf,
}

/// Makes a key service in an empty directory.
pub fn init(
    layout: &Layout,
    config: &Config,
    provider: &dyn SealProvider,
    clock: &dyn Clock,
    entropy: &dyn Entropy,
) -> Result<Made, Refusal> {
    refuse_used(layout)?;
    disk::private_dir(layout.root())?;
    config.write(&layout.config())?;
    let sheet = RecoverySheet::generate();
    let epoch = Epoch { id: KeyId::random(entropy), number: KeyGen::FIRST };
    let epoch_key = EpochKey::generate(entropy);
    provider.keep(epoch, &epoch_key)?;
    let capsule = capsule::write(&config.capsules(layout), &sheet.recipient(), epoch, &epoch_key)?;
    let keyring = Keyring::fresh(sheet.recipient(), clock.now(), entropy);
    keyring.write(&layout.keyring(), epoch, &epoch_key, entropy)?;
    Store::create(&layout.database(), &meta_records(&keyring, 1))?;
    Ok(Made { sheet, capsule })
}

/// Refuses a directory that holds a key service, or part of one.
pub fn refuse_used(layout: &Layout) -> Result<(), Refusal> {
    let used = [layout.database(), layout.keyring(), layout.epoch(), layout.config(), layout.restoring()];
    if used.iter().any(|path| path.exists()) {
        return Err(Refusal::new(
            ProblemCode::Conflict,
            "the data directory is not empty: it holds a key service already",
        ));
    }
    Ok(())
}

/// The provider of a configuration. `passphrase` is asked for only where one is needed.
pub fn provider(
    layout: &Layout,
    config: &Config,
    credentials_directory: Option<&Path>,
    entropy: Arc<dyn Entropy>,
    passphrase: impl FnOnce() -> Result<Passphrase, Refusal>,
) -> Result<Box<dyn SealProvider>, Refusal> {
    Ok(match key_file(layout, config, credentials_directory)? {
        Some(path) => Box::new(KeyFileProvider::new(layout.root(), path, layout.epoch(), entropy)?),
        None => {
            let ProviderConfig::Passphrase { memory_kib } = config.provider else {
                return Err(Refusal::new(ProblemCode::BadRequest, "the configuration names no key file"));
            };
            Box::new(PassphraseProvider::new(passphrase()?, layout.epoch(), memory_kib, entropy))
        }
    })
}

/// The key file of a configuration, if its provider has one: then no hand is needed to unseal.
pub fn key_file(
    layout: &Layout,
    config: &Config,
    credentials_directory: Option<&Path>,
) -> Result<Option<PathBuf>, Refusal> {
    Ok(match &config.provider {
        ProviderConfig::Passphrase { .. } => None,
        ProviderConfig::KeyFile { path } => Some(layout.root().join(path)),
        ProviderConfig::Credential { name } => {
            let dir = credentials_directory.ok_or(crate::config::ConfigError::NoCredentialsDirectory)?;
            Some(dir.join(name))
        }
    })
}
