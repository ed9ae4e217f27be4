//! Disks that are full or read-only, and a key service that says nothing: the sender is told clearly, nothing that was
//! acknowledged is lost, and the vault recovers by itself.
//!
//! Small disks are mounted for it, which takes root.

#![allow(clippy::unwrap_used, reason = "the helpers of a test end where they fail, as the test does")]

use leadglass_tests::fixture::Fixture;
use leadglass_tests::http::Ask;
use leadglass_tests::process::{kill_9, signal, until};
use leadglass_tests::scu::field;
use leadglass_tests::site::{copy_tree, drained, grown, halt, instance_path, large, sibling};
use leadglass_tests::vault::Vault;
use leadglass_tests::{part10, scratch};
use rustix::fs::FallocateFlags;
use rustix::process::Signal;
use serde_json::json;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Recovery by itself takes at most so long.
const RECOVERY: Duration = Duration::from_secs(60);
/// An instance that fits the journal, but not often.
const NEARLY_A_MIB: usize = 900_000;
/// More than any journal and any memory for waiting records takes.
const TOO_MANY: u64 = 300;

/// What was mounted, taken away in reverse when dropped. Declared before the vault, so that it goes after it.
#[derive(Default)]
struct Mounts {
    places: Vec<PathBuf>,
    /// A mount keeps the vault from removing its folder.
    folder: Option<PathBuf>,
}

impl Mounts {
    fn new() -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "this test mounts small disks, which takes root; run it as root, or leave it out with -E 'not binary(disk)'"
        );
        Self::default()
    }

    fn mount(&mut self, arguments: &[&str], at: &Path, vault: &Vault) {
        let output = Command::new("mount").args(arguments).arg(at).output().unwrap();
        assert!(output.status.success(), "mount: {}", String::from_utf8_lossy(&output.stderr));
        self.places.push(at.to_owned());
        self.folder = Some(vault.folder().parent().unwrap().to_owned());
    }

    /// A disk of `mib` MiB in the place of a folder, with the folder's content.
    fn disk(&mut self, at: &Path, mib: u32, vault: &Vault) {
        let saved = scratch();
        copy_tree(at, saved.path()).unwrap();
        self.mount(&["-t", "tmpfs", "-o", &format!("size={mib}m,mode=700"), "tmpfs"], at, vault);
        copy_tree(saved.path(), at).unwrap();
    }

    /// A folder that can be read and not written; files that are open stay as they are.
    fn read_only(&mut self, at: &Path, vault: &Vault) {
        let text = at.to_str().unwrap();
        self.mount(&["--bind", text], at, vault);
        let output = Command::new("mount").args(["-o", "remount,bind,ro", text]).output().unwrap();
        assert!(output.status.success(), "remount: {}", String::from_utf8_lossy(&output.stderr));
        assert!(File::create(at.join("probe")).is_err(), "it is not read-only");
    }

    /// Takes the last one away, even while somebody stands in it.
    fn take_away(&mut self) {
        if let Some(place) = self.places.pop() {
            let done = Command::new("umount").arg("-l").arg(&place).status().is_ok_and(|s| s.success());
            assert!(done || std::thread::panicking(), "umount {}", place.display());
        }
    }
}

impl Drop for Mounts {
    fn drop(&mut self) {
        while !self.places.is_empty() {
            self.take_away();
        }
        if let Some(folder) = &self.folder {
            let _ = fs::remove_dir_all(folder);
        }
    }
}

/// Takes all the room of a disk until it is dropped.
struct Filler(PathBuf);

