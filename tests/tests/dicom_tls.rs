//! The TLS port of the DICOM listener, asked by dcmtk: with a certificate of ours, without one, with a stranger's, in clear.

use leadglass_tests::peers::{dcmtk, echoscu, said};
use leadglass_tests::scratch;
use leadglass_tests::vault::Vault;
use std::process::{Command, Output, Stdio};

/// What `up.json` says beyond what the other tests read.
fn told(vault: &Vault) -> serde_json::Value {
    let text = std::fs::read(vault.folder().join("up.json")).expect("up.json is there");
    serde_json::from_slice(&text).expect("up.json is JSON")
}

fn path(value: &serde_json::Value) -> &str {
    value.as_str().expect("a path")
}

/// `echoscu` to the TLS port, with these words about TLS.
fn echo(up: &serde_json::Value, tls: &[&str]) -> Output {
    let port = up["dicom"]["tls_port"].as_u64().expect("the TLS port").to_string();
    Command::new(dcmtk("echoscu"))
        .args(tls)
        .args(["-to", "10", "-ta", "10", "-aec", path(&up["dicom"]["aet"]), "127.0.0.1", &port])
        .stdin(Stdio::null())
        .output()
        .expect("echoscu runs")
}

#[test]
fn only_a_certificate_of_our_own_gets_past_the_tls_port() {
    let (vault, scratch) = (Vault::up(), scratch());
    let up = told(&vault);
    let (ca, cert, key) = (path(&up["ca"]), path(&up["client"]["cert"]), path(&up["client"]["key"]));

    let ours = echo(&up, &["+tls", key, cert, "+cf", ca]);
    assert!(ours.status.success(), "with our certificate: {}", said(&ours));

    let nobody = echo(&up, &["+tla", "+cf", ca]);
    assert!(!nobody.status.success(), "without a certificate: {}", said(&nobody));

    let clear = echo(&up, &[]);
    assert!(!clear.status.success(), "in clear: {}", said(&clear));

    let (foreign_cert, foreign_key) = (scratch.path().join("foreign.pem"), scratch.path().join("foreign-key.pem"));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=stranger", "-keyout"])
        .arg(&foreign_key)
        .arg("-out")
        .arg(&foreign_cert)
        .output()
        .expect("openssl runs");
    assert!(made.status.success(), "{}", said(&made));
    let (foreign_cert, foreign_key) = (foreign_cert.to_string_lossy(), foreign_key.to_string_lossy());
    let stranger = echo(&up, &["+tls", &foreign_key, &foreign_cert, "+cf", ca]);
    assert!(!stranger.status.success(), "with a stranger's certificate: {}", said(&stranger));

    // Those who may are served as before, on both ports.
    assert!(echo(&up, &["+tls", key, cert, "+cf", ca]).status.success());
    let plain = echoscu(vault.dicom(), "ECHOSCU", path(&up["dicom"]["aet"]));
    assert!(plain.status.success(), "{}", said(&plain));
    assert!(vault.never_died());
}
