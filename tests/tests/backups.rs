//! The vault's disk is thrown away: a backup on an empty one, with the key service, gives back everything that was in it.
//! Killed at any moment, backup and restore go on to the same end; what was changed or is lacking is found by a drill; an index
//! grows again from objects and key service alone.

#![allow(clippy::unwrap_used, reason = "the helpers of a test end where they fail, as the test does")]

use leadglass_tests::alone::{Alone, reindexed};
use leadglass_tests::eyes::files_under;
use leadglass_tests::fixture::Fixture;
use leadglass_tests::process::{kill_9, until};
use leadglass_tests::scratch;
use leadglass_tests::site::{believe, drained, halt, large, objects, refused_start};
use leadglass_tests::vault::{Vault, program};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

type Sent = (Fixture, Vec<u8>);

fn send(vault: &Vault, salts: std::ops::Range<u64>) -> Vec<Sent> {
    let mut sent: Vec<Sent> = salts.clone().map(|salt| Fixture::named("ct-3.dcm").renamed(salt)).collect();
    sent.push(large(salts.start, 3));
    for (f, data_set) in &sent {
        assert_eq!(vault.store(f, data_set).unwrap().status, 0, "{}", f.instance);
    }
    sent
}

fn all_there(vault: &Vault, sent: &[Sent]) {
    for (f, data_set) in sent {
        assert!(&vault.data_set_of(f) == data_set, "{} came back otherwise than it was sent", f.instance);
    }
}

fn config(vault: &Vault) -> PathBuf {
    vault.folder().join("config/vault.toml")
}

fn command(vault: &Vault, word: &str, shelf: &Path) -> Command {
    let mut command = Command::new(program());
    command.arg(word).arg(shelf).arg("--json").arg("--config").arg(config(vault));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn told(output: &Output) -> Value {
    let said = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&said)
        .unwrap_or_else(|e| panic!("no JSON ({e}): {said}{}", String::from_utf8_lossy(&output.stderr)))
}

fn run(vault: &Vault, word: &str, shelf: &Path) -> Value {
    let output = command(vault, word, shelf).output().unwrap();
    assert!(output.status.success(), "{word}: {}", String::from_utf8_lossy(&output.stderr));
    told(&output)
}

fn refused(vault: &Vault, word: &str, shelf: &Path) -> String {
    let output = command(vault, word, shelf).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{word} was not refused");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The vault's disk and its store are gone.
fn lose_the_vault(vault: &Vault) {
    fs::remove_dir_all(&vault.up.data.vault).unwrap();
    fs::remove_dir_all(&vault.up.data.objects).unwrap();
}

/// Kills the command ever later, until it ends by itself before that. Answers how often.
fn killed_on_its_way(vault: &Vault, word: &str, shelf: &Path) -> usize {
    for killed in 0.. {
        let mut child = command(vault, word, shelf).spawn().unwrap();
        let patience = Duration::from_millis(10 + 25 * killed as u64);
        if until(patience, || child.try_wait().unwrap().is_some()) {
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success(), "{word}: {}", String::from_utf8_lossy(&output.stderr));
            return killed;
        }
        kill_9(child.id());
        child.wait().unwrap();
    }
    unreachable!("it ends")
}

/// Every file's content, by its path below the folder.
fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = files_under(folder).into_iter();
    files.map(|path| (path.strip_prefix(folder).unwrap().to_owned(), fs::read(&path).unwrap())).collect()
}

fn findings(vault: &Vault, shelf: &Path) -> BTreeSet<String> {
    let output = command(vault, "drill", shelf).output().unwrap();
    let said = told(&output);
    assert_eq!(output.status.code(), Some(if said["good"] == true { 0 } else { 3 }), "{said}");
    said["findings"].as_array().unwrap().iter().map(|f| f.as_str().unwrap().to_owned()).collect()
}

fn doctor(vault: &Vault) -> String {
    let output = Command::new(program()).args(["doctor", "--json", "--data"]).arg(vault.folder()).output().unwrap();
    let said = told(&output);
    let codes = said["findings"].as_array().unwrap().iter().map(|f| f["code"].as_str().unwrap());
    codes.filter(|code| code.starts_with("backup-")).collect()
}

