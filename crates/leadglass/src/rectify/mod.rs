//! `leadglass rectify`: whose images these are is corrected in a running vault, over HTTPS.

mod shown;

use crate::admin::{ATTENTION, Client, Vault, print};
use anyhow::{Context, bail};
use serde_json::{Value, json};
use std::{io::IsTerminal, path::PathBuf, process::ExitCode, time::Duration};

/// Corrects whose images these are, merges and splits.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
What is wrong is looked at first; nothing changes before somebody says yes to what was shown:

  leadglass rectify study --study-file uid.txt --values-file right.json      a mistyped patient or study
  leadglass rectify study --study-file uid.txt --as-patient-file P-2.txt     a study that was filed under another patient
  leadglass rectify merge --patient-file P-1.txt --as-patient-file P-2.txt   two numbers of one patient
  leadglass rectify split --study-file uid.txt --series-file part.txt --as-patient-file P-2.txt
                                                    a series of a study that is another patient's

A values file is JSON: {\"patient-name\": \"Muster^Erika\", \"patient-birth-date\": \"19700131\"}. Attributes are patient-name,
patient-id, issuer-of-patient-id, patient-birth-date, patient-sex, accession-number, study-description, study-date and
referring-physician-name; an empty text empties one.

Every instance gets a new version that says what is right, and what it said before in Original Attributes Sequence; pixels and
all other bytes stay. The versions from before are kept, sealed, and nobody sees them. Where one instance cannot say it,
nothing is changed. What a device sends later under the old name waits in quarantine.

Without --yes it asks at a terminal, and without a terminal it shows and changes nothing (exit code 3). A correction that broke
off goes on when the vault starts, or with `leadglass rectify run ID`.")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Corrects studies.
    Study {
        #[command(flatten)]
        how: How,
        /// A file that holds Study Instance UIDs, one a line; `-` reads it from standard input.
        #[arg(long, value_name = "FILE")]
        study_file: PathBuf,
        #[command(flatten)]
        right: Right,
    },
    /// Makes all studies of a number those of another one: two numbers of one patient.
    Merge {
        #[command(flatten)]
        how: How,
        /// A file that holds the Patient ID that goes; on a second line its issuer, where devices send one.
        #[arg(long, value_name = "FILE")]
        patient_file: PathBuf,
        /// A file that holds the Patient ID that stays, and its issuer.
        #[arg(long, value_name = "FILE")]
        as_patient_file: PathBuf,
    },
    /// Makes a part of a study a study of its own.
    Split {
        #[command(flatten)]
        how: How,
        /// A file that holds the Study Instance UID.
        #[arg(long, value_name = "FILE")]
        study_file: PathBuf,
        /// A file that holds Series Instance UIDs, one a line.
        #[arg(long, value_name = "FILE", required_unless_present = "instance_file")]
        series_file: Option<PathBuf>,
        /// A file that holds SOP Instance UIDs, one a line.
        #[arg(long, value_name = "FILE")]
        instance_file: Option<PathBuf>,
        #[command(flatten)]
        right: Right,
    },
    /// Lists corrections.
    List {
        #[command(flatten)]
        vault: Vault,
    },
    /// Shows a correction and how far it is.
    Show {
        #[command(flatten)]
        vault: Vault,
        /// The correction.
        id: String,
    },
    /// Gives up what is left of a correction that cannot come to its end; what says it already stays so.
    GiveUp {
        #[command(flatten)]
        vault: Vault,
        /// The correction.
        id: String,
    },
    /// Carries a correction on that stopped.
    Run {
        #[command(flatten)]
        vault: Vault,
        /// The correction.
        id: String,
    },
}

#[derive(Debug, clap::Args)]
struct How {
    #[command(flatten)]
    vault: Vault,
    /// A file that says why, for the record.
    #[arg(long, value_name = "FILE")]
    reason_file: Option<PathBuf>,
    /// Says yes to what is shown.
    #[arg(long)]
    yes: bool,
}

/// What is right.
#[derive(Debug, clap::Args)]
struct Right {
    /// A JSON file of attributes and what they are to say.
    #[arg(long, value_name = "FILE", conflicts_with = "as_patient_file")]
    values_file: Option<PathBuf>,
    /// A file that holds the Patient ID of whose they are, and on a second line its issuer.
    #[arg(long, value_name = "FILE")]
    as_patient_file: Option<PathBuf>,
}

