//! What must be on the disk before what: strace looks at the store, and at a vault, while they write.
//!
//! For each object: its bytes are written, synced, named; the name is synced; only then anything is answered, written into the
//! journal, or trimmed from it. Killing a process shows none of this, since the page cache outlives it.

#![allow(clippy::unwrap_used, reason = "the helpers of a test end where they fail, as the test does")]

use bytes::Bytes;
use leadglass_model::{ObjectId, SystemEntropy};
use leadglass_store::Objects;
use leadglass_tests::fixture::Fixture;
use leadglass_tests::process::{signal, until};
use leadglass_tests::scratch;
use leadglass_tests::site::{drained, large, objects};
use leadglass_tests::trace::{CALLS, Trace};
use leadglass_tests::vault::Vault;
use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// strace, unless it is missing where the tools were not brought: `tests/all` brings them.
fn strace() -> Option<Command> {
    let there = Command::new("strace").arg("--version").stdout(Stdio::null()).status().is_ok_and(|s| s.success());
    assert!(
        there || std::env::var_os("LEADGLASS_ALL_TOOLS").is_none(),
        "strace is missing: run tests/all once, or install strace"
    );
    if !there {
        eprintln!("strace is not on this machine: not looked at");
        return None;
    }
    let mut command = Command::new("strace");
    command.args(["-f", "-y", "-s", "64", "-e", &format!("trace={CALLS}")]).stdin(Stdio::null());
    Some(command)
}

/// Whether `whole` was written, synced, named, and its name synced, all before `told`.
fn assert_durable(what: &str, trace: &Trace, disk: &Path, whole: &Path, told: usize) {
    let mut staged = whole.to_owned().into_os_string();
    staged.push("#1");
    let staged = PathBuf::from(staged);
    let shown = || format!("{what}: {}", whole.file_name().unwrap_or_default().display());
    let written = trace.calls(|call| call.writes() && call.is_on(&staged) && call.begun < told);
    let written = written.map(|call| call.ended).max();
    let written = written.unwrap_or_else(|| panic!("{} was not written", shown()));
    let named = trace.first(&shown(), |call| call.done && call.names() && call.tells(whole));
    assert!(
        trace.calls(|call| call.syncs(&staged, disk)).any(|sync| sync.begun > written && sync.ended < named.begun),
        "{}: its bytes were not synced between the last write and its name",
        shown()
    );
    let folder = whole.parent().unwrap();
    assert!(
        trace.calls(|call| call.syncs(folder, disk)).any(|sync| sync.begun > named.ended && sync.ended < told),
        "{}: its name was not synced before anybody was told",
        shown()
    );
}

/// Set for the test's own program when strace runs it: where it is to write.
const WRITER: &str = "LEADGLASS_TEST_SYNCS";

/// The objects of each step: how many, and of how many bytes.
const STEPS: [(&str, &[usize]); 4] = [
    // Synced one by one; the last goes past the page cache.
    ("three", &[20_000, 50_000, 400_000]),
    // With their file system.
    ("five", &[1, 20_000, 50_000, 131_072, 400_000]),
    // Sealed while it arrives.
    ("streamed", &[5_500_000]),
    ("one", &[20_000]),
];

/// Each step on its own, said on standard error when it was answered.
async fn write(folder: &Path) {
    let objects = Objects::local(folder).unwrap();
    let tell = |what: String| std::io::stderr().write_all(what.as_bytes()).unwrap();
    for (step, lengths) in STEPS {
        let batch: Vec<(ObjectId, Vec<Bytes>)> =
            lengths.iter().map(|len| (ObjectId::random(&SystemEntropy), vec![Bytes::from(vec![7; *len])])).collect();
        let names: Vec<String> = batch.iter().map(|(id, _)| id.to_string()).collect();
        match step {
            "streamed" => {
                let (id, pieces) = &batch[0];
                let mut upload = objects.begin(*id).await.unwrap();
                for at in (0..pieces[0].len()).step_by(300_000) {
                    upload.write(pieces[0].slice(at..pieces[0].len().min(at + 300_000))).await.unwrap();
                }
                upload.finish().await.unwrap();
            }
            "one" => drop(objects.put(batch[0].0, batch[0].1.clone()).await.unwrap()),
            _ => objects.put_batch(batch.clone()).await.unwrap(),
        }
        tell(format!("told {step}\n"));
        if step == "three" {
            objects.put_batch(batch).await.unwrap();
            tell("told again\n".to_owned());
        }
        fs::write(folder.join(step), names.join("\n")).unwrap();
    }
}

