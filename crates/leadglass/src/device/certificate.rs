//! `leadglass device certificate`: a key that never leaves this machine, or a modality's own request.

use super::{client, id_of};
use crate::{
    admin::{Client, Vault, print},
    files,
};
use anyhow::{Context, ensure};
use leadglass_web::{CertificateRequest, Certified};
use serde_json::json;
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};
use zeroize::Zeroizing;

/// Gives a device a certificate.
///
/// Without --csr a fresh key is made here and only its signing request is sent to the vault. Into the folder come NAME.pem,
/// NAME-key.pem (mode 0600) and ca.pem, which the device needs to know the vault by. The certificate before it stays good
/// until it ends, so that the device works until somebody has put the new one in; --replace ends it at once.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  leadglass device certificate ct-1 --out ct-1 --data DIR
  storescu +tls ct-1/ct-1-key.pem ct-1/ct-1.pem +cf ct-1/ca.pem -aec LEADGLASS HOST 2762 IMAGE.dcm
  leadglass device certificate ct-1 --csr request.pem --out ct-1 --data DIR    # the modality keeps its key")]
pub(super) struct Args {
    #[command(flatten)]
    vault: Vault,
    /// The device's name or id.
    name: String,
    /// The folder to write into; it is made. Files that are there are not overwritten.
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    /// A signing request (PKCS#10, PEM) that the device made. Only its public key is taken.
    #[arg(long, value_name = "FILE")]
    csr: Option<PathBuf>,
    /// Ends the earlier certificates at once: for a key that got lost.
    #[arg(long)]
    replace: bool,
}

/// A signing request, and the key that it was made with when it was made here.
pub struct Request {
    /// PKCS#10, PEM.
    pub csr: String,
    /// PKCS#8, PEM.
    pub key: Zeroizing<String>,
}

impl Request {
    /// A fresh key (ECDSA on P-256, which every TLS stack since 2010 knows) and a request for a certificate over it.
    pub fn fresh() -> anyhow::Result<Self> {
        let key = rcgen::KeyPair::generate().context("no key could be made")?;
        let request = rcgen::CertificateParams::default().serialize_request(&key)?;
        Ok(Self { csr: request.pem()?, key: Zeroizing::new(key.serialize_pem()) })
    }
}

/// Does it.
pub(super) async fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let client = client(&args.vault)?;
    let name = &args.name;
    let at = |suffix: &str| args.out.join(format!("{name}{suffix}.pem"));
    let (certificate, key, ca) = (at(""), at("-key"), args.out.join("ca.pem"));
    for path in [&certificate, &key] {
        ensure!(!path.exists(), "{} is there already; give another --out or move it away", path.display());
    }
    let (csr, fresh) = match &args.csr {
        Some(path) => (std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?, None),
        None => {
            let Request { csr, key } = Request::fresh()?;
            (csr, Some(key))
        }
    };
    let id = id_of(&client, name).await?;
    files::make_dir(&args.out)?;
    if let Some(fresh) = &fresh {
        files::write(&key, fresh.as_bytes())?;
    }
    let issued = match issue(&client, &id, &CertificateRequest { csr, replace: args.replace }).await {
        Ok(issued) => issued,
        Err(error) => {
            // A key without a certificate is good for nothing and would stand in the way of the next attempt.
            if fresh.is_some() {
                let _ = std::fs::remove_file(&key);
            }
            return Err(error);
        }
    };
    files::write(&certificate, issued.certificate.as_bytes())?;
    files::write(&ca, authorities(&issued).as_bytes())?;
    if args.vault.json {
        let key = fresh.is_some().then(|| text(&key));
        let said = json!({
            "certificate": text(&certificate), "key": key, "ca": text(&ca), "sha256": issued.sha256, "ends_ms": issued.ends_ms,
        });
        print(&said.to_string());
    } else {
        print(&text(&certificate));
        if fresh.is_some() {
            print(&text(&key));
        }
        print(&text(&ca));
        eprintln!("Good for one year; `leadglass device list` says how long still.");
        if fresh.is_some() {
            eprintln!("Move the key to the device and delete it here: whoever has it is the device.");
        }
        if issued.server_authority.is_none() {
            eprintln!(
                "The configuration does not name the authority of the vault's own certificate ([dicom.tls] ca): add it to ca.pem."
            );
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Has a request signed.
async fn issue(client: &Client, id: &str, request: &CertificateRequest) -> anyhow::Result<Certified> {
    let request = client.http.post(format!("{}/api/v1/devices/{id}/certificate", client.base)).json(request);
    client.send(request).await?.json().await.context("the answer does not parse")
}

/// What a device trusts: whoever vouches for the vault; its own issuer, so that it can show its chain.
fn authorities(issued: &Certified) -> String {
    let mut all = issued.server_authority.clone().unwrap_or_default();
    if !all.is_empty() && !all.ends_with('\n') {
        all.push('\n');
    }
    all + &issued.authority
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_request_holds_no_private_key() {
        let request = Request::fresh().unwrap();
        assert!(request.csr.contains("CERTIFICATE REQUEST") && !request.csr.contains("PRIVATE"));
        assert!(request.key.contains("PRIVATE KEY"));
    }

    #[test]
    fn a_device_trusts_the_vaults_authority_first() {
        let certified = |server: Option<&str>| Certified {
            certificate: String::new(),
            authority: "own\n".to_owned(),
            server_authority: server.map(str::to_owned),
            sha256: String::new(),
            ends_ms: 0,
        };
        assert_eq!(authorities(&certified(Some("server"))), "server\nown\n");
        assert_eq!(authorities(&certified(None)), "own\n");
    }
}
