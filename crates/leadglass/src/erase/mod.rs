//! `leadglass erase`: orders, approves, lists and carries out erasures in a running vault over HTTPS.

mod certificate;

pub use certificate::{Args as CertificateArgs, run as certificate};

use crate::{
    admin::{ATTENTION, Client, Vault, print},
    files,
};
use anyhow::bail;
use serde_json::{Value, json};
use std::{path::PathBuf, process::ExitCode};

/// Orders, approves and carries out erasures.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
An erasure is ordered by the data protection officer, approved by somebody else, and carried out after a time in which it
can be taken back. The keys are destroyed by the key service, on whose host a person approves:

  leadglass retention rules                       what the law wants kept; without a rule an order needs --no-rule
  leadglass erase order --study-file uid.txt --ground objection --reason-file why.txt
  leadglass erase approve ID                      (somebody else)
  leadglass erase run ID                          says which approval the key host has to give; run it again then
  leadglass-keyd approve APPROVAL                 (on the key host)
  leadglass-keyd epoch advance                    (on the key host: no earlier backup opens any more after its hold)
  leadglass erase certificate ID --out FILE --pdf FILE

Of a study a single series or instance goes, too: what stays lies under the same key, so it is sealed anew under another one
before the key is destroyed. Backups from before then give back neither; take a new one.

Whoever got copies by an export is named by `leadglass erase recipients ID` (Art. 19). With --tell, said before the keys are
destroyed, the peers among them get a rejection note (DICOM Key Object Selection); the others are told by a person.

A run that was broken off goes on when it is run again, and when the vault starts. Exit code 3: something is still to be
done by a person.")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Orders that a study, a series or an instance of it, or all of a patient be erased. Nothing happens yet.
    Order {
        #[command(flatten)]
        vault: Vault,
        /// A file that holds the Study Instance UID; `-` reads it from standard input.
        #[arg(long, value_name = "FILE", required_unless_present = "patient_file", conflicts_with = "patient_file")]
        study_file: Option<PathBuf>,
        /// A file that holds the Series Instance UID, where only this series of the study goes.
        #[arg(long, value_name = "FILE", requires = "study_file", conflicts_with = "instance_file")]
        series_file: Option<PathBuf>,
        /// A file that holds the SOP Instance UID, where only this instance of the study goes.
        #[arg(long, value_name = "FILE", requires = "study_file")]
        instance_file: Option<PathBuf>,
        /// A file that holds the Patient ID; `-` reads it from standard input.
        #[arg(long, value_name = "FILE")]
        patient_file: Option<PathBuf>,
        /// A file that holds the Issuer of Patient ID, where devices send one.
        #[arg(long, value_name = "FILE", requires = "patient_file")]
        issuer_file: Option<PathBuf>,
        /// The legal ground: not-necessary, consent-withdrawn, objection, unlawful, legal-obligation or retention-end.
        #[arg(long, value_parser = GROUNDS)]
        ground: String,
        /// A file that says why, for the record.
        #[arg(long, value_name = "FILE")]
        reason_file: Option<PathBuf>,
        /// No retention rule is about it, and you answer for that. Without it such an order is refused.
        #[arg(long)]
        no_rule: bool,
    },
    /// Approves an order that somebody else gave.
    Approve {
        #[command(flatten)]
        vault: Vault,
        /// The order.
        id: String,
    },
    /// Takes an order back that has not begun.
    Withdraw {
        #[command(flatten)]
        vault: Vault,
        /// The order.
        id: String,
    },
    /// Lists orders.
    List {
        #[command(flatten)]
        vault: Vault,
    },
    /// Carries an order on as far as it goes. Exit code 3 while it waits for a person or a date.
    Run {
        #[command(flatten)]
        vault: Vault,
        /// The order.
        id: String,
        /// An approval of the action `destroy` that was given on the key host for these studies.
        #[arg(long, value_name = "APPROVAL")]
        approval: Option<String>,
    },
    /// Shows an order and how far it is.
    Show {
        #[command(flatten)]
        vault: Vault,
        /// The order.
        id: String,
    },
    /// Names who got copies of what an order is about (GDPR Art. 19).
    Recipients {
        #[command(flatten)]
        vault: Vault,
        /// The order.
        id: String,
        /// Has the peers among them told by a rejection note, once everything is destroyed.
        #[arg(long, conflicts_with = "tell_nobody")]
        tell: bool,
        /// Lets the order end though a peer could not be told.
        #[arg(long)]
        tell_nobody: bool,
    },
    /// Fetches the certificate: interim while dates are open, final when all stand.
    Certificate {
        #[command(flatten)]
        vault: Vault,
        /// The order.
        id: String,
        /// Where the signed JSON goes; `leadglass certificate verify` checks it.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// Writes the same for people, as PDF.
        #[arg(long, value_name = "FILE")]
        pdf: Option<PathBuf>,
    },
}

