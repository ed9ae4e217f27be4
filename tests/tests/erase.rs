//! A study is erased, and stays so: not in the vault, not from a backup taken before, not from old bytes of a database, not after
//! the node is killed while it does it. Everything else opens. The certificate says so and cannot be altered.

#![allow(clippy::unwrap_used, reason = "the helpers of a test end where they fail, as the test does")]

use leadglass_model::{ObjectId, SystemEntropy};
use leadglass_store::s3::{Credentials, PART_BYTES_MIN, S3, Style};
use leadglass_store::{Objects, Patience};
use leadglass_tests::alone::{Alone, reindexed};
use leadglass_tests::erasure::{RULES, approved, certificate, erase, gone, leadglass, order, stage, there, verified};
use leadglass_tests::eyes::files_under;
use leadglass_tests::fixture::Fixture;
use leadglass_tests::http::Ask;
use leadglass_tests::process::{kill_9, until};
use leadglass_tests::scratch;
use leadglass_tests::site::{copy_tree, drained, halt, keyd, large, objects, sibling, try_keyd};
use leadglass_tests::vault::{Vault, program};
use leadglass_tests::weed::{BUCKET, KEY, SECRET, Weed};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

const DONE_WITHIN: Duration = Duration::from_secs(60);

/// Holds and recovery times of nothing, so that the test need not wait for them.
fn in_a_hurry(vault: &mut Vault) {
    let file = vault.up.data.keyd.join("keyd.toml");
    let text = fs::read_to_string(&file).unwrap();
    let hurried: Vec<String> = text
        .lines()
        .map(|line| match line.split(" = ").next().unwrap_or_default() {
            "epoch_hold" => "epoch_hold = \"0s\"".to_owned(),
            "recovery_days" => "recovery_days = 0".to_owned(),
            _ => line.to_owned(),
        })
        .collect();
    assert!(hurried.iter().any(|line| line == "recovery_days = 0"));
    fs::write(&file, hurried.join("\n")).unwrap();
    vault.restart();
}

fn newest_backup(vault: &Vault) -> PathBuf {
    let backups = files_under(&vault.up.data.keyd.join("backups"));
    backups.into_iter().rfind(|p| p.extension().is_some_and(|e| e == "lgkb")).unwrap()
}

fn rehearsed(vault: &Vault, backup: &Path) -> Output {
    let sheet = vault.folder().join("recovery-sheet.txt");
    let arguments = ["restore", "--try", "--backup", backup.to_str().unwrap(), "--sheet", sheet.to_str().unwrap()];
    try_keyd(&vault.up.data.keyd, &arguments)
}

