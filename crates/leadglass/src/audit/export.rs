//! `leadglass audit export`: entries of a running vault as they come, in a form that others read.

use super::{csv, dicom, fhir, words};
use crate::admin::{self, Client};
use anyhow::{Context, bail};
use futures::TryStreamExt;
use leadglass_audit::EntryLine;
use std::{
    fs::File,
    io::{BufWriter, Write},
    path::PathBuf,
    process::ExitCode,
};

/// Writes the log's entries as CSV, DICOM audit messages or FHIR AuditEvents.
///
/// The entries of the token's tenant, as they come. They hold pseudonyms and keyed tokens, no names. Reading the log is
/// recorded in it.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    vault: admin::Vault,
    /// The form.
    #[arg(long, value_enum, default_value = "csv")]
    format: Form,
    /// Entries from this date (2026-11-23, UTC) or moment (2026-11-23T08:00:00Z) on.
    #[arg(long, value_name = "WHEN", value_parser = words::moment)]
    from: Option<u64>,
    /// Entries before this date or moment.
    #[arg(long, value_name = "WHEN", value_parser = words::moment)]
    to: Option<u64>,
    /// The file; standard output without it.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Form {
    /// Comma-separated, safe to open in a spreadsheet.
    Csv,
    /// DICOM audit messages (PS3.15 A.5), one XML document a line.
    Dicom,
    /// FHIR R4 AuditEvent, one resource a line (NDJSON).
    Fhir,
}

/// `leadglass audit export`
pub(super) async fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.vault)?;
    let (from, to) = (args.from.unwrap_or(0), args.to.unwrap_or(u64::MAX));
    let address = format!("{}/api/v1/audit/entries?from_ms={from}&to_ms={to}", client.base);
    let mut lines = client.send(client.http.get(address)).await?.bytes_stream();
    let mut out: Box<dyn Write> = match &args.out {
        Some(file) => {
            Box::new(BufWriter::new(File::create(file).with_context(|| format!("cannot write {}", file.display()))?))
        }
        None => Box::new(BufWriter::new(std::io::stdout().lock())),
    };
    if args.format == Form::Csv {
        writeln!(out, "{}", csv::HEAD)?;
    }
    let (mut pending, mut count) = (Vec::new(), 0_u64);
    while let Some(piece) = lines.try_next().await.context("the vault stopped answering: the export is not whole")? {
        pending.extend_from_slice(&piece);
        let mut at = 0;
        while let Some(end) = pending.get(at..).and_then(|rest| rest.iter().position(|b| *b == b'\n')) {
            let line = pending.get(at..at + end).unwrap_or_default();
            let entry: EntryLine = serde_json::from_slice(line).context("the vault's answer does not parse")?;
            match args.format {
                Form::Csv => writeln!(out, "{}", csv::line(&entry))?,
                Form::Dicom => writeln!(out, "{}", dicom::message(&entry))?,
                Form::Fhir => writeln!(out, "{}", fhir::event(&entry))?,
            }
            count += 1;
            at += end + 1;
        }
        pending.drain(..at);
        if pending.len() > MAX_LINE_BYTES {
            bail!("the vault's answer is too long");
        }
    }
    out.flush().context("the export cannot be written")?;
    eprintln!("{count} entries.");
    Ok(ExitCode::SUCCESS)
}

const MAX_LINE_BYTES: usize = 64 * 1024;