#[test]
fn the_store_tells_nobody_of_an_object_before_its_bytes_and_its_name_are_on_the_disk() {
    if let Some(folder) = std::env::var_os(WRITER) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(write(Path::new(&folder)));
        return;
    }
    let Some(mut strace) = strace() else { return };
    let dir = scratch();
    let (folder, out) = (dir.path().join("objects"), dir.path().join("trace"));
    fs::create_dir(&folder).unwrap();
    let folder = folder.canonicalize().unwrap();
    let name = "the_store_tells_nobody_of_an_object_before_its_bytes_and_its_name_are_on_the_disk";
    let own = std::env::current_exe().unwrap();
    let done = strace.arg("-o").arg(&out).arg(own).args(["--exact", name]).env(WRITER, &folder).output().unwrap();
    assert!(done.status.success(), "{}", leadglass_tests::peers::said(&done));
    let trace = Trace::read(&fs::read_to_string(&out).unwrap());
    let told = |step: &str| {
        trace.first(step, |call| call.writes() && call.arguments.contains(&format!("\"told {step}"))).begun
    };
    let mut begun = 0;
    for (step, lengths) in STEPS {
        let names = fs::read_to_string(folder.join(step)).unwrap();
        assert_eq!(names.lines().count(), lengths.len());
        for name in names.lines() {
            let whole = folder.join("o").join(&name[..2]).join(name);
            assert_durable(step, &trace, &folder, &whole, told(step));
            // What is there already is synced again: whoever wrote it may have died before it was durable.
            if step == "three" {
                let again = |sync: &leadglass_tests::trace::Call| sync.begun > told(step) && sync.ended < told("again");
                for (what, path) in [("its bytes", whole.as_path()), ("its name", whole.parent().unwrap())] {
                    assert!(trace.calls(|call| call.syncs(path, &folder)).any(again), "{what} were not synced again");
                }
            }
        }
        assert!(told(step) > begun, "one step after the other");
        begun = told(step);
    }
}

/// strace on a running vault, from now until it is ended.
struct Eye {
    child: Child,
    out: PathBuf,
}

impl Eye {
    fn on(pid: u32, mut strace: Command, out: &Path) -> Self {
        let words = fs::File::create(out.with_extension("words")).unwrap();
        let child = strace.arg("-o").arg(out).args(["-p", &pid.to_string()]).stderr(words).spawn().unwrap();
        let traced = |task: fs::DirEntry| {
            let status = fs::read_to_string(task.path().join("status")).unwrap_or_default();
            // A thread that has ended meanwhile needs nobody to look at it.
            status.is_empty() || !status.contains("TracerPid:\t0\n")
        };
        let all = || fs::read_dir(format!("/proc/{pid}/task")).is_ok_and(|tasks| tasks.flatten().all(traced));
        assert!(
            until(Duration::from_secs(30), all),
            "strace did not get hold of the vault: {}",
            fs::read_to_string(out.with_extension("words")).unwrap_or_default()
        );
        Self { child, out: out.to_owned() }
    }

    fn close(mut self) -> Trace {
        signal(self.child.id(), rustix::process::Signal::INT);
        self.child.wait().unwrap();
        Trace::read(&fs::read_to_string(&self.out).unwrap())
    }
}

#[test]
fn a_vault_forgets_nothing_and_answers_nothing_before_the_object_is_on_the_disk() {
    let Some(_) = strace() else { return };
    let (vault, dir) = (Vault::up(), scratch());
    let disk = vault.up.data.objects.canonicalize().unwrap();
    let journal = vault.up.data.vault.join("journal").canonicalize().unwrap();
    let mark = journal.join("mark.lgj");
    let in_journal = format!("<{}/", journal.display());
    let send = |file: &str, f: &Fixture, data_set: &[u8]| {
        drained(&vault);
        let before = objects(&vault);
        let eye = Eye::on(vault.now().pids.vault, strace().unwrap(), &dir.path().join(file));
        assert_eq!(vault.store(f, data_set).unwrap().status, 0);
        drained(&vault);
        let trace = eye.close();
        let new: BTreeSet<PathBuf> = objects(&vault).difference(&before).cloned().collect();
        assert_eq!(new.len(), 1);
        (trace, new.first().unwrap().canonicalize().unwrap())
    };

    // A small one is in the journal until it is in its place.
    let f = Fixture::named("ct-1.dcm");
    let (trace, whole) = send("small", &f, &f.data_set());
    let trimmed = trace.first("the trim", |call| call.writes() && call.is_on(&mark)).begun;
    assert_durable("small", &trace, &disk, &whole, trimmed);

    // A large one is in its place before the journal tells of it.
    let (f, data_set) = large(1, 3);
    let (trace, whole) = send("large", &f, &data_set);
    let is_record = |arguments: &str| arguments.contains(&in_journal) && !arguments.contains("mark.lgj");
    let record = trace.first("the record", |call| call.writes() && is_record(&call.arguments)).begun;
    assert_durable("large", &trace, &disk, &whole, record);
}
