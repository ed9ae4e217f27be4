//! The command line. Data goes to stdout, words to stderr; `--json` prints one JSON value.

mod args;
mod ask;
mod print;
mod run;
mod serve;

pub use args::Cli;
pub use run::main;

use crate::refusal::Refusal;
use leadglass_model::Fault;
use std::process::ExitCode;

/// What a program leaves behind: KEYS.md's answers as exit codes. 2 is clap's own for a wrong command line.
pub(crate) fn exit_code(refusal: &Refusal) -> ExitCode {
    ExitCode::from(match refusal.fault() {
        Fault::BadInput => 2,
        Fault::Denied => 3,
        Fault::Missing => 4,
        Fault::Conflict => 5,
        Fault::Busy => 6,
        Fault::Corrupt => 7,
        Fault::Broken => 1,
    })
}

/// `doctor` found something red.
pub(crate) const EXIT_RED: u8 = 8;
