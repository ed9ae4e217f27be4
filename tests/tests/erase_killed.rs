//! kill -9 at every stage of an erasure, and between all syncs of each, in the vault and in the key service: whoever dies wherever,
//! the order comes to the same end. Nothing of what was erased opens, everything else does, and the certificate verifies.

#![allow(clippy::unwrap_used, reason = "the helpers of a test end where they fail, as the test does")]

use leadglass_tests::erasure::{RULES, approved, certificate, erase, gone, there, verified};
use leadglass_tests::eyes::files_under;
use leadglass_tests::fixture::Fixture;
use leadglass_tests::http::Ask;
use leadglass_tests::process::{alive, kill_9, until};
use leadglass_tests::scratch;
use leadglass_tests::site::{drained, large, objects, sibling};
use leadglass_tests::slow::Slow;
use leadglass_tests::vault::{Vault, program};
use serde_json::Value;
use std::cell::Cell;
use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(60);
/// The vault is killed as soon as a stage has its word, and once more when so many syncs are over since: with some of its work done.
const AFTER: usize = 2;
/// More syncs than the key service needs, and more orders than it takes to meet one of them at a stage.
const ENOUGH: usize = 60;
/// The key service is killed behind every other sync: those between are as good.
const EACH: usize = 2;

type Sent = (Fixture, Vec<u8>);

/// What goes in an order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Level {
    /// All of a patient: two instances.
    Patient,
    /// One instance of three.
    Instance,
}

/// Whether the key host said yes when the order was run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum KeyHost {
    Asked,
    Agreed,
}

struct Site {
    vault: Vault,
    papers: tempfile::TempDir,
    kept: Vec<Sent>,
    /// Every order so far, with what has to be gone.
    orders: Vec<(String, Level, Fixture)>,
    number: Cell<u64>,
}

impl Site {
    fn new() -> Self {
        let vault = Vault::with_config(RULES);
        let kept = vec![Fixture::named("ct-1.dcm").renamed(1), Fixture::named("dx.dcm").renamed(2), large(3, 3)];
        for (f, data_set) in &kept {
            assert_eq!(vault.store(f, data_set).unwrap().status, 0);
        }
        Self { vault, papers: scratch(), kept, orders: Vec::new(), number: Cell::new(1000) }
    }

