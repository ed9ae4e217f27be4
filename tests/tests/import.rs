//! `leadglass import` over a running vault: what was there before comes in whole, once, and without a name being written down.

#![allow(clippy::unwrap_used, reason = "the helpers of a test end where they fail, as the test does")]

use leadglass_tests::eyes::Eyes;
use leadglass_tests::fixture::Fixture;
use leadglass_tests::peers::{Orthanc, run_python, said};
use leadglass_tests::process::{kill_9, signal};
use leadglass_tests::scratch;
use leadglass_tests::vault::{Vault, program};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

/// No line of a watcher within this time is a failure of the test.
const PATIENCE: Duration = Duration::from_secs(120);

fn import(vault: &Vault, ledger: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(program());
    command.arg("import").arg("--data").arg(vault.folder()).arg("--ledger").arg(ledger).args(words);
    command.stdin(Stdio::null());
    command
}

/// Runs an import to its end; its exit code and its report.
fn run(vault: &Vault, ledger: &Path, words: &[&str]) -> (i32, Value) {
    let output = import(vault, ledger, words).arg("--json").output().unwrap();
    (output.status.code().unwrap(), report(&output))
}

fn report(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}", said(output)))
}

/// What a Part 10 file can carry and keep its data set: all of them.
fn all_came_in(vault: &Vault) {
    for f in Fixture::all() {
        assert!(vault.data_set_of(&f) == f.data_set(), "{} came back otherwise than it was", f.file);
    }
}

fn folder_of_fixtures(dir: &Path) -> usize {
    fs::create_dir_all(dir).unwrap();
    let all = Fixture::all();
    for f in &all {
        fs::copy(f.path(), dir.join(&f.file)).unwrap();
    }
    all.len()
}

/// Copies of one fixture under names of their own, with their data sets.
fn copies(dir: &Path, count: u64) -> Vec<(Fixture, Vec<u8>)> {
    fs::create_dir_all(dir).unwrap();
    let template = Fixture::named("ct-3.dcm");
    let head = template.bytes()[..template.data_set_offset].to_vec();
    (0..count)
        .map(|n| {
            let (f, body) = template.renamed(n);
            let head = replace(&head, &template.instance, &f.instance);
            fs::write(dir.join(format!("{n:04}.dcm")), [&head[..], &body].concat()).unwrap();
            (f, body)
        })
        .collect()
}

