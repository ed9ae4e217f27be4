//! Where things lie in a data directory.

use std::path::{Path, PathBuf};

/// The paths of one data directory.
#[derive(Debug, Clone)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    /// The data directory `root`.
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Configuration that `init` wrote and an operator may edit.
    pub fn config(&self) -> PathBuf {
        self.root.join("keyd.toml")
    }

    /// The epoch key, wrapped by the provider. In no backup.
    pub fn epoch(&self) -> PathBuf {
        self.root.join("epoch.json")
    }

    /// The keyring, sealed under the epoch key.
    pub fn keyring(&self) -> PathBuf {
        self.root.join("keyring.svo")
    }

    /// The key database: wraps and their rows.
    pub fn database(&self) -> PathBuf {
        self.root.join("keys.redb")
    }

    /// The key service's own tamper-evident log.
    pub fn log(&self) -> PathBuf {
        self.root.join("log")
    }

    /// Epoch keys sealed to the recovery sheet, unless the configuration names another folder.
    pub fn capsules(&self) -> PathBuf {
        self.root.join("capsules")
    }

    /// Backups, unless the configuration names another folder.
    pub fn backups(&self) -> PathBuf {
        self.root.join("backups")
    }

    /// The authority's certificate, for clients and for our own TLS.
    pub fn ca_certificate(&self) -> PathBuf {
        self.root.join("tls").join("ca.pem")
    }

    /// The server's certificate.
    pub fn server_certificate(&self) -> PathBuf {
        self.root.join("tls").join("server.pem")
    }

    /// The server's private key.
    pub fn server_key(&self) -> PathBuf {
        self.root.join("tls").join("server-key.pem")
    }

    /// Local commands reach a running service here.
    pub fn control(&self) -> PathBuf {
        self.root.join("control.sock")
    }

    /// Stands while a restore is under way; it begins again whatever it left behind.
    pub fn restoring(&self) -> PathBuf {
        self.root.join("restore-under-way")
    }

    /// When a restore was last tried, and with which backup.
    pub fn restore_proof(&self) -> PathBuf {
        self.root.join("restore-proof.json")
    }
}
