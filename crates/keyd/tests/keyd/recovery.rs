//! The key host's disk is thrown away.

use crate::support::{Host, Running, copy, opened};
use leadglass_keys::wire::{Few, NewKey, PresentReceipts, ReceiptsSeen, path};
use leadglass_model::{KeyId, Purpose};

/// An empty machine that holds what was kept elsewhere: `kept/`, the sheet, and the vault's own certificate.
fn fresh_machine(old: &Host) -> Host {
    let host = Host { dir: tempfile::tempdir().unwrap(), tenant: old.tenant };
    for name in ["sheet.txt", "vault.pem", "vault-key.pem"] {
        std::fs::copy(old.at(name), host.at(name)).unwrap();
    }
    host
}

/// The same with a backup and the capsules, and the words that restore it.
fn fresh_with_backup(old: &Host, backup: &str) -> (Host, Vec<String>) {
    let new = fresh_machine(old);
    std::fs::copy(backup, new.at("backup.lgkb")).unwrap();
    copy(&old.data().join("capsules"), &new.dir.path().join("capsules-kept"));
    let [key, sheet, file, capsules] =
        ["outside/unseal.key", "sheet.txt", "backup.lgkb", "capsules-kept"].map(|name| new.at(name));
    let words = ["restore", "--backup", &file, "--from-capsules", &capsules, "--sheet", &sheet];
    let how = ["--provider", "key-file", "--key-file", &key, "--listen", "127.0.0.1:0"];
    (new, words.into_iter().chain(how).map(str::to_owned).collect())
}

async fn assert_opens(host: &Host, running: &Running, made: &[NewKey]) {
    let mut api = host.connect(running, "vault").await;
    let ids: Vec<KeyId> = made.iter().map(|k| k.key_id).collect();
    for (made, outcome) in made.iter().zip(host.unwrap(&mut api, &ids, Purpose::Care).await) {
        assert_eq!(opened(&outcome).unwrap(), *made.key.expose());
    }
}

/// What a vault that never erased anything says at its start.
async fn no_receipts(host: &Host, running: &Running) {
    let mut api = host.connect(running, "vault").await;
    let all = PresentReceipts { tenant: host.tenant, receipts: Few::default(), last: true };
    let (status, body) = api.post(path::RECEIPTS, &all).await;
    let seen: ReceiptsSeen = serde_json::from_slice(&body).unwrap();
    assert!(status == 200 && !seen.awaited);
}

#[tokio::test]
async fn backup_capsule_and_sheet_open_everything_on_an_empty_machine() {
    let old = Host::new();
    let running = old.serve();
    let mut api = old.connect(&running, "vault").await;
    let made = old.create(&mut api, None, 5).await;
    let backup = old.done(&["backup"])["path"].as_str().unwrap().to_owned();
    running.kill();

    let (new, restore) = fresh_with_backup(&old, &backup);
    let restore: Vec<&str> = restore.iter().map(String::as_str).collect();
    let restored = new.done(&restore);
    assert_eq!(restored["opened"], 5);
    // A second restore would overwrite what stands.
    assert_eq!(new.refused(&restore).0, 5);
    new.done(&["ca", "issue", "server"]);
    let running = new.serve();
    no_receipts(&new, &running).await;
    assert_opens(&new, &running, &made).await;
}

#[tokio::test]
async fn a_mirror_brings_back_what_no_backup_saw() {
    let mirror = tempfile::tempdir().unwrap();
    let at = mirror.path().join("mirror").to_str().unwrap().to_owned();
    let old = Host::with(&["--mirror", &at]);
    let running = old.serve();
    let mut api = old.connect(&running, "vault").await;
    let mut made = old.create(&mut api, None, 5).await;
    old.done(&["rotate", "--tenant", &old.tenant.to_string()]);
    made.extend(old.create(&mut api, None, 5).await);
    running.kill();

    let new = fresh_machine(&old);
    copy(&old.data().join("capsules"), &new.dir.path().join("capsules-kept"));
    let (key, sheet, capsules) = (new.at("outside/unseal.key"), new.at("sheet.txt"), new.at("capsules-kept"));
    let mut restore = vec!["restore", "--from-mirror", &at, "--from-capsules", &capsules, "--sheet", &sheet];
    restore.extend(["--provider", "key-file", "--key-file", &key, "--listen", "127.0.0.1:0"]);
    assert_eq!(new.done(&restore)["opened"], 10);
    new.done(&["ca", "issue", "server"]);
    let running = new.serve();
    no_receipts(&new, &running).await;
    assert_opens(&new, &running, &made).await;
}

