//! The render worker as a process: what it holds, and what the worst frames do to it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests may fail loudly")]

use leadglass_imaging::{
    decode::{Coding, Layout, Photometric},
    work::{AnswerHead, Job, known_code},
};
use serde::Deserialize;
use std::{
    ffi::OsString,
    io::{Read, Write},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::mpsc::{RecvTimeoutError, sync_channel},
    time::Duration,
};

/// A worker that is killed when it does not answer in time.
struct Worker {
    child: Child,
    input: Option<ChildStdin>,
    output: ChildStdout,
}

#[derive(Debug, PartialEq, Eq)]
enum Said {
    Done(Vec<u8>),
    Refused(&'static str),
    Died,
}

impl Worker {
    fn start() -> Self {
        Self::of(Command::new(env!("CARGO_BIN_EXE_leadglass")).arg("render-worker"))
    }

    fn of(command: &mut Command) -> Self {
        let mut child = command
            .env_clear()
            .env("MIMALLOC_ARENA_RESERVE", "32MiB")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (input, output) = (child.stdin.take(), child.stdout.take().unwrap());
        Self { child, input, output }
    }

    fn ask(&mut self, job: &Job, frame: &[u8]) -> Said {
        let head = job.head(TICKET, frame.len()).unwrap();
        let (told, tell) = sync_channel(1);
        let (mut input, output) = (self.input.take().unwrap(), &mut self.output);
        let child = &mut self.child;
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let written = input.write_all(&head).and_then(|()| input.write_all(frame)).and_then(|()| input.flush());
                let said = written.ok().and_then(|()| answer(output).ok()).unwrap_or(Said::Died);
                let _ = told.send((said, input));
            });
            match tell.recv_timeout(LIMIT) {
                Ok((said, input)) => {
                    self.input = Some(input);
                    said
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    child.kill().unwrap();
                    panic!("a worker hangs");
                }
            }
        })
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn answer(output: &mut ChildStdout) -> std::io::Result<Said> {
    let mut head = [0; AnswerHead::LEN];
    output.read_exact(&mut head)?;
    let head = AnswerHead::read(head, TICKET).expect("a worker answers what there is");
    let (AnswerHead::Done(len) | AnswerHead::Refused(len)) = head;
    let mut bytes = vec![0; len];
    output.read_exact(&mut bytes)?;
    Ok(match head {
        AnswerHead::Done(_) => Said::Done(bytes),
        AnswerHead::Refused(_) => Said::Refused(known_code(&bytes).expect("a code that there is")),
    })
}

const TICKET: [u8; 16] = [7; 16];

fn grey(columns: u32, rows: u32, allocated: u16) -> Layout {
    Layout {
        rows,
        columns,
        samples: 1,
        allocated,
        stored: allocated,
        high_bit: allocated - 1,
        signed: false,
        planar: false,
        photometric: Photometric::Monochrome2,
    }
}

#[test]
fn a_worker_is_confined_before_its_first_job() {
    // A shell hands it a file that nobody closed.
    let mut shell = Command::new("bash");
    shell.args(["-c", "exec 9</etc/hostname 8>/dev/null; exec \"$0\" render-worker", env!("CARGO_BIN_EXE_leadglass")]);
    let mut worker = Worker::of(&mut shell);
    let job = Job::Decode(Coding::Native, grey(2, 2, 8));
    assert_eq!(worker.ask(&job, &[1, 2, 3, 4]), Said::Done(vec![1, 2, 3, 4]));

    let of = |name: &str| std::fs::read_to_string(format!("/proc/{}/{name}", worker.child.id()));
    let status = of("status").unwrap();
    for line in ["NoNewPrivs:\t1", "Seccomp:\t2", "Threads:\t1"] {
        assert!(status.lines().any(|l| l == line), "{line} is not in\n{status}");
    }
    let limits = of("limits").unwrap();
    for name in ["Max core file size", "Max file size", "Max open files", "Max address space", "Max cpu time"] {
        let line = limits.lines().find(|line| line.starts_with(name)).unwrap();
        assert!(!line.contains("unlimited"), "{line}");
    }
    // Who may look at all: a process that cannot be dumped shows this to root only.
    if let Ok(files) = std::fs::read_dir(format!("/proc/{}/fd", worker.child.id())) {
        let mut numbers: Vec<_> = files.map(|f| f.unwrap().file_name().into_string().unwrap()).collect();
        numbers.sort();
        assert_eq!(numbers, ["0", "1", "2"]);
        assert_eq!(std::fs::read_link(format!("/proc/{}/cwd", worker.child.id())).unwrap(), Path::new("/"));
    }
}

#[test]
fn a_worker_ends_when_the_vault_does() {
    let mut worker = Worker::start();
    assert_eq!(worker.ask(&Job::Decode(Coding::Native, grey(1, 1, 8)), &[9]), Said::Done(vec![9]));
    drop(worker.input.take());
    assert!(worker.child.wait().unwrap().success());
}

#[test]
fn claims_of_enormous_frames_are_refused_at_once() {
    let mut worker = Worker::start();
    let enormous = grey(65_535, 65_535, 16);
    for coding in [Coding::Native, Coding::Rle, Coding::Jpeg, Coding::JpegLs, Coding::Jpeg2000] {
        assert_eq!(worker.ask(&Job::Decode(coding, enormous), b"bomb"), Said::Refused("frame-too-large"));
    }
    // A data set that is modest and a codestream that is not.
    for case in cases() {
        let mut modest = case.head.layout;
        modest.rows += 1;
        let said = worker.ask(&Job::Decode(case.coding(), modest), &case.frame);
        let expected = if case.coding().is_native() || case.coding() == Coding::Rle {
            "frame-truncated"
        } else {
            "frame-contradictory"
        };
        assert_eq!(said, Said::Refused(expected), "{}", case.head.name);
    }
}