#[test]
fn what_was_erased_opens_from_no_backup_and_no_remnant_and_everything_else_does() {
    let (mut vault, elsewhere) = (Vault::with_config(RULES), scratch());
    in_a_hurry(&mut vault);
    let (first, last) = (Fixture::named("ct-1.dcm").renamed(1), Fixture::named("ct-3.dcm").renamed(2));
    let doomed = [Fixture::named("ct-1.dcm").renamed(3), Fixture::named("dx.dcm").renamed(4)];
    for (f, data_set) in doomed.iter().chain([&first, &last]) {
        assert_eq!(vault.store(f, data_set).unwrap().status, 0);
    }
    let thumbnail = vault.ask(&format!("/studies/{}/thumbnail", doomed[0].0.study), Some(&vault.up.token), "*/*");
    assert_eq!(thumbnail.status, 200, "its object is erased with it");
    drained(&vault);

    // Day 1: a backup, and everything on both disks.
    keyd(&vault.up.data.keyd, &["backup"]);
    let day_1 = elsewhere.path().join("day-1.lgkb");
    fs::copy(newest_backup(&vault), &day_1).unwrap();
    assert!(rehearsed(&vault, &day_1).status.success(), "a day later it would still open");
    halt(&vault);
    copy_tree(&vault.up.data.keyd, &elsewhere.path().join("keyd")).unwrap();
    copy_tree(&vault.up.data.vault, &elsewhere.path().join("vault")).unwrap();
    vault.restart();

    // Day 2: one study is erased, and the epoch ends.
    let id = order(&vault, &doomed[0].0, elsewhere.path());
    approved(&vault, &id);
    let before = objects(&vault).len();
    let (code, done) = erase(&vault, &["run", &id]);
    assert_eq!((code, done["stage"].as_str()), (0, Some("done")), "{done}");
    assert!(objects(&vault).len() + 1 < before, "the object and its thumbnail are deleted");
    gone(&vault, &doomed[0].0);
    let interim = elsewhere.path().join("interim");
    certificate(&vault, &id, &interim);
    let text = verified(&interim.with_extension("json"), &[]).1;
    assert_eq!((&text["stage"], &text["epoch_destroyed_at"]), (&Value::from(1), &Value::Null));
    keyd(&vault.up.data.keyd, &["epoch", "advance"]);

    // The certificate is final now; altered by a single letter it is none.
    let last_word = elsewhere.path().join("final");
    certificate(&vault, &id, &last_word);
    let file = last_word.with_extension("json");
    let (code, text) = verified(&file, &[]);
    assert_eq!((code, &text["stage"]), (3, &Value::from(2)), "no key was given to hold it against");
    let ask = Ask { token: Some(&vault.up.tokens.dpo), ..Ask::default() };
    let keys = vault.http().get(&format!("{}/api/v1/audit/keys", vault.up.http.base), ask).json();
    let signer = text["receipt"]["signer"].as_str().unwrap();
    assert_eq!(verified(&file, &["--vault-key", keys["vault_key"].as_str().unwrap(), "--receipt-key", signer]).0, 0);
    assert_eq!(verified(&file, &["--receipt-key", &"0".repeat(64)]).0, 1);
    let altered = fs::read_to_string(&file).unwrap().replacen("objection", "objektion", 1);
    let forged = elsewhere.path().join("forged.json");
    fs::write(&forged, altered).unwrap();
    assert_eq!(verified(&forged, &[]).0, 1);

    // The set of day 1 with today's provider and sheet, and the database as it was: nothing opens.
    assert!(!rehearsed(&vault, &day_1).status.success());
    let old = elsewhere.path().join("keyd");
    fs::copy(vault.up.data.keyd.join("epoch.json"), old.join("epoch.json")).unwrap();
    assert!(!try_keyd(&old, &["status"]).status.success(), "the old keyring under today's epoch");
    fs::copy(vault.up.data.keyd.join("keyring.svo"), old.join("keyring.svo")).unwrap();
    assert!(!try_keyd(&old, &["status"]).status.success(), "the old database under today's keyring");

    // Today's backup opens everything that is left.
    let today = rehearsed(&vault, &newest_backup(&vault));
    let said = String::from_utf8_lossy(&today.stdout).into_owned();
    assert!(today.status.success(), "{said}{}", String::from_utf8_lossy(&today.stderr));
    vault.restart();
    gone(&vault, &doomed[0].0);
    for sent in [&first, &last, &doomed[1]] {
        there(&vault, sent);
    }
    // The old index under today's key service, which is what an older disk of the vault would be: it names nothing erased.
    let report =
        vault.http().send("POST", &format!("{}/api/v1/verify", vault.up.http.base), ask_dpo(&vault), Vec::new());
    assert!(report.text().lines().last().unwrap_or_default().contains("\"clean\":true"), "{}", report.text());

    // What comes again waits for a person.
    assert_eq!(vault.store(&doomed[0].0, &doomed[0].1).unwrap().status, 0);
    gone(&vault, &doomed[0].0);
    let cases = vault.http().get(&format!("{}/api/v1/quarantine", vault.up.http.base), ask_dpo(&vault)).json();
    assert_eq!(cases[0]["reason"], "erased", "{cases}");

    // Killed while it goes on, again and again: the same end.
    let id = order(&vault, &doomed[1].0, elsewhere.path());
    approved(&vault, &id);
    for _ in 0..3 {
        let pid = vault.now().pids.vault;
        let folder = vault.folder();
        let mut running = Command::new(program())
            .args(["erase", "run", "--data", folder.to_str().unwrap(), &id])
            .stderr(std::process::Stdio::null())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let begun = until(DONE_WITHIN, || running.try_wait().unwrap().is_some() || stage(&vault, &id) != "ordered");
        assert!(begun);
        kill_9(pid);
        let _ended = running.wait().unwrap();
        vault.wait_restarted(pid);
    }
    assert_eq!(erase(&vault, &["run", &id]).1["stage"], "done");
    gone(&vault, &doomed[1].0);
    for sent in [&first, &last] {
        there(&vault, sent);
    }
}

