//! `leadglass retention` and `leadglass hold`: what has to be kept, asked and changed in a running vault over HTTPS.

use crate::{
    admin::{Client, Vault, print},
    care::one_line,
};
use anyhow::{Context, bail};
use leadglass_engine::Day;
use serde_json::{Value, json};
use std::{path::PathBuf, process::ExitCode};

/// Says what has to be kept how long, and lists what is over.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Rules say how long the law wants something kept. One that nobody has confirmed keeps what it is about without an end. Several
may be about a study: the latest day counts. Nothing is erased by itself:

  leadglass retention seed DE                     rules that are known for a country, to be checked by a lawyer
  leadglass retention rules
  leadglass retention confirm de-x-ray
  leadglass retention due                         what is over; then, study by study:
  leadglass erase order --study-file uid.txt --ground retention-end

A rule as a file for `write`:
  {\"id\": \"at-x-ray\", \"country\": \"AT\", \"class\": {\"modalities\": [\"CT\", \"DX\"]}, \"years\": 10,
   \"since\": \"last-examination\", \"minors_until\": 28, \"source\": \"the law\"}
`since` is last-examination or examination; `class` may also have body_parts and sop_classes.")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Lists the rules.
    Rules {
        #[command(flatten)]
        vault: Vault,
    },
    /// Puts in the rules that are known for a country. None is confirmed.
    Seed {
        #[command(flatten)]
        vault: Vault,
        /// Two letters, such as DE.
        country: String,
    },
    /// Writes a rule, or another in its place; it has to be confirmed then.
    Write {
        #[command(flatten)]
        vault: Vault,
        /// The rule as JSON.
        file: PathBuf,
    },
    /// Answers for a rule as it stands.
    Confirm {
        #[command(flatten)]
        vault: Vault,
        /// The rule's name.
        rule: String,
    },
    /// Takes a rule away.
    Drop {
        #[command(flatten)]
        vault: Vault,
        /// The rule's name.
        rule: String,
    },
    /// Lists the studies whose time is over, the longest ago first.
    Due {
        #[command(flatten)]
        vault: Vault,
        /// On this day instead of today, such as 2030-01-31.
        #[arg(long, value_name = "DAY")]
        on: Option<Day>,
    },
}

/// Holds studies for legal claims, and lifts that.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Nothing of what is held is erased, whatever is ordered, until the hold is lifted. A hold on a patient also holds what comes later.")]
pub struct HoldArgs {
    #[command(subcommand)]
    command: HoldCommand,
}

#[derive(Debug, clap::Subcommand)]
enum HoldCommand {
    /// Lists the holds.
    List {
        #[command(flatten)]
        vault: Vault,
    },
    /// Holds a study, or all of a patient.
    Add {
        #[command(flatten)]
        vault: Vault,
        /// A file that holds the Study Instance UID. Process arguments are readable by others, so it is none.
        #[arg(long, value_name = "FILE", required_unless_present = "patient_file", conflicts_with = "patient_file")]
        study_file: Option<PathBuf>,
        /// A file that holds the Patient ID.
        #[arg(long, value_name = "FILE")]
        patient_file: Option<PathBuf>,
        /// A file that holds the Issuer of Patient ID, where devices send one.
        #[arg(long, value_name = "FILE", requires = "patient_file")]
        issuer_file: Option<PathBuf>,
        /// A file that says why, for the record.
        #[arg(long, value_name = "FILE")]
        reason_file: PathBuf,
    },
    /// Lifts a hold.
    Lift {
        #[command(flatten)]
        vault: Vault,
        /// The hold, from `list`.
        id: String,
    },
}

