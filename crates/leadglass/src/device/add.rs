//! `leadglass device add`

use super::{bounds::size, client, line};
use crate::admin::{Vault, print};
use anyhow::Context;
use leadglass_model::EnrolmentLevel;
use leadglass_web::NewDevice;
use serde_json::Value;
use std::{path::PathBuf, process::ExitCode};

/// Enrols a device.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  A CT that speaks DICOM TLS; `device certificate` then makes its key and certificate:
    leadglass device add ct-1 --data DIR
  A CT whose certificate the hospital's own authority issued ([dicom.tls] client_ca):
    leadglass device add ct-2 --certificate ct-2.pem --data DIR
  A sensor without TLS, known by title and address, that may send intra-oral images only:
    leadglass device add sensor-3 --level address --aet SENSOR3 --address 10.20.1.17 \\
      --sop-class 1.2.840.10008.5.1.4.1.1.1.3 --sop-class 1.2.840.10008.5.1.4.1.1.1.3.1 --data DIR
  One whose called AE title cannot be set: a port of its own names it and its tenant:
    leadglass device add panoramic --level address --aet PANO --address 10.20.1.18 --port 11120 --data DIR")]
pub(super) struct Args {
    #[command(flatten)]
    vault: Vault,
    /// What people call it: letters, digits, `-`, `_`, `.`; no patient's name.
    name: String,
    /// What it has to show: certificate, side-car, address or open.
    #[arg(long, default_value = "certificate", value_name = "LEVEL")]
    level: EnrolmentLevel,
    /// The AE title it must call itself. With a certificate the title is only a label unless it is given here.
    #[arg(long)]
    aet: Option<String>,
    /// Where it must call from: an address, a network such as 10.1.2.0/24, `loopback`, `any`.
    #[arg(long)]
    address: Option<String>,
    /// The AE title it must call; otherwise any of the tenant's.
    #[arg(long, value_name = "AET")]
    called: Option<String>,
    /// A port of its own, without TLS; the vault opens it at once.
    #[arg(long)]
    port: Option<u16>,
    /// A SOP class it may send, a UID or a root with `.*`; may be repeated. Without it, all that are stored.
    #[arg(long, value_name = "UID")]
    sop_class: Vec<String>,
    /// A transfer syntax it may use, in the same way.
    #[arg(long, value_name = "UID")]
    transfer_syntax: Vec<String>,
    /// The largest instance it may send: 20MB, 2GiB. Without it, what is usual is learnt in its first fortnight.
    #[arg(long, value_name = "SIZE", value_parser = size)]
    most_bytes: Option<u64>,
    /// How many instances it may send within an hour of the clock. Without it, what is usual is learnt.
    #[arg(long, value_name = "N")]
    most_an_hour: Option<u32>,
    /// Its certificate (PEM), issued by another authority that the vault trusts. The public key in it is what counts.
    #[arg(long, value_name = "FILE")]
    certificate: Option<PathBuf>,
    /// Instead, the SHA-256 of its public key: `openssl x509 -in FILE -noout -pubkey | openssl pkey -pubin -outform DER |
    /// sha256sum`.
    #[arg(long, value_name = "SHA256", conflicts_with = "certificate")]
    fingerprint: Option<String>,
}

/// Does it.
pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let client = client(&args.vault)?;
    let read =
        |path: &PathBuf| std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()));
    let new = NewDevice {
        name: args.name.clone(),
        level: args.level,
        aet: args.aet,
        address: args.address,
        called: args.called,
        port: args.port,
        sop_classes: args.sop_class,
        transfer_syntaxes: args.transfer_syntax,
        most_bytes: args.most_bytes,
        most_an_hour: args.most_an_hour,
        certificate: args.certificate.as_ref().map(read).transpose()?,
        fingerprint: args.fingerprint,
    };
    let request = client.http.post(format!("{}/api/v1/devices", client.base)).json(&new);
    let device: Value = client.send(request).await?.json().await.context("the answer does not parse")?;
    if args.vault.json {
        print(&device.to_string());
        return Ok(ExitCode::SUCCESS);
    }
    print(&line(&device));
    if args.level.wants_certificate() && device["keys"].as_array().is_some_and(Vec::is_empty) {
        eprintln!("It gets in with a certificate: leadglass device certificate {} --out FOLDER", args.name);
    } else {
        eprintln!("It may send now.");
    }
    Ok(ExitCode::SUCCESS)
}
