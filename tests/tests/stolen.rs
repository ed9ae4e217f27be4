//! A thief takes parts: the objects, the vault's disk, both, the key service's disk, one study's key. Each opens what it must and
//! nothing else.

#![allow(clippy::unwrap_used, reason = "the helpers of a test end where they fail, as the test does")]

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use leadglass_tests::eyes::{Eyes, Sighting, files_under};
use leadglass_tests::fixture::Fixture;
use leadglass_tests::process::{signal, until};
use leadglass_tests::site::{copy_tree, drained, ends_by_itself, halt, keyd, keyd_program, large, sibling, stored};
use leadglass_tests::vault::{Vault, program};
use leadglass_tests::{part10, scratch};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const CANARY: &str = "canary.dcm";
const START: Duration = Duration::from_secs(60);

fn eyes(f: &Fixture) -> Eyes {
    Eyes::for_words(&["CANARY", "NEVER^", "CANARYPIXELS", &f.patient_id, &f.study, &f.series, &f.instance])
}

fn nothing(found: &[Sighting], what: &str) {
    assert!(found.is_empty(), "{what}: {found:?}");
}

/// A vault with a canary and a big object of hers, its folder's parts copied away after it stopped.
struct Loot {
    scratch: tempfile::TempDir,
    f: Fixture,
    tokens: Vec<String>,
    config: String,
}

impl Loot {
    fn take() -> Self {
        let (vault, f) = (Vault::up(), Fixture::named(CANARY));
        vault.store_fixture(&f);
        let (large, data_set) = large(9, 2);
        assert_eq!(vault.store(&large, &data_set).unwrap().status, 0);
        // She is read and searched, too: what that leaves behind is part of the loot.
        assert!(part10::data_set(&vault.file_of(&f).unwrap()) == f.data_set());
        let hits = vault.ask("/studies?PatientName=CANARY*", Some(&vault.up.token), "application/dicom+json");
        assert_eq!(hits.status, 200);
        drained(&vault);
        let config = fs::read_to_string(vault.folder().join("config/vault.toml")).unwrap();
        halt(&vault);
        let scratch = scratch();
        for (name, from) in
            [("objects", &vault.up.data.objects), ("vault", &vault.up.data.vault), ("keyd", &vault.up.data.keyd)]
        {
            copy_tree(from, &scratch.path().join(name)).unwrap();
        }
        // The vault's host has its own certificate and key, and its configuration.
        copy_tree(&vault.folder().join("tls"), &scratch.path().join("tls")).unwrap();
        let tokens = vec![vault.up.token.clone(), vault.up.tokens.dpo.clone()];
        Self { scratch, f, tokens, config }
    }

