//! `leadglass render-worker`: the process that decodes and renders what others sent, apart from every key.
//!
//! The vault starts it, writes jobs to its standard input and reads pictures from its standard output. Before the first
//! job it gives away what it could do harm with: inherited files, memory beyond a bound, processor time, core dumps, the
//! right to gain privileges, and on Linux every system call but those that reading, writing and memory need. What cannot be
//! bounded ends the worker. Where the kernel filters no system calls, it refuses to work, unless the configuration allows that.

use anyhow::{Context, ensure};
use leadglass_imaging::work;
use nix::{
    libc,
    sys::{
        prctl,
        resource::{Resource, setrlimit},
    },
};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};
use std::{
    fs,
    io::{self, IoSlice, Write},
    process::ExitCode,
};

/// Does it, until the vault closes the pipe. `unfiltered`: even if no system call is filtered.
pub fn run(unfiltered: bool) -> anyhow::Result<ExitCode> {
    settle().context("a render worker could not be confined")?;
    let is_filtered = filter_system_calls().is_ok();
    let done = work_if(is_filtered || unfiltered, std::io::stdin().lock(), Output);
    match done {
        Ok(()) => Ok(ExitCode::SUCCESS),
        // The vault went away in the middle of a job, or spoke another language; it knows why.
        Err(_) => Ok(ExitCode::from(1)),
    }
}

fn work_if(may: bool, input: impl io::Read, output: impl Write) -> io::Result<()> {
    if may { work::serve(input, output) } else { work::refuse(input, output) }
}

/// Standard output without a buffer: what is written whole leaves whole, with whatever line feeds are in it.
struct Output;

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(nix::unistd::write(io::stdout(), bytes)?)
    }

    fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        Ok(nix::sys::uio::writev(io::stdout(), pieces)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn settle() -> anyhow::Result<()> {
    std::env::set_current_dir("/")?;
    // First in line when memory runs out; where that may not be said, the kernel chooses.
    let _ = fs::write("/proc/self/oom_score_adj", "1000");
    close_inherited()?;
    prctl::set_dumpable(false)?;
    prctl::set_no_new_privs()?;
    for (resource, most) in [
        (Resource::RLIMIT_AS, MAX_ADDRESS_SPACE_BYTES),
        (Resource::RLIMIT_CPU, MAX_CPU_SECONDS),
        (Resource::RLIMIT_CORE, 0),
        (Resource::RLIMIT_FSIZE, 0),
        (Resource::RLIMIT_NOFILE, 3),
    ] {
        setrlimit(resource, most, most)?;
    }
    Ok(())
}

/// Closes all but standard input, output and error, and looks whether that is so.
fn close_inherited() -> anyhow::Result<()> {
    for number in open_files()? {
        // The folder that is being read is among them and gone by now.
        let _ = nix::unistd::close(number);
    }
    let left = open_files()?;
    // Reading the folder takes one.
    ensure!(left.len() <= 1, "{} inherited files stay open", left.len());
    Ok(())
}

/// Numbers of open files above standard error.
fn open_files() -> anyhow::Result<Vec<i32>> {
    let names = fs::read_dir("/proc/self/fd")?.map(|entry| Ok(entry?.file_name()));
    let names = names.collect::<std::io::Result<Vec<_>>>()?;
    Ok(names.iter().filter_map(|name| name.to_str()?.parse().ok()).filter(|number| *number > 2).collect())
}

fn filter_system_calls() -> anyhow::Result<()> {
    let allowed = ALLOWED.iter().map(|call| (*call, Vec::new())).collect();
    let refuse = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let filter = SeccompFilter::new(allowed, refuse, SeccompAction::Allow, std::env::consts::ARCH.try_into()?)?;
    let program: BpfProgram = filter.try_into()?;
    seccompiler::apply_filter(&program)?;
    Ok(())
}

/// What a worker needs once it is settled: to read, to write, to have memory, to end. No signal is among it, not even to itself:
/// it bears the vault's user, and who may signal one may end the other.
const ALLOWED: [libc::c_long; 23] = [
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_close,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_futex,
    libc::SYS_sched_yield,
    libc::SYS_clock_gettime,
    libc::SYS_getrandom,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// A frame of [`MAX_FRAME_BYTES`](leadglass_imaging::decode::MAX_FRAME_BYTES), its codestream, and what decoding holds beside.
const MAX_ADDRESS_SPACE_BYTES: u64 = 1_280 << 20;
/// In a worker's whole life; the vault replaces it long before.
const MAX_CPU_SECONDS: u64 = 120;

#[cfg(test)]
mod tests {
    use super::*;
    use leadglass_imaging::{
        decode::{Coding, Layout, Photometric},
        work::{AnswerHead, Job, NOT_CONFINED, known_code},
    };
    use nix::{
        errno::Errno,
        sys::signal::{Signal, raise},
    };

    /// With tgkill, a worker that was taken over could end the vault, whose user it has.
    #[test]
    fn a_confined_process_signals_nobody() {
        // The filter is the thread's, and ends with it. The signal is one that nobody heeds.
        let signal = || raise(Signal::SIGURG);
        let said = std::thread::spawn(move || {
            let before = signal();
            filter_system_calls().unwrap();
            (before, signal())
        });
        assert_eq!(said.join().unwrap(), (Ok(()), Err(Errno::EPERM)));
    }

    /// Where no filter could be had, foreign bytes were once decoded all the same, and nobody was told.
    #[test]
    fn without_a_filter_nothing_is_decoded_unless_that_is_allowed() {
        let layout = Layout {
            rows: 1,
            columns: 4,
            samples: 1,
            allocated: 8,
            stored: 8,
            high_bit: 7,
            signed: false,
            planar: false,
            photometric: Photometric::Monochrome2,
        };
        let job = [Job::Decode(Coding::Native, layout).head([3; 16], 4).unwrap(), vec![1, 2, 3, 4]].concat();
        let said = |may| {
            let mut output = Vec::new();
            work_if(may, job.as_slice(), &mut output).unwrap();
            let (head, rest) = output.split_first_chunk().unwrap();
            (AnswerHead::read(*head, [3; 16]).unwrap(), rest.to_vec())
        };
        assert_eq!(said(true), (AnswerHead::Done(4), vec![1, 2, 3, 4]));
        let (head, code) = said(false);
        assert_eq!((head, known_code(&code)), (AnswerHead::Refused(code.len()), Some(NOT_CONFINED)));
    }
}
