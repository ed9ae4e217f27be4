//! `leadglass review`: what was opened in emergencies, asked and closed in a running vault over HTTPS.

use crate::admin::{Client, Vault, print};
use anyhow::Context;
use leadglass_engine::Decision;
use serde_json::{Value, json};
use std::process::ExitCode;

/// Lists what was opened in emergencies, and closes it with a decision.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A clinician may open a patient's studies in an emergency, for an hour: with a reason, showing once more who he or she is. Each
emergency raises an alarm and waits here until somebody else has looked at it. The patient's access report shows it as one.

They need a running vault, and the role dpo, auditor or admin; an admin is not told the reason.")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Lists emergencies, newest first; reading the list is recorded.
    ///
    /// Exit code 3 when one waits for a decision.
    List {
        #[command(flatten)]
        vault: Vault,
        /// Those that were decided on, too.
        #[arg(long)]
        all: bool,
    },
    /// Closes a review. It ends the emergency, too, if that goes on.
    Close {
        #[command(flatten)]
        vault: Vault,
        /// The review, from `list`.
        review: String,
        /// Whether the emergency was one.
        #[arg(value_enum)]
        decision: Decided,
    },
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Decided {
    /// It was right to open the studies.
    Justified,
    /// It was not.
    NotJustified,
}

impl From<Decided> for Decision {
    fn from(decided: Decided) -> Self {
        match decided {
            Decided::Justified => Self::Justified,
            Decided::NotJustified => Self::NotJustified,
        }
    }
}

/// Does it.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::List { vault, all } => list(&vault, all).await,
        Command::Close { vault, review, decision } => {
            let client = client(&vault)?;
            let url = format!("{}/api/v1/reviews/{review}", client.base);
            let request = client.http.post(url).json(&json!({ "decision": Decision::from(decision) }));
            let closed: Value = client.send(request).await?.json().await?;
            if vault.json {
                print(&closed.to_string());
            } else {
                eprintln!("The review is closed.");
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

async fn list(vault: &Vault, all: bool) -> anyhow::Result<ExitCode> {
    let reviews = client(vault)?.get("/api/v1/reviews").await?;
    let reviews: Vec<&Value> =
        reviews.as_array().into_iter().flatten().filter(|review| all || review["closed"].is_null()).collect();
    if vault.json {
        print(&serde_json::to_string(&reviews)?);
    } else {
        reviews.iter().for_each(|review| print(&line(review)));
        if reviews.is_empty() {
            eprintln!("Nothing waits.");
        }
    }
    let waits = reviews.iter().any(|review| review["closed"].is_null());
    Ok(if waits { ExitCode::from(3) } else { ExitCode::SUCCESS })
}

fn line(review: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let state = match review["closed"]["decision"].as_str() {
        Some(decision) => decision.to_owned(),
        None => "WAITS".to_owned(),
    };
    format!(
        "{}  by {}  study {}  from {} ms to {} ms  {state}  {}",
        text(&review["review"]),
        text(&review["actor"]),
        text(&review["study"]),
        review["begun_ms"],
        review["ends_ms"],
        text(&review["reason"])
    )
}

fn client(vault: &Vault) -> anyhow::Result<Client> {
    Client::new(vault).context("the vault cannot be asked")
}
