//! `leadglass audit keys`, and how verifiers are given keys.

use crate::admin::{self, Client};
use anyhow::{Context, bail};
use leadglass_audit::{KnownKeys, PublicKey};
use std::{path::PathBuf, process::ExitCode};

/// Prints the public keys that verifiers need. Write them down where the vault cannot reach.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    vault: admin::Vault,
}

/// Which keys to believe.
#[derive(Debug, clap::Args)]
pub(super) struct Given {
    /// The vault's public key, as `leadglass audit keys` prints it.
    #[arg(long, value_name = "KEY")]
    vault_key: Option<String>,
    /// The public key of the witness, which is the key service.
    #[arg(long, value_name = "KEY")]
    witness_key: Option<String>,
    /// A file with both: what `leadglass audit keys --json` printed.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["vault_key", "witness_key"])]
    keys: Option<PathBuf>,
}

impl Given {
    /// Reads them.
    pub(super) fn read(&self) -> anyhow::Result<KnownKeys> {
        let (vault, witness) = match &self.keys {
            Some(file) => {
                let text = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
                let value: serde_json::Value =
                    serde_json::from_slice(&text).context("the keys' file does not parse")?;
                let text = |field: &str| value[field].as_str().map(str::to_owned);
                (text("vault_key"), text("witness_key"))
            }
            None => (self.vault_key.clone(), self.witness_key.clone()),
        };
        let parse = |text: Option<String>, whose: &str| match text {
            Some(text) => PublicKey::parse(&text).map(Some).with_context(|| format!("the {whose} key does not read")),
            None => Ok(None),
        };
        Ok(KnownKeys { log: parse(vault, "vault's")?, witness: parse(witness, "witness's")?, seen: Vec::new() })
    }
}

/// `leadglass audit keys`
pub(super) async fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.vault)?;
    let keys = client.get("/api/v1/audit/keys").await?;
    if args.vault.json {
        admin::print(&keys.to_string());
        return Ok(ExitCode::SUCCESS);
    }
    let Some(vault) = keys["vault_key"].as_str() else { bail!("the vault's answer does not hold its key") };
    admin::print(&format!("--vault-key {vault}"));
    match keys["witness_key"].as_str() {
        Some(witness) => admin::print(&format!("--witness-key {witness}")),
        None => eprintln!("The key service was not heard yet; ask again for the witness's key."),
    }
    Ok(ExitCode::SUCCESS)
}
