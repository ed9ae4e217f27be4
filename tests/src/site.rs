//! A vault's site for those who do it harm: its files, its counters, its end and a start that fails.

use crate::big::{BigObject, SOP_CLASS};
use crate::eyes::files_under;
use crate::fixture::Fixture;
use crate::process::{alive, signal, until};
use crate::scu::EXPLICIT_LE;
use crate::vault::{Vault, program};
use crate::wire::{self, Came};
use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

/// What was acknowledged lies in its places within this time.
const DRAIN: Duration = Duration::from_secs(60);
/// A vault ends within this time.
const END: Duration = Duration::from_secs(60);

/// A value of `/metrics`, 0 when nobody counted yet. `name` is the line up to its value, labels and all.
///
/// # Panics
/// When the vault gives no metrics.
#[must_use]
pub fn metric(vault: &Vault, name: &str) -> u64 {
    let answer = vault.metrics();
    assert_eq!(answer.status, 200, "{}", answer.text());
    let text = answer.text();
    let value = text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(' ')?.trim().parse::<f64>().ok());
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counters are small and not negative")]
    value.map_or(0, |v| v as u64)
}

/// Alarms of a kind.
#[must_use]
pub fn alarms(vault: &Vault, kind: &str) -> u64 {
    metric(vault, &format!("leadglass_alarms_total{{kind=\"{kind}\"}}"))
}

/// Waits until everything that was acknowledged lies in its place and the journal is empty.
///
/// # Panics
/// When it does not get empty.
pub fn drained(vault: &Vault) {
    let left = || metric(vault, "leadglass_journal_records");
    assert!(until(DRAIN, || left() == 0), "{} records wait in the journal", left());
}

/// Every sealed object's file.
#[must_use]
pub fn objects(vault: &Vault) -> BTreeSet<PathBuf> {
    files_under(&vault.up.data.objects.join("o")).into_iter().collect()
}

/// Stores a data set and gives the one object file that it became.
///
/// # Panics
/// When it is not stored, or is not one object.
#[must_use]
pub fn stored(vault: &Vault, f: &Fixture, data_set: &[u8]) -> PathBuf {
    let before = objects(vault);
    let answer = vault.store(f, data_set).unwrap_or_else(|e| panic!("{}: {e}", f.file));
    assert_eq!(answer.status, 0, "{}", f.file);
    drained(vault);
    let after = objects(vault);
    let new: Vec<_> = after.difference(&before).collect();
    assert_eq!(new.len(), 1, "one instance is one object: {new:?}");
    new[0].clone()
}

/// GET under the plain DICOMweb root, as seen on the socket.
///
/// # Panics
/// When the vault offers no plain address or gives no answer at all.
#[must_use]
pub fn ask_plain(vault: &Vault, path: &str, accept: &str, range: Option<&str>) -> Came {
    let base = vault.up.http.plain_dicomweb.as_deref().expect("up offers plain DICOMweb on loopback");
    let bearer = format!("Bearer {}", vault.up.token);
    let mut headers = vec![("Authorization", bearer.as_str()), ("Accept", accept)];
    headers.extend(range.map(|r| ("Range", r)));
    wire::get(base, path, &headers).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// The path of an instance under the DICOMweb root.
#[must_use]
pub fn instance_path(f: &Fixture) -> String {
    format!("/studies/{}/series/{}/instances/{}", f.study, f.series, f.instance)
}

/// A copy of a fixture with `more` bytes of pixels' kind behind it, in a private element: small enough for the journal, more than
/// one chunk when sealed.
#[must_use]
pub fn grown(salt: u64, more: usize) -> (Fixture, Vec<u8>) {
    let (f, mut data_set) = Fixture::named("ct-3.dcm").renamed(salt);
    let more = more & !1;
    data_set.extend(b"\xe1\x7f\x10\x00LO\x0a\x00LEADGLASS ");
    data_set.extend(b"\xe1\x7f\x01\x10OB\0\0");
    data_set.extend(u32::try_from(more).expect("below 4 GiB").to_le_bytes());
    let mut word = salt;
    data_set.extend((0..more).map(|_| {
        word = word.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        word.to_be_bytes()[0]
    }));
    (f, data_set)
}

/// Another instance of the same series: its SOP Instance UID ends with these three digits, all else is the same and as long.
///
/// # Panics
/// When the UID ends so already.
#[must_use]
pub fn sibling(f: &Fixture, data_set: &[u8], number: u64) -> (Fixture, Vec<u8>) {
    let old = f.instance.clone();
    let new = format!("{}{:03}", &old[..old.len() - 3], number % 1000);
    assert_ne!(old, new);
    let mut data_set = data_set.to_vec();
    while let Some(at) = data_set.windows(old.len()).position(|w| w == old.as_bytes()) {
        data_set[at..at + new.len()].copy_from_slice(new.as_bytes());
    }
    (Fixture { instance: new, ..f.clone() }, data_set)
}

/// A multi-frame instance of `mib` MiB, too large for the journal: it goes to the object store while it arrives.
///
/// # Panics
/// Never: it is made in memory.
#[must_use]
pub fn large(salt: u64, mib: u32) -> (Fixture, Vec<u8>) {
    let mut big = BigObject::new(salt, mib);
    let mut data_set = Vec::new();
    big.read_to_end(&mut data_set).expect("it is made in memory");
    let f = Fixture {
        file: format!("{mib} MiB"),
        sop_class: SOP_CLASS.to_owned(),
        transfer_syntax: EXPLICIT_LE.to_owned(),
        study: big.study,
        series: big.series,
        instance: big.instance,
        patient_id: big.patient,
        ..Fixture::named("ct-3.dcm")
    };
    (f, data_set)
}

/// Ends `up` and both children in order and leaves the data where they are; [`Vault::restart`] goes on with them.
///
/// # Panics
/// When it does not end.
pub fn halt(vault: &Vault) {
    let pids = vault.now().pids;
    let supervisor = parent_of(pids.vault);
    signal(supervisor, rustix::process::Signal::TERM);
    let over = || !alive(supervisor) && !alive(pids.vault) && !alive(pids.keyd);
    assert!(until(END, over), "up did not end");
}

/// A start on this folder that is expected to fail: what it said. Ended when it does not fail.
///
/// # Panics
/// When it gets ready, or neither ends nor gets ready.
#[must_use]
pub fn refused_start(data: &Path) -> String {
    let output = ends_by_itself(Command::new(program()).args(["up", "--json", "--no-sample", "--data"]).arg(data));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "it started: {}", String::from_utf8_lossy(&output.stdout));
    let logs = files_under(&data.join("log")).into_iter().map(|p| fs::read_to_string(p).unwrap_or_default());
    said + &logs.collect::<String>()
}

