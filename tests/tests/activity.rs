//! What happens to the node itself stands in the log: starts and ends, another configuration, tokens that were made while it was
//! stopped, and a token that is ended while it runs.

#![allow(clippy::unwrap_used, reason = "the helpers of a test end where they fail, as the test does")]

use leadglass_tests::devices::entries_with;
use leadglass_tests::process::until;
use leadglass_tests::site::{drained, halt, large};
use leadglass_tests::vault::{Vault, program};
use serde_json::Value;
use std::fs;
use std::io::Read as _;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(30);
/// So long a token that was ended may be given something.
const PROMISED: Duration = Duration::from_secs(5);

fn token(words: &[&str]) -> Output {
    let output = Command::new(program()).arg("token").args(words).output().unwrap();
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

#[test]
fn starts_ends_and_what_was_done_in_between_are_entries() {
    let mut vault = Vault::up();
    let count = |vault: &Vault, word: &str, times: usize| {
        assert!(until(SOON, || entries_with(vault, word) >= times), "{word}: {}", entries_with(vault, word));
        assert_eq!(entries_with(vault, word), times, "{word}");
    };
    count(&vault, "started", 1);
    count(&vault, "token-issued-dpo", 1);
    count(&vault, "config-changed", 1);
    vault.kill_vault();
    count(&vault, "started", 2);
    assert_eq!(entries_with(&vault, "stopped"), 0, "it was killed");
    halt(&vault);
    let config = vault.folder().join("config/vault.toml");
    let config = config.to_str().unwrap();
    let text = fs::read_to_string(config).unwrap();
    let tenant = text.split("[[tenants]]").nth(1).unwrap().split("id = \"").nth(1).unwrap()[..32].to_owned();
    let words = ["--config", config, "--json", "issue", "--tenant", &tenant, "--role", "auditor", "--label", "stolen"];
    let issued: Value = serde_json::from_slice(&token(&words).stdout).unwrap();
    token(&["--config", config, "revoke", "--tenant", &tenant, issued["actor"].as_str().unwrap()]);
    vault.restart();
    count(&vault, "started", 3);
    count(&vault, "stopped", 1);
    count(&vault, "token-issued-auditor", 1);
    count(&vault, "token-revoked-auditor", 1);
    count(&vault, "token-issued-dpo", 1);
    vault.restart();
    count(&vault, "started", 4);
    count(&vault, "token-issued-auditor", 1);
}

#[test]
fn a_token_that_leaked_is_ended_at_once_with_what_it_is_being_given() {
    let vault = Vault::up();
    let (f, data_set) = large(1, 64);
    assert_eq!(vault.store(&f, &data_set).unwrap().status, 0);
    drained(&vault);
    let dir = vault.folder();
    let data = ["--data", dir.to_str().unwrap(), "--json"];
    let listed = String::from_utf8(token(&[&data[..], &["list"]].concat()).stdout).unwrap();
    let all: Vec<Value> = listed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let clinician = all.iter().find(|token| token["role"] == "clinician").unwrap();
    let actor = clinician["actor"].as_str().unwrap().to_owned();

    let mut curl = Command::new("curl")
        .args(["-q", "-sS", "--noproxy", "*", "--cacert", &vault.up.ca, "-H", "Accept: application/dicom", "-H"])
        .arg(format!("Authorization: Bearer {}", vault.up.tokens.clinician))
        .arg(vault.instance_url(&f))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("curl is missing: run tests/all once, or install curl");
    let mut body = curl.stdout.take().unwrap();
    let mut came = vec![0; 1 << 20];
    body.read_exact(&mut came).expect("it begins");
    token(&[&data[..], &["revoke", &actor]].concat());
    let revoked = Instant::now();
    let _ = body.read_to_end(&mut came);
    let took = revoked.elapsed();
    assert!(!curl.wait().unwrap().success() && came.len() < data_set.len(), "it came whole");
    assert!(took < PROMISED, "{took:?}");
    assert_eq!(vault.ask("/studies?limit=1", Some(&vault.up.tokens.clinician), "application/dicom+json").status, 401);
    assert!(until(SOON, || entries_with(&vault, "token-revoked") > 0));
    let gone = Command::new(program()).args(["token"]).args(data).args(["revoke", &"0".repeat(32)]).output().unwrap();
    assert!(!gone.status.success());
}
