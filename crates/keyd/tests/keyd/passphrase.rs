//! The passphrase provider: sealed until a person comes.

use crate::support::{Host, problem};
use leadglass_keys::wire::{Base64Bytes, CreateRequest, ProblemCode, UnsealRequest, path};
use leadglass_model::TenantId;
use std::fs;

fn host() -> Host {
    let mut host = Host { dir: tempfile::tempdir().unwrap(), tenant: TenantId::from_bytes([0; 16]) };
    fs::write(host.at("pass"), "correct horse battery\n").unwrap();
    fs::write(host.at("wrong"), "correct horse batterx\n").unwrap();
    let (pass, sheet) = (host.at("pass"), host.at("sheet.txt"));
    let mut init = vec!["init", "--passphrase-file", &pass, "--sheet", &sheet, "--listen", "127.0.0.1:0"];
    init.extend(["--kdf-memory-kib", "8192"]);
    host.done(&init);
    host.done(&["ca", "init", "--passphrase-file", &pass]);
    host.done(&["ca", "issue", "server", "--passphrase-file", &pass]);
    host.done(&["ca", "issue", "client", "--label", "vault", "--out", &host.at("vault"), "--passphrase-file", &pass]);
    let cert = host.at("vault.pem");
    host.done(&["client", "add", "--label", "vault", "--cert", &cert, "--role", "ingest", "--passphrase-file", &pass]);
    let tenant = host.done(&["tenant", "add", "practice", "--passphrase-file", &pass]);
    host.tenant = tenant["tenant"].as_str().unwrap().parse().unwrap();
    host
}

#[tokio::test]
async fn a_sealed_service_answers_health_and_unseal_and_nothing_else() {
    let host = host();
    let running = host.serve();
    let mut api = host.connect(&running, "vault").await;
    assert_eq!(api.get_json(path::HEALTH).await["sealed"], true);
    let request = CreateRequest { tenant: host.tenant, study_ref: None, count: 1 };
    let (status, body) = api.post(path::CREATE, &request).await;
    assert_eq!((status, problem(&body).code), (503, ProblemCode::Sealed));
    assert_eq!(host.done(&["status"])["sealed"], true);

    let wrong = UnsealRequest { passphrase: Base64Bytes::new(b"correct horse batterx").unwrap() };
    assert_eq!(api.post(path::UNSEAL, &wrong).await.0, 403);
    assert_eq!(host.refused(&["unseal", "--passphrase-file", &host.at("wrong")]).0, 3);
    assert_eq!(api.get_json(path::HEALTH).await["sealed"], true);

    host.done(&["unseal", "--passphrase-file", &host.at("pass")]);
    assert_eq!(api.get_json(path::HEALTH).await["sealed"], false);
    host.create(&mut api, None, 1).await;
}

#[test]
fn a_stolen_data_directory_falls_to_no_other_passphrase() {
    let host = host();
    assert_eq!(host.refused(&["status", "--passphrase-file", &host.at("wrong")]).0, 3);
    fs::write(host.at("short"), "short").unwrap();
    assert_eq!(host.refused(&["status", "--passphrase-file", &host.at("short")]).0, 2);
    assert_eq!(host.done(&["status", "--passphrase-file", &host.at("pass")])["tenants"], 1);
}