    fn part(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    /// What the eyes see in a part: in its files' names and in their content.
    fn look(&self, eyes: &Eyes, part: &str) -> Vec<Sighting> {
        let place = self.part(part);
        if place.is_file() {
            return eyes.look(part, &content(&place));
        }
        let files = files_under(&place);
        assert!(!files.is_empty(), "there was nothing to look at in {part}");
        let see = |file: &PathBuf| {
            let name = file.strip_prefix(&place).unwrap().display().to_string();
            let mut seen = eyes.look("a file's name", name.as_bytes());
            seen.extend(eyes.look(&name, &content(file)));
            seen
        };
        files.iter().flat_map(see).collect()
    }

    /// The vault's configuration on the thief's machine: other paths, other ports, the key service where `keys` is.
    fn thiefs_config(&self, objects: &Path, keys: u16) -> PathBuf {
        let mut table: BTreeMap<String, toml::Value> = toml::from_str(&self.config).unwrap();
        let text = |p: PathBuf| toml::Value::String(p.to_str().unwrap().to_owned());
        let tls = self.part("tls");
        table.insert("data".to_owned(), text(self.part("vault")));
        let set = |section: &mut toml::Value, key: &str, value: toml::Value| {
            section.as_table_mut().unwrap().insert(key.to_owned(), value);
        };
        set(table.get_mut("store").unwrap().get_mut("local").unwrap(), "path", text(objects.to_owned()));
        let section = table.get_mut("keys").unwrap();
        set(section, "address", format!("127.0.0.1:{keys}").into());
        for (key, file) in [("ca", "ca.pem"), ("certificate", "vault.pem"), ("key", "vault-key.pem")] {
            set(section, key, text(tls.join(file)));
        }
        let section = table.get_mut("dicom").unwrap();
        set(section, "listen", "127.0.0.1:0".into());
        section.as_table_mut().unwrap().remove("tls");
        let section = table.get_mut("http").unwrap();
        set(section, "listen", "127.0.0.1:0".into());
        section.as_table_mut().unwrap().remove("plain");
        set(section, "certificate", text(tls.join("server.pem")));
        set(section, "key", text(tls.join("server-key.pem")));
        let path = self.part("thief.toml");
        fs::write(&path, toml::to_string(&table).unwrap()).unwrap();
        path
    }
}

/// A file's content without the zeros at its end, which a journal has many of.
fn content(file: &Path) -> Vec<u8> {
    const BLOCK: usize = 4096;
    let mut bytes = fs::read(file).unwrap();
    let used = bytes.chunks(BLOCK).rposition(|block| block != &[0; BLOCK][..block.len()]).map_or(0, |last| last + 1);
    bytes.truncate(used * BLOCK);
    bytes
}

/// A program of the thief's; ended when dropped.
struct Started {
    child: Child,
    log: PathBuf,
}

impl Started {
    fn start(log: PathBuf, command: &mut Command) -> Self {
        let out = fs::File::create(&log).unwrap();
        let child = command
            .stdin(Stdio::null())
            .stdout(out.try_clone().unwrap())
            .stderr(out)
            .spawn()
            .unwrap_or_else(|e| panic!("{command:?}: {e}"));
        Self { child, log }
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        signal(self.child.id(), rustix::process::Signal::KILL);
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("{}", self.said());
        }
    }
}