#[test]
fn an_instance_is_erased_for_good_and_its_study_lives_on_also_when_killed_on_the_way() {
    let (mut vault, elsewhere) = (Vault::with_config(RULES), scratch());
    let doomed = Fixture::named("ct-1.dcm").renamed(1);
    let mut stays: Vec<(Fixture, Vec<u8>)> = (1..24).map(|n| sibling(&doomed.0, &doomed.1, 100 + n)).collect();
    stays.push(large(2, 3));
    for (f, data_set) in stays.iter().chain([&doomed]) {
        assert_eq!(vault.store(f, data_set).unwrap().status, 0);
    }
    let thumbnail = vault.ask(&format!("/studies/{}/thumbnail", doomed.0.study), Some(&vault.up.token), "*/*");
    assert_eq!(thumbnail.status, 200, "its object goes with what it shows");
    drained(&vault);
    copy_tree(&vault.up.data.objects.join("o"), &elsewhere.path().join("o")).unwrap();
    let before = objects(&vault);

    let paper = |name: &str, text: &str| {
        let path = elsewhere.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (study, instance) = (paper("study.txt", &doomed.0.study), paper("instance.txt", &doomed.0.instance));
    let words = ["order", "--study-file", &study, "--instance-file", &instance, "--ground", "unlawful", "--no-rule"];
    let (_, ordered) = erase(&vault, &words);
    assert_eq!(ordered["level"], "instance");
    let id = ordered["id"].as_str().unwrap().to_owned();
    // Killed ever later, with what stays half sealed anew, until it waits for the key host.
    let mut killed = 0;
    for round in 0.. {
        let pid = vault.now().pids.vault;
        let folder = vault.folder();
        let mut running = Command::new(program())
            .args(["erase", "run", "--json", "--data", folder.to_str().unwrap(), &id])
            .stderr(std::process::Stdio::null())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        if until(Duration::from_millis(60 + 40 * round), || running.try_wait().unwrap().is_some()) {
            break;
        }
        kill_9(pid);
        let _ended = running.wait().unwrap();
        vault.wait_restarted(pid);
        killed += 1;
        there(&vault, &stays[0]);
        there(&vault, &doomed);
    }
    assert!(killed > 0, "no attempt was killed");
    approved(&vault, &id);
    assert_eq!(erase(&vault, &["run", &id]).1["stage"], "done");

    let check = |vault: &Vault| {
        assert_eq!(vault.file_of(&doomed.0).unwrap_err(), 404);
        for sent in &stays {
            there(vault, sent);
        }
        let found = vault.ask(
            &format!("/studies?StudyInstanceUID={}&includefield=00201208", doomed.0.study),
            Some(&vault.up.token),
            "application/dicom+json",
        );
        assert_eq!(found.json()[0]["00201208"]["Value"][0], 23, "{}", found.text());
    };
    check(&vault);
    let after = objects(&vault);
    assert_eq!(after.len(), stays.len(), "nothing is left behind");
    assert_eq!(before.intersection(&after).count(), 1, "only the other study's object is what it was");
    let report =
        vault.http().send("POST", &format!("{}/api/v1/verify", vault.up.http.base), ask_dpo(&vault), Vec::new());
    assert!(report.text().lines().last().unwrap_or_default().contains("\"clean\":true"), "{}", report.text());
    certificate(&vault, &id, &elsewhere.path().join("certificate"));

    // Every byte of that day is put back, and the index is built from it: what was erased does not open.
    copy_tree(&elsewhere.path().join("o"), &vault.up.data.objects.join("o")).unwrap();
    let rebuilt = reindexed(&mut vault);
    let left_out = rebuilt["rebuilt"]["left_out"].as_array().unwrap();
    assert_eq!(left_out.len(), before.len() - 1, "{rebuilt}");
    assert!(left_out.iter().all(|out| out["why"] == "destroyed"), "{rebuilt}");
    check(&vault);
}

/// T11 for the vault's own backups: one from before brings back everything but what was erased since, study or instance.
#[test]
fn a_backup_of_the_vault_from_before_gives_back_nothing_that_was_erased_since() {
    let (mut vault, elsewhere) = (Vault::with_config(RULES), scratch());
    let (doomed, part) = (Fixture::named("ct-1.dcm").renamed(1), Fixture::named("ct-1.dcm").renamed(2));
    let (beside, kept) = (sibling(&part.0, &part.1, 102), large(3, 3));
    for (f, data_set) in [&doomed, &part, &beside, &kept] {
        assert_eq!(vault.store(f, data_set).unwrap().status, 0);
    }
    drained(&vault);
    let backed = |word: &str, vault: &Vault, shelf: &Path| {
        let mut command = Command::new(program());
        command.arg(word).arg(shelf).args(["--json", "--config"]).arg(vault.folder().join("config/vault.toml"));
        let output = command.output().unwrap();
        assert!(output.status.success(), "{word}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    let (before, after) = (elsewhere.path().join("before"), elsewhere.path().join("after"));
    backed("backup", &vault, &before);

    let whole = order(&vault, &doomed.0, elsewhere.path());
    let instance = elsewhere.path().join("instance.txt");
    fs::write(&instance, &part.0.instance).unwrap();
    let study = elsewhere.path().join("study.txt");
    fs::write(&study, &part.0.study).unwrap();
    let words = ["--study-file", study.to_str().unwrap(), "--instance-file", instance.to_str().unwrap()];
    let ordered = erase(&vault, &[&["order", "--ground", "objection", "--no-rule"][..], &words].concat()).1;
    for id in [&whole, ordered["id"].as_str().unwrap()] {
        approved(&vault, id);
        assert_eq!(erase(&vault, &["run", id]).1["stage"], "done");
    }
    backed("backup", &vault, &after);
    // What stayed beside the instance lies in the first backup under the key that ended with it.
    for (shelf, erased, comes_back) in [(&before, 3, &[&kept][..]), (&after, 0, &[&kept, &beside])] {
        halt(&vault);
        let alone = Alone::start(&vault);
        fs::remove_dir_all(&vault.up.data.vault).unwrap();
        fs::remove_dir_all(&vault.up.data.objects).unwrap();
        let restored = backed("restore", &vault, shelf);
        assert_eq!(restored["erased_objects"], erased, "{restored}");
        drop(alone);
        let log = format!("{}:{}", restored["log"]["size"], restored["log"]["root"].as_str().unwrap());
        keyd(&vault.up.data.keyd, &["approve", "--action", "log-reset", "--log", &log]);
        vault.restart();
        for gone in [&doomed, &part] {
            assert_eq!(vault.file_of(&gone.0).unwrap_err(), 404);
        }
        for sent in comes_back {
            there(&vault, sent);
        }
    }
}

#[test]
fn the_law_and_a_hold_keep_what_would_be_erased() {
    let (mut vault, papers) = (Vault::with_config(RULES), scratch());
    let (ct, data_set) = Fixture::named("ct-1.dcm").renamed(1);
    assert_eq!(vault.store(&ct, &data_set).unwrap().status, 0);
    let paper = |name: &str, text: &str| {
        let path = papers.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let folder = vault.folder();
    let told = |words: &[&str], rest: &[&str]| {
        let output = leadglass(&[words, &["--data", folder.to_str().unwrap(), "--json"], rest].concat());
        let said = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
        (output.status.code().unwrap(), said, String::from_utf8(output.stderr).unwrap())
    };
    let uid = paper("uid.txt", &ct.study);
    let order = |ground: &str| told(&["erase", "order"], &["--study-file", &uid, "--ground", ground]);

    let (code, _, why) = order("objection");
    assert!(code == 1 && why.contains("No retention rule is about it"), "{why}");
    let (code, seeded, _) = told(&["retention", "seed"], &["DE"]);
    assert!(code == 0 && seeded.as_array().unwrap().iter().all(|rule| rule["confirmed"].is_null()), "{seeded}");
    let (code, _, why) = order("objection");
    assert!(code == 1 && why.contains("nobody has confirmed it"), "{why}");
    for rule in seeded.as_array().unwrap() {
        assert_eq!(told(&["retention", "confirm"], &[rule["id"].as_str().unwrap()]).0, 0);
    }
    let (code, _, why) = order("objection");
    assert!(code == 1 && why.contains("demands it until 2034-01-02"), "{why}");
    for rule in seeded.as_array().unwrap() {
        assert_eq!(told(&["retention", "drop"], &[rule["id"].as_str().unwrap()]).0, 0);
    }

    let rule = r#"{"id":"short","country":"DE","years":1,"since":"examination","source":"a test"}"#;
    assert_eq!(told(&["retention", "write"], &[&paper("rule.json", rule)]).0, 0);
    assert_eq!(told(&["retention", "due"], &[]).1["total"], 0, "nobody answers for it");
    assert_eq!(told(&["retention", "confirm"], &["short"]).0, 0);
    assert_eq!(told(&["retention", "due"], &[]).1["studies"][0]["study"], Value::from(ct.study.clone()));
    let patient = paper("patient.txt", &ct.patient_id);
    let (code, hold, why) =
        told(&["hold", "add"], &["--patient-file", &patient, "--reason-file", &paper("why.txt", "a claim")]);
    assert_eq!(code, 0, "{why}");
    assert_eq!(told(&["retention", "due"], &[]).1["total"], 0);
    let (code, _, why) = order("retention-end");
    assert!(code == 1 && why.contains("legal claim"), "{why}");
    vault.restart();
    assert_eq!(told(&["hold", "list"], &[]).1[0]["id"], hold["id"]);
    assert_eq!(told(&["hold", "lift"], &[hold["id"].as_str().unwrap()]).0, 0);
    let (code, taken, _) = order("retention-end");
    assert_eq!((code, &taken["stage"]), (0, &Value::from("ordered")));
}

/// Nothing of an object is left in the bucket, with versions and without: there deleting hides what was stored, and no more.
#[test]
fn an_erased_object_leaves_no_version_in_its_bucket() {
    let (weed, node) = (Weed::start(), scratch());
    let s3 = S3 {
        endpoint: Some(format!("http://{}", weed.s3())),
        region: "us-east-1".to_owned(),
        bucket: BUCKET.to_owned(),
        prefix: "node-1".to_owned(),
        style: Style::Path,
        ca: None,
        trusted_network: false,
        credentials: Credentials::given(KEY.to_owned(), SECRET.to_owned(), None),
        part_bytes: PART_BYTES_MIN,
        patience: Patience(Duration::from_secs(20)),
        timeout: Duration::from_secs(5),
    };
    let objects = Objects::over(s3.backing(node.path().join("uploads.lgl")).unwrap()).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let bytes_of = |id: ObjectId| id.to_string().into_bytes();
    for versions in [false, true] {
        if versions {
            keep_versions(&weed);
        }
        let (doomed, kept) = (ObjectId::random(&SystemEntropy), ObjectId::random(&SystemEntropy));
        let held = |id: ObjectId| weed.bucket().iter().filter(|(_, bytes)| *bytes == bytes_of(id)).count();
        runtime.block_on(async {
            for id in [doomed, kept] {
                objects.put(id, vec![bytes_of(id).into()]).await.unwrap();
            }
            objects.delete(doomed).await.unwrap();
        });
        assert_eq!(held(doomed), usize::from(versions), "what a bucket with versions holds of a deleted object");
        runtime.block_on(async {
            // Again under the same name: a version, a marker, a version.
            objects.put(doomed, vec![bytes_of(doomed).into()]).await.unwrap();
            objects.erase(doomed).await.unwrap();
            objects.erase(doomed).await.unwrap();
            assert!(objects.len(doomed).await.is_err() && objects.len(kept).await.is_ok());
        });
        let left: Vec<String> = weed.bucket().into_iter().map(|(name, _)| name).collect();
        assert!(left.iter().all(|name| !name.contains(&doomed.to_string())), "{left:?}");
        assert_eq!((held(doomed), held(kept)), (0, 1));
    }
}

/// From now on the bucket keeps what is deleted or written over. The SHA-256 is that of the body.
fn keep_versions(weed: &Weed) {
    let asked = Command::new("curl")
        .args(["-sf", "--aws-sigv4", "aws:amz:us-east-1:s3", "--user", &format!("{KEY}:{SECRET}"), "-X", "PUT"])
        .args(["-d", "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"])
        .args(["-H", "content-type: application/xml", "-H"])
        .arg("x-amz-content-sha256: dd6f6f21cc8680cc5c32bba98d4297e37552279d7e326a35df847ed2713f2d6a")
        .arg(format!("http://{}/{BUCKET}?versioning=", weed.s3()))
        .output()
        .unwrap();
    assert!(asked.status.success(), "{asked:?}");
}

fn ask_dpo(vault: &Vault) -> Ask<'_> {
    Ask { token: Some(&vault.up.tokens.dpo), ..Ask::default() }
}
