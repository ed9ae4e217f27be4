//! A thief with the vault's certificate and configuration, who talks to the key service himself.

use crate::vault::Vault;
use serde_json::Value;
use std::fs;
use std::process::Command;

/// What the vault is configured to.
fn config(vault: &Vault) -> toml::Table {
    let text = fs::read_to_string(vault.folder().join("config/vault.toml")).expect("up wrote a configuration");
    text.parse().expect("it is TOML")
}

/// The first tenant's id.
///
/// # Panics
/// When the configuration names none.
#[must_use]
pub fn tenant(vault: &Vault) -> String {
    config(vault)["tenants"][0]["id"].as_str().expect("an id").to_owned()
}

/// A call with a body: the status and what came with it.
///
/// # Panics
/// When there is no answer.
#[must_use]
pub fn ask(vault: &Vault, path: &str, body: &Value) -> (u16, Vec<u8>) {
    let config = config(vault);
    let keys = |name: &str| config["keys"][name].as_str().expect("a text").to_owned();
    let output = Command::new("curl")
        .args(["-q", "-sS", "--noproxy", "*", "-o", "-", "-w", "\n%{http_code}", "--cacert", &keys("ca")])
        .args(["--cert", &keys("certificate"), "--key", &keys("key"), "-H", "Content-Type: application/json"])
        .args(["-d", &body.to_string()])
        .arg(format!("https://{}{path}", keys("address")))
        .output()
        .expect("curl is missing: run tests/all once, or install curl");
    let end = output.stdout.iter().rposition(|byte| *byte == b'\n').unwrap_or_else(|| panic!("{output:?}"));
    let (body, status) = output.stdout.split_at(end);
    let status = std::str::from_utf8(&status[1..]).ok().and_then(|status| status.parse().ok());
    (status.unwrap_or_else(|| panic!("{output:?}")), body.to_vec())
}
