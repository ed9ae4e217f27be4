//! `leadglass certificate verify`, and how an erasure's certificate is written down.

use crate::{
    admin::{ATTENTION, print},
    audit, files,
};
use anyhow::{Context, ensure};
use leadglass_audit::PublicKey;
use leadglass_engine::{CertificateKeys, CertificateText, certificate_text, verify_certificate};
use leadglass_keys::wire::{Hex32, SignedStatement};
use serde_json::Value;
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

/// Checks an erasure's certificate without the vault.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Checks signatures, receipts, and that the certificate says what the receipts say. Exit code 3 when no key was given to
    /// hold it against.
    Verify {
        /// The certificate.
        file: PathBuf,
        /// The vault's public key, as `leadglass audit keys` prints it.
        #[arg(long, value_name = "KEY")]
        vault_key: Option<String>,
        /// The key service's receipt key, 64 hexadecimal digits, written down when it was set up.
        #[arg(long, value_name = "HEX")]
        receipt_key: Option<String>,
        /// Prints JSON.
        #[arg(long)]
        json: bool,
    },
}

/// Does it.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let Command::Verify { file, vault_key, receipt_key, json } = &args.command;
    let bytes = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let certificate: SignedStatement = serde_json::from_slice(&bytes).context("this is not an erasure certificate")?;
    let keys = CertificateKeys {
        vault: vault_key.as_deref().map(PublicKey::parse).transpose().context("the vault's key does not read")?,
        receipts: receipt_key
            .as_deref()
            .map(str::parse::<Hex32>)
            .transpose()
            .context("the receipt key does not read")?,
    };
    let text = verify_certificate(&certificate, &keys)?;
    if *json {
        print(&certificate.statement);
    } else {
        lines(&text).iter().for_each(|line| print(line));
    }
    eprintln!("The certificate holds.");
    if keys.vault.is_some() && keys.receipts.is_some() {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!(
        "Not every key was compared. It is signed by {}, its receipts by {}.",
        certificate.signer, text.receipt.signer
    );
    Ok(ExitCode::from(ATTENTION))
}

/// Writes a certificate down, as JSON and as PDF.
pub(super) fn keep(signed: &Value, out: Option<&Path>, pdf: Option<&Path>, json: bool) -> anyhow::Result<ExitCode> {
    ensure!(out.is_some() || pdf.is_some() || json, "name a file: --out or --pdf; --json writes to standard output");
    let certificate: SignedStatement =
        serde_json::from_value(signed.clone()).context("the vault's answer does not parse")?;
    // What does not hold is not handed on.
    let text = verify_certificate(&certificate, &CertificateKeys::default()).context("the vault's certificate")?;
    ensure!(certificate_text(&certificate)? == text, "the vault's certificate does not read");
    if let Some(file) = out {
        files::write_json(file, &certificate)?;
    }
    if let Some(file) = pdf {
        files::write(file, &audit::pdf(&lines(&text)))?;
    }
    if json {
        print(&signed.to_string());
    }
    eprintln!("{}", if text.stage == 2 { "Final: every date stands." } else { "Interim: dates are still open." });
    Ok(ExitCode::SUCCESS)
}

/// The certificate as people read it. It states dates, and what they do not cover.
fn lines(text: &CertificateText) -> Vec<String> {
    let at = |at: Option<leadglass_model::UnixMillis>| at.map_or("not yet".to_owned(), |at| audit::time(at.0));
    let mut out = vec![
        format!("Erasure record {}", text.order),
        format!(
            "{} certificate, made on {}",
            if text.stage == 2 { "Final" } else { "Interim" },
            audit::time(text.issued_at.0)
        ),
        String::new(),
        format!("Subject reference  {}", text.subject_reference.as_deref().unwrap_or("none")),
        format!("Order              of {} on {}", text.ordered_by, audit::time(text.ordered_at.0)),
        format!("Legal ground       {}", text.ground),
        format!(
            "Approved by        {}",
            if text.approved_by.is_empty() { "-".to_owned() } else { text.approved_by.join(", ") }
        ),
        format!(
            "Extent             {} studies, {} instances, {} objects, {} keys",
            text.studies, text.instances, text.objects, text.keys
        ),
        String::new(),
        format!("live_erased_at         {}", audit::time(text.live_erased_at.0)),
        "    The only copy of the keys in use was removed from the key service; from then on no running component"
            .to_owned(),
        "    could decrypt these objects.".to_owned(),
        format!("epoch_destroyed_at     {}", at(text.epoch_destroyed_at)),
        format!(
            "    The epoch key {} around earlier backups of the key database was destroyed (class {}); from then",
            text.epoch,
            text.class.map_or('-', |class| class)
        ),
        "    on this also holds for backups that were made before.".to_owned(),
        format!("ciphertext_deleted_at  {}", at(text.ciphertext_deleted_at)),
        "    The encrypted objects were deleted from the store; each was looked for again and none was there."
            .to_owned(),
        format!("backup_erased_at       {}", at(text.backup_erased_at)),
        format!("    Recovery material that could re-create the epoch key ends on {}.", at(text.recovery_ends_at)),
        String::new(),
        "Not covered:".to_owned(),
    ];
    out.extend(text.not_covered.iter().map(|what| format!("  - {what}")));
    out.push("Copies had been given before to:".to_owned());
    if text.copies_with.is_empty() {
        out.push("  - no recipient was recorded in exports of this vault".to_owned());
    }
    for with in &text.copies_with {
        let told = with.told_at.map_or("not told by this vault".to_owned(), |at| format!("told {}", audit::time(at.0)));
        let (first, last) = (audit::time(with.first.0), audit::time(with.last.0));
        out.push(format!("  - {}: {} instances at most, {first} to {last}; {told}", with.name, with.instances));
    }
    out.push("Retained:".to_owned());
    out.extend(text.retained.iter().map(|what| format!("  - {what}")));
    out.push(String::new());
    out.push(
        "Class S: key held in software; overwritten and discarded. Class H: held in and destroyed by hardware."
            .to_owned(),
    );
    out.push("This page is a rendering. What is signed is the JSON file: leadglass certificate verify FILE".to_owned());
    out
}
