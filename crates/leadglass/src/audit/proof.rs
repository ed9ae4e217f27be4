//! `leadglass audit verify` and `verify-report`: offline, with public keys.

use super::{keys::Given, words};
use crate::admin;
use anyhow::{Context, bail};
use indicatif::{ProgressBar, ProgressStyle};
use leadglass_audit::{Flaw, ReadOnlyDisk, Verdict, report, verify_offline};
use serde_json::json;
use std::{io::IsTerminal, path::PathBuf, process::ExitCode};

/// Checks a log's directory without the vault; names the first fault.
///
/// Needs read access to the directory (`audit` under the vault's data directory, or a copy) and the public keys. Without the
/// vault's key signatures are not checked, and without the witness's nobody can tell a log that was written anew by whoever
/// holds the vault. Exit codes: 0 whole, 1 a fault, 2 wrong usage, 3 whole as far as it could be checked.
#[derive(Debug, clap::Args)]
pub(super) struct VerifyArgs {
    /// The log's directory.
    dir: PathBuf,
    #[command(flatten)]
    given: Given,
    /// A checkpoint that was handed out before, such as one from a report; the log must still hold what it says.
    #[arg(long, value_name = "FILE")]
    seen: Vec<PathBuf>,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

/// Checks an access report without the vault: signatures, the proof of each entry, that none is missing in between, the table.
///
/// Exit codes: 0 it holds, 1 it does not, 2 wrong usage, 3 it holds by the keys that it brought itself.
#[derive(Debug, clap::Args)]
pub(super) struct ReportArgs {
    /// The report's JSON.
    file: PathBuf,
    #[command(flatten)]
    given: Given,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

/// `leadglass audit verify`
pub(super) fn verify(args: &VerifyArgs) -> anyhow::Result<ExitCode> {
    if !args.dir.join("checkpoint").is_file() && !args.dir.join("tail").is_file() {
        bail!("{} holds no audit log: there is neither a checkpoint nor a tail", args.dir.display());
    }
    let mut keys = args.given.read()?;
    for file in &args.seen {
        let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        keys.seen.push(checkpoint_of(text));
    }
    let hidden = args.json || !std::io::stderr().is_terminal();
    let bar = if hidden { ProgressBar::hidden() } else { bar() };
    let disk = ReadOnlyDisk::new(&args.dir);
    let mut verdict = None;
    for _ in 0..ATTEMPTS {
        let before = std::fs::read(args.dir.join("checkpoint")).ok();
        let found = verify_offline(&disk, &keys, |done, total| {
            bar.set_length(total);
            bar.set_position(done);
        });
        // A vault that runs publishes meanwhile; what was half read is read again.
        let moved = std::fs::read(args.dir.join("checkpoint")).ok() != before;
        let again = moved && found.flaw.is_some();
        verdict = Some(found);
        if !again {
            break;
        }
    }
    bar.finish_and_clear();
    let verdict = verdict.context("the log was not looked at")?;
    let unsure = keys.log.is_none() || keys.witness.is_none();
    if args.json {
        admin::print(&as_json(&verdict, unsure).to_string());
    } else {
        tell(&verdict, keys.log.is_some(), keys.witness.is_some());
    }
    Ok(match (&verdict.flaw, unsure) {
        (Some(_), _) => ExitCode::FAILURE,
        (None, true) => ExitCode::from(admin::ATTENTION),
        (None, false) => ExitCode::SUCCESS,
    })
}

/// A report's checkpoint, or the text itself.
fn checkpoint_of(text: String) -> String {
    let report: Option<serde_json::Value> = serde_json::from_str(&text).ok();
    report.and_then(|report| report["checkpoint"].as_str().map(str::to_owned)).unwrap_or(text)
}

fn as_json(verdict: &Verdict, unsure: bool) -> serde_json::Value {
    json!({
        "whole": verdict.flaw.is_none(),
        "fault": verdict.flaw.as_ref().map(Flaw::code),
        "sentence": verdict.flaw.as_ref().map(ToString::to_string),
        "log": verdict.origin,
        "entries": verdict.head.size,
        "root": verdict.head.root.to_string(),
        "published": verdict.published,
        "cosigned": verdict.cosigned.map(|(size, _)| size),
        "cosigned_at": verdict.cosigned.map(|(_, at)| at),
        "all_keys_given": !unsure,
    })
}

fn tell(verdict: &Verdict, log: bool, witness: bool) {
    match &verdict.flaw {
        Some(flaw) => {
            admin::print(&format!("NOT WHOLE  {flaw}."));
            admin::print(&format!("           {} entries before that were good.", verdict.head.size));
        }
        None => admin::print(&format!("whole      {} entries of {}", verdict.head.size, verdict.origin)),
    }
    if let Some((size, at)) = verdict.cosigned {
        admin::print(&format!("witnessed  {size} entries, at {}", words::time(at.saturating_mul(1000))));
    }
    if !log {
        eprintln!("No --vault-key: signatures were not checked, and entries behind the checkpoint not read.");
    }
    if !witness {
        eprintln!("No --witness-key: a log that was written anew by whoever holds the vault looks the same.");
    }
}

/// `leadglass audit verify-report`
pub(super) fn verify_report(args: &ReportArgs) -> anyhow::Result<ExitCode> {
    let keys = args.given.read()?;
    let text = std::fs::read(&args.file).with_context(|| format!("cannot read {}", args.file.display()))?;
    let report: report::AccessReport = serde_json::from_slice(&text).context("this is no access report")?;
    let found = report::verify(&report, keys.log.as_ref(), keys.witness.as_ref());
    let unsure = keys.log.is_none() || keys.witness.is_none();
    match found {
        Ok(summary) if args.json => {
            admin::print(&json!({ "holds": true, "all_keys_given": !unsure, "summary": summary }).to_string());
        }
        Ok(summary) => {
            admin::print(&format!("holds      {} accesses, {} of them refused", summary.accesses, summary.refused));
            admin::print(&format!(
                "           {} entries about this patient, none missing up to {}",
                summary.entries,
                words::time(summary.up_to_ms)
            ));
            match summary.witnessed_at {
                Some(at) => admin::print(&format!("witnessed  at {}", words::time(at.saturating_mul(1000)))),
                None => eprintln!("No witness has signed the report's checkpoint."),
            }
            if unsure {
                eprintln!("The keys are the report's own: compare them with those that `leadglass audit keys` prints.");
            }
        }
        Err(flaw) => {
            if args.json {
                let told = json!({ "holds": false, "fault": flaw.code(), "sentence": flaw.to_string() });
                admin::print(&told.to_string());
            } else {
                admin::print(&format!("DOES NOT HOLD  {flaw}."));
            }
            return Ok(ExitCode::FAILURE);
        }
    }
    Ok(if unsure { ExitCode::from(admin::ATTENTION) } else { ExitCode::SUCCESS })
}

fn bar() -> ProgressBar {
    let style = "{bar:40} {pos}/{len} entries, {eta} left";
    let style = ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(0).with_style(style)
}

/// A busy vault publishes every ten seconds.
const ATTEMPTS: usize = 3;