#[test]
fn frames_that_break_off_are_never_shown() {
    let mut worker = Worker::start();
    for case in cases() {
        let whole = worker.ask(&case.job(), &case.frame);
        assert!(matches!(whole, Said::Done(_)), "{}: {whole:?}", case.head.name);
        for part in [0, 1, 3, 8, 40, 70] {
            let cut = &case.frame[..case.frame.len() * part / 100];
            match worker.ask(&case.job(), cut) {
                Said::Refused(_) => {}
                Said::Died => worker = Worker::start(),
                Said::Done(_) => panic!("{} is shown with {part} of 100 bytes", case.head.name),
            }
        }
    }
}

/// Bits flipped, bytes overwritten, ranges repeated and cut out: whatever comes, the worker answers or ends, soon.
#[test]
fn mutated_codestreams_end_in_a_picture_a_refusal_or_a_new_worker() {
    let mut worker = Worker::start();
    let mut random = Random(0x1ead_61a5_5eed_0001);
    let (mut shown, mut refused, mut died) = (0, 0, 0);
    for case in cases().iter().filter(|case| !case.coding().is_native()) {
        for _ in 0..MUTATIONS {
            let mutant = random.mutate(&case.frame);
            match worker.ask(&case.job(), &mutant) {
                Said::Done(_) => shown += 1,
                Said::Refused(_) => refused += 1,
                Said::Died => {
                    died += 1;
                    worker = Worker::start();
                }
            }
        }
    }
    eprintln!("{shown} shown, {refused} refused, {died} workers died");
    assert!(refused > 100, "mutation hits nothing: {refused} refused");
    assert_eq!(worker.ask(&Job::Decode(Coding::Native, grey(1, 1, 8)), &[9]), Said::Done(vec![9]));
}

#[derive(Debug, Deserialize)]
struct Head {
    name: String,
    syntax: String,
    layout: Layout,
}

struct Case {
    head: Head,
    frame: Vec<u8>,
}

impl Case {
    fn coding(&self) -> Coding {
        Coding::of(&self.head.syntax).unwrap()
    }

    fn job(&self) -> Job {
        Job::Decode(self.coding(), self.head.layout)
    }
}

/// Small frames of every coding, from the pictures that the decoders are compared with.
fn cases() -> Vec<Case> {
    let frames = Path::new(env!("CARGO_MANIFEST_DIR")).join("../imaging/tests/frames");
    let scratch = tempfile::tempdir().unwrap();
    let told = Command::new(python())
        .arg(frames.join("reference.py"))
        .args([frames.join("../../../../fixtures").as_path(), scratch.path()])
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .unwrap();
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    let mut rest = told.stdout.as_slice();
    let mut cases = Vec::new();
    let mut taken = std::collections::BTreeMap::new();
    while !rest.is_empty() {
        let head: Head = serde_json::from_slice(&blob(&mut rest)).unwrap();
        let (four, after) = rest.split_first_chunk().unwrap();
        rest = after;
        let mut blobs: Vec<Vec<u8>> = (0..u32::from_le_bytes(*four)).map(|_| blob(&mut rest)).collect();
        let case = Case { head, frame: blobs.swap_remove(0) };
        let kind = (case.head.syntax.clone(), case.head.layout.samples, case.head.layout.allocated);
        let count = taken.entry(kind).or_insert(0);
        // Tiny pictures have nothing to mutate, large ones take time.
        let fits = (300..12_000).contains(&case.frame.len()) && case.head.layout.allocated > 1;
        if fits && *count < 2 && !case.head.name.contains("padded") {
            *count += 1;
            cases.push(case);
        }
    }
    assert!(cases.len() > 20, "{} cases", cases.len());
    cases
}

fn blob(rest: &mut &[u8]) -> Vec<u8> {
    let (four, after) = rest.split_first_chunk().unwrap();
    let (blob, after) = after.split_at(u32::from_le_bytes(*four) as usize);
    *rest = after;
    blob.to_vec()
}

#[allow(clippy::disallowed_methods, reason = "tests/all says which Python has the packages")]
fn python() -> OsString {
    if let Some(given) = std::env::var_os("LEADGLASS_PYTHON") {
        return given;
    }
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.venv/bin/python");
    if own.exists() { own.into() } else { "python3".into() }
}

/// xorshift64*: the same mutants every time.
struct Random(u64);

impl Random {
    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(number).unwrap() % most.max(1)
    }

    fn mutate(&mut self, frame: &[u8]) -> Vec<u8> {
        let mut mutant = frame.to_vec();
        for _ in 0..=self.below(4) {
            // Heads are short and rule everything that follows: every other hit goes there.
            let reach = if self.below(2) == 0 { mutant.len().min(120) } else { mutant.len() };
            let at = self.below(reach);
            match self.below(5) {
                0 => mutant[at] ^= 1 << self.below(8),
                1 => mutant[at] = u8::try_from(self.below(256)).unwrap(),
                2 => mutant[at] = [0, 0xff, 0x7f, 0x80][self.below(4)],
                3 => {
                    let end = (at + 1 + self.below(40)).min(mutant.len());
                    let again = mutant[at..end].to_vec();
                    mutant.splice(at..at, again);
                }
                _ => {
                    let end = (at + 1 + self.below(20)).min(mutant.len());
                    mutant.drain(at..end);
                }
            }
            if mutant.is_empty() {
                mutant.push(0xff);
            }
        }
        mutant
    }
}

/// How long a worker may think about one of these, in a debug build, beside others.
const LIMIT: Duration = Duration::from_secs(60);
/// Mutants of each frame; there are several frames of each coding.
const MUTATIONS: usize = 60;
