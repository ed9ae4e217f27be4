//! What people see: the pages in a real browser, driven by the programs in `tests/browser`.
//!
//! `tests/all` brings Chromium and Playwright; without them the test says so and fails there only.

use leadglass_tests::fixture::Fixture;
use leadglass_tests::peers::{python, said};
use leadglass_tests::vault::Vault;
use leadglass_tests::{built_programs, workspace_root};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Whether there is a browser to drive.
fn browser_is_here() -> bool {
    let here = Path::new("/usr/bin/chromium").exists()
        && Command::new(python())
            .args(["-c", "import playwright"])
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|s| s.success());
    assert!(
        here || std::env::var_os("LEADGLASS_ALL_TOOLS").is_none(),
        "chromium or playwright is missing: run tests/all, or install them"
    );
    if !here {
        eprintln!("chromium or playwright is not on this machine: not looked at");
    }
    here
}

/// Where pictures of the screen are kept, to be looked at after the test.
fn shots(name: &str) -> PathBuf {
    built_programs().join("screenshots").join(name)
}

fn drive(vault: &Vault, program: &str, more: &[&str]) {
    let fixtures = workspace_root().join("fixtures");
    let output = Command::new(python())
        .arg(workspace_root().join("tests/browser").join(program))
        .args([&vault.up.http.base, &vault.up.token, &vault.up.ca])
        .arg(fixtures)
        .arg(shots(program.trim_end_matches(".py")))
        .args(more)
        .stdin(Stdio::null())
        .output()
        .expect("Python runs");
    assert!(output.status.success(), "{}", said(&output));
}

fn with_fixtures(vault: &Vault) {
    for fixture in Fixture::all() {
        vault.store_fixture(&fixture);
    }
}

#[test]
fn people_sign_in_find_a_study_and_see_what_was_sent() {
    if !browser_is_here() {
        return;
    }
    let vault = Vault::up();
    with_fixtures(&vault);
    drive(&vault, "viewer.py", &[]);
}

#[test]
fn the_pages_are_for_everybody_by_keyboard_by_ear_and_by_finger() {
    if !browser_is_here() {
        return;
    }
    drive(&Vault::up(), "access.py", &[]);
}

#[test]
fn what_was_away_comes_back_without_a_reload() {
    if !browser_is_here() {
        return;
    }
    let (vault, ohif) = with_ohif().unwrap_or_else(|| (Vault::up(), String::new()));
    let [node, keyd] = [vault.now().pids.vault, vault.now().pids.keyd].map(|pid| pid.to_string());
    drive(&vault, "away.py", &[&ohif, &node, &keyd]);
}

/// A vault with OHIF as `deploy/ohif.sh` installs it, and its address; `tests/all` does that once and keeps it under `target/`.
fn with_ohif() -> Option<(Vault, String)> {
    let site = workspace_root().join("target/ohif/site");
    if !site.join("index.html").exists() {
        // The package is 48 MB from npm, so a machine without npm does without; tests/all says so.
        eprintln!("OHIF is not installed under target/ohif/site: not looked at");
        return None;
    }
    let site = site.display().to_string();
    let vault = Vault::with_config(&format!("[viewer]\ndir = {site:?}\nlisten = \"127.0.0.1:0\"\n"));
    let ohif = vault.up.http.viewer.clone().expect("it is configured");
    Some((vault, ohif))
}

#[test]
fn ohif_opens_what_was_sent_with_the_session_of_the_console() {
    if !browser_is_here() {
        return;
    }
    let Some((vault, ohif)) = with_ohif() else { return };
    with_fixtures(&vault);
    drive(&vault, "ohif.py", &[&ohif]);
}
