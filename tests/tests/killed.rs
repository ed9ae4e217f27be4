//! kill -9 while people read and modalities send: each read that was answered and each store that was acknowledged has its entry, no
//! entry is torn, and the witness agrees.

#![allow(clippy::unwrap_used, reason = "the helpers of a test end where they fail, as the test does")]

use leadglass_tests::fixture::Fixture;
use leadglass_tests::http::{Ask, Http};
use leadglass_tests::part10;
use leadglass_tests::process::{alive, kill_9, until};
use leadglass_tests::site::{alarms, drained, halt, metric};
use leadglass_tests::stow::{DICOM_PARTS, body, file_of};
use leadglass_tests::vault::Vault;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;
use std::process::Output;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(60);
/// The vault is killed so often; in the middle of it the key service is killed once.
const KILLS: u64 = 12;
/// So much is answered between two kills.
const READS: usize = 100;
const STORES: usize = 8;
/// A kill meets the load at a random moment from then on.
const MOMENT_MICROSECONDS: std::ops::Range<u64> = 0..30_000;
/// Senders stop here: a report of more would take long.
const ENOUGH: usize = 250;
/// Nobody asks a vault that is away without a pause.
const PAUSE: Duration = Duration::from_millis(20);

/// DCM 110104.
const INSTANCES_TRANSFERRED: u32 = 110_104;
const FILE: &str = "application/dicom";
const FRAME: &str = "multipart/related; type=\"application/octet-stream\"";

struct Stored {
    number: u64,
    f: Fixture,
    data_set: Vec<u8>,
}

/// A read that was answered with all bytes.
struct Answered {
    role: &'static str,
    study: u64,
    asked: Instant,
    over: Instant,
}

/// What became of the load.
#[derive(Default)]
struct Load {
    stored: Mutex<Vec<Stored>>,
    answered: Mutex<Vec<Answered>>,
    is_over: AtomicBool,
}

impl Load {
    fn goes_on(&self) -> bool {
        !self.is_over.load(Ordering::Relaxed)
    }

    fn acknowledged(&self, number: u64, (f, data_set): (Fixture, Vec<u8>)) {
        self.stored.lock().unwrap().push(Stored { number, f, data_set });
    }

    /// Asks for instances and frames of whatever was acknowledged, the newest most often.
    fn read(&self, vault: &Vault, http: &Http, (role, token): (&'static str, &str), seed: u64, frame: &[u8]) {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        while self.goes_on() {
            let (study, url, data_set) = {
                let stored = self.stored.lock().unwrap();
                let newest = stored.len().saturating_sub(20);
                let from = if random.random_bool(0.7) { newest } else { 0 };
                let one = &stored[random.random_range(from..stored.len())];
                (one.number, vault.instance_url(&one.f), one.data_set.clone())
            };
            let whole = random.random_bool(0.5);
            let (url, accept) = if whole { (url, FILE) } else { (format!("{url}/frames/1"), FRAME) };
            let asked = Instant::now();
            let answer = http.try_get(&url, Ask { token: Some(token), accept: Some(accept), range: None });
            let over = Instant::now();
            match answer {
                Some(answer) if answer.status == 200 => {
                    let right =
                        if whole { part10::data_set(&answer.body) == data_set } else { answer.parts() == [frame] };
                    assert!(right, "study {study} came otherwise than it was sent");
                    self.answered.lock().unwrap().push(Answered { role, study, asked, over });
                }
                // Without vault or key service nobody is answered.
                Some(answer) => assert_eq!(answer.status, 503, "{}", answer.text()),
                None => thread::sleep(PAUSE),
            }
        }
    }

    fn is_enough(&self) -> bool {
        self.stored.lock().unwrap().len() >= ENOUGH
    }

    /// Sends one study after the other, each once.
    fn send(&self, numbers: std::ops::RangeFrom<u64>, send: impl Fn(&Fixture, &[u8]) -> bool) {
        for number in numbers {
            if !self.goes_on() || self.is_enough() {
                return;
            }
            let (f, data_set) = study(number);
            if send(&f, &data_set) {
                self.acknowledged(number, (f, data_set));
            } else {
                thread::sleep(PAUSE);
            }
        }
    }

