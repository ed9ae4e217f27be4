//! `leadglass device bounds`

use super::{client, id_of, line};
use crate::admin::{Vault, print};
use anyhow::Context;
use indicatif::DecimalBytes;
use leadglass_web::NewBounds;
use serde_json::Value;
use std::process::ExitCode;

/// Says how much a device may send.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
What is not given stays as it was. Without a limit the vault tells of what is unusual for the device.

Examples:
  A sensor that sends small images, a few an hour:
    leadglass device bounds sensor-3 --most-bytes 20MB --most-an-hour 120 --data DIR
  A CT that got a new protocol: what is usual is learnt anew, and nothing is refused:
    leadglass device bounds ct-1 --no-limits --learn --data DIR")]
pub(super) struct Args {
    #[command(flatten)]
    vault: Vault,
    /// The device's name or id.
    name: String,
    /// The largest instance it may send: 20MB, 2GiB.
    #[arg(long, value_name = "SIZE", value_parser = size)]
    most_bytes: Option<u64>,
    /// How many instances it may send within an hour of the clock.
    #[arg(long, value_name = "N")]
    most_an_hour: Option<u32>,
    /// The limits that it had are no more; those given beside this are its only ones.
    #[arg(long)]
    no_limits: bool,
    /// What is usual is learnt anew, for another fortnight.
    #[arg(long)]
    learn: bool,
}

/// Does it.
pub(super) async fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let client = client(&args.vault)?;
    let id = id_of(&client, &args.name).await?;
    let devices = client.get("/api/v1/devices").await?;
    let before = devices.as_array().into_iter().flatten().find(|device| device["id"] == *id && !args.no_limits);
    let had = |field: &str| before.and_then(|device| device[field].as_u64());
    let new = NewBounds {
        most_bytes: args.most_bytes.or(had("most_bytes")),
        most_an_hour: args.most_an_hour.or(had("most_an_hour").and_then(|most| u32::try_from(most).ok())),
        learn: args.learn,
    };
    let request = client.http.put(format!("{}/api/v1/devices/{id}/bounds", client.base)).json(&new);
    let device: Value = client.send(request).await?.json().await.context("the answer does not parse")?;
    print(&if args.vault.json { device.to_string() } else { line(&device) });
    Ok(ExitCode::SUCCESS)
}

/// Bytes, with a unit or without.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => Some(1),
        "kb" => Some(1_000),
        "mb" => Some(1_000_000),
        "gb" => Some(1_000_000_000),
        "kib" => Some(1 << 10),
        "mib" => Some(1 << 20),
        "gib" => Some(1 << 30),
        _ => None,
    };
    let bytes = number.parse::<u64>().ok().zip(factor).and_then(|(number, factor)| number.checked_mul(factor));
    bytes.filter(|bytes| (1..=MOST).contains(bytes)).ok_or_else(|| "20MB, 2GiB: from 1 byte to 64 GiB".to_owned())
}

/// How much a device may send, and usually does, in a few words.
pub(super) fn words(device: &Value) -> String {
    let mut words = Vec::new();
    if let Some(most) = device["most_an_hour"].as_u64() {
        words.push(format!("at most {most} an hour"));
    }
    if let Some(most) = device["most_bytes"].as_u64() {
        words.push(format!("at most {} each", DecimalBytes(most)));
    }
    let usual = &device["usual"];
    if let (Some(busiest), Some(largest)) = (usual["busiest_hour"].as_u64(), usual["largest_bytes"].as_u64()) {
        let learning = if usual["learning"] == true { "so far" } else { "usually" };
        words.push(format!("{learning} up to {busiest} an hour, {} each", DecimalBytes(largest)));
    }
    words.join(", ")
}

/// The largest object that the vault takes.
const MOST: u64 = 64 << 30;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_size_is_read_as_people_write_it() {
        assert_eq!(size("512"), Ok(512));
        assert_eq!(size("20MB"), Ok(20_000_000));
        assert_eq!(size("2 GiB"), Ok(2 << 30));
        for bad in ["", "MB", "0", "-1", "1TB", "1.5GB", "65GiB", "99999999999999999999"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_a_device_sends_is_said_in_a_few_words() {
        let usual = json!({ "since_ms": 1, "learning": true, "largest_bytes": 530_000, "busiest_hour": 40 });
        let device = json!({ "most_bytes": 20_000_000, "most_an_hour": 120, "usual": usual });
        assert_eq!(
            words(&device),
            "at most 120 an hour, at most 20.00 MB each, so far up to 40 an hour, 530.00 kB each"
        );
        assert_eq!(words(&json!({ "most_bytes": null, "most_an_hour": null, "usual": null })), "");
    }
}