/// Does it.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Study { how, study_file, right } => {
            let studies = crate::files::lines(&study_file)?;
            order(&how, with(json!({ "studies": studies }), &right)?).await
        }
        Command::Merge { how, patient_file, as_patient_file } => {
            let right = Right { values_file: None, as_patient_file: Some(as_patient_file) };
            order(&how, with(json!({ "patient": patient(&patient_file)? }), &right)?).await
        }
        Command::Split { how, study_file, series_file, instance_file, right } => {
            let [study] = crate::files::lines(&study_file)?.try_into().ok().context("a part is of one study")?;
            let list = |file: &Option<PathBuf>| file.as_deref().map_or(Ok(Vec::new()), crate::files::lines);
            let part = json!({ "study": study, "series": list(&series_file)?, "instances": list(&instance_file)? });
            order(&how, with(json!({ "part": part }), &right)?).await
        }
        Command::List { vault } => {
            let orders = Client::new(&vault)?.get("/api/v1/rectifications").await?;
            if vault.json {
                print(&orders.to_string());
            } else {
                orders.as_array().into_iter().flatten().for_each(|order| print(&shown::line(order)));
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Show { vault, id } => {
            let order = Client::new(&vault)?.get(&at(&id)?).await?;
            Ok(told(&vault, &order))
        }
        Command::GiveUp { vault, id } => {
            let client = Client::new(&vault)?;
            let request = client.http.delete(format!("{}{}", client.base, at(&id)?));
            let order = client.send(request).await?.json().await?;
            Ok(told(&vault, &order))
        }
        Command::Run { vault, id } => {
            let client = Client::new(&vault)?;
            let request = client.http.post(format!("{}{}/run", client.base, at(&id)?));
            let order = client.send(request).await?.json().await?;
            Ok(told(&vault, &order))
        }
    }
}

/// Shows what would change, asks, orders, and waits for the end.
async fn order(how: &How, mut asked: Value) -> anyhow::Result<ExitCode> {
    let client = Client::new(&how.vault)?;
    let preview = client.http.post(format!("{}/api/v1/rectifications/preview", client.base)).json(&asked);
    let preview: Value = client.send(preview).await?.json().await?;
    if !how.yes {
        if how.vault.json {
            print(&preview.to_string());
        } else {
            shown::preview(&preview);
        }
        if !std::io::stdin().is_terminal() || how.vault.json {
            eprintln!("Nothing was changed. Say --yes to change it.");
            return Ok(ExitCode::from(ATTENTION));
        }
        eprint!("Change this? Type yes: ");
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer).context("cannot read the answer")?;
        if answer.trim() != "yes" {
            eprintln!("Nothing was changed.");
            return Ok(ExitCode::from(ATTENTION));
        }
    }
    asked["digest"] = preview["digest"].clone();
    if let Some(file) = &how.reason_file {
        asked["reason"] = Value::String(crate::files::text(file)?);
    }
    let request = client.http.post(format!("{}/api/v1/rectifications", client.base)).json(&asked);
    let mut order: Value = client.send(request).await?.json().await?;
    let total: u64 = preview["studies"].as_array().into_iter().flatten().filter_map(|s| s["instances"].as_u64()).sum();
    let bar = shown::bar(total);
    let id = order["id"].as_str().context("the vault named no correction")?.to_owned();
    while order["done_at_ms"].is_null() && order["why"].is_null() {
        bar.set_position(order["instances"].as_u64().unwrap_or(0));
        tokio::time::sleep(LOOK_EVERY).await;
        order = client.get(&at(&id)?).await?;
    }
    bar.finish_and_clear();
    Ok(told(&how.vault, &order))
}

/// An order; exit code 3 while it is not at its end.
fn told(vault: &Vault, order: &Value) -> ExitCode {
    if vault.json {
        print(&order.to_string());
    } else {
        shown::order(order);
    }
    if order["done_at_ms"].is_null() { ExitCode::from(ATTENTION) } else { ExitCode::SUCCESS }
}

fn with(mut asked: Value, right: &Right) -> anyhow::Result<Value> {
    if let Some(file) = &right.values_file {
        let values = crate::files::text(file)?;
        asked["values"] = serde_json::from_str(&values).with_context(|| format!("{} is no JSON", file.display()))?;
    }
    if let Some(file) = &right.as_patient_file {
        asked["as_patient"] = patient(file)?;
    }
    Ok(asked)
}

/// A Patient ID, and its issuer on a second line.
fn patient(file: &std::path::Path) -> anyhow::Result<Value> {
    match crate::files::lines(file)?.as_slice() {
        [id] => Ok(json!({ "patient_id": id })),
        [id, issuer] => Ok(json!({ "patient_id": id, "issuer": issuer })),
        _ => bail!("{} holds a Patient ID, and on a second line its issuer", file.display()),
    }
}

fn at(id: &str) -> anyhow::Result<String> {
    if id.len() != 32 || !id.bytes().all(|b| b.is_ascii_hexdigit()) {
        bail!("a correction's id is 32 hexadecimal digits");
    }
    Ok(format!("/api/v1/rectifications/{id}"))
}

/// How often it is asked how far it is.
const LOOK_EVERY: Duration = Duration::from_millis(300);