fn replace(bytes: &[u8], from: &str, to: &str) -> Vec<u8> {
    let mut out = bytes.to_vec();
    let at = out.windows(from.len()).position(|w| w == from.as_bytes()).expect("file meta names the instance");
    out[at..at + from.len()].copy_from_slice(to.as_bytes());
    out
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_folder_comes_in_byte_for_byte_and_a_second_run_sends_nothing() {
    let (vault, dir) = (Vault::up(), scratch());
    let (source, ledger) = (dir.path().join("in"), dir.path().join("ledger"));
    let count = folder_of_fixtures(&source.join("deep/er"));
    fs::write(source.join("notes.txt"), "no image").unwrap();
    fs::write(source.join(".hidden"), "no image").unwrap();
    std::os::unix::fs::symlink("/", source.join("link")).unwrap();

    let (code, looked) = run(&vault, &ledger, &["--dry-run", text(&source)]);
    assert_eq!((code, &looked["would_store"], &looked["stored"]), (0, &Value::from(count), &Value::from(0)));

    let (code, first) = run(&vault, &ledger, &[text(&source)]);
    assert_eq!(code, 0, "{first}");
    assert_eq!((&first["stored"], &first["complete"]), (&Value::from(count), &Value::from(true)), "{first}");
    assert_eq!((&first["not_dicom"]["other"], &first["hidden"], &first["links"]), (&1.into(), &1.into(), &1.into()));
    all_came_in(&vault);

    let (code, second) = run(&vault, &ledger, &[text(&source)]);
    assert_eq!((code, &second["stored"], &second["known"]), (0, &Value::from(0), &Value::from(count)), "{second}");
    fs::copy(source.join("deep/er/dx.dcm"), source.join("copy.dcm")).unwrap();
    let (_, third) = run(&vault, &ledger, &[text(&source)]);
    assert_eq!((&third["stored"], &third["duplicates"]), (&Value::from(0), &Value::from(1)), "{third}");
}

#[test]
fn an_archive_comes_in_whatever_its_entries_are_called_and_a_bomb_in_it_does_not() {
    let (vault, dir) = (Vault::up(), scratch());
    let (source, archive) = (dir.path().join("in"), dir.path().join("a.zip"));
    let count = folder_of_fixtures(&source);
    let program = r"
import sys, zipfile, pathlib
source, out = map(pathlib.Path, sys.argv[1:])
with zipfile.ZipFile(out, 'w', zipfile.ZIP_DEFLATED) as z:
    for f in sorted(source.iterdir()):
        z.write(f, '../../' + f.name)
    z.writestr('inner.zip', b'PK\x03\x04' + bytes(200))
    with z.open('bomb.dcm', 'w', force_zip64=True) as bomb:
        bomb.write(bytes(128) + b'DICM')
        for _ in range(300):
            bomb.write(bytes(1 << 20))
";
    let made = run_python(program, &[text(&source).to_owned(), text(&archive).to_owned()]);
    assert!(made.status.success(), "{}", said(&made));

    let (code, report) = run(&vault, &dir.path().join("ledger"), &[text(&archive)]);
    assert_eq!(code, 3, "{report}");
    assert_eq!(report["stored"], count, "{report}");
    assert_eq!((&report["unreadable"]["zip-bomb"], &report["not_dicom"]["zip"]), (&1.into(), &1.into()), "{report}");
    all_came_in(&vault);
    assert!(!dir.path().parent().unwrap().join("dx.dcm").exists(), "nothing was unpacked");
}

#[test]
fn what_a_dicomdir_lists_comes_in() {
    let (vault, dir) = (Vault::up(), scratch());
    let disc = dir.path().join("disc");
    // One image of each study: a disc is made as a workstation makes it.
    let names = ["ct-1.dcm", "dx.dcm", "io.dcm", "cr-implicit.dcm"];
    let program = r"
import sys
from pydicom.fileset import FileSet
fs = FileSet()
for path in sys.argv[2:]:
    fs.add(path)
fs.write(sys.argv[1])
";
    let arguments: Vec<String> = [text(&disc).to_owned()]
        .into_iter()
        .chain(names.iter().map(|n| text(&Fixture::named(n).path()).to_owned()))
        .collect();
    let made = run_python(program, &arguments);
    assert!(made.status.success(), "{}", said(&made));
    fs::write(disc.join("UNLISTED"), Fixture::named("ct-3.dcm").bytes()).unwrap();

    let directory = disc.join("DICOMDIR");
    let (code, report) = run(&vault, &dir.path().join("ledger"), &[text(&directory)]);
    assert_eq!((code, &report["stored"]), (0, &Value::from(names.len())), "{report}");
    for name in names {
        // A file set may write file meta anew; the data set is what counts.
        let f = Fixture::named(name);
        assert!(vault.data_set_of(&f) == f.data_set(), "{name}");
    }
    assert_eq!(vault.file_of(&Fixture::named("ct-3.dcm")), Err(404), "what is not listed stays out");
}

#[test]
fn an_orthanc_is_walked_to_its_end_and_nothing_is_asked_for_twice() {
    let (vault, dir) = (Vault::up(), scratch());
    let orthanc = Orthanc::start(dir.path(), &[]);
    let mut taken = Vec::new();
    for f in Fixture::all() {
        // Orthanc refuses some of them; what it has, comes in.
        if orthanc.upload(f.bytes()).is_ok() {
            taken.push(f);
        }
    }
    assert!(taken.len() > 30, "{}", taken.len());
    let ledger = dir.path().join("ledger");
    let (code, report) = run(&vault, &ledger, &[orthanc.base()]);
    assert_eq!((code, &report["stored"]), (0, &Value::from(taken.len())), "{report}");
    for f in &taken {
        assert!(vault.data_set_of(f) == f.data_set(), "{}", f.file);
    }
    let (code, again) = run(&vault, &ledger, &[orthanc.base()]);
    assert_eq!((code, &again["stored"], &again["known"]), (0, &0.into(), &Value::from(taken.len())), "{again}");
}

#[test]
fn an_import_that_was_killed_goes_on_and_nothing_is_missing_or_there_twice() {
    let (vault, dir) = (Vault::up(), scratch());
    let (source, ledger) = (dir.path().join("in"), dir.path().join("ledger"));
    let all = copies(&source, 300);
    for round in 1..=3 {
        let mut child = import(&vault, &ledger, &["--in-flight", "2", text(&source)])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Killed when the ledger says that a part of it is in: whole lines behind its head.
        let lines = || fs::read_to_string(&ledger).map_or(0, |text| text.matches('\n').count().saturating_sub(1));
        let some = leadglass_tests::process::until(PATIENCE, || lines() >= round * 60);
        assert!(some, "the import does not get on: {} lines", lines());
        kill_9(child.id());
        child.wait().unwrap();
    }
    let (code, report) = run(&vault, &ledger, &[text(&source)]);
    assert_eq!(code, 0, "{report}");
    let known = report["known"].as_u64().unwrap();
    assert!(known >= 180, "what was acknowledged is not sent again: {report}");
    assert_eq!(known + report["stored"].as_u64().unwrap() + report["duplicates"].as_u64().unwrap(), 300, "{report}");
    for (f, _) in &all {
        let path = format!("/studies/{}/instances", f.study);
        let listed = vault.ask(&path, Some(&vault.up.token), "application/dicom+json").json();
        assert_eq!(listed.as_array().unwrap().len(), 1, "{listed}");
    }
    came_in(&vault, &all);
}

/// One in ten is read: whoever opens hundreds of studies runs into the key service's budget.
fn came_in(vault: &Vault, sent: &[(Fixture, Vec<u8>)]) {
    for (f, body) in sent.iter().step_by(10) {
        assert!(vault.data_set_of(f) == *body, "{}", f.instance);
    }
}

#[test]
fn a_vault_that_is_killed_in_the_middle_is_waited_for() {
    let (vault, dir) = (Vault::up(), scratch());
    let (source, ledger) = (dir.path().join("in"), dir.path().join("ledger"));
    let all = copies(&source, 200);
    let child = import(&vault, &ledger, &["--json", text(&source)]).stdout(Stdio::piped()).spawn().unwrap();
    let lines = || fs::read_to_string(&ledger).map_or(0, |text| text.lines().count());
    assert!(leadglass_tests::process::until(PATIENCE, || lines() > 40));
    vault.kill_vault();
    let output = child.wait_with_output().unwrap();
    let report = report(&output);
    assert_eq!(output.status.code(), Some(0), "{report}");
    assert_eq!(report["stored"].as_u64().unwrap() + report["duplicates"].as_u64().unwrap(), 200, "{report}");
    came_in(&vault, &all);
}

#[test]
fn neither_ledger_nor_report_nor_log_names_a_file_or_a_patient() {
    let (vault, dir) = (Vault::up(), scratch());
    let (source, out) = (dir.path().join("in"), dir.path().join("out"));
    fs::create_dir_all(&source).unwrap();
    fs::create_dir_all(&out).unwrap();
    let canary = Fixture::named("canary.dcm");
    fs::copy(canary.path(), source.join("CANARY^NEVER 19800201.dcm")).unwrap();
    fs::write(source.join("CANARY^NEVER.jpg"), [0xFF, 0xD8, 0xFF, 0xE0]).unwrap();
    fs::write(source.join("CANARY^NEVER.gdt"), "0133000CANA\r\n broken").unwrap();
    // Refused: it breaks off in the middle.
    let whole = canary.bytes();
    fs::write(source.join("CANARY-cut.dcm"), &whole[..whole.len() - 9]).unwrap();
    let mut words = Vec::new();
    for _ in 0..2 {
        let done = import(&vault, &out.join("ledger"), &["--report", text(&out.join("report")), text(&source)])
            .output()
            .unwrap();
        assert_eq!(done.status.code(), Some(3), "{}", said(&done));
        words.extend([done.stdout, done.stderr]);
    }
    let eyes = Eyes::for_words(&["CANARY", "NEVER", canary.patient_id.as_str()]);
    let mut seen = eyes.look_under(&out);
    for said in &words {
        seen.extend(eyes.look("what it said", said));
    }
    assert!(seen.is_empty(), "{seen:?}");
    // Who asks for names gets them.
    let list = dir.path().join("names");
    let done = import(&vault, &out.join("ledger"), &["--names", text(&list), text(&source)]).output().unwrap();
    assert_eq!(done.status.code(), Some(3));
    let list = fs::read_to_string(list).unwrap();
    assert!(list.contains("CANARY-cut.dcm") && list.contains("bad-gdt"), "{list}");
}

#[test]
fn a_wrong_token_ends_the_run_with_a_sentence() {
    let (vault, dir) = (Vault::up(), scratch());
    let source = dir.path().join("in");
    copies(&source, 3);
    for (token, sentence) in [("lg_nobody", "does not know this token"), (&*vault.up.tokens.dpo, "may not store")] {
        let file = dir.path().join("token");
        fs::write(&file, token).unwrap();
        let output = Command::new(program())
            .args(["import", "--url", &vault.up.http.base, "--ca", &vault.up.ca, "--token-file", text(&file)])
            .args(["--ledger", text(&dir.path().join("ledger")), text(&source)])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        assert!(said(&output).contains(sentence), "{}", said(&output));
    }
}

/// A watcher whose lines can be waited for.
struct Watcher {
    child: Child,
    lines: Receiver<Value>,
}

impl Watcher {
    fn start(vault: &Vault, ledger: &Path, words: &[&str]) -> Self {
        let mut child = import(vault, ledger, words).arg("--json").stdout(Stdio::piped()).spawn().unwrap();
        let out: ChildStdout = child.stdout.take().unwrap();
        let (tell, lines) = sync_channel(1000);
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                let line = serde_json::from_str(&line).unwrap_or(Value::String(line));
                if tell.send(line).is_err() {
                    break;
                }
            }
        });
        let watcher = Self { child, lines };
        assert_eq!(watcher.next()["event"], "watching");
        watcher
    }

    fn next(&self) -> Value {
        self.lines.recv_timeout(PATIENCE).expect("the watcher says something")
    }

    fn stop(mut self) -> i32 {
        signal(self.child.id(), rustix::process::Signal::TERM);
        let mut last = Value::Null;
        while let Ok(line) = self.lines.recv_timeout(PATIENCE) {
            last = line;
        }
        assert_eq!(last["event"], "stopped");
        self.child.wait().unwrap().code().unwrap()
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn photo(path: &Path) {
    let program = r"
import sys
from PIL import Image
Image.new('RGB', (64, 48), (200, 180, 160)).save(sys.argv[1], 'JPEG', quality=90)
";
    let made = run_python(program, &[text(path).to_owned()]);
    assert!(made.status.success(), "{}", said(&made));
}

fn gdt(fields: &[(&str, &str)]) -> Vec<u8> {
    fields
        .iter()
        .flat_map(|(field, content)| format!("{:03}{field}{content}\r\n", content.len() + 9).into_bytes())
        .collect()
}

#[test]
fn what_a_sensor_exports_comes_in_while_it_is_watched() {
    let (vault, dir) = (Vault::up(), scratch());
    let (folder, done, ledger) = (dir.path().join("export"), dir.path().join("done"), dir.path().join("ledger"));
    fs::create_dir_all(&folder).unwrap();
    let picture = dir.path().join("picture.jpg");
    photo(&picture);
    let words = ["--watch", text(&folder), "--then", "move", text(&done), "--settle", "300ms", "--rescan", "1h"];
    let words = [&words[..], &["--patient-from", "{patient_id}_{last}^{first}_{birth_date}.jpg"]].concat();
    let watcher = Watcher::start(&vault, &ledger, &words);

    // DICOM, in two steps: half a file is none.
    let f = Fixture::named("io.dcm");
    let bytes = f.bytes();
    fs::write(folder.join("image.dcm"), &bytes[..bytes.len() / 2]).unwrap();
    let line = watcher.next();
    assert_eq!((&line["event"], &line["code"]), (&"waiting".into(), &"incomplete".into()), "{line}");
    fs::write(folder.join("image.dcm"), &bytes).unwrap();
    let line = watcher.next();
    assert_eq!(
        (&line["event"], &line["kind"], &line["then"]),
        (&"stored".into(), &"dicom".into(), &"moved".into()),
        "{line}"
    );
    assert!(vault.data_set_of(&f) == f.data_set());
    assert!(done.join("image.dcm").exists() && !folder.join("image.dcm").exists());

    // A photo that nobody says the patient of waits until a GDT file does.
    fs::copy(&picture, folder.join("scan7.jpg")).unwrap();
    let line = watcher.next();
    assert_eq!((&line["event"], &line["code"]), (&"waiting".into(), &"no-patient".into()), "{line}");
    let patient = [("3000", "W-77"), ("3101", "Watson"), ("3102", "Wilma"), ("3103", "01021980"), ("3110", "2")];
    fs::write(folder.join("scan7.gdt"), gdt(&patient)).unwrap();
    let line = watcher.next();
    assert_eq!((&line["event"], &line["kind"]), (&"stored".into(), &"jpeg".into()), "{line}");
    assert!(done.join("scan7.jpg").exists() && done.join("scan7.gdt").exists(), "and the GDT file went along");

    // One that its name tells of.
    fs::copy(&picture, folder.join("W-78_Weber^Walter_19700102.JPG")).unwrap();
    let line = watcher.next();
    assert_eq!((&line["event"], &line["kind"]), (&"stored".into(), &"jpeg".into()), "{line}");

    let found: BTreeSet<String> = ["W-77", "W-78"]
        .iter()
        .flat_map(|id| {
            let hits = vault.ask(&format!("/studies?PatientID={id}"), Some(&vault.up.token), "application/dicom+json");
            let hits = hits.json();
            hits.as_array()
                .unwrap()
                .iter()
                .map(|h| h["00100010"]["Value"][0]["Alphabetic"].as_str().unwrap().to_owned())
                .collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(found, BTreeSet::from(["Watson^Wilma".to_owned(), "Weber^Walter".to_owned()]));
    assert_eq!(watcher.stop(), 0);
    let eyes = Eyes::for_words(&["Watson", "Weber", "Wilma", "scan7", "W-77"]);
    let mut written = String::new();
    fs::File::open(&ledger).unwrap().read_to_string(&mut written).unwrap();
    assert!(eyes.look("the ledger", written.as_bytes()).is_empty(), "{written}");
}
