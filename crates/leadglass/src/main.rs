//! `leadglass`: the vault and everything a person does with it at a terminal.
//!
//! **Invariant:** data goes to standard output, words to standard error; the exit code says how it ended.

#![forbid(unsafe_code)]
#![allow(unreachable_pub, reason = "the modules of a program have no outside")]

mod activity;
mod actors;
mod admin;
mod alarms;
mod audit;
mod backup;
mod breach;
mod care;
mod case;
mod certificate;
mod cli;
mod config;
mod courier;
mod deidentify;
mod device;
mod devices;
mod doctor;
mod erase;
mod export;
mod files;
mod import;
mod intake;
mod logging;
mod node;
mod objects;
mod oidc;
mod open;
mod patrol;
mod people;
mod person;
mod rectify;
mod reindex;
mod render_worker;
mod restriction;
mod retention;
mod review;
mod send;
mod serve;
mod thrift;
mod token;
mod up;

use clap::Parser;
use std::process::ExitCode;

/// Large objects come and go: an allocator that gives memory back keeps the vault small beside a 500 MB study.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // What we write is for nobody else on this machine.
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o077));
    let cli = cli::Cli::parse();
    match cli.run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("leadglass: {error:#}");
            ExitCode::from(1)
        }
    }
}