/// `leadglass retention`
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Rules { vault } => {
            let rules = client(&vault)?.get("/api/v1/retention/rules").await?;
            tell_rules(&vault, &rules);
            if rules.as_array().is_some_and(Vec::is_empty) && !vault.json {
                eprintln!(
                    "There is no rule: whoever orders an erasure answers for it. See `leadglass retention seed`."
                );
            }
        }
        Command::Seed { vault, country } => {
            let client = client(&vault)?;
            let request = client.http.post(at(&client, "seeds")).json(&json!({ "country": country }));
            tell_rules(&vault, &client.send(request).await?.json().await?);
            if !vault.json {
                eprintln!("None of them is confirmed. Have them checked, then: leadglass retention confirm RULE");
            }
        }
        Command::Write { vault, file } => {
            let text = std::fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
            let rule: Value = serde_json::from_slice(&text).context("the rule is no JSON")?;
            let client = client(&vault)?;
            let request = client.http.put(at(&client, "rules")).json(&rule);
            tell_rules(&vault, &json!([client.send(request).await?.json::<Value>().await?]));
        }
        Command::Confirm { vault, rule } => {
            let client = client(&vault)?;
            let request = client.http.post(at(&client, &format!("rules/{}/confirm", named(&rule)?)));
            tell_rules(&vault, &json!([client.send(request).await?.json::<Value>().await?]));
        }
        Command::Drop { vault, rule } => {
            let client = client(&vault)?;
            client.send(client.http.delete(at(&client, &format!("rules/{}", named(&rule)?)))).await?;
            eprintln!("The rule is gone.");
        }
        Command::Due { vault, on } => {
            let client = client(&vault)?;
            let query = on.map_or_else(String::new, |on| format!("?on={on}"));
            let due = client.get(&format!("/api/v1/retention/due{query}")).await?;
            if vault.json {
                print(&due.to_string());
                return Ok(ExitCode::SUCCESS);
            }
            let studies = due["studies"].as_array().map_or(&[][..], Vec::as_slice);
            for study in studies {
                let text = |field: &str| study[field].as_str().unwrap_or("-").to_owned();
                print(&format!("{}  {:<24}  {}", text("until"), text("rule"), text("study")));
            }
            let total = due["total"].as_u64().unwrap_or(0);
            eprintln!("On {}: {total} over, {} listed.", due["on"].as_str().unwrap_or("-"), studies.len());
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// `leadglass hold`
pub async fn hold(args: HoldArgs) -> anyhow::Result<ExitCode> {
    match args.command {
        HoldCommand::List { vault } => {
            let holds = client(&vault)?.get("/api/v1/holds").await?;
            if vault.json {
                print(&holds.to_string());
                return Ok(ExitCode::SUCCESS);
            }
            for hold in holds.as_array().into_iter().flatten() {
                let text = |field: &str| hold[field].as_str().unwrap_or("-").to_owned();
                let since = crate::audit::time(hold["at_ms"].as_u64().unwrap_or(0));
                // What somebody wrote stays on its line.
                let reason = text("reason").replace(char::is_control, " ");
                print(&format!("{}  {:<8} since {since}  {reason}", text("id"), text("level")));
            }
        }
        HoldCommand::Add { vault, study_file, patient_file, issuer_file, reason_file } => {
            let mut asked = json!({ "reason": one_line(&reason_file)? });
            for (name, file) in [("study", &study_file), ("patient_id", &patient_file), ("issuer", &issuer_file)] {
                if let Some(text) = file.as_deref().map(one_line).transpose()? {
                    asked[name] = Value::String(text);
                }
            }
            let client = client(&vault)?;
            let request = client.http.post(format!("{}/api/v1/holds", client.base)).json(&asked);
            let hold: Value = client.send(request).await?.json().await?;
            print(&if vault.json { hold.to_string() } else { hold["id"].as_str().unwrap_or_default().to_owned() });
        }
        HoldCommand::Lift { vault, id } => {
            let client = client(&vault)?;
            let request = client.http.delete(format!("{}/api/v1/holds/{}", client.base, named(&id)?));
            client.send(request).await?;
            eprintln!("The hold is lifted.");
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn tell_rules(vault: &Vault, rules: &Value) {
    if vault.json {
        print(&rules.to_string());
        return;
    }
    for rule in rules.as_array().into_iter().flatten() {
        let text = |field: &str| rule[field].as_str().unwrap_or("-").to_owned();
        let state = if rule["confirmed"].is_null() { "NOT CONFIRMED" } else { "confirmed" };
        let minors = rule["minors_until"].as_u64().map_or_else(String::new, |age| format!(", minors until {age}"));
        let about = rule["class"].as_object().into_iter().flatten().flat_map(|(_, list)| list.as_array());
        let about: Vec<&str> = about.flatten().filter_map(Value::as_str).collect();
        let about = if about.is_empty() { "everything".to_owned() } else { about.join(" ") };
        let (id, since) = (text("id"), text("since"));
        print(&format!(
            "{id:<24} {state:<14} {} years since {since}{minors}; {about}; {}",
            rule["years"],
            text("source")
        ));
    }
}

fn client(vault: &Vault) -> anyhow::Result<Client> {
    Client::new(vault).context("the vault cannot be asked")
}

fn at(client: &Client, path: &str) -> String {
    format!("{}/api/v1/retention/{path}", client.base)
}

/// A name as it stands in an address.
fn named(name: &str) -> anyhow::Result<&str> {
    let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if !name.is_empty() && name.len() <= 48 && name.bytes().all(good) {
        return Ok(name);
    }
    bail!("{name:?} is no name of a rule or hold: see `leadglass retention rules` and `leadglass hold list`")
}