#[test]
fn objects_vault_disk_both_or_key_disk_show_no_patient_and_open_nothing() {
    let loot = Loot::take();
    let eyes = eyes(&loot.f);
    for part in ["objects", "vault", "keyd", "tls"] {
        nothing(&loot.look(&eyes, part), part);
    }
    // The eyes see what is there: the same folder with her image in it.
    let planted = loot.part("keyd").join("planted");
    fs::write(&planted, loot.f.data_set()).unwrap();
    assert!(loot.look(&eyes, "keyd").len() >= 4);
    fs::remove_file(&planted).unwrap();
    // No bearer token lies on the vault's disk or beside the objects.
    let tokens: Vec<_> = loot.tokens.iter().map(String::as_str).collect();
    for part in ["objects", "vault", "keyd"] {
        nothing(&loot.look(&Eyes::for_words(&tokens), part), part);
    }

    // The objects alone: the escrow reader wants a key, and any other key file opens none.
    let wrong = loot.part("wrong.json");
    for object in files_under(&loot.part("objects").join("o")) {
        let sealed = fs::read(&object).unwrap();
        let key_id: String = sealed[32..48].iter().map(|b| format!("{b:02x}")).collect();
        let guess = serde_json::json!({
            "tenant_id": "00".repeat(16),
            "keys": [{ "key_id": key_id, "gen": 1, "key": "00".repeat(32) }],
        });
        fs::write(&wrong, guess.to_string()).unwrap();
        let mut open = Command::new(program());
        let output = ends_by_itself(open.arg("open").arg("--key-file").arg(&wrong).arg(&object));
        assert!(!output.status.success() && output.stdout.is_empty(), "{}", object.display());
    }

    // The vault's disk and the objects, on a machine without the key service: it never serves.
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = nobody.local_addr().unwrap().port();
    drop(nobody);
    let (ready, config) = (loot.part("ready"), loot.thiefs_config(&loot.part("objects"), closed));
    let vault = Started::start(
        loot.part("thief.log"),
        Command::new(program())
            .args(["--log", "json", "serve"])
            .arg("--config")
            .arg(&config)
            .arg("--ready-file")
            .arg(&ready),
    );
    assert!(until(START, || vault.said().contains("waiting for the key service")), "{}", vault.said());
    assert!(!ready.exists(), "it serves without a key service");
    drop(vault);

    // The key disk, its key file elsewhere: it starts sealed, or not at all, and so the vault beside it waits for ever.
    let keyd_data = loot.part("keyd");
    let text = fs::read_to_string(keyd_data.join("keyd.toml")).unwrap();
    let mut table: BTreeMap<String, toml::Value> = toml::from_str(&text).unwrap();
    table
        .get_mut("provider")
        .unwrap()
        .as_table_mut()
        .unwrap()
        .insert("path".to_owned(), loot.part("no-such.key").to_str().unwrap().into());
    for (what, key_file) in [("without a key file", None), ("with another key file", Some([7_u8; 32]))] {
        if let Some(bytes) = key_file {
            fs::write(loot.part("no-such.key"), bytes).unwrap();
        }
        fs::write(keyd_data.join("keyd.toml"), toml::to_string(&table).unwrap()).unwrap();
        let ready = loot.part("keyd.ready");
        let _ = fs::remove_file(&ready);
        let mut service = Started::start(
            loot.part("keyd.log"),
            Command::new(keyd_program())
                .arg("--data")
                .arg(&keyd_data)
                .args(["serve", "--listen", "127.0.0.1:0", "--ready-file"])
                .arg(&ready),
        );
        let settled = || service.child.try_wait().unwrap().is_some() || ready.exists();
        assert!(until(START, settled), "{what}: {}", fs::read_to_string(loot.part("keyd.log")).unwrap());
        if let Ok(says) = fs::read(&ready) {
            let says: Value = serde_json::from_slice(&says).unwrap();
            assert_eq!(says["sealed"], true, "{what}: {says}");
            let port = says["addr"].as_str().unwrap().rsplit_once(':').unwrap().1.parse().unwrap();
            let (vault_ready, config) = (loot.part("ready"), loot.thiefs_config(&loot.part("objects"), port));
            let vault = Started::start(
                loot.part("thief.log"),
                Command::new(program())
                    .args(["--log", "json", "serve"])
                    .arg("--config")
                    .arg(&config)
                    .arg("--ready-file")
                    .arg(&vault_ready),
            );
            assert!(until(START, || vault.said().contains("waiting for the key service")), "{what}: {}", vault.said());
            assert!(!vault_ready.exists(), "{what}: it serves with a sealed key service");
        } else {
            assert!(!service.child.wait().unwrap().success(), "{what}");
        }
        drop(service);
        // No command of the key host works on the data directory either.
        let tenant = "00".repeat(16);
        for arguments in
            [&["status"][..], &["backup"], &["approve", "--action", "escrow", "--tenant", &tenant, "--count", "1"]]
        {
            let mut command = Command::new(keyd_program());
            let output = ends_by_itself(command.arg("--data").arg(&keyd_data).args(arguments));
            assert!(!output.status.success(), "{what}: {arguments:?} worked");
        }
    }
    // What those attempts left shows no patient either.
    for part in ["objects", "vault", "keyd", "thief.log", "keyd.log"] {
        nothing(&loot.look(&eyes, part), part);
    }
}

