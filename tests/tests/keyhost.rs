//! The key host's disk is thrown away: backup, capsule and recovery sheet on an empty one open everything that was
//! acknowledged before the backup; with a mirror, everything.

#![allow(clippy::unwrap_used, reason = "the helpers of a test end where they fail, as the test does")]

use leadglass_tests::eyes::files_under;
use leadglass_tests::fixture::Fixture;
use leadglass_tests::http::Ask;
use leadglass_tests::scratch;
use leadglass_tests::site::{copy_tree, drained, halt, keyd, large, try_keyd};
use leadglass_tests::vault::Vault;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

type Sent = (Fixture, Vec<u8>);

fn send(vault: &Vault, salts: std::ops::Range<u64>) -> Vec<Sent> {
    let mut sent: Vec<Sent> = salts.clone().map(|salt| Fixture::named("ct-3.dcm").renamed(salt)).collect();
    sent.push(large(salts.start, 2));
    for (f, data_set) in &sent {
        assert_eq!(vault.store(f, data_set).unwrap().status, 0, "{}", f.instance);
    }
    drained(vault);
    sent
}

fn all_there(vault: &Vault, sent: &[Sent]) {
    for (f, data_set) in sent {
        assert!(&vault.data_set_of(f) == data_set, "{} came back otherwise than it was sent", f.instance);
    }
}

fn clean(vault: &Vault) -> bool {
    let ask = Ask { token: Some(&vault.up.tokens.dpo), ..Ask::default() };
    let answer = vault.http().send("POST", &format!("{}/api/v1/verify", vault.up.http.base), ask, Vec::new());
    answer.text().lines().last().unwrap_or_default().contains("\"clean\":true")
}

/// What a careful operator has elsewhere: capsules and the sheet. And the disk is gone, with the file that unsealed it.
fn lose_the_host(vault: &Vault, elsewhere: &Path) {
    let data = &vault.up.data.keyd;
    copy_tree(&data.join("capsules"), &elsewhere.join("capsules")).unwrap();
    fs::rename(vault.folder().join("recovery-sheet.txt"), elsewhere.join("sheet.txt")).unwrap();
    fs::remove_dir_all(data).unwrap();
    fs::remove_file(vault.folder().join("config/unseal.key")).unwrap();
    assert!(!data.exists());
}

/// On the empty machine: a new provider, with a key file of its own.
fn try_restore(vault: &Vault, elsewhere: &Path, source: [&str; 2]) -> Output {
    let (capsules, sheet) = (elsewhere.join("capsules"), elsewhere.join("sheet.txt"));
    let key_file = vault.folder().join("config/unseal.key");
    let text = |p: &Path| p.to_str().unwrap().to_owned();
    let (capsules, sheet, key_file) = (text(&capsules), text(&sheet), text(&key_file));
    let arguments = [
        &["restore"][..],
        &source,
        &["--from-capsules", &capsules, "--sheet", &sheet, "--provider", "key-file", "--key-file", &key_file],
    ];
    try_keyd(&vault.up.data.keyd, &arguments.concat())
}

fn restore(vault: &Vault, elsewhere: &Path, source: [&str; 2]) {
    let output = try_restore(vault, elsewhere, source);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let opened: serde_json::Value = said.lines().rev().find_map(|l| serde_json::from_str(l).ok()).unwrap();
    assert!(opened["keys"].as_u64().unwrap() > 0 && opened["keys"] == opened["opened"], "{opened}");
}

fn newest(folder: &Path) -> PathBuf {
    files_under(folder).into_iter().rfind(|p| p.extension().is_some_and(|e| e == "lgkb")).unwrap()
}

#[test]
fn backup_capsule_and_sheet_on_an_empty_machine_open_what_was_acknowledged_before() {
    let (mut vault, elsewhere) = (Vault::up(), scratch());
    let sent = send(&vault, 1..6);
    // Taken while it serves, and carried away.
    keyd(&vault.up.data.keyd, &["backup"]);
    let backup = elsewhere.path().join("backup.lgkb");
    fs::copy(newest(&vault.up.data.keyd.join("backups")), &backup).unwrap();
    let later = send(&vault, 6..9);
    halt(&vault);
    lose_the_host(&vault, elsewhere.path());
    let source = ["--backup", backup.to_str().unwrap()];

    // Without the right sheet nothing comes back.
    let sheet = elsewhere.path().join("sheet.txt");
    let right = fs::read_to_string(&sheet).unwrap();
    fs::write(&sheet, right.replace("AGE-SECRET-KEY-1", "AGE-SECRET-KEY-1Q")).unwrap();
    let refused = try_restore(&vault, elsewhere.path(), source);
    assert!(!refused.status.success(), "a wrong sheet restored the key service");
    fs::write(&sheet, right).unwrap();

    restore(&vault, elsewhere.path(), source);
    vault.restart();
    all_there(&vault, &sent);
    // What came after the backup is right or absent, never wrong; and the vault goes on.
    for (f, data_set) in &later {
        match vault.file_of(f) {
            Ok(file) => assert!(leadglass_tests::part10::data_set(&file) == data_set),
            Err(status) => assert!(status == 404 || status >= 500 || status == 403, "status {status}"),
        }
    }
    let more = send(&vault, 20..22);
    all_there(&vault, &more);
    vault.restart();
    all_there(&vault, &sent);
    all_there(&vault, &more);
}

#[test]
fn with_a_mirror_nothing_that_was_acknowledged_is_missing() {
    let (mut vault, elsewhere) = (Vault::up(), scratch());
    let mut sent = send(&vault, 1..4);
    halt(&vault);
    let mirror = elsewhere.path().join("mirror");
    let config = vault.up.data.keyd.join("keyd.toml");
    let mut table: toml::Table = toml::from_str(&fs::read_to_string(&config).unwrap()).unwrap();
    table.insert("mirror".to_owned(), mirror.to_str().unwrap().into());
    fs::write(&config, toml::to_string(&table).unwrap()).unwrap();
    vault.restart();
    sent.extend(send(&vault, 4..9));
    // The host dies while it serves.
    vault.kill_keyd();
    sent.extend(send(&vault, 9..12));
    halt(&vault);
    lose_the_host(&vault, elsewhere.path());
    restore(&vault, elsewhere.path(), ["--from-mirror", mirror.to_str().unwrap()]);
    vault.restart();
    all_there(&vault, &sent);
    assert!(clean(&vault));
    sent.extend(send(&vault, 20..22));
    vault.restart();
    all_there(&vault, &sent);
}
