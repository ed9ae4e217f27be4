//! The key host's disk is thrown away: backup, capsule and recovery sheet on an empty one open everything that was
//! acknowledged before the backup; with a mirror, everything.

#![allow(clippy::unwrap_used, reason = "the helpers of a test end where they fail, as the test does")]

use leadglass_tests::eyes::files_under;
use leadglass_tests::fixture::Fixture;
use leadglass_tests::http::Ask;
use leadglass_tests::scratch;
use leadglass_tests::site::{copy_tree, drained, halt, keyd, large, try_keyd};
use leadglass_tests::vault::{Vault, program};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

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

/// T11's second half: an erasure whose epoch has not ended, and a key service that comes back as it was before it. What the
/// vault keeps with its order, or the folder of the capsules, destroys again what was erased before anything opens.
#[test]
fn a_key_service_restored_from_before_an_erasure_does_not_open_what_was_erased() {
    let (mut vault, elsewhere) = (Vault::with_config("[erasure]\ncooling_off = \"0s\"\napprovals = 0\n"), scratch());
    let sent = send(&vault, 1..3);
    let (doomed, data_set) = Fixture::named("dx.dcm").renamed(40);
    assert_eq!(vault.store(&doomed, &data_set).unwrap().status, 0);
    drained(&vault);
    keyd(&vault.up.data.keyd, &["backup"]);
    let backup = elsewhere.path().join("before.lgkb");
    fs::copy(newest(&vault.up.data.keyd.join("backups")), &backup).unwrap();

    let file = elsewhere.path().join("study.txt");
    fs::write(&file, &doomed.study).unwrap();
    let (_, order) =
        erase(&vault, &["order", "--study-file", file.to_str().unwrap(), "--ground", "objection", "--no-rule"]);
    let id = order["id"].as_str().unwrap().to_owned();
    let (_, waits) = erase(&vault, &["run", &id]);
    let approval = waits["detail"].as_str().unwrap().rsplit(' ').next().unwrap().trim_end_matches('.').to_owned();
    keyd(&vault.up.data.keyd, &["approve", &approval]);
    assert_eq!(erase(&vault, &["run", &id]).1["stage"], "done");
    halt(&vault);
    lose_the_host(&vault, elsewhere.path());
    let receipts = elsewhere.path().join("capsules/erased");
    assert_eq!(fs::read_dir(&receipts).unwrap().count(), 1, "the receipt lies beside the capsules");
    fs::remove_dir_all(&receipts).unwrap();

    // With the capsule alone, as it was on the day of the backup: the backup still opens the key that is gone.
    let output = try_restore(&vault, elsewhere.path(), ["--backup", backup.to_str().unwrap()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let standing = keyd(&vault.up.data.keyd, &["status"]);
    assert_eq!(standing["destroyed"], 0, "it knows nothing of the erasure: {standing}");
    // An escrow file, which is how a key leaves without a vault, is refused under its approval.
    let tenant = keyd(&vault.up.data.keyd, &["tenant", "list"])["tenants"][0]["tenant"].as_str().unwrap().to_owned();
    let asked = ["approve", "--action", "escrow", "--tenant", &tenant, "--count", "100"];
    let approval = keyd(&vault.up.data.keyd, &asked)["id"].as_str().unwrap().to_owned();
    let out = elsewhere.path().join("keys.json");
    let ask = ["escrow", "--tenant", &tenant, "--approval", &approval, "--out", out.to_str().unwrap()];
    assert!(!try_keyd(&vault.up.data.keyd, &ask).status.success() && !out.exists());

    // The vault starts and shows its receipt; then everything opens but what was erased.
    vault.restart();
    assert_eq!(keyd(&vault.up.data.keyd, &["status"])["destroyed"], 1);
    all_there(&vault, &sent);
    assert_eq!(vault.file_of(&doomed).unwrap_err(), 404);
    assert!(clean(&vault));
    let receipts = fs::read_dir(vault.up.data.keyd.join("capsules/erased")).unwrap().count();
    assert_eq!(receipts, 1, "and lies beside the capsules again");
}

fn erase(vault: &Vault, arguments: &[&str]) -> (i32, Value) {
    let (first, rest) = arguments.split_first().unwrap();
    let folder = vault.folder();
    let arguments = [&["erase", first][..], &["--data", folder.to_str().unwrap(), "--json"], rest].concat();
    let output = Command::new(program()).args(arguments).output().unwrap();
    let said = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    (output.status.code().unwrap(), said)
}
