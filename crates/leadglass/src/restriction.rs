//! `leadglass restriction`: studies whose processing is restricted (GDPR Art. 18), asked and changed in a running vault over HTTPS.

use crate::{
    admin::{Client, Vault, print},
    care::one_line,
};
use anyhow::Context;
use leadglass_model::StudyRef;
use serde_json::{Value, json};
use std::{path::PathBuf, process::ExitCode};

/// Lists restricted studies, restricts one, lifts that.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A restricted study is there and hidden from everybody, by the key service, but for requests of the patient and for legal claims.
They need a running vault, and the role dpo.")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Lists restricted studies by their random names.
    List {
        #[command(flatten)]
        vault: Vault,
    },
    /// Restricts a study.
    Add {
        #[command(flatten)]
        vault: Vault,
        /// A file that holds the Study Instance UID. Process arguments are readable by others, so it is none.
        #[arg(long, value_name = "FILE")]
        study_file: PathBuf,
        /// A short code of the order for the log, such as 2026-17; never a name.
        #[arg(long)]
        order: String,
    },
    /// Lifts a restriction.
    Remove {
        #[command(flatten)]
        vault: Vault,
        /// The study, from `list`.
        study: StudyRef,
        /// A short code of the order for the log, such as 2026-18; never a name.
        #[arg(long)]
        order: String,
    },
}

/// Does it.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::List { vault } => {
            let studies = client(&vault)?.get("/api/v1/restrictions").await?;
            if vault.json {
                print(&studies.to_string());
                return Ok(ExitCode::SUCCESS);
            }
            let all = studies.as_array().map_or(&[][..], Vec::as_slice);
            all.iter().filter_map(|study| study["study_ref"].as_str()).for_each(print);
            if all.is_empty() {
                eprintln!("No study is restricted.");
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Add { vault, study_file, order } => {
            let study = one_line(&study_file)?;
            change(&vault, "", &json!({ "study": study, "order": order }), "The study is restricted.").await
        }
        Command::Remove { vault, study, order } => {
            let body = json!({ "study_ref": study.to_string(), "order": order });
            change(&vault, "/lift", &body, "The study is restricted no longer.").await
        }
    }
}

async fn change(vault: &Vault, path: &str, body: &Value, words: &str) -> anyhow::Result<ExitCode> {
    let client = client(vault)?;
    let request = client.http.post(format!("{}/api/v1/restrictions{path}", client.base)).json(body);
    let changed: Value = client.send(request).await?.json().await?;
    if vault.json {
        print(&changed.to_string());
    } else {
        eprintln!("{words}");
    }
    Ok(ExitCode::SUCCESS)
}

fn client(vault: &Vault) -> anyhow::Result<Client> {
    Client::new(vault).context("the vault cannot be asked")
}
