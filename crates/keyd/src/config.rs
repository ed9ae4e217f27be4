//! The one configuration of the key service: `keyd.toml` in the data directory, or `serve --config FILE`.
//!
//! No secret stands in it. Relative paths are taken from the data directory.

use crate::{disk, disk::DiskError, layout::Layout};
use leadglass_keys::wire;
use leadglass_model::Fault;
use serde::{Deserialize, Serialize};
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

/// The key service's configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where the one port listens. Port 0 takes a free one.
    #[serde(default = "default_listen")]
    pub listen: SocketAddr,
    /// A folder on another disk. `create` answers only when the wrap is durable there too; a restore with it loses nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mirror: Option<PathBuf>,
    /// Where backups go. Keep them on another disk or copy them away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backups: Option<PathBuf>,
    /// Where recovery capsules go. Never into a backup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capsules: Option<PathBuf>,
    /// How often a backup is taken besides at each keyring change.
    #[serde(default = "default_backup_every", with = "humantime_serde")]
    pub backup_every: Duration,
    /// How long an epoch's key is disabled before it is destroyed. Within this time an end that nobody wanted is noticed.
    #[serde(default = "default_epoch_hold", with = "humantime_serde")]
    pub epoch_hold: Duration,
    /// Days after its end at which an epoch's recovery capsule is deleted.
    #[serde(default = "default_recovery_days")]
    pub recovery_days: u32,
    /// Who keeps the epoch key.
    pub provider: ProviderConfig,
    /// How many studies may be opened.
    #[serde(default)]
    pub budgets: BudgetConfig,
    /// Where people's passkeys are good. Without it jobs are approved on the key host only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passkeys: Option<PasskeyConfig>,
}

/// The vault's pages, as browsers name them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PasskeyConfig {
    /// The name that passkeys belong to: the vault's host name, without port.
    pub rp_id: String,
    /// Origins whose pages may ask for an approval: `https://vault.example.org`, with its port unless that is 443. Compared
    /// letter for letter.
    pub origins: Vec<String>,
}

impl PasskeyConfig {
    /// The rules of these origins; nothing where one is no origin of a page that passkeys may have, or of another host.
    pub fn at(origins: &[String]) -> Option<Self> {
        let host = |origin: &String| {
            let authority = origin.strip_prefix("https://")?;
            let (name, port) = authority.split_once(':').unwrap_or((authority, "443"));
            let is_name =
                name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.'));
            let fits = is_name && name.bytes().any(|b| b.is_ascii_lowercase()) && port.parse::<u16>().is_ok();
            fits.then(|| name.to_owned())
        };
        let rp_id = origins.first().and_then(host)?;
        let all = origins.iter().all(|origin| host(origin).as_ref() == Some(&rp_id));
        all.then(|| Self { rp_id, origins: origins.to_vec() })
    }
}

/// Who keeps the epoch key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum ProviderConfig {
    /// A person types a passphrase after each start.
    Passphrase {
        /// Memory that stretching takes, KiB; the default is 262,144 (256 MiB).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        memory_kib: Option<u32>,
    },
    /// 32 random bytes in a file outside the data directory; unsealed at start without a hand.
    KeyFile {
        /// The file.
        path: PathBuf,
    },
    /// A systemd credential: the key file lies in `$CREDENTIALS_DIRECTORY` under this name.
    Credential {
        /// The credential's name.
        name: String,
    },
}

/// Distinct studies that may be opened in a sliding window, scope `object` (KEYS.md).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BudgetConfig {
    /// A person, an hour.
    pub person_per_hour: u32,
    /// A person, a day.
    pub person_per_day: u32,
    /// A person of the class "reading room", an hour.
    pub reading_room_per_hour: u32,
    /// A person of the class "reading room", a day.
    pub reading_room_per_day: u32,
    /// Pseudonyms (32 hexadecimal digits) of the persons of the class "reading room".
    pub reading_room: Vec<String>,
    /// The class of everybody who is not named: `person` or `reading-room`.
    pub default_class: PersonClass,
    /// A vault node, an hour.
    pub node_per_hour: u32,
    /// A tenant, a day.
    pub tenant_per_day: u32,
    /// Emergencies, an hour, beside all others.
    pub break_glass_per_hour: u32,
    /// Nightly storage checks, a day.
    pub storage_check_per_day: u32,
}

/// How much one person reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum PersonClass {
    /// A clinician with own patients.
    Person,
    /// A radiologist who reads all day.
    ReadingRoom,
}

impl Default for BudgetConfig {
    fn default() -> Self {
        Self {
            person_per_hour: 60,
            person_per_day: 300,
            reading_room_per_hour: 240,
            reading_room_per_day: 2000,
            reading_room: Vec::new(),
            default_class: PersonClass::Person,
            node_per_hour: 600,
            tenant_per_day: 2000,
            break_glass_per_hour: 10,
            storage_check_per_day: 500,
        }
    }
}