    fn counts(&self) -> (usize, usize) {
        (self.answered.lock().unwrap().len(), self.stored.lock().unwrap().len())
    }
}

fn study(number: u64) -> (Fixture, Vec<u8>) {
    Fixture::named("ct-3.dcm").visit(number)
}

/// Ends the load, also when its holder panics: nobody waits for it.
struct Over<'a>(&'a Load);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.is_over.store(true, Ordering::Relaxed);
    }
}

/// What the log says of the patient, by a report that was checked.
struct Told {
    /// By role and study: accesses that were opened.
    accesses: BTreeMap<(String, u64), usize>,
    /// Studies of which something was stored.
    stored: BTreeSet<u64>,
    /// Place of the newest entry.
    newest: u64,
    report: PathBuf,
    keys: PathBuf,
}

impl Told {
    fn ask(vault: &Vault) -> Self {
        let data = vault.folder().display().to_string();
        let at = |name: &str| vault.folder().join(name);
        let path = |name: &str| at(name).display().to_string();
        fs::write(at("keys.json"), audit(vault, &["keys", "--data", &data, "--json"])).unwrap();
        fs::write(at("patient"), Fixture::named("ct-3.dcm").patient_id).unwrap();
        audit(vault, &["report", "--data", &data, "--patient-file", &path("patient"), "--proof", &path("r.json")]);
        audit(vault, &["verify-report", &path("r.json"), "--keys", &path("keys.json")]);
        let report: Value = serde_json::from_slice(&fs::read(at("r.json")).unwrap()).unwrap();
        let rows = |name: &str| report[name].as_array().unwrap().iter().filter(|row| row["outcome"] == "success");
        let number = |row: &Value| -> u64 {
            let words = report["studies"][row["study"].as_str().unwrap()].as_str().unwrap();
            words.rsplit(' ').next().unwrap().parse().unwrap()
        };
        let mut accesses = BTreeMap::new();
        for row in rows("accesses") {
            *accesses.entry((row["role"].as_str().unwrap().to_owned(), number(row))).or_default() += 1;
        }
        Self {
            accesses,
            stored: rows("others").filter(|row| row["event"] == INSTANCES_TRANSFERRED).map(number).collect(),
            newest: report["entries"].as_array().unwrap().last().unwrap()["seq"].as_u64().unwrap(),
            report: at("r.json"),
            keys: at("keys.json"),
        }
    }
}

fn spoken(output: Output) -> (i32, String) {
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code().unwrap(), said)
}

fn audit(vault: &Vault, arguments: &[&str]) -> String {
    let all: Vec<&OsStr> = ["audit"].iter().chain(arguments).map(OsStr::new).collect();
    let (code, said) = spoken(vault.run(&all));
    assert_eq!(code, 0, "{arguments:?}: {said}");
    said
}

/// Kills at random moments of the load: from when to when each was under way.
fn kill(vault: &Vault, load: &Load) -> Vec<(Instant, Instant)> {
    let mut random = ChaCha8Rng::seed_from_u64(0x0DD_5EED);
    let mut kills = Vec::new();
    for round in 0..=KILLS {
        let (reads, stores) = load.counts();
        let met = || {
            let (now, sent) = load.counts();
            now >= reads + READS && (sent >= stores + STORES || load.is_enough())
        };
        assert!(until(SOON, met), "round {round}: {:?} after {:?}", load.counts(), (reads, stores));
        thread::sleep(Duration::from_micros(random.random_range(MOMENT_MICROSECONDS)));
        if round == KILLS / 2 {
            vault.kill_keyd();
            continue;
        }
        let (pid, began) = (vault.now().pids.vault, Instant::now());
        kill_9(pid);
        assert!(until(SOON, || !alive(pid)), "it does not die");
        kills.push((began, Instant::now()));
        vault.wait_restarted(pid);
    }
    kills
}

