//! `leadglass device list` and `revoke`

use super::{client, id_of, line};
use crate::{
    admin::{Vault, print},
    devices::SOON_DAYS,
};
use serde_json::Value;
use std::process::ExitCode;

/// Lists devices.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    vault: Vault,
    /// The revoked ones too.
    #[arg(long)]
    all: bool,
}

/// Ends an enrolment.
#[derive(Debug, clap::Args)]
pub(super) struct RevokeArgs {
    #[command(flatten)]
    vault: Vault,
    /// The device's name or id.
    name: String,
}

/// Does it.
pub(super) async fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let devices = client(&args.vault)?.get("/api/v1/devices").await?;
    let shown = |device: &&Value| args.all || device["revoked_ms"].is_null();
    let devices: Vec<&Value> = devices.as_array().into_iter().flatten().filter(shown).collect();
    if args.vault.json {
        print(&serde_json::to_string(&devices)?);
    } else {
        devices.iter().for_each(|device| print(&line(device)));
        if devices.is_empty() {
            eprintln!("No device is enrolled: nobody can send. `leadglass device add --help` tells how.");
        }
    }
    Ok(if devices.iter().any(|device| ends_soon(device)) { ExitCode::from(3) } else { ExitCode::SUCCESS })
}

/// Whether the last certificate of an enrolled device ends soon.
fn ends_soon(device: &Value) -> bool {
    let days = device["keys"].as_array().into_iter().flatten().filter_map(|key| key["days_left"].as_i64()).max();
    device["revoked_ms"].is_null() && days.is_some_and(|days| days < SOON_DAYS)
}

/// Does it.
pub(super) async fn revoke(args: &RevokeArgs) -> anyhow::Result<ExitCode> {
    let client = client(&args.vault)?;
    let id = id_of(&client, &args.name).await?;
    let done = client.send(client.http.delete(format!("{}/api/v1/devices/{id}", client.base))).await?;
    let done: Value = done.json().await?;
    if args.vault.json {
        print(&done.to_string());
    } else {
        eprintln!("{} is revoked. Its key does not come back: enrol the device anew if it returns.", args.name);
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_last_certificate_of_a_device_counts_and_a_revoked_one_does_not() {
        let device = |days: [i64; 2], revoked: Value| json!({ "revoked_ms": revoked, "keys": days.map(|days| json!({ "days_left": days })) });
        assert!(!ends_soon(&device([-3, 300], Value::Null)));
        assert!(ends_soon(&device([-3, 29], Value::Null)));
        assert!(!ends_soon(&device([-3, 29], json!(1))));
        assert!(!ends_soon(&json!({ "revoked_ms": null, "keys": [] })));
    }

    #[test]
    fn a_line_says_what_a_person_has_to_do() {
        let device = |level: u8, keys: Value| {
            json!({
                "id": "00", "name": "ct-1", "level": "certificate", "level_number": level, "aet": null, "address": "any",
                "port": null, "keys": keys, "revoked_ms": null, "source": "records",
            })
        };
        assert!(line(&device(3, json!([]))).ends_with("no certificate yet"));
        assert!(line(&device(3, json!([{ "days_left": 12 }]))).ends_with("certificate: 12 days left"));
        assert!(line(&device(3, json!([{ "days_left": -2 }]))).ends_with("certificate ENDED 2 days ago"));
        assert!(line(&device(3, json!([{ "days_left": null }]))).ends_with("certificate not seen yet"));
    }
}