#[test]
fn one_leaked_study_key_opens_one_study_and_lies_nowhere_else() {
    let vault = Vault::up();
    let mut studies = Vec::new();
    for salt in [1, 2] {
        let (f, data_set) = Fixture::named("ct-3.dcm").renamed(salt);
        let object = stored(&vault, &f, &data_set);
        studies.push((f, data_set, object));
    }
    let [(hers, her_data, her_object), (_, his_data, his_object)] = &studies[..] else { unreachable!() };
    // A second instance of hers, and the sealed objects of both.
    let (f, data_set) = sibling(hers, her_data, 7);
    let second = (stored(&vault, &f, &data_set), data_set);

    // Which study an object is of, the vault's own scrub tells; here, because we break the object for a moment.
    let study_of = |object: &Path| {
        let sealed = fs::read(object).unwrap();
        fs::write(object, &sealed[..sealed.len() - 1]).unwrap();
        let output = vault.run(&["verify".as_ref(), "--json".as_ref(), "--data".as_ref(), vault.folder().as_os_str()]);
        fs::write(object, &sealed).unwrap();
        let said: Value = serde_json::from_slice(&output.stdout).unwrap();
        said["report"]["findings"][0]["study_ref"].as_str().unwrap().to_owned()
    };
    let (her_ref, his_ref) = (study_of(her_object), study_of(his_object));
    assert_ne!(her_ref, his_ref);

    let keyd_data = &vault.up.data.keyd;
    let listed = keyd(keyd_data, &["tenant", "list"]);
    let tenants: Vec<_> = listed
        .as_array()
        .or_else(|| listed["tenants"].as_array())
        .unwrap_or_else(|| panic!("{listed}"))
        .iter()
        .map(|t| (t["label"].as_str().unwrap().to_owned(), t["tenant"].as_str().unwrap().to_owned()))
        .collect();
    let tenant = &tenants.iter().find(|(label, _)| label == "practice").unwrap().1;
    let place = scratch();
    let key_file = place.path().join("keys.json");
    let escrow = |study: &[&str], approval: &str| {
        let mut command = Command::new(keyd_program());
        command.arg("--json").arg("--data").arg(keyd_data).args(["escrow", "--tenant", tenant]);
        for one in study {
            command.args(["--study", one]);
        }
        ends_by_itself(command.args(["--approval", approval, "--out"]).arg(&key_file))
    };
    let approved = keyd(keyd_data, &["approve", "--action", "escrow", "--tenant", tenant, "--study", &her_ref]);
    let approval = approved["id"].as_str().unwrap_or_else(|| panic!("{approved}")).to_owned();
    // It is for her study alone, and for an escrow alone.
    for study in [&[his_ref.as_str()][..], &[&her_ref, &his_ref], &[]] {
        assert!(!escrow(study, &approval).status.success(), "the approval covers {study:?}");
        assert!(!key_file.exists());
    }
    let given = escrow(&[&her_ref], &approval);
    assert!(given.status.success(), "{}", String::from_utf8_lossy(&given.stdout));

    let open = |object: &Path| {
        ends_by_itself(Command::new(program()).arg("open").arg("--key-file").arg(&key_file).arg(object))
    };
    for (object, data_set) in [(her_object, her_data), (&second.0, &second.1)] {
        let output = open(object);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(part10::data_set(&output.stdout) == data_set);
    }
    let output = open(his_object);
    assert!(!output.status.success() && output.stdout.is_empty(), "her key opens his study");
    // Nor does it when his object says that it lies under her key.
    let file: Value = serde_json::from_slice(&fs::read(&key_file).unwrap()).unwrap();
    let keys = file["keys"].as_array().unwrap();
    let her_id = fs::read(her_object).unwrap()[32..48].to_vec();
    let mut forged = fs::read(his_object).unwrap();
    forged[32..48].copy_from_slice(&her_id);
    let forgery = place.path().join(his_object.file_name().unwrap());
    fs::write(&forgery, forged).unwrap();
    let output = open(&forgery);
    assert!(!output.status.success() && output.stdout.is_empty());
    assert!(his_data != her_data);

    // Her keys stand nowhere: not at the vault, not with the objects, in no log, and at the key service only wrapped.
    drained(&vault);
    for key in keys {
        let hex = key["key"].as_str().unwrap();
        let raw: Vec<u8> = (0..32).map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap()).collect();
        let forms = forms(&raw);
        for file in files_under(&vault.folder()) {
            let bytes = content(&file);
            for (form, needle) in &forms {
                let found = find(&bytes, needle);
                assert!(!found, "a study key as {form} in {}", file.display());
            }
        }
        let words = vault.words();
        assert!(forms.iter().all(|(_, needle)| !find(&words, needle)));
    }
}

fn find(hay: &[u8], needle: &[u8]) -> bool {
    let starts = hay.iter().enumerate().filter(|(_, b)| **b == needle[0]);
    starts.map(|(at, _)| &hay[at..]).any(|rest| rest.starts_with(needle))
}

/// How a key could stand in a file.
fn forms(raw: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let mut out =
        vec![("bytes", raw.to_vec()), ("hex", raw.iter().flat_map(|b| format!("{b:02x}").into_bytes()).collect())];
    for lead in 0..3 {
        let mut shifted = vec![0; lead];
        shifted.extend_from_slice(raw);
        let (from, to) = ((lead * 8_usize).div_ceil(6), (lead + raw.len()) * 8 / 6);
        out.push(("base64", STANDARD.encode(&shifted).into_bytes()[from..to].to_vec()));
        out.push(("base64url", URL_SAFE.encode(&shifted).into_bytes()[from..to].to_vec()));
    }
    out
}