#[test]
fn a_backup_on_an_empty_disk_gives_back_all_that_was_in_it_also_when_killed_on_the_way() {
    let (mut vault, elsewhere) = (Vault::up(), scratch());
    let shelf = elsewhere.path().join("backups");
    assert_eq!(doctor(&vault), "backup-never-tried");
    let mut sent = send(&vault, 1..40);
    // Not drained: what waits in the journal belongs to the next backup, and none of it may be half in.
    assert!(killed_on_its_way(&vault, "backup", &shelf) > 0, "no attempt was killed");
    drained(&vault);
    run(&vault, "backup", &shelf);
    let before = objects(&vault).len();
    sent.extend(send(&vault, 40..50));
    drained(&vault);
    let taken = run(&vault, "backup", &shelf);
    assert_eq!(taken["new_objects"], objects(&vault).len() - before, "what is there is not copied again: {taken}");
    assert_eq!(taken["objects"], objects(&vault).len());
    assert!(vault.never_died(), "the vault died of a backup");

    // Nothing in it can be read.
    let names: Vec<&[u8]> = sent.iter().flat_map(|(f, _)| [f.patient_id.as_bytes(), f.study.as_bytes()]).collect();
    for (path, bytes) in contents(&shelf) {
        let shown = names.iter().any(|name| bytes.windows(name.len()).any(|window| window == *name));
        assert!(!shown, "{} names a patient or a study", path.display());
    }

    assert_eq!(findings(&vault, &shelf), BTreeSet::new());
    assert_eq!(doctor(&vault), "backup-tried");
    let later = send(&vault, 60..62);
    drained(&vault);
    halt(&vault);
    let _alone = Alone::start(&vault);
    assert!(refused(&vault, "restore", &shelf).contains("empty place"));
    lose_the_vault(&vault);
    assert!(killed_on_its_way(&vault, "restore", &shelf) > 0, "no attempt was killed");
    let restored = run(&vault, "restore", &shelf);
    assert_eq!(restored["taken_ms"], taken["taken_ms"], "asked again, a finished restore says what it brought");
    assert_eq!(restored["objects"], taken["objects"]);
    drop(_alone);

    // The key service saw more of the log; it takes a word from its host.
    let said = refused_start(&vault.folder());
    assert!(said.contains("was an older disk put back"));
    believe(&vault.up.data.keyd, &said);
    vault.restart();
    assert!(refused(&vault, "restore", &shelf).contains("empty place"), "where a vault was is no empty place");
    all_there(&vault, &sent);
    for (f, _) in &later {
        assert_eq!(vault.file_of(f).err(), Some(404), "{} came after the backup", f.instance);
    }
    let more = send(&vault, 70..72);
    drained(&vault);
    vault.restart();
    all_there(&vault, &sent);
    all_there(&vault, &more);
}

#[test]
fn a_drill_finds_what_is_changed_or_lacking_and_an_unfinished_restore_does_not_start() {
    let (vault, elsewhere) = (Vault::up(), scratch());
    let shelf = elsewhere.path().join("backups");
    send(&vault, 1..6);
    drained(&vault);
    run(&vault, "backup", &shelf);
    assert_eq!(findings(&vault, &shelf), BTreeSet::new());

    let object = files_under(&shelf.join("o")).into_iter().next_back().unwrap();
    let name = object.file_name().unwrap().to_str().unwrap().to_owned();
    let whole = fs::read(&object).unwrap();
    let mut changed = whole.clone();
    *changed.last_mut().unwrap() ^= 1;
    for bytes in [changed, whole[..whole.len() - 1].to_vec()] {
        fs::write(&object, bytes).unwrap();
        assert_eq!(findings(&vault, &shelf), BTreeSet::from([format!("damaged  object {name}")]));
    }
    assert_eq!(doctor(&vault), "backup-bad");
    fs::write(&object, whole).unwrap();

    for piece in files_under(&shelf.join("p")) {
        let whole = fs::read(&piece).unwrap();
        let mut changed = whole.clone();
        changed[whole.len() / 2] ^= 1;
        fs::write(&piece, changed).unwrap();
        assert!(!findings(&vault, &shelf).is_empty(), "{} was changed", piece.display());
        fs::write(&piece, whole).unwrap();
    }
    // An older set under a newer one's name is none.
    let set = files_under(&shelf.join("sets")).pop().unwrap();
    fs::rename(&set, set.with_file_name("999999999999999.set")).unwrap();
    assert!(findings(&vault, &shelf).iter().any(|f| f.contains("does not open")));
    fs::rename(set.with_file_name("999999999999999.set"), &set).unwrap();
    assert_eq!(findings(&vault, &shelf), BTreeSet::new());

    // A strange folder is not written into, and no two at a time.
    let strange = elsewhere.path().join("strange");
    fs::create_dir(&strange).unwrap();
    fs::write(strange.join("letter"), "dear").unwrap();
    assert!(refused(&vault, "backup", &strange).contains("not empty"));

    halt(&vault);
    fs::write(vault.up.data.vault.join("restore-under-way.json"), "{\"taken_ms\":1}").unwrap();
    assert!(refused_start(&vault.folder()).contains("`leadglass restore` goes on"));
}

#[test]
fn the_index_grows_again_from_objects_and_key_service_alone() {
    let mut vault = Vault::up();
    let sent = send(&vault, 1..8);
    drained(&vault);
    let rebuilt = reindexed(&mut vault);
    assert_eq!(rebuilt["rebuilt"]["left_out"], serde_json::json!([]), "{rebuilt}");
    all_there(&vault, &sent);
}