/// Does it.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Order {
            vault,
            study_file,
            series_file,
            instance_file,
            patient_file,
            issuer_file,
            ground,
            reason_file,
            no_rule,
        } => {
            let read = |file: &Option<PathBuf>| file.as_deref().map(files::text).transpose();
            let level = match (&study_file, &series_file, &instance_file) {
                (None, ..) => "patient",
                (Some(_), Some(_), _) => "series",
                (Some(_), None, Some(_)) => "instance",
                (Some(_), None, None) => "study",
            };
            let mut asked =
                json!({ "level": level, "ground": ground, "reason": read(&reason_file)?.unwrap_or_default() });
            asked["no_rule"] = Value::Bool(no_rule);
            let files = [
                ("study", &study_file),
                ("series", &series_file),
                ("instance", &instance_file),
                ("patient_id", &patient_file),
                ("issuer", &issuer_file),
            ];
            for (name, file) in files {
                if let Some(text) = read(file)? {
                    asked[name] = Value::String(text);
                }
            }
            let client = Client::new(&vault)?;
            let request = client.http.post(format!("{}/api/v1/erasures", client.base)).json(&asked);
            told(&vault, &client.send(request).await?.json().await?)
        }
        // Another person than the one who ordered it: where a directory stands for a vault, that is its administrator.
        Command::Approve { vault, id } => {
            let client = Client::for_admin(&vault)?;
            let request = client.http.post(at(&client, &id, "/approve")?);
            told(&vault, &client.send(request).await?.json().await?)
        }
        Command::Withdraw { vault, id } => {
            let client = Client::new(&vault)?;
            let request = client.http.delete(at(&client, &id, "")?);
            told(&vault, &client.send(request).await?.json().await?)
        }
        Command::List { vault } => {
            let orders = Client::new(&vault)?.get("/api/v1/erasures").await?;
            if vault.json {
                print(&orders.to_string());
            } else {
                for order in orders.as_array().into_iter().flatten() {
                    let text = |field: &str| order[field].as_str().unwrap_or("-").to_owned();
                    let (id, stage, level) = (text("id"), text("stage"), text("level"));
                    print(&format!("{id}  {stage:<10} {level:<8} {:>4} studies  {}", order["studies"], text("ground")));
                }
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Run { vault, id, approval } => carry_on(&vault, &id, approval).await,
        Command::Show { vault, id } => {
            let client = Client::new(&vault)?;
            let url = at(&client, &id, "")?;
            told(&vault, &client.send(client.http.get(url)).await?.json().await?)
        }
        Command::Recipients { vault, id, tell, tell_nobody } => recipients(&vault, &id, tell, tell_nobody).await,
        Command::Certificate { vault, id, out, pdf } => {
            let client = Client::new(&vault)?;
            let url = at(&client, &id, "/certificate")?;
            let signed: Value = client.send(client.http.get(url)).await?.json().await?;
            certificate::keep(&signed, out.as_deref(), pdf.as_deref(), vault.json)
        }
    }
}

