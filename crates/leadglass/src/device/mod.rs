//! `leadglass device`: who may send, asked and changed in a running vault over HTTPS.

mod add;
mod bounds;
mod certificate;
mod list;

use crate::admin::{Client, Vault};
use anyhow::{Context, bail};
use serde_json::Value;
use std::process::ExitCode;

pub use certificate::Request;

/// Enrols devices, lists and revokes them, gives them certificates.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A vault takes images from enrolled devices only. How sure it can be of one is its level:

  3 certificate  the device speaks DICOM TLS and proves a key of its own. Prefer this.
  2 side-car     a small relay beside the device proves a key for it.
  1 address      AE title and network address together; both can be forged on the device's own network.
  0 open         anybody. Refused unless the configuration says dicom.open_devices = true.

How much a device usually sends is learnt in its first fortnight. Later, four times as much in an hour, or an instance four times
as large, is stored and is an alarm; `device bounds` sets a limit beyond which it is refused.

A device only sends: whatever its level, it can read nothing. Changes hold at once, and each is an entry in the audit log,
as is every caller that is turned away. They need a running vault, and a token of the role dpo or admin.")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Enrols a device.
    Add(add::Args),
    /// Lists devices, their levels, and how long their certificates last.
    ///
    /// Exit code 3 when a certificate ends within 30 days or has ended.
    List(list::Args),
    /// Ends a device's enrolment at once; what it is sending is cut off.
    Revoke(list::RevokeArgs),
    /// Says how much a device may send, or has what is usual learnt anew.
    Bounds(bounds::Args),
    /// Gives a device a certificate for one year: with a new key, or over a signing request of its own.
    Certificate(certificate::Args),
}

/// Does it.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Add(args) => add::run(args).await,
        Command::List(args) => list::run(&args).await,
        Command::Revoke(args) => list::revoke(&args).await,
        Command::Bounds(args) => bounds::run(&args).await,
        Command::Certificate(args) => certificate::run(&args).await,
    }
}

/// The id of the enrolled device with this name or id.
async fn id_of(client: &Client, name: &str) -> anyhow::Result<String> {
    let devices = client.get("/api/v1/devices").await?;
    let is = |device: &&Value, field: &str| device[field] == *name;
    let ours = |device: &&Value| device["source"] == "records" && device["revoked_ms"].is_null();
    let all = || devices.as_array().into_iter().flatten();
    let found = all().filter(ours).find(|device| is(device, "name") || is(device, "id"));
    match found.and_then(|device| device["id"].as_str()) {
        Some(id) => Ok(id.to_owned()),
        None if all().any(|device| is(&device, "name") && device["source"] == "configuration") => {
            bail!("{name} stands in the configuration file: change it there, and restart the vault")
        }
        None if all().any(|device| is(&device, "name") || is(&device, "id")) => bail!("{name} was revoked already"),
        None => bail!("no device is called {name}; `leadglass device list` names them"),
    }
}

/// As the list and a fresh enrolment print it.
fn line(device: &Value) -> String {
    let text = |field: &str| device[field].as_str().unwrap_or("any").to_owned();
    let days = device["keys"].as_array().into_iter().flatten().filter_map(|key| key["days_left"].as_i64()).max();
    let level = format!("{} {}", device["level_number"], text("level"));
    let state = match (device["revoked_ms"].is_null(), days) {
        (false, _) => "revoked".to_owned(),
        (true, Some(days)) if days < 0 => format!("certificate ENDED {} days ago", -days),
        (true, Some(days)) => format!("certificate: {days} days left"),
        (true, None) if device["level_number"].as_u64() >= Some(2) => match device["keys"].as_array() {
            Some(keys) if keys.is_empty() => "no certificate yet".to_owned(),
            _ => "certificate not seen yet".to_owned(),
        },
        (true, None) => device["port"].as_u64().map_or_else(String::new, |port| format!("own port {port}")),
    };
    let file = if device["source"] == "configuration" { "  (configuration file)" } else { "" };
    let (name, aet, address) = (text("name"), text("aet"), text("address"));
    let state =
        [state, bounds::words(device)].into_iter().filter(|words| !words.is_empty()).collect::<Vec<_>>().join(", ");
    let line = format!("{}  {name:<24} {level:<14} AE {aet:<16} from {address:<18} {state}{file}", text("id"));
    line.trim_end().to_owned()
}

/// What a person called `vault` and JSON mean together.
fn client(vault: &Vault) -> anyhow::Result<Client> {
    Client::new(vault).context("the vault cannot be asked")
}
