//! Forms as browsers send them (RFC 7578), and what the vault answers to its uploads.

use crate::http::{Answer, Ask, Http};
use crate::peers::{python, said};
use crate::vault::Vault;
use crate::workspace_root;
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Command;

/// A part of a form: a field, or a file under a name that says whom it shows.
#[derive(Clone, Copy, Debug)]
pub enum Part<'a> {
    /// Name and value.
    Field(&'a str, &'a str),
    /// Its bytes.
    File(&'a [u8]),
}

/// The form as a body under [`CONTENT_TYPE`].
#[must_use]
pub fn body(parts: &[Part<'_>]) -> Vec<u8> {
    let mut body = Vec::new();
    for part in parts {
        body.extend(b"--boundary\r\nContent-Disposition: form-data; name=");
        match part {
            Part::Field(name, value) => body.extend(format!("\"{name}\"\r\n\r\n{value}").into_bytes()),
            Part::File(bytes) => {
                body.extend(b"\"file\"; filename=\"CANARY in the name.jpg\"\r\nContent-Type: image/x-lie\r\n\r\n");
                body.extend(*bytes);
            }
        }
        body.extend(b"\r\n");
    }
    body.extend(b"--boundary--\r\n");
    body
}

/// Of a [`body`].
pub const CONTENT_TYPE: &str = "multipart/form-data; boundary=boundary";

/// Sends a form to the vault's uploads, in pieces.
///
/// # Panics
/// When the vault could not be reached or broke off.
#[must_use]
pub fn post(vault: &Vault, token: &str, parts: &[Part<'_>]) -> Answer {
    post_by(vault.http(), vault, token, parts)
}

/// [`send`] by a client of its own, so that several are under way at once.
///
/// # Panics
/// As [`post`].
#[must_use]
pub fn send_alone(vault: &Vault, parts: &[Part<'_>]) -> Answer {
    let ca = fs::read(&vault.up.ca).expect("the CA file");
    post_by(&Http::trusting(Some(&ca)), vault, &vault.up.token, parts)
}

fn post_by(http: &Http, vault: &Vault, token: &str, parts: &[Part<'_>]) -> Answer {
    let url = format!("{}/api/v1/uploads", vault.up.http.base);
    let ask = Ask { token: Some(token), ..Ask::default() };
    let body = body(parts);
    let pieces: Vec<Vec<u8>> = body.chunks(10_000).map(<[u8]>::to_vec).collect();
    http.send_stream(&url, ask, CONTENT_TYPE, pieces.into_iter()).0
}

/// The same as the vault's first clinician.
///
/// # Panics
/// As [`post`].
#[must_use]
pub fn send(vault: &Vault, parts: &[Part<'_>]) -> Answer {
    post(vault, &vault.up.token, parts)
}

/// The files of a 201.
///
/// # Panics
/// When it is another answer.
pub fn files(answer: &Answer) -> Vec<Value> {
    assert_eq!(answer.status, 201, "{}", answer.text());
    answer.json()["files"].as_array().expect("a list of files").clone()
}

/// A refusal's status and code.
///
/// # Panics
/// When it is none.
#[must_use]
pub fn refused(answer: &Answer) -> (u16, String) {
    assert!(answer.status >= 400, "{} {}", answer.status, answer.text());
    (answer.status, answer.json()["code"].as_str().expect("a problem has a code").to_owned())
}

/// Writes the pictures that crates/imaging's tests are made of into a folder.
///
/// # Panics
/// When Python cannot make them.
pub fn pictures(folder: &Path) {
    let script = workspace_root().join("crates/imaging/tests/pictures/make.py");
    let made = Command::new(python()).arg(script).arg(folder).output().expect("Python runs");
    assert!(made.status.success(), "{}", said(&made));
}

/// The instance that a file became.
///
/// # Panics
/// When it does not come.
#[must_use]
pub fn retrieve(vault: &Vault, file: &Value) -> Vec<u8> {
    let url = format!("{}{}", vault.up.http.base, file["url"].as_str().expect("a stored file has an address"));
    let ask = Ask { token: Some(&vault.up.token), accept: Some("application/dicom"), range: None };
    let answer = vault.http().get(&url, ask);
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.body
}

/// What QIDO-RS finds under this path.
///
/// # Panics
/// When it is refused.
#[must_use]
pub fn found(vault: &Vault, path: &str) -> Vec<Value> {
    let answer = vault.ask(path, Some(&vault.up.token), "application/dicom+json");
    assert!(answer.status == 200 || answer.status == 204, "{path}: {}", answer.text());
    if answer.status == 204 { Vec::new() } else { answer.json().as_array().expect("a list").clone() }
}
