//! `leadglass case`: cases of the data protection officer, carried on in a running vault over HTTPS.

mod expire;
mod template;

use crate::admin::{ATTENTION, Client, Vault, print};
use crate::care::one_line;
use anyhow::{Context, bail};
use leadglass_engine::Day;
use serde_json::{Value, json};
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

/// Carries cases on: what patients ask for by right, and breaches, each with its deadline.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
From the request to its end; texts and names come from files, because process arguments are readable by others:

  leadglass case open access --patient-file id.txt --received 2026-01-31 --channel letter
  leadglass case letter CASE received --language de
  leadglass case identity CASE confirmed --how-file how.txt
  leadglass case decide CASE granted --ground '15(3)' --words-file words.txt
  leadglass case link CASE export EXPORT
  leadglass case letter CASE granted
  leadglass case close CASE

The deadline is one month by the calendar (Art. 12(3) GDPR), one or two more by `extend`; 72 hours for a breach. Days
are those of UTC. While a case of access, restriction, objection or erasure is open, nothing of the patient is erased
but by her own erasure case that was granted.

Grounds: granted 15(1) 15(3) 16 17(1)(a) to (e) 18(1) 20(1) 21(1) 33(1) 34(1);
refused or partly 12(2) 12(5) 15(4) 16 17(1) 17(3)(a) to (e) 18(1) 20(1) 20(4) 21(1) 33(1) 34(1) 34(3)(a) to (c).")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Opens a case. Prints its id.
    Open {
        #[command(flatten)]
        vault: Vault,
        /// What is asked for.
        #[arg(value_parser = ["access", "rectification", "erasure", "restriction", "portability", "objection", "breach"])]
        kind: String,
        /// A file that holds the Patient ID; none for a breach.
        #[arg(long, value_name = "FILE")]
        patient_file: Option<PathBuf>,
        /// A file that holds the Issuer of Patient ID, where devices send one.
        #[arg(long, value_name = "FILE", requires = "patient_file")]
        issuer_file: Option<PathBuf>,
        /// The day on which it came, such as 2026-01-31; else today.
        #[arg(long, value_name = "DAY")]
        received: Option<Day>,
        /// Of a breach: the time of that day since which it is known, such as 14:05, in UTC; else now.
        #[arg(long, value_name = "TIME")]
        at: Option<String>,
        /// How it came.
        #[arg(long, value_parser = ["letter", "email", "phone", "in-person", "portal"])]
        channel: String,
    },
    /// Lists cases, overdue ones first; names nobody. Exit code 3 when one is overdue.
    List {
        #[command(flatten)]
        vault: Vault,
    },
    /// Shows all of a case. That it was read is recorded.
    Show {
        #[command(flatten)]
        vault: Vault,
        /// The case, from `list`.
        case: String,
    },
    /// Says that somebody looked who asks, and how.
    Identity {
        #[command(flatten)]
        vault: Vault,
        /// The case, from `list`.
        case: String,
        /// What it came to.
        #[arg(value_parser = ["confirmed", "not-confirmed"])]
        seen: String,
        /// A file that says how. Keep no copy of a paper.
        #[arg(long, value_name = "FILE")]
        how_file: PathBuf,
    },
    /// Gives it more time, once and in the first month.
    Extend {
        #[command(flatten)]
        vault: Vault,
        /// The case, from `list`.
        case: String,
        /// One or two.
        #[arg(long, value_parser = clap::value_parser!(u8).range(1..=2))]
        months: u8,
        /// A file that says why; it stands in the letter.
        #[arg(long, value_name = "FILE")]
        reason_file: PathBuf,
    },
    /// Decides. The last decision counts.
    Decide {
        #[command(flatten)]
        vault: Vault,
        /// The case, from `list`.
        case: String,
        /// What is answered.
        #[arg(value_parser = ["granted", "refused", "partly"])]
        outcome: String,
        /// Where it stands in the GDPR, such as '17(3)(b)'.
        #[arg(long)]
        ground: String,
        /// A file that says it in words; they stand in the letter.
        #[arg(long, value_name = "FILE")]
        words_file: PathBuf,
    },
    /// Links what was made or done for it. It has to be there, and to be about the same patient.
    Link {
        #[command(flatten)]
        vault: Vault,
        /// The case, from `list`.
        case: String,
        /// What it is.
        #[arg(value_parser = ["export", "erasure", "report", "hold", "restriction", "rectification"])]
        what: String,
        /// Its id; of a restriction the study's random name, of a report the number of the entry that asked for it.
        id: String,
    },
    /// Adds a note.
    Note {
        #[command(flatten)]
        vault: Vault,
        /// The case, from `list`.
        case: String,
        /// A file that holds the note.
        file: PathBuf,
    },
    /// Writes a letter to standard output. Read it before it goes out.
    Letter {
        #[command(flatten)]
        vault: Vault,
        /// The case, from `list`.
        case: String,
        /// On which occasion.
        #[arg(value_parser = ["received", "identity", "extended", "granted", "refused"])]
        occasion: String,
        /// In which language.
        #[arg(long, value_parser = LANGUAGES, default_value = "en")]
        language: String,
    },
    /// Closes a case.
    Close {
        #[command(flatten)]
        vault: Vault,
        /// The case, from `list`.
        case: String,
        /// A file that says why, where nothing was decided.
        #[arg(long, value_name = "FILE")]
        reason_file: Option<PathBuf>,
    },
    /// Lists closed cases whose time is over (`case_years` of the configuration), or deletes them.
    Expire {
        #[command(flatten)]
        vault: Vault,
        /// Deletes them. That each was deleted stays in the log; what stood in it does not.
        #[arg(long)]
        delete: bool,
    },
    /// Takes templates of letters out, and puts the practice's own in.
    Template(template::Args),
}

