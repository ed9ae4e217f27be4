//! `leadglass audit`: proves the log, reports on accesses, matches the logs, carries the log elsewhere.

mod csv;
mod dicom;
mod export;
mod fhir;
mod keys;
mod page;
mod pdf;
mod proof;
mod report;
pub(crate) mod syslog;
mod words;

pub(crate) use csv::field as csv_field;
pub(crate) use page::{html as report_page, lines as report_lines};
pub(crate) use pdf::document as pdf;
pub(crate) use words::{moment, time};

use crate::admin::{self, Client};
use std::process::ExitCode;

/// Proves the log, reports on accesses, matches the logs, carries the log elsewhere.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Checks a log's directory without the vault; names the first fault.
    Verify(proof::VerifyArgs),
    /// Checks an access report without the vault.
    VerifyReport(proof::ReportArgs),
    /// Prints the public keys that verifiers need.
    Keys(keys::Args),
    /// Reports who opened a patient's studies: HTML, PDF, and JSON with proofs.
    Report(report::Args),
    /// Matches the key service's log with the vault's now.
    Reconcile(ReconcileArgs),
    /// Writes the log's entries as CSV, DICOM audit messages or FHIR AuditEvents.
    Export(export::Args),
}

/// Matches the key service's log with the vault's now.
///
/// Each key that was given out must belong to an access that the vault's log holds. Exit code 3 when one does not.
#[derive(Debug, clap::Args)]
struct ReconcileArgs {
    #[command(flatten)]
    vault: admin::Vault,
}

/// Does it.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Verify(args) => proof::verify(&args),
        Command::VerifyReport(args) => proof::verify_report(&args),
        Command::Keys(args) => keys::run(&args).await,
        Command::Report(args) => report::run(&args).await,
        Command::Reconcile(args) => reconcile(&args).await,
        Command::Export(args) => export::run(&args).await,
    }
}

async fn reconcile(args: &ReconcileArgs) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.vault)?;
    let request = client.http.post(format!("{}/api/v1/audit/reconcile", client.base));
    let found: serde_json::Value = client.send(request).await?.json().await?;
    let unmatched = found["unmatched"].as_array().map_or(0, Vec::len);
    if args.vault.json {
        admin::print(&found.to_string());
    } else {
        admin::print(&format!("key service's entries seen  {}", found["key_log_entries"]));
        admin::print(&format!("keys given out, looked at   {}", found["unwraps"]));
        admin::print(&format!("matched with an access      {}", found["matched"]));
        admin::print(&format!("waiting for their entry     {}", found["waiting"]));
        admin::print(&format!("WITHOUT AN ACCESS           {unmatched}"));
        for one in found["unmatched"].as_array().into_iter().flatten() {
            let text = |field: &str| one[field].as_str().unwrap_or("-").to_owned();
            let (entry, why) = (&one["key_log_entry"], text("why"));
            admin::print(&format!("  key log entry {entry}: {why}, study {}, by {}", text("study"), text("actor")));
        }
    }
    Ok(if unmatched == 0 { ExitCode::SUCCESS } else { ExitCode::from(admin::ATTENTION) })
}