impl Filler {
    fn of(folder: &Path) -> Self {
        let path = folder.join("somebody-elses-data");
        let file = File::create(&path).unwrap();
        let mut len = 0;
        for piece in [1 << 20, 1 << 12] {
            while rustix::fs::fallocate(&file, FallocateFlags::empty(), len, piece).is_ok() {
                len += piece;
            }
        }
        let room = rustix::fs::statvfs(folder).unwrap();
        assert_eq!(room.f_bavail, 0, "the disk is full");
        Self(path)
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

type Sent = (Fixture, Vec<u8>);

/// Sends new instances until one is refused; gives what was acknowledged and what was not.
fn send_until_refused(vault: &Vault, first: u64, make: impl Fn(u64) -> Sent) -> (Vec<Sent>, Sent) {
    let mut acknowledged = Vec::new();
    for salt in first..first + TOO_MANY {
        let (f, data_set) = make(salt);
        let answer = vault.store(&f, &data_set).unwrap();
        if answer.status == 0 {
            acknowledged.push((f, data_set));
            continue;
        }
        // PS3.4 table B.2-1: refused, out of resources. The sender keeps it and comes back.
        assert_eq!(answer.status & 0xFF00, 0xA700, "status {:04X}", answer.status);
        let comment = field(&answer.command, 0x0902).unwrap_or_default();
        assert!(!comment.is_empty(), "the refusal says why");
        return (acknowledged, (f, data_set));
    }
    panic!("{TOO_MANY} instances were taken by a vault without room");
}

fn all_there(vault: &Vault, sent: &[Sent]) {
    for (f, data_set) in sent {
        assert!(&vault.data_set_of(f) == data_set, "{} came back otherwise than it was sent", f.instance);
    }
}

/// How often the officer opened what the patient has, as the log says.
fn accesses_by_dpo(vault: &Vault, f: &Fixture) -> usize {
    let ask = Ask { token: Some(&vault.up.tokens.dpo), ..Ask::default() };
    let body = json!({ "patient_id": f.patient_id }).to_string().into_bytes();
    let answer = vault.http().send("POST", &format!("{}/api/v1/audit/report", vault.up.http.base), ask, body);
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["accesses"].as_array().unwrap().iter().filter(|access| access["role"] == "dpo").count()
}

/// Without a hand: a send succeeds again, and so does every further one.
fn recovers(vault: &Vault, (f, data_set): &Sent) {
    let taken = || vault.store(f, data_set).is_ok_and(|answer| answer.status == 0);
    assert!(until(RECOVERY, taken), "the vault did not recover within {RECOVERY:?}");
    drained(vault);
    assert!(&vault.data_set_of(f) == data_set);
    assert!(vault.never_died(), "it recovered by dying");
    let ask = Ask { token: Some(&vault.up.tokens.dpo), ..Ask::default() };
    let answer = vault.http().send("POST", &format!("{}/api/v1/verify", vault.up.http.base), ask, Vec::new());
    let last = answer.text().lines().last().unwrap_or_default().to_owned();
    assert!(last.contains("\"clean\":true"), "{last}");
}

#[test]
fn a_full_disk_of_the_vault_refuses_senders_loses_nothing_and_is_got_over() {
    let (mut mounts, mut vault) = (Mounts::new(), Vault::up());
    halt(&vault);
    mounts.disk(&vault.up.data.vault, 240, &vault);
    vault.restart();
    let known = grown(1, NEARLY_A_MIB);
    assert_eq!(vault.store(&known.0, &known.1).unwrap().status, 0);
    vault.asked_for(&known.0.patient_id);
    drained(&vault);

    let filler = Filler::of(&vault.up.data.vault);
    // New patients, more of a patient who is known, and what goes to the store while it arrives.
    let (mut sent, refused) = send_until_refused(&vault, 100, |salt| grown(salt, NEARLY_A_MIB));
    let (more, refused_too) = send_until_refused(&vault, 100, |salt| sibling(&known.0, &known.1, salt));
    sent.extend(more);
    let big = large(7, 2);
    let status = vault.store(&big.0, &big.1).unwrap().status;
    assert!(status == 0 || status & 0xFF00 == 0xA700, "status {status:04X}");
    if status == 0 {
        sent.push(big.clone());
    }
    assert!(vault.echoes(), "others are served");
    // A retrieval is recorded before it is served: where nothing can be recorded it is refused, and never wrong.
    let ways = [
        (instance_path(&known.0), "application/dicom"),
        (format!("{}/frames/1", instance_path(&known.0)), "multipart/related; type=\"application/octet-stream\""),
        (format!("{}/metadata", instance_path(&known.0)), "application/dicom+json"),
    ];
    let mut answered = 0;
    for (path, accept) in &ways {
        let answer = vault.ask(path, Some(&vault.up.tokens.dpo), accept);
        if answer.status == 200 {
            answered += 1;
            assert!(*accept != "application/dicom" || part10::data_set(&answer.body) == known.1);
        } else {
            let told = (answer.status, answer.json()["code"].as_str().map(str::to_owned));
            assert_eq!(told, (503, Some("not-audited".to_owned())), "{path}");
        }
    }

    drop(filler);
    recovers(&vault, &refused);
    recovers(&vault, &refused_too);
    recovers(&vault, &big);
    // What was answered has its entry, which all ways into one study share; what was refused has none.
    assert_eq!(accesses_by_dpo(&vault, &known.0), usize::from(answered > 0), "{answered} ways were answered");
    sent.extend([known, refused, refused_too, big]);
    all_there(&vault, &sent);
    vault.restart();
    all_there(&vault, &sent);
}

#[test]
fn a_full_object_store_refuses_senders_loses_nothing_and_is_got_over() {
    let (mut mounts, mut vault) = (Mounts::new(), Vault::up());
    halt(&vault);
    mounts.disk(&vault.up.data.objects, 96, &vault);
    vault.restart();
    let filler = Filler::of(&vault.up.data.objects);
    let (none, refused_large) = send_until_refused(&vault, 1, |salt| large(salt, 2));
    assert!(none.is_empty(), "a large object was acknowledged though the store is full");
    assert!(matches!(vault.file_of(&refused_large.0), Err(404)), "half an instance is visible");
    let (mut sent, refused) = send_until_refused(&vault, 100, |salt| grown(salt, NEARLY_A_MIB));
    assert!(!sent.is_empty(), "the journal takes small ones while the store is full");
    assert!(vault.echoes());
    let ready = |vault: &Vault| vault.http().get(&format!("{}/readyz", vault.up.http.base), Ask::default()).status;
    assert!(until(RECOVERY, || ready(&vault) == 503), "it says that it stores");
    drop(filler);
    recovers(&vault, &refused);
    recovers(&vault, &refused_large);
    assert!(until(RECOVERY, || ready(&vault) == 200));
    sent.extend([refused, refused_large]);
    all_there(&vault, &sent);
    vault.restart();
    all_there(&vault, &sent);
}

#[test]
fn a_read_only_store_and_a_read_only_vault_disk_are_got_over() {
    let (mut mounts, vault) = (Mounts::new(), Vault::up());
    let first = grown(1, 1000);
    assert_eq!(vault.store(&first.0, &first.1).unwrap().status, 0);
    drained(&vault);

    mounts.read_only(&vault.up.data.objects.join("o"), &vault);
    let (none, refused) = send_until_refused(&vault, 1, |salt| large(salt, 2));
    assert!(none.is_empty(), "a large object was acknowledged though the store is read-only");
    // A small one waits in the journal, and is readable meanwhile.
    let waiting = grown(2, 1000);
    assert_eq!(vault.store(&waiting.0, &waiting.1).unwrap().status, 0);
    all_there(&vault, &[first.clone(), waiting.clone()]);
    mounts.take_away();
    recovers(&vault, &refused);
    let sent = [first, waiting, refused];
    all_there(&vault, &sent);

    // The vault dies while its own disk is read-only: nobody is served and nothing is acknowledged until it can be written.
    let pid = vault.now().pids.vault;
    mounts.read_only(&vault.up.data.vault, &vault);
    kill_9(pid);
    let (f, data_set) = grown(3, 1000);
    assert!(
        until(RECOVERY, || vault.words().windows(9).filter(|w| w == b"Read-only").count() > 1),
        "it does not say why"
    );
    assert!(vault.store(&f, &data_set).map_or(true, |answer| answer.status != 0));
    mounts.take_away();
    vault.wait_restarted(pid);
    assert_eq!(vault.store(&f, &data_set).unwrap().status, 0);
    all_there(&vault, &sent);
    all_there(&vault, &[(f, data_set)]);
}

/// A process that is stopped, as a hung host is; goes on when dropped.
struct Stopped(u32);

impl Stopped {
    fn stop(pid: u32) -> Self {
        signal(pid, Signal::STOP);
        let state = || fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        assert!(until(RECOVERY, || state().rsplit_once(") ").unwrap().1.starts_with('T')));
        Self(pid)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        signal(self.0, Signal::CONT);
    }
}

#[test]
fn without_the_key_service_storing_goes_on_reading_says_so_and_both_come_back() {
    let vault = Vault::up();
    let known = Fixture::named("ct-3.dcm").renamed(1);
    assert_eq!(vault.store(&known.0, &known.1).unwrap().status, 0);
    drained(&vault);
    let stopped = Stopped::stop(vault.up.pids.keyd);
    // More of a study that is known, and new studies from the reserve.
    let mut sent = vec![sibling(&known.0, &known.1, 7), sibling(&known.0, &known.1, 8), large(5, 2)];
    sent.extend((10..20).map(|salt| Fixture::named("ct-3.dcm").renamed(salt)));
    for (f, data_set) in &sent {
        assert_eq!(vault.store(f, data_set).unwrap().status, 0, "{}", f.instance);
    }
    assert_eq!(vault.file_of(&sent[5].0), Err(503));
    assert_eq!(vault.file_of(&known.0), Err(503));
    assert!(vault.echoes());
    drop(stopped);
    sent.push(known);
    let back = || sent.iter().all(|(f, _)| vault.file_of(f).is_ok());
    assert!(until(RECOVERY, back), "reading did not come back");
    all_there(&vault, &sent);
    assert!(vault.never_died());
}
