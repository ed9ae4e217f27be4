//! `leadglass care`: who treats whom and who works at which device, asked and changed in a running vault over HTTPS.

use crate::admin::{Client, Vault, print};
use anyhow::{Context, bail};
use serde_json::{Value, json};
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

/// Lists who treats whom, says so, and ends it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
In a practice with `care = \"stated\"` a clinician opens the studies of those he or she treats: whoever brought them in, is named in
them as referring, or is assigned here; anybody else states a reason. A radiographer is assigned to a device, and opens what it sent
within a day.

They need a running vault, and the role dpo or admin. The list names no patient.")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Lists relations: person, patient or device, where from, since and until when.
    List {
        #[command(flatten)]
        vault: Vault,
    },
    /// Says that somebody treats a patient, or works at a device, until it is ended.
    Assign {
        #[command(flatten)]
        vault: Vault,
        /// The person's id, from `person list`.
        person: String,
        /// A file that holds the Patient ID. Process arguments are readable by others, so it is none.
        #[arg(long, value_name = "FILE", required_unless_present = "device")]
        patient_file: Option<PathBuf>,
        /// A file that holds the Issuer of Patient ID, where there are several.
        #[arg(long, value_name = "FILE", requires = "patient_file")]
        issuer_file: Option<PathBuf>,
        /// The device's id, from `device list`.
        #[arg(long, conflicts_with = "patient_file")]
        device: Option<String>,
    },
    /// Ends a relation, and what that person is being given.
    End {
        #[command(flatten)]
        vault: Vault,
        /// The person's id, from `list`.
        person: String,
        /// The patient's or device's, from `list`.
        matter: String,
    },
}

/// Does it.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::List { vault } => {
            let relations = client(&vault)?.get("/api/v1/care/relations").await?;
            if vault.json {
                print(&relations.to_string());
                return Ok(ExitCode::SUCCESS);
            }
            let all = relations.as_array().map_or(&[][..], Vec::as_slice);
            all.iter().for_each(|relation| print(&line(relation)));
            if all.is_empty() {
                eprintln!("Nobody is assigned to anybody.");
            }
        }
        Command::Assign { vault, person, patient_file, issuer_file, device } => {
            let client = client(&vault)?;
            let mut body = json!({ "person": hexadecimal(&person)? });
            for (name, file) in [("patient_id", &patient_file), ("issuer", &issuer_file)] {
                if let Some(file) = file {
                    body[name] = one_line(file)?.into();
                }
            }
            if let Some(device) = device {
                body["device"] = device.into();
            }
            let request = client.http.post(format!("{}/api/v1/care/relations", client.base)).json(&body);
            let made: Value = client.send(request).await?.json().await?;
            if vault.json {
                print(&made.to_string());
            } else {
                eprintln!(
                    "It holds from the next request on. To end it: leadglass care end {person} {}",
                    text(&made, "matter")
                );
            }
        }
        Command::End { vault, person, matter } => {
            let client = client(&vault)?;
            let (person, matter) = (hexadecimal(&person)?, hexadecimal(&matter)?);
            client.send(client.http.delete(format!("{}/api/v1/care/relations/{person}/{matter}", client.base))).await?;
            eprintln!("It is over.");
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn line(relation: &Value) -> String {
    let until = relation["ends_ms"].as_u64().map_or_else(String::new, |ends| format!(" until {ends} ms"));
    let (person, matter, kind) = (text(relation, "person"), text(relation, "matter"), text(relation, "kind"));
    format!("{person}  {matter}  {kind:<9} since {} ms{until}", relation["begun_ms"])
}

fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or("-").to_owned()
}

/// What a file holds, without the end of its line.
pub fn one_line(file: &Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// An id as it stands in an address.
fn hexadecimal(id: &str) -> anyhow::Result<&str> {
    if id.len() == 32 && id.chars().all(|c| c.is_ascii_hexdigit()) {
        return Ok(id);
    }
    bail!("{id:?} is no id: 32 hexadecimal digits, see `leadglass person list` and `leadglass care list`")
}

fn client(vault: &Vault) -> anyhow::Result<Client> {
    Client::new(vault).context("the vault cannot be asked")
}