#[test]
fn under_load_no_answered_read_and_no_acknowledged_store_lacks_its_entry() {
    // Each start of the vault opens everything anew, which the budgets of people do not foresee.
    let many = "person_per_hour = 20000\nperson_per_day = 20000\nnode_per_hour = 20000\n";
    let vault = Vault::with_config(&format!("[budgets]\n{many}"));
    let load = Load::default();
    for number in 1..=10 {
        let (f, data_set) = study(number);
        assert_eq!(vault.store(&f, &data_set).unwrap().status, 0);
        vault.asked_for(&f.patient_id);
        load.acknowledged(number, (f, data_set));
    }
    let frame = {
        let (f, _) = study(1);
        let path = format!("/studies/{}/series/{}/instances/{}/frames/1", f.study, f.series, f.instance);
        vault.ask(&path, Some(&vault.up.token), FRAME).parts().remove(0)
    };
    let ca = fs::read(&vault.up.ca).unwrap();
    let (clinician, dpo) = (("clinician", vault.up.token.as_str()), ("dpo", vault.up.tokens.dpo.as_str()));
    let kills = thread::scope(|scope| {
        for (seed, who) in [(1, clinician), (2, clinician), (3, dpo)] {
            let (vault, load, frame, ca) = (&vault, &load, &frame, &ca);
            scope.spawn(move || {
                let _over = Over(load);
                load.read(vault, &Http::trusting(Some(ca)), who, seed, frame);
            });
        }
        scope.spawn(|| {
            let (http, url) = (Http::trusting(Some(&ca)), format!("{}/studies", vault.up.http.dicomweb));
            let ask = Ask { token: Some(&vault.up.token), ..Ask::default() };
            load.send(1000.., |f, data_set| {
                let body = body([file_of(f, data_set).as_slice()]);
                http.try_post(&url, ask, DICOM_PARTS, body).is_some_and(|answer| answer.status == 200)
            });
        });
        scope.spawn(|| {
            load.send(2000.., |f, data_set| vault.store(f, data_set).is_ok_and(|answer| answer.status == 0));
        });
        let _over = Over(&load);
        kill(&vault, &load)
    });
    drained(&vault);

    let told = Told::ask(&vault);
    let stored = load.stored.into_inner().unwrap();
    for one in &stored {
        assert!(told.stored.contains(&one.number), "study {} was acknowledged and has no entry", one.number);
    }
    // What is open when the vault dies is opened anew by the next one: an entry for each vault that answered.
    let answered = load.answered.into_inner().unwrap();
    let mut by_vault: BTreeMap<(&str, u64), BTreeSet<usize>> = BTreeMap::new();
    for read in &answered {
        let vaults = by_vault.entry((read.role, read.study)).or_default();
        if !kills.iter().any(|(began, over)| *began <= read.over && read.asked <= *over) {
            vaults.insert(kills.iter().filter(|(_, over)| *over < read.asked).count());
        }
    }
    for ((role, study), vaults) in &by_vault {
        let opened = told.accesses.get(&((*role).to_owned(), *study)).copied().unwrap_or_default();
        let least = vaults.len().max(1);
        assert!(opened >= least, "a {role} read study {study} of {least} vaults: {opened} entries");
    }
    let vaults: BTreeSet<usize> = by_vault.into_values().flatten().collect();
    assert!(vaults.len() >= kills.len(), "each vault that was killed had answered somebody: {vaults:?}");

    // Nobody was given a key that the log knows nothing of; the witness agrees with all of it.
    let data = vault.folder().display().to_string();
    audit(&vault, &["reconcile", "--data", &data]);
    let agreed = || metric(&vault, "leadglass_audit_cosigned_entries") > told.newest;
    assert!(until(SOON, agreed), "the witness does not agree");
    for (what, count) in [
        ("the witness refuses", metric(&vault, "leadglass_audit_witness_refuses")),
        ("forks", alarms(&vault, "fork")),
        ("logs that contradict each other", alarms(&vault, "log")),
        ("keys without an access", alarms(&vault, "unmatched-unwrap")),
    ] {
        assert_eq!(count, 0, "{what}");
    }
    halt(&vault);
    let (log, keys) = (vault.up.data.vault.join("audit"), told.keys.display().to_string());
    let seen = told.report.display().to_string();
    let said = audit(&vault, &["verify", &log.display().to_string(), "--keys", &keys, "--seen", &seen]);
    assert!(said.contains("whole") && said.contains("witnessed"), "{said}");
}