/// `leadglass case`
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Open { vault, kind, patient_file, issuer_file, received, at, channel } => {
            let mut asked = json!({ "type": kind, "channel": channel });
            for (name, file) in [("patient_id", &patient_file), ("issuer", &issuer_file)] {
                if let Some(text) = file.as_deref().map(one_line).transpose()? {
                    asked[name] = Value::String(text);
                }
            }
            for (name, text) in [("received", received.map(|day| day.to_string())), ("at", at)] {
                if let Some(text) = text {
                    asked[name] = Value::String(text);
                }
            }
            let client = client(&vault)?;
            let request = client.http.post(format!("{}/api/v1/cases", client.base)).json(&asked);
            let case: Value = client.send(request).await?.json().await?;
            if vault.json {
                print(&case.to_string());
            } else {
                print(word(&case, "id"));
                eprintln!("To be answered by {}.", word(&case, "deadline"));
            }
        }
        Command::List { vault } => return list(&vault).await,
        Command::Show { vault, case } => {
            let case = client(&vault)?.get(&format!("/api/v1/cases/{}", named(&case)?)).await?;
            if vault.json {
                print(&case.to_string());
            } else {
                show(&case);
            }
        }
        Command::Identity { vault, case, seen, how_file } => {
            let body = json!({ "seen": seen, "how": text(&how_file)? });
            step(&vault, &case, "identity", &body, "It is written down who asked.").await?;
        }
        Command::Extend { vault, case, months, reason_file } => {
            let body = json!({ "months": months, "reason": text(&reason_file)? });
            let case = step(&vault, &case, "extension", &body, "The case has more time.").await?;
            if !vault.json {
                eprintln!(
                    "To be answered by {}. Tell the patient: `case letter CASE extended`.",
                    word(&case, "deadline")
                );
            }
        }
        Command::Decide { vault, case, outcome, ground, words_file } => {
            let body = json!({ "outcome": outcome, "ground": ground, "words": text(&words_file)? });
            step(&vault, &case, "decisions", &body, "It is decided.").await?;
        }
        Command::Link { vault, case, what, id } => {
            step(&vault, &case, "links", &json!({ "what": what, "id": id }), "It is linked.").await?;
        }
        Command::Note { vault, case, file } => {
            step(&vault, &case, "notes", &json!({ "text": text(&file)? }), "It is noted.").await?;
        }
        Command::Letter { vault, case, occasion, language } => {
            let client = client(&vault)?;
            let path = format!("/api/v1/cases/{}/letter?occasion={occasion}&language={language}", named(&case)?);
            let answer = client.send(client.http.get(format!("{}{path}", client.base))).await?;
            let letter = answer.text().await.context("the vault stopped answering")?;
            print(&if vault.json { json!({ "letter": letter }).to_string() } else { letter.trim_end().to_owned() });
        }
        Command::Close { vault, case, reason_file } => {
            let reason = reason_file.as_deref().map(text).transpose()?;
            let body = reason.map_or_else(|| json!({}), |reason| json!({ "reason": reason }));
            step(&vault, &case, "close", &body, "The case is closed.").await?;
        }
        Command::Expire { vault, delete } => expire::run(&vault, delete).await?,
        Command::Template(args) => template::run(args).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(vault: &Vault) -> anyhow::Result<ExitCode> {
    let cases = client(vault)?.get("/api/v1/cases").await?;
    let lines = cases.as_array().map_or(&[][..], Vec::as_slice);
    let overdue = lines.iter().filter(|case| case["overdue"] == true).count();
    if vault.json {
        print(&cases.to_string());
    } else {
        for case in lines {
            let state = if case["overdue"] == true { "OVERDUE" } else { word(case, "state") };
            let (id, kind, deadline) = (word(case, "id"), word(case, "type"), word(case, "deadline"));
            let (received, outcome) = (word(case, "received"), word(case, "outcome"));
            print(&format!("{id}  {state:<8}  {kind:<13}  received {received}  until {deadline}  {outcome}"));
        }
        eprintln!("{} cases, {overdue} overdue.", lines.len());
    }
    Ok(if overdue == 0 { ExitCode::SUCCESS } else { ExitCode::from(ATTENTION) })
}

