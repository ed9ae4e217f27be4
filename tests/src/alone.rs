//! The key service of a site without its vault, and what is done then.

use crate::process::until;
use crate::site::{halt, keyd, keyd_program};
use crate::vault::{Vault, program};
use serde_json::Value;
use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The key service alone, as long as this lives.
#[derive(Debug)]
pub struct Alone(Child);

impl Alone {
    /// Starts it on the data of this site, whose processes have ended.
    ///
    /// # Panics
    ///
    /// It does not get ready.
    #[must_use]
    pub fn start(vault: &Vault) -> Self {
        let ready = vault.folder().join("alone.ready");
        let _ = fs::remove_file(&ready);
        let child = Command::new(keyd_program())
            .args(["serve", "--data"])
            .arg(&vault.up.data.keyd)
            .arg("--ready-file")
            .arg(&ready)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the key service starts");
        assert!(until(Duration::from_secs(60), || ready.exists()), "the key service does not get ready");
        Self(child)
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Throws the index away, has it built again from objects and key service, and starts the vault on it. Answers what
/// `leadglass reindex` told.
///
/// # Panics
///
/// It is not built.
pub fn reindexed(vault: &mut Vault) -> Value {
    halt(vault);
    let alone = Alone::start(vault);
    fs::remove_dir_all(vault.up.data.vault.join("index")).expect("there is an index");
    let config = vault.folder().join("config/vault.toml");
    let said = fs::read_to_string(&config).expect("there is a configuration");
    // Each `[[tenants]]` with its id; devices have ids, too.
    for tenant in said.split("[[tenants]]").skip(1) {
        let tenant =
            tenant.split("id = \"").nth(1).and_then(|rest| rest.split('"').next()).expect("a tenant has an id");
        let words = ["approve", "--tenant", tenant, "--purpose", "storage-check", "--count", "100", "--for", "1h"];
        keyd(&vault.up.data.keyd, &words);
    }
    let output = Command::new(program()).args(["reindex", "--json", "--config"]).arg(&config).output();
    let output = output.expect("leadglass runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    drop(alone);
    vault.restart();
    serde_json::from_slice(&output.stdout).expect("it prints JSON")
}
