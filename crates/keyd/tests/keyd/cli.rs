//! The command line: help that teaches, exit codes that hold.

use crate::support::{BIN, Host};
use std::process::{Command, Stdio};

fn help(args: &[&str]) -> String {
    let output = Command::new(BIN).args(args).arg("--help").env_clear().output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn help_names_the_order_of_first_steps_and_every_exit_code() {
    let text = help(&[]);
    let steps =
        ["init --sheet", "ca init", "ca issue server", "ca issue client", "tenant add", "client add", "DIR serve"];
    let places: Vec<usize> = steps.iter().map(|s| text.find(s).unwrap_or_else(|| panic!("{s}\n{text}"))).collect();
    assert!(places.is_sorted());
    for code in 0..=8 {
        assert!(text.contains(&format!("{code} ")), "{code}");
    }
}

#[test]
fn every_command_has_help_of_its_own() {
    for command in [
        "init",
        "serve",
        "unseal",
        "status",
        "doctor",
        "backup",
        "restore",
        "approve",
        "approvals",
        "rotate",
        "escrow",
        "tenant",
        "client",
        "people",
        "ca",
    ] {
        let text = help(&[command]);
        assert!(text.lines().next().is_some_and(|l| l.len() > 10), "{command}");
    }
}

#[test]
fn exit_codes_tell_failures_apart() {
    let host = Host::new();
    assert_eq!(host.refused(&["nonsense"]).0, 2);
    assert_eq!(host.refused(&["unseal"]).0, 4);
    assert_eq!(host.refused(&["tenant", "add", "practice"]).0, 5);
    assert_eq!(host.refused(&["approve", "--tenant", &host.tenant.to_string()]).0, 2);
    assert_eq!(host.refused(&["approve", "0123456789abcdef"]).0, 4);
    let key = host.at("data/inside.key");
    assert_eq!(host.refused(&["init", "--provider", "key-file", "--key-file", &key]).0, 5);
    let empty = Host { dir: tempfile::tempdir().unwrap(), tenant: host.tenant };
    assert_eq!(empty.refused(&["status"]).0, 4);
    let key = empty.at("data/inside.key");
    assert_eq!(empty.refused(&["init", "--provider", "key-file", "--key-file", &key]).0, 2);
}

#[test]
fn without_a_server_certificate_nothing_is_served_and_no_ready_file_says_otherwise() {
    let host = Host::new();
    std::fs::remove_file(host.data().join("tls/server.pem")).unwrap();
    let ready = host.at("never.json");
    let (code, words) = host.refused(&["serve", "--ready-file", &ready]);
    assert!(code == 4 && words.contains("ca issue server"), "{code} {words}");
    assert!(!std::path::Path::new(&ready).exists());
}

#[test]
fn a_second_service_on_the_same_directory_is_refused() {
    let host = Host::new();
    let _running = host.serve();
    assert_eq!(host.refused(&["serve"]).0, 5);
}

#[test]
fn the_service_ends_when_its_stdin_closes() {
    let host = Host::new();
    let mut command = Command::new(BIN);
    command.arg("--data").arg(host.data()).args(["serve", "--stdin-guard"]);
    let mut child = command.env_clear().stdin(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
}

#[test]
fn an_escrow_file_needs_an_approval_and_holds_the_keys() {
    let host = Host::new();
    let (tenant, out) = (host.tenant.to_string(), host.at("escrow.json"));
    assert_eq!(host.refused(&["escrow", "--tenant", &tenant, "--approval", "none", "--out", &out]).0, 4);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let running = host.serve();
    let made = runtime.block_on(async {
        let mut api = host.connect(&running, "vault").await;
        host.create(&mut api, None, 2).await
    });
    assert_eq!(host.refused(&["escrow", "--tenant", &tenant, "--approval", "none", "--out", &out]).0, 3);
    let given = host.done(&["approve", "--action", "escrow", "--tenant", &tenant, "--count", "2"]);
    let id = given["id"].as_str().unwrap();
    host.done(&["escrow", "--tenant", &tenant, "--approval", id, "--out", &out]);
    let file = leadglass_seal::EscrowFile::parse(&std::fs::read(&out).unwrap()).unwrap();
    for key in made {
        assert_eq!(file.find(key.key_id, key.key_gen).unwrap().reveal(), key.key.expose());
    }
}
