//! `leadglass render-worker`: the process that decodes and renders what others sent, apart from every key.
//!
//! The vault starts it, writes jobs to its standard input and reads pictures from its standard output. Before the first
//! job it gives away what it could do harm with: inherited files, memory beyond a bound, processor time, core dumps, the
//! right to gain privileges, and on Linux every system call but those that reading, writing and memory need. What cannot be
//! bounded ends the worker; a kernel without system call filters does not.

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

/// Does it, until the vault closes the pipe.
pub fn run() -> anyhow::Result<ExitCode> {
    settle().context("a render worker could not be confined")?;
    match work::serve(std::io::stdin().lock(), Output) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        // The vault went away in the middle of a job, or spoke another language; it knows why.
        Err(_) => Ok(ExitCode::from(1)),
    }
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
    if let Err(error) = filter_system_calls() {
        tracing::debug!(%error, "a render worker runs without a filter of system calls");
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

/// What a worker needs once it is settled: to read, to write, to have memory, to end.
const ALLOWED: [libc::c_long; 24] = [
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
    libc::SYS_tgkill,
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
