//! Devices of a vault: enrolled by its command line, and what it says about those it turned away.

use crate::eyes::files_under;
use crate::peers::said;
use crate::process::until;
use crate::site::metric;
use crate::vault::Vault;
use serde_json::Value;
use std::ffi::OsStr;
use std::fs;
use std::net::SocketAddr;
use std::process::Output;
use std::time::Duration;

/// An entry is in its place within this time.
const SOON: Duration = Duration::from_secs(30);

/// What `up.json` says beyond what [`crate::vault::Up`] reads.
///
/// # Panics
/// When it is not there.
#[must_use]
pub fn told(vault: &Vault) -> Value {
    let text = fs::read(vault.folder().join("up.json")).expect("up.json is there");
    serde_json::from_slice(&text).expect("up.json is JSON")
}

/// The port for DICOM over TLS.
///
/// # Panics
/// When `up.json` names none.
#[must_use]
pub fn tls_port(up: &Value) -> SocketAddr {
    let port = up["dicom"]["tls_port"].as_u64().and_then(|port| u16::try_from(port).ok()).expect("the TLS port");
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// `leadglass device … --json` against the vault, whatever comes of it.
#[must_use]
pub fn try_device(vault: &Vault, words: &[&str]) -> Output {
    let folder = vault.folder();
    let data: [&OsStr; 3] = [OsStr::new("--json"), OsStr::new("--data"), folder.as_os_str()];
    let words: Vec<&OsStr> =
        std::iter::once("device").chain(words.iter().copied()).map(OsStr::new).chain(data).collect();
    vault.run(&words)
}

/// The same, and what it said.
///
/// # Panics
/// When it fails.
pub fn device(vault: &Vault, words: &[&str]) -> Value {
    let output = try_device(vault, words);
    assert!(output.status.success(), "{words:?}: {}", said(&output));
    serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
}

/// How often callers were turned away for this reason.
#[must_use]
pub fn refusals(vault: &Vault, reason: &str) -> u64 {
    metric(vault, &format!("leadglass_refusals_total{{reason=\"{reason}\"}}"))
}

/// Whether the audit log's files come to hold this code word.
#[must_use]
pub fn audited(vault: &Vault, word: &str) -> bool {
    until(SOON, || entries_with(vault, word) > 0)
}

/// How often a code word stands in the audit log's files.
#[must_use]
pub fn entries_with(vault: &Vault, word: &str) -> usize {
    let files = files_under(&vault.up.data.vault.join("audit"));
    let word = word.as_bytes();
    files.iter().map(|p| fs::read(p).unwrap_or_default().windows(word.len()).filter(|w| *w == word).count()).sum()
}