fn show(case: &Value) {
    print(&format!("case      {}", word(case, "id")));
    print(&format!("type      {}, {}", word(case, "type"), word(case, "state")));
    if case["patient_id"].is_string() {
        print(&format!("patient   {}  issuer {}", word(case, "patient_id"), word(case, "issuer")));
    }
    print(&format!(
        "received  {} by {}, until {}",
        word(case, "received"),
        word(case, "channel"),
        word(case, "deadline")
    ));
    let list = |field: &str| case[field].as_array().map_or(&[][..], Vec::as_slice);
    for check in list("identity") {
        print(&format!("identity  {}: {}", word(check, "seen"), line(check, "how")));
    }
    if case["extension"].is_object() {
        print(&format!("extended  by {} months: {}", case["extension"]["months"], line(&case["extension"], "reason")));
    }
    for decision in list("decisions") {
        let (outcome, ground) = (word(decision, "outcome"), word(decision, "ground"));
        print(&format!("decision  {outcome} by Art. {ground}: {}", line(decision, "words")));
    }
    for link in list("links") {
        print(&format!("link      {} {}", word(link, "what"), word(link, "id")));
    }
    for note in list("notes") {
        print(&format!("note      {}", line(note, "text")));
    }
    if case["closed"]["reason"].is_string() {
        print(&format!("closed    {}", line(&case["closed"], "reason")));
    }
    for step in list("trail") {
        let at = crate::audit::time(step["at_ms"].as_u64().unwrap_or(0));
        let (what, by, entry) = (word(step, "step"), word(step, "by"), word(step, "entry"));
        print(&format!("trail     {at}  {what:<9} by {by}  entry {entry}"));
    }
}

async fn step(vault: &Vault, case: &str, path: &str, body: &Value, words: &str) -> anyhow::Result<Value> {
    let client = client(vault)?;
    let request = client.http.post(format!("{}/api/v1/cases/{}/{path}", client.base, named(case)?)).json(body);
    let case: Value = client.send(request).await?.json().await?;
    if vault.json {
        print(&case.to_string());
    } else {
        eprintln!("{words}");
    }
    Ok(case)
}

fn word<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or("-")
}

/// What somebody wrote stays on its line.
fn line(value: &Value, field: &str) -> String {
    word(value, field).replace(char::is_control, " ")
}

fn text(file: &Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    Ok(text.trim_end().to_owned())
}

fn client(vault: &Vault) -> anyhow::Result<Client> {
    Client::new(vault).context("the vault cannot be asked")
}

/// A case as it stands in an address.
fn named(id: &str) -> anyhow::Result<&str> {
    if id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Ok(id);
    }
    bail!("{id:?} is no case: 32 hexadecimal digits, see `leadglass case list`")
}

/// In which letters are written.
const LANGUAGES: [&str; 5] = ["en", "de", "it", "es", "fr"];