impl BudgetConfig {
    /// As the attestation tells them.
    pub fn on_wire(&self) -> wire::Budgets {
        let (person_per_hour, person_per_day) = match self.default_class {
            PersonClass::Person => (self.person_per_hour, self.person_per_day),
            PersonClass::ReadingRoom => (self.reading_room_per_hour, self.reading_room_per_day),
        };
        wire::Budgets {
            person_per_hour,
            person_per_day,
            node_per_hour: self.node_per_hour,
            tenant_per_day: self.tenant_per_day,
            break_glass_per_hour: self.break_glass_per_hour,
            storage_check_per_day: self.storage_check_per_day,
        }
    }
}

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Not TOML, an unknown field, or a value that does not fit. The message names line and field.
    #[error("the configuration {} does not fit", path.display())]
    Unfit {
        /// Which file.
        path: PathBuf,
        /// What does not fit.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// The credential directory is not known.
    #[error("a systemd credential is configured, but CREDENTIALS_DIRECTORY is not set")]
    NoCredentialsDirectory,
    /// The file could not be read or written.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

impl ConfigError {
    /// What kind of failure.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Unfit { .. } | Self::NoCredentialsDirectory => Fault::BadInput,
            Self::Disk(source) => source.fault(),
        }
    }
}

impl Config {
    /// The defaults over a provider.
    pub fn new(provider: ProviderConfig) -> Self {
        Self {
            listen: default_listen(),
            mirror: None,
            backups: None,
            capsules: None,
            backup_every: default_backup_every(),
            epoch_hold: default_epoch_hold(),
            recovery_days: default_recovery_days(),
            provider,
            budgets: BudgetConfig::default(),
            passkeys: None,
        }
    }

    /// Reads a configuration.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let bytes = disk::read_bounded(path, MAX_CONFIG_BYTES)?;
        let text = String::from_utf8_lossy(&bytes);
        toml::from_str(&text).map_err(|source| ConfigError::Unfit { path: path.to_owned(), source: Box::new(source) })
    }

    /// Writes it, durably.
    pub fn write(&self, path: &Path) -> Result<(), ConfigError> {
        let text = toml::to_string_pretty(self).expect("a configuration has only plain fields");
        Ok(disk::replace(path, text.as_bytes())?)
    }

    /// The backup folder.
    pub fn backups(&self, layout: &Layout) -> PathBuf {
        self.backups.as_ref().map_or_else(|| layout.backups(), |path| layout.root().join(path))
    }

    /// The capsule folder.
    pub fn capsules(&self, layout: &Layout) -> PathBuf {
        self.capsules.as_ref().map_or_else(|| layout.capsules(), |path| layout.root().join(path))
    }

    /// The mirror folder.
    pub fn mirror(&self, layout: &Layout) -> Option<PathBuf> {
        self.mirror.as_ref().map(|path| layout.root().join(path))
    }

    /// SHA-256 of what is in force, for attestation.
    pub fn digest(&self) -> [u8; 32] {
        use sha2::Digest;
        let json = serde_json::to_vec(self).expect("a configuration has only plain fields");
        sha2::Sha256::digest(json).into()
    }
}

fn default_listen() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 8460))
}

const fn default_backup_every() -> Duration {
    Duration::from_secs(3600)
}

const fn default_epoch_hold() -> Duration {
    Duration::from_secs(24 * 3600)
}

const fn default_recovery_days() -> u32 {
    35
}

const MAX_CONFIG_BYTES: u64 = 256 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_configuration_reads_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keyd.toml");
        let mut config = Config::new(ProviderConfig::KeyFile { path: "/etc/leadglass/unseal.key".into() });
        config.mirror = Some("/srv/mirror".into());
        config.write(&path).unwrap();
        assert_eq!(Config::read(&path).unwrap(), config);
    }

    #[test]
    fn the_sample_in_deploy_fits() {
        let sample = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/keyd.toml"));
        let config = Config::read(sample).unwrap();
        assert_eq!(config.budgets, BudgetConfig::default());
        let passkeys = config.passkeys.unwrap();
        assert_eq!(PasskeyConfig::at(&passkeys.origins).unwrap(), passkeys);
    }

    #[test]
    fn passkeys_are_good_at_origins_of_one_name() {
        let at = |origins: &[&str]| PasskeyConfig::at(&origins.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(
            at(&["https://vault.example.org", "https://vault.example.org:8443"]).unwrap().rp_id,
            "vault.example.org"
        );
        for origins in [
            &[][..],
            &["http://vault.example.org"],
            &["https://192.0.2.1"],
            &["https://vault.example.org/"],
            &["https://Vault.example.org"],
            &["https://vault.example.org", "https://other.example.org"],
        ] {
            assert_eq!(at(origins), None, "{origins:?}");
        }
    }

    #[test]
    fn an_unknown_field_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keyd.toml");
        std::fs::write(&path, "colour = 'red'\n[provider]\nkind = 'passphrase'\n").unwrap();
        assert_eq!(Config::read(&path).unwrap_err().fault(), Fault::BadInput);
    }
}
