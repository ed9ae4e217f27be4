//! The command line.

use crate::{
    admin, audit, backup, breach, care, case, config, deidentify, device, doctor, erase, export, import, logging, open,
    person, rectify, reindex, render_worker, restriction, retention, review, send, serve, thrift, token, up,
};
use clap::{Parser, Subcommand};
use std::{path::PathBuf, process::ExitCode};

/// An encrypted vault for clinical images.
///
/// X-ray machines send by DICOM C-STORE; every study is sealed under its own key before a byte reaches a disk; viewers
/// get it back over DICOMweb. `leadglass up` tries it all on one machine.
#[derive(Debug, Parser)]
#[command(name = "leadglass", version, propagate_version = true)]
#[command(after_help = "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 done but something needs attention.")]
pub struct Cli {
    /// How log lines look.
    #[arg(long, global = true, value_enum, default_value = "text")]
    log: logging::Format,
    /// Says more.
    #[arg(long, short, global = true)]
    verbose: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Starts key service and vault on this machine, for evaluation.
    ///
    /// Makes keys, certificates and tokens, loads a sample study over C-STORE, and prints where to send, where to look
    /// and how to stop. A second start resumes. Both halves on one machine protect against a stolen bucket or backup,
    /// not against a stolen machine: production keeps the key service on a host of its own.
    Up(up::Args),
    /// Runs a vault node.
    Serve(serve::Args),
    /// Checks a configuration file.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Sends DICOM files by C-STORE.
    Send(send::Args),
    /// Brings in what is there already: folders, archives, discs, an Orthanc; watches a sensor's folder.
    Import(Box<import::Args>),
    /// Opens every stored object: lengths, keys, digests, orphans.
    Verify(admin::VerifyArgs),
    /// Tells how a running vault is.
    Status(admin::StatusArgs),
    /// Lists, releases and moves instances that did not fit their study.
    Quarantine(admin::QuarantineArgs),
    /// Proves the log, reports on accesses, matches the logs, carries the log elsewhere.
    Audit(audit::Args),
    /// Tells whose data a breach reached, and drafts what has to be notified.
    Breach(breach::Args),
    /// Enrols devices, lists and revokes them, gives them certificates.
    Device(device::Args),
    /// Invites people, lists them, changes their roles, ends their access.
    Person(person::Args),
    /// Lists who treats whom, says so, and ends it.
    Care(care::Args),
    /// Lists restricted studies, restricts one, lifts that.
    Restriction(restriction::Args),
    /// Lists what was opened in emergencies, and closes it with a decision.
    Review(review::Args),
    /// Says what has to be kept how long, and lists what is over.
    Retention(retention::Args),
    /// Holds studies for legal claims, and lifts that.
    Hold(retention::HoldArgs),
    /// Carries cases on: what patients ask for by right, and breaches, each with its deadline.
    Case(Box<case::Args>),
    /// Corrects whose images these are; merges patients, splits studies.
    Rectify(Box<rectify::Args>),
    /// Orders, approves and carries out erasures, and fetches their certificates.
    Erase(Box<erase::Args>),
    /// Checks an erasure's certificate without the vault.
    Certificate(erase::CertificateArgs),
    /// Exports a patient, a study or an instance as a package for media.
    Export(Box<export::Args>),
    /// Takes names out of images for research, teaching, or a vendor's support.
    Deidentify(Box<deidentify::Args>),
    /// Tells in plain words what is not yet safe.
    Doctor(doctor::Args),
    /// Issues, lists and revokes bearer tokens; the vault must be stopped.
    Token(token::Args),
    /// Rebuilds the index from the sealed objects and the key service; the vault must be stopped.
    Reindex(reindex::Args),
    /// Takes a backup of a running vault: everything sealed, what did not change once.
    Backup(backup::Args),
    /// Brings a backup into an empty place.
    Restore(backup::RestoreArgs),
    /// Proves that the newest backup would come back.
    Drill(backup::DrillArgs),
    /// Reads one sealed object with a key file, without any service.
    Open(open::Args),
    /// Decodes and renders what the vault writes to its standard input. The vault starts it.
    #[command(hide = true)]
    RenderWorker {
        /// Works even where the kernel filters no system calls.
        #[arg(long)]
        unfiltered: bool,
    },
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Parses the file and says what is wrong with it.
    Check {
        /// The configuration file.
        file: PathBuf,
    },
}

impl Cli {
    /// Does what was asked for.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        logging::install(self.log, self.verbose);
        let runtime = || tokio::runtime::Builder::new_multi_thread().enable_all().build();
        match self.command {
            Command::Up(args) => runtime()?.block_on(up::run(args)),
            Command::Serve(args) => {
                thrift::settle();
                runtime()?.block_on(serve::run(args))
            }
            Command::Config(ConfigCommand::Check { file }) => {
                config::Config::read(&file)?;
                eprintln!("{} is usable.", file.display());
                Ok(ExitCode::SUCCESS)
            }
            Command::Send(args) => runtime()?.block_on(send::run(args)),
            Command::Import(args) => runtime()?.block_on(import::run(*args)),
            Command::Verify(args) => runtime()?.block_on(admin::verify(args)),
            Command::Status(args) => runtime()?.block_on(admin::status(args)),
            Command::Quarantine(args) => runtime()?.block_on(admin::quarantine(args)),
            Command::Audit(args) => runtime()?.block_on(audit::run(args)),
            Command::Breach(args) => runtime()?.block_on(breach::run(args)),
            Command::Device(args) => runtime()?.block_on(device::run(args)),
            Command::Person(args) => runtime()?.block_on(person::run(args)),
            Command::Care(args) => runtime()?.block_on(care::run(args)),
            Command::Restriction(args) => runtime()?.block_on(restriction::run(args)),
            Command::Review(args) => runtime()?.block_on(review::run(args)),
            Command::Retention(args) => runtime()?.block_on(retention::run(args)),
            Command::Hold(args) => runtime()?.block_on(retention::hold(args)),
            Command::Case(args) => runtime()?.block_on(case::run(*args)),
            Command::Rectify(args) => runtime()?.block_on(rectify::run(*args)),
            Command::Erase(args) => runtime()?.block_on(erase::run(*args)),
            Command::Export(args) => runtime()?.block_on(export::run(*args)),
            Command::Deidentify(args) => runtime()?.block_on(deidentify::run(*args)),
            Command::Certificate(args) => erase::certificate(&args),
            Command::Doctor(args) => runtime()?.block_on(doctor::run(args)),
            Command::Token(args) => token::run(args),
            Command::Reindex(args) => runtime()?.block_on(reindex::run(args)),
            Command::Backup(args) => runtime()?.block_on(backup::run(args)),
            Command::Restore(args) => runtime()?.block_on(backup::restore(args)),
            Command::Drill(args) => runtime()?.block_on(backup::drill(args)),
            Command::Open(args) => open::run(&args),
            Command::RenderWorker { unfiltered } => render_worker::run(unfiltered),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        <Cli as clap::CommandFactory>::command().debug_assert();
        let _ = Cli::try_parse_from(["leadglass", "up", "--data", "d", "--json", "--no-sample"]).unwrap();
    }
}