/// Runs a program that is expected to end within a minute.
///
/// # Panics
/// When it does not: it is ended, and the test fails.
#[must_use]
pub fn ends_by_itself(command: &mut Command) -> Output {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("{command:?}: {e}"));
    if !until(END, || child.try_wait().is_ok_and(|s| s.is_some())) {
        signal(child.id(), rustix::process::Signal::TERM);
        let gone = until(END, || child.try_wait().is_ok_and(|s| s.is_some()));
        if !gone {
            let _ = child.kill();
        }
        let output = child.wait_with_output().expect("it was started");
        panic!("{command:?} did not end: {}", String::from_utf8_lossy(&output.stderr));
    }
    child.wait_with_output().expect("it was started")
}

/// The key service's program, beside the vault's.
#[must_use]
pub fn keyd_program() -> PathBuf {
    program().with_file_name("leadglass-keyd")
}

/// Runs a command of the key service on a data directory, whatever comes of it.
#[must_use]
pub fn try_keyd(data: &Path, arguments: &[&str]) -> Output {
    ends_by_itself(Command::new(keyd_program()).arg("--json").arg("--data").arg(data).args(arguments))
}

/// Runs a command of the key service on a data directory.
///
/// # Panics
/// When it fails; with what it said.
pub fn keyd(data: &Path, arguments: &[&str]) -> serde_json::Value {
    let output = try_keyd(data, arguments);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{arguments:?}: {said}{}", String::from_utf8_lossy(&output.stderr));
    let last = said.lines().last().unwrap_or_default();
    serde_json::from_str(&said).or_else(|_| serde_json::from_str(last)).unwrap_or(serde_json::Value::Null)
}

/// Says on the key host that the log is to be believed which a refused start named.
///
/// # Panics
/// When it named none.
pub fn believe(data: &Path, refused: &str) {
    let log = refused.split("--log ").nth(1).and_then(|rest| rest.split('`').next());
    let log = log.unwrap_or_else(|| panic!("it names no log: {refused}"));
    keyd(data, &["approve", "--action", "log-reset", "--log", log]);
}

/// Copies a folder and everything in it.
///
/// # Errors
/// When a file cannot be read or written.
pub fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let place = to.join(entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_dir() {
            copy_tree(&entry.path(), &place)?;
        } else if kind.is_file() {
            fs::copy(entry.path(), place)?;
        }
    }
    Ok(())
}

/// Puts the content of `from` in the place of `to`.
///
/// # Panics
/// When the disk refuses.
pub fn replace_tree(from: &Path, to: &Path) {
    fs::remove_dir_all(to).unwrap_or_else(|e| panic!("{}: {e}", to.display()));
    copy_tree(from, to).unwrap_or_else(|e| panic!("{}: {e}", to.display()));
}

fn parent_of(pid: u32) -> u32 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_else(|_| panic!("process {pid} is gone"));
    let rest = stat.rsplit_once(") ").expect("the form of /proc/PID/stat").1.to_owned();
    rest.split(' ').nth(1).and_then(|p| p.parse().ok()).expect("a parent's number")
}
