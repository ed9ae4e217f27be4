//! `leadglass audit report`: fetches a patient's report and writes it down for people and for verifiers.

use super::{page, pdf, words};
use crate::{
    admin::{self, Client},
    files,
};
use anyhow::{Context, bail, ensure};
use leadglass_audit::{report, report::AccessReport};
use std::{path::PathBuf, process::ExitCode};

/// Reports who opened a patient's studies: HTML, PDF, and JSON with proofs.
///
/// With a token of the data protection officer. The Patient ID stands in a file, or is read from standard input: process
/// arguments are readable by others. The JSON is what `leadglass audit verify-report` checks, and anybody else's verifier.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    vault: admin::Vault,
    /// A file that holds the Patient ID; `-` reads it from standard input.
    #[arg(long, value_name = "FILE")]
    patient_file: PathBuf,
    /// A file that holds the Issuer of Patient ID, where devices send one.
    #[arg(long, value_name = "FILE")]
    issuer_file: Option<PathBuf>,
    /// Accesses from this date (2026-11-23, UTC) or moment on.
    #[arg(long, value_name = "WHEN", value_parser = words::moment)]
    from: Option<u64>,
    /// Accesses before this date or moment.
    #[arg(long, value_name = "WHEN", value_parser = words::moment)]
    to: Option<u64>,
    /// Writes the page for people; it prints on paper.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Writes the same as PDF.
    #[arg(long, value_name = "FILE")]
    pdf: Option<PathBuf>,
    /// Writes the report with its proofs.
    #[arg(long, value_name = "FILE")]
    proof: Option<PathBuf>,
}

/// `leadglass audit report`
pub(super) async fn run(args: &Args) -> anyhow::Result<ExitCode> {
    ensure!(
        args.html.is_some() || args.pdf.is_some() || args.proof.is_some() || args.vault.json,
        "name a file: --html, --pdf or --proof; --json writes the report to standard output"
    );
    let patient = crate::files::text(&args.patient_file)?;
    let issuer = args.issuer_file.as_ref().map(|file| crate::files::text(file)).transpose()?;
    if patient.is_empty() {
        bail!("the Patient ID is empty");
    }
    let client = Client::new(&args.vault)?;
    let asked = serde_json::json!({
        "patient_id": patient, "issuer": issuer, "from_ms": args.from, "to_ms": args.to,
    });
    let request = client.http.post(format!("{}/api/v1/audit/report", client.base)).json(&asked);
    let report: AccessReport = client.send(request).await?.json().await.context("the vault's answer does not parse")?;
    // What does not hold is not handed on.
    let summary = report::verify(&report, None, None).context("the vault's report does not hold")?;
    let json = serde_json::to_vec(&report).context("the report cannot be written")?;
    for (file, bytes) in [
        (&args.html, args.html.as_ref().map(|_| page::html(&report, &summary).into_bytes())),
        (&args.pdf, args.pdf.as_ref().map(|_| pdf::document(&page::lines(&report, &summary)))),
        (&args.proof, args.proof.as_ref().map(|_| json.clone())),
    ] {
        if let (Some(file), Some(bytes)) = (file, bytes) {
            files::write(file, &bytes).with_context(|| format!("cannot write {}", file.display()))?;
        }
    }
    if args.vault.json {
        admin::print(&String::from_utf8_lossy(&json));
    }
    eprintln!("{} accesses, {} of them refused.", summary.accesses, summary.refused);
    if summary.witnessed_at.is_none() {
        eprintln!("The key service has not signed this report's checkpoint; it was away.");
    }
    Ok(ExitCode::SUCCESS)
}
