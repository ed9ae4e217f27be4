//! The device of `up`: whoever holds `tls/client.pem` and its key may send over TLS from this machine.
//!
//! It is enrolled through the vault's own doors, as a person would do it, once the vault serves. A person who revokes it
//! is not contradicted.

use super::{home::Home, summary::Summary};
use crate::{admin::Client, certificate, device::Request, devices, files};
use anyhow::Context;
use leadglass_model::{Clock, EnrolmentLevel, SystemClock};
use leadglass_web::{CertificateRequest, Certified, NewDevice};
use serde_json::Value;

/// Enrols it and writes its certificate, where that is not done yet or the certificate ends soon.
///
/// Cancel safety: a later call does what is left.
pub async fn ensure(home: &Home, summary: &Summary) -> anyhow::Result<()> {
    let client = Client::at(&summary.http.base, &summary.tokens.admin, Some(&summary.ca))?;
    let devices = client.get("/api/v1/devices").await?;
    let ours = |device: &&Value| device["name"] == NAME && device["source"] == "records";
    let mut known = devices.as_array().into_iter().flatten().filter(ours).peekable();
    let was_there = known.peek().is_some();
    let id = match known.find(|device| device["revoked_ms"].is_null()) {
        Some(device) if is_good(home, device) => return Ok(()),
        Some(device) => id_of(device)?,
        None if was_there => return Ok(()),
        None => {
            let address = Some("loopback".to_owned());
            let new = NewDevice { address, ..NewDevice::named(NAME, EnrolmentLevel::Certificate) };
            let request = client.http.post(format!("{}/api/v1/devices", client.base)).json(&new);
            id_of(&client.send(request).await?.json().await?)?
        }
    };
    let Request { csr, key } = Request::fresh()?;
    let body = CertificateRequest { csr, replace: true };
    let request = client.http.post(format!("{}/api/v1/devices/{id}/certificate", client.base)).json(&body);
    let issued: Certified = client.send(request).await?.json().await?;
    // The key first: a certificate that does not fit it is not bound any more, and the next start sets both right.
    files::write(&home.tls("client-key.pem"), key.as_bytes())?;
    files::write(&home.tls("client.pem"), issued.certificate.as_bytes())
}

/// Whether the certificate that lies there is the device's and lasts.
fn is_good(home: &Home, device: &Value) -> bool {
    let path = home.tls("client.pem");
    let lasts = certificate::days_left(&path, SystemClock.now()).is_ok_and(|days| days >= RENEWED_DAYS_BEFORE);
    let shown = std::fs::read_to_string(&path).ok().and_then(|pem| devices::shown_pem(&pem));
    let bound = |sha256: &str| device["keys"].as_array().into_iter().flatten().any(|key| key["sha256"] == *sha256);
    lasts && shown.is_some_and(|shown| bound(&hex::encode(shown.sha256)))
}

fn id_of(device: &Value) -> anyhow::Result<String> {
    device["id"].as_str().map(str::to_owned).context("the vault names no device")
}

const NAME: &str = "this-machine-tls";
const RENEWED_DAYS_BEFORE: i64 = 45;