    fn paper(&self, name: &str, text: &str) -> String {
        let path = self.papers.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Stores a patient's images and orders that they go, or one of them: the order, and one that goes.
    fn ordered(&mut self, level: Level) -> (String, Fixture) {
        self.number.set(self.number.get() + 1);
        let doomed = Fixture::named("ct-1.dcm").renamed(self.number.get());
        let beside = [sibling(&doomed.0, &doomed.1, 901), sibling(&doomed.0, &doomed.1, 902)];
        let beside = if level == Level::Patient { &beside[..1] } else { &beside[..] };
        for (f, data_set) in beside.iter().chain([&doomed]) {
            assert_eq!(self.vault.store(f, data_set).unwrap().status, 0);
        }
        drained(&self.vault);
        let what = match level {
            Level::Patient => vec!["--patient-file".to_owned(), self.paper("patient", &doomed.0.patient_id)],
            Level::Instance => {
                self.kept.extend(beside.iter().cloned());
                let (study, instance) = (self.paper("study", &doomed.0.study), self.paper("one", &doomed.0.instance));
                vec!["--study-file".to_owned(), study, "--instance-file".to_owned(), instance]
            }
        };
        let what: Vec<&str> = what.iter().map(String::as_str).collect();
        let order = erase(&self.vault, &[&["order", "--ground", "objection", "--no-rule"][..], &what].concat()).1;
        let id = order["id"].as_str().unwrap().to_owned();
        self.orders.push((id.clone(), level, doomed.0.clone()));
        (id, doomed.0)
    }

    /// Carries the order on, and does not wait for it.
    fn running(&self, id: &str) -> Child {
        Command::new(program())
            .args(["erase", "run", "--json", "--data"])
            .arg(self.vault.folder())
            .arg(id)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }

    /// The last stage whose word the vault says is durable.
    fn word(&self, id: &str) -> String {
        let log = fs::read_to_string(self.vault.folder().join("log/vault.log")).unwrap_or_default();
        let about = |line: &str| {
            let said: Value = serde_json::from_str(line).ok()?;
            let is_about = said["order"] == id && said["message"] == "an erasure went on";
            is_about.then(|| said["stage"].as_str().map(str::to_owned))?
        };
        log.lines().rev().find_map(about).unwrap_or_else(|| "ordered".to_owned())
    }

    /// Runs an order until `stage` has its word and `after` more syncs are over, and kills the vault there. Whether that place was met:
    /// it is not, where the stage has fewer syncs.
    fn killed_at(&mut self, level: Level, (key_host, stage): (KeyHost, &str), after: usize) -> bool {
        let (id, doomed) = self.ordered(level);
        if key_host == KeyHost::Agreed {
            approved(&self.vault, &id);
        }
        let pid = self.vault.now().pids.vault;
        let slow = Slow::on(pid, &self.papers.path().join("syncs"));
        let mut running = self.running(&id);
        let mut before = None;
        let mut met = || {
            if self.word(&id) != stage {
                return false;
            }
            let syncs = slow.syncs().len();
            syncs >= *before.get_or_insert(syncs) + after
        };
        let over = || running.try_wait().unwrap().is_some() || met();
        assert!(until(SOON, over), "{level:?}, {stage} after {after}: neither there nor over");
        slow.freeze();
        let is_there = running.try_wait().unwrap().is_none() && self.word(&id) == stage;
        self.dies(pid, is_there, slow, running);
        self.comes_to_its_end(&id, level, &doomed, key_host);
        is_there
    }

    /// Kills a frozen program where it is there, lets it go on where it is not, and waits until all stands again.
    fn dies(&self, pid: u32, is_there: bool, slow: Slow, mut running: Child) {
        if is_there {
            kill_9(pid);
        }
        // As long as it is traced nobody else hears of its end.
        drop(slow);
        let _ended = running.wait().unwrap();
        if is_there {
            assert!(until(SOON, || !alive(pid)), "it does not die");
            self.vault.wait_restarted(pid);
        }
    }

    fn comes_to_its_end(&self, id: &str, level: Level, doomed: &Fixture, key_host: KeyHost) {
        if key_host == KeyHost::Asked {
            approved(&self.vault, id);
        }
        let (code, done) = erase(&self.vault, &["run", id]);
        assert_eq!((code, &done["stage"]), (0, &Value::from("done")), "{done}");
        match level {
            Level::Patient => gone(&self.vault, doomed),
            Level::Instance => assert_eq!(self.vault.file_of(doomed).unwrap_err(), 404),
        }
    }

    /// What every erasure of the test left behind.
    fn is_whole(&self) {
        drained(&self.vault);
        for sent in &self.kept {
            there(&self.vault, sent);
        }
        for (_, level, doomed) in &self.orders {
            match level {
                Level::Patient => gone(&self.vault, doomed),
                Level::Instance => assert_eq!(self.vault.file_of(doomed).unwrap_err(), 404),
            }
        }
        assert_eq!(objects(&self.vault).len(), self.kept.len(), "an object was left behind");
        let ask = || Ask { token: Some(&self.vault.up.tokens.dpo), ..Ask::default() };
        let api = |path: &str| format!("{}/api/v1/{path}", self.vault.up.http.base);
        let report = self.vault.http().send("POST", &api("verify"), ask(), Vec::new());
        assert!(report.text().lines().last().unwrap_or_default().contains("\"clean\":true"), "{}", report.text());
        let keys = self.vault.http().get(&api("audit/keys"), ask()).json();
        let file = self.papers.path().join("certificate.json");
        for (id, ..) in &self.orders {
            certificate(&self.vault, id, &file);
            let signer = verified(&file, &[]).1["receipt"]["signer"].as_str().unwrap().to_owned();
            let held = ["--vault-key", keys["vault_key"].as_str().unwrap(), "--receipt-key", &signer];
            let (code, text) = verified(&file, &held);
            assert_eq!((code, &text["order"]), (0, &Value::from(id.as_str())), "{text}");
        }
    }
}

/// Every place at which an order can stand, in order. Before the key host agreed it waits where it is listed.
const PLACES: [(KeyHost, &str); 6] = [
    (KeyHost::Asked, "ordered"),
    (KeyHost::Asked, "listed"),
    (KeyHost::Agreed, "listed"),
    (KeyHost::Agreed, "destroyed"),
    (KeyHost::Agreed, "unlisted"),
    (KeyHost::Agreed, "deleted"),
];

fn the_vault_dies_at_every_stage(level: Level) {
    if !Slow::is_possible() {
        return eprintln!("this machine lets nobody trace: not looked at");
    }
    let mut site = Site::new();
    for place in PLACES {
        // A busy machine looks too late now and then, and the order is past the place: then with another order.
        assert!(
            (0..ENOUGH).any(|_| site.killed_at(level, place, 0)),
            "{level:?}: the vault was never killed at {place:?}"
        );
        let _has_so_many_syncs = site.killed_at(level, place, AFTER);
    }
    site.is_whole();
}

#[test]
fn a_patients_erasure_comes_to_the_same_end_wherever_the_vault_is_killed() {
    the_vault_dies_at_every_stage(Level::Patient);
}

#[test]
fn an_instances_erasure_comes_to_the_same_end_wherever_the_vault_is_killed() {
    the_vault_dies_at_every_stage(Level::Instance);
}

/// The key service from the moment it is asked until the vault has its receipt, after every other sync in between.
#[test]
fn keys_are_destroyed_to_the_same_end_wherever_the_key_service_is_killed() {
    if !Slow::is_possible() {
        return eprintln!("this machine lets nobody trace: not looked at");
    }
    let mut site = Site::new();
    let receipts = |site: &Site| {
        let capsules = files_under(&site.vault.up.data.keyd);
        capsules.iter().filter(|path| path.parent().is_some_and(|folder| folder.ends_with("erased"))).count()
    };
    // How often it was killed before its receipt was written, and between that and the vault's word.
    let (mut before, mut behind) = (0, 0);
    for after in (0..ENOUGH).step_by(EACH) {
        let (id, doomed) = site.ordered(Level::Patient);
        approved(&site.vault, &id);
        let (pid, had) = (site.vault.now().pids.keyd, receipts(&site));
        let slow = Slow::on(pid, &site.papers.path().join("syncs"));
        let mut running = site.running(&id);
        let over = || running.try_wait().unwrap().is_some() || slow.syncs().len() >= after;
        assert!(until(SOON, over), "after {after}: neither there nor over");
        slow.freeze();
        let is_there = running.try_wait().unwrap().is_none() && site.word(&id) == "listed";
        if is_there {
            *if receipts(&site) > had { &mut behind } else { &mut before } += 1;
        }
        site.dies(pid, is_there, slow, running);
        site.comes_to_its_end(&id, Level::Patient, &doomed, KeyHost::Agreed);
        if !is_there {
            break;
        }
    }
    assert!(before > 2 && behind > 0, "killed {before} times before there was a receipt, {behind} times with one");
    site.is_whole();
}