/// Killed ever later until it comes through: each time it begins again and opens everything, and nothing serves in between.
#[tokio::test]
async fn a_restore_that_is_killed_begins_again() {
    let old = Host::new();
    let running = old.serve();
    let mut api = old.connect(&running, "vault").await;
    let made = old.create(&mut api, None, 5).await;
    let backup = old.done(&["backup"])["path"].as_str().unwrap().to_owned();
    running.kill();
    let mut broken = 0;
    for step in 0.. {
        let (new, restore) = fresh_with_backup(&old, &backup);
        let restore: Vec<&str> = restore.iter().map(String::as_str).collect();
        // So many of its files are there when it dies.
        let files = ["restore-under-way", "keyd.toml", "epoch.json", "keyring.svo", "keys.redb"];
        let Some(seen) = files.get(step) else { break };
        let mut child = new.spawn(&restore);
        let seen = new.data().join(seen);
        while !seen.exists() && child.try_wait().unwrap().is_none() {
            std::hint::spin_loop();
        }
        child.kill().unwrap();
        let came_through = child.wait().unwrap().success();
        if new.data().join("restore-under-way").exists() {
            broken += 1;
            let (code, words) = new.refused(&["serve"]);
            let is_configured = new.data().join("keyd.toml").exists();
            assert!(code != 0 && (!is_configured || words.contains("restore was broken off")), "{code} {words}");
            assert_eq!(new.done(&restore)["opened"], 5, "{step}");
        } else if !came_through && !new.data().join("keys.redb").exists() {
            assert_eq!(new.done(&restore)["opened"], 5, "{step}: it had not begun");
        }
        new.done(&["ca", "issue", "server"]);
        let running = new.serve();
        no_receipts(&new, &running).await;
        assert_opens(&new, &running, &made).await;
        assert_eq!(new.refused(&restore).0, 5, "a whole one is not begun again");
    }
    assert!(broken >= 1, "none was broken off");
}

#[test]
fn another_sheet_or_a_changed_backup_restores_nothing() {
    let old = Host::new();
    let backup = old.done(&["backup"])["path"].as_str().unwrap().to_owned();
    let other = Host::new();
    let capsules = old.data().join("capsules");
    let (key, capsules) = (old.at("outside/second.key"), capsules.to_str().unwrap());
    let new = fresh_machine(&old);
    let restore = |file: &str, sheet: &str| {
        new.refused(&[
            "restore",
            "--backup",
            file,
            "--from-capsules",
            capsules,
            "--sheet",
            sheet,
            "--provider",
            "key-file",
            "--key-file",
            &key,
        ])
    };
    assert_eq!(restore(&backup, &other.at("sheet.txt")).0, 3);
    let mut bytes = std::fs::read(&backup).unwrap();
    let at = bytes.len() - 40;
    bytes[at] ^= 1;
    std::fs::write(new.at("changed.lgkb"), bytes).unwrap();
    let (code, words) = restore(&new.at("changed.lgkb"), &new.at("sheet.txt"));
    assert!(code != 0 && words.contains("changed after it was written"), "{code} {words}");
}

#[test]
fn doctor_is_red_until_a_restore_was_tried() {
    let host = Host::new();
    assert_eq!(host.run(&["doctor"]).status.code(), Some(8));
    let tried = host.done(&["restore", "--try", "--sheet", &host.at("sheet.txt")]);
    assert_eq!(tried["epoch"], 1);
    let diagnosis = host.done(&["doctor"]);
    assert_eq!(diagnosis["light"], "yellow", "{diagnosis}");
}
