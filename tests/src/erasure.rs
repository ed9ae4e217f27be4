//! An erasure as an officer carries it out: ordered, approved on the key host, run, and its certificate.

#![allow(clippy::unwrap_used, reason = "the helpers of a test end where they fail, as the test does")]

use crate::fixture::Fixture;
use crate::site::keyd;
use crate::vault::{Vault, program};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

/// An order begins at once, and nobody else has to say yes in the vault.
pub const RULES: &str = "[erasure]\ncooling_off = \"0s\"\napprovals = 0\n";

/// `leadglass …`, whatever comes of it.
///
/// # Panics
/// When it cannot be started.
#[must_use]
pub fn leadglass(arguments: &[&str]) -> Output {
    Command::new(program()).args(arguments).output().unwrap()
}

/// `leadglass erase …` of the running vault: its exit code, with the JSON that it printed.
///
/// # Panics
/// When it fails otherwise than by waiting.
#[must_use]
pub fn erase(vault: &Vault, arguments: &[&str]) -> (i32, Value) {
    let folder = vault.folder();
    let (first, rest) = arguments.split_first().unwrap();
    let output = leadglass(&[&["erase", first][..], &["--data", folder.to_str().unwrap(), "--json"], rest].concat());
    let code = output.status.code().unwrap();
    let said = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    assert!(code != 1, "{}", String::from_utf8_lossy(&output.stderr));
    (code, said)
}

/// Orders that the study of an instance be erased: the order's id. The UID lies in `dir` meanwhile.
///
/// # Panics
/// When the order is not taken.
#[must_use]
pub fn order(vault: &Vault, f: &Fixture, dir: &Path) -> String {
    let file = dir.join("study.txt");
    fs::write(&file, &f.study).unwrap();
    let (_, order) =
        erase(vault, &["order", "--study-file", file.to_str().unwrap(), "--ground", "objection", "--no-rule"]);
    order["id"].as_str().unwrap().to_owned()
}

/// Asks for the key host's approval and gives it.
///
/// # Panics
/// When the order waits for anything else.
pub fn approved(vault: &Vault, id: &str) {
    let (code, waits) = erase(vault, &["run", id]);
    assert_eq!((code, &waits["waits"]), (3, &Value::from("key-host-approval")), "{waits}");
    let approval = waits["detail"].as_str().unwrap().rsplit(' ').next().unwrap().trim_end_matches('.').to_owned();
    keyd(&vault.up.data.keyd, &["approve", &approval]);
}

/// How far an order is.
///
/// # Panics
/// When there is no such order.
#[must_use]
pub fn stage(vault: &Vault, id: &str) -> String {
    erase(vault, &["show", id]).1["stage"].as_str().unwrap().to_owned()
}

/// Nothing of the study opens or is found.
///
/// # Panics
/// When something does.
pub fn gone(vault: &Vault, f: &Fixture) {
    assert_eq!(vault.file_of(f).unwrap_err(), 404, "{}", f.instance);
    let json = "application/dicom+json";
    let found = vault.ask(&format!("/studies?StudyInstanceUID={}", f.study), Some(&vault.up.token), json);
    assert!(found.status == 204 || found.json().as_array().is_some_and(Vec::is_empty), "{}", found.text());
    for what in ["metadata", "thumbnail"] {
        let found = vault.ask(&format!("/studies/{}/{what}", f.study), Some(&vault.up.token), "*/*");
        assert_eq!(found.status, 404, "{what}");
    }
}

/// An instance comes back as it was sent.
///
/// # Panics
/// When it does not.
pub fn there(vault: &Vault, sent: &(Fixture, Vec<u8>)) {
    assert!(vault.data_set_of(&sent.0) == sent.1, "{} came back otherwise than it was sent", sent.0.instance);
}

/// Fetches the certificate of an order, as text and on paper: `to` with `.json` and `.pdf`.
///
/// # Panics
/// When there is none.
pub fn certificate(vault: &Vault, id: &str, to: &Path) {
    let (out, pdf) = (to.with_extension("json"), to.with_extension("pdf"));
    let (code, _) = erase(vault, &["certificate", id, "--out", out.to_str().unwrap(), "--pdf", pdf.to_str().unwrap()]);
    assert_eq!(code, 0);
    assert!(fs::read(pdf).unwrap().starts_with(b"%PDF-1.4"));
}

/// What `leadglass certificate verify` says of a certificate, held against `keys`.
///
/// # Panics
/// When it cannot be started.
#[must_use]
pub fn verified(file: &Path, keys: &[&str]) -> (i32, Value) {
    let output = leadglass(&[&["certificate", "verify", "--json", file.to_str().unwrap()][..], keys].concat());
    (output.status.code().unwrap(), serde_json::from_slice(&output.stdout).unwrap_or(Value::Null))
}