/// Runs an order; what it waits for is told, and is no failure.
async fn carry_on(vault: &Vault, id: &str, approval: Option<String>) -> anyhow::Result<ExitCode> {
    let client = Client::new(vault)?;
    let request = client.http.post(at(&client, id, "/run")?).json(&json!({ "approval": approval }));
    match client.ask(request).await? {
        Ok(order) => {
            let is_part = matches!(order["level"].as_str(), Some("series" | "instance"));
            let code = told(vault, &order)?;
            if is_part && order["stage"] == "done" {
                eprintln!("{TAKE_A_BACKUP}");
            }
            Ok(code)
        }
        Err(problem) => {
            let code = problem["code"].as_str().unwrap_or_default();
            let detail = problem["detail"].as_str().unwrap_or("no reason given");
            if !WAITS.contains(&code) {
                bail!("{detail} (request {})", problem["request_id"].as_str().unwrap_or("unknown"));
            }
            if vault.json {
                print(&json!({ "waits": code, "detail": detail }).to_string());
            }
            eprintln!("{detail}");
            Ok(ExitCode::from(ATTENTION))
        }
    }
}

/// Names who has copies, after saying whether they are told.
async fn recipients(vault: &Vault, id: &str, tell: bool, tell_nobody: bool) -> anyhow::Result<ExitCode> {
    let client = Client::new(vault)?;
    let url = at(&client, id, "/recipients")?;
    if tell || tell_nobody {
        client.send(client.http.put(&url).json(&json!({ "tell": tell }))).await?;
    }
    let found: Value = client.send(client.http.get(&url)).await?.json().await?;
    if vault.json {
        print(&found.to_string());
        return Ok(ExitCode::SUCCESS);
    }
    let all = found.as_array().map_or(&[][..], Vec::as_slice);
    if all.is_empty() {
        eprintln!("No export of it to anybody but the patient was recorded.");
    }
    for one in all {
        let text = |field: &str| one[field].as_str().unwrap_or("-");
        let time = |field: &str| one[field].as_u64().map_or("-".to_owned(), crate::audit::time);
        print(&format!(
            "{}  {:<8} {} to {}  {} studies, {} to {} instances  notice: {} {}",
            text("name"),
            text("handed"),
            time("first_ms"),
            time("last_ms"),
            one["studies"],
            one["instances_known"],
            one["instances_at_most"],
            text("notice"),
            one["why"].as_str().map_or_else(|| time("told_at_ms"), str::to_owned),
        ));
    }
    Ok(ExitCode::SUCCESS)
}

fn told(vault: &Vault, order: &Value) -> anyhow::Result<ExitCode> {
    if vault.json {
        print(&order.to_string());
        return Ok(ExitCode::SUCCESS);
    }
    let text = |field: &str| order[field].as_str().unwrap_or("-").to_owned();
    print(&format!("order      {}", text("id")));
    print(&format!("stage      {}", text("stage")));
    print(&format!("level      {} ({} studies, {} instances)", text("level"), order["studies"], order["instances"]));
    print(&format!("ground     {}", text("ground")));
    if order["no_rule"] == true {
        print("rule       none is about it; who ordered it answers for that");
    }
    let approved = order["approved_by"].as_array().map_or(0, Vec::len);
    print(&format!("approved   {approved} of {}", order["approvals_needed"]));
    print(&format!("begins     {}", crate::audit::time(order["not_before_ms"].as_u64().unwrap_or(0))));
    if let Some(at) = order["done_at_ms"].as_u64() {
        print(&format!("done       {}", crate::audit::time(at)));
    }
    Ok(ExitCode::SUCCESS)
}

fn at(client: &Client, id: &str, then: &str) -> anyhow::Result<String> {
    if id.len() != 32 || !id.bytes().all(|b| b.is_ascii_hexdigit()) {
        bail!("an order's id is 32 hexadecimal digits");
    }
    Ok(format!("{}/api/v1/erasures/{id}{then}", client.base))
}

const GROUNDS: [&str; 6] =
    ["not-necessary", "consent-withdrawn", "objection", "unlawful", "legal-obligation", "retention-end"];
/// After a part of a study went.
const TAKE_A_BACKUP: &str = "What stayed of the study lies under another key now, and no earlier backup of the vault \
                             gives it back: take one (leadglass backup).";
/// What a run waits for, and a person or a date brings.
const WAITS: [&str; 4] = ["key-host-approval", "cooling-off", "not-approved", "not-told"];
