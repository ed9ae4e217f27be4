//! `leadglass breach`: whose data a breach reached, the notification's draft, and whom to write to.

mod draft;

use crate::{
    admin::{Client, Vault, print},
    audit::{csv_field, moment, time},
};
use anyhow::Context;
use draft::Words;
use leadglass_engine::Language;
use serde_json::{Value, json};
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

/// Tells whose data a breach reached, and drafts what has to be notified.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Tells whose studies were opened, and whose only lay there sealed.
    Scope(Box<Scope>),
}

/// Tells whose studies were opened through a person, a device, a key or a node, and whose only lay there sealed.
///
/// The key service's log decides: a key that was given out opened its study, also where the vault's own log does not account
/// for it. The answer names patients; that it was asked for is recorded. Exit code 3 when openings are unaccounted for.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
  leadglass breach scope --actor 4f0c… --from 2026-11-20 --to 2026-11-23
      what a person's login opened; pseudonyms stand in `leadglass person list` and in the audit log
  leadglass breach scope --node this --from 2026-11-20T18:00:00Z --to 2026-11-20T19:00:00Z --draft notice.txt --letters who.csv
      a lost disk or machine: what it was given keys for, and what lay there sealed only

In the draft, what somebody has to decide or to add stands in [square brackets]. The list says who was reached; whether the
risk is high (Art. 34) is for the data protection officer to say, line by line.")]
#[command(group(clap::ArgGroup::new("by").required(true).args(["actor", "device", "key", "node"])))]
pub struct Scope {
    #[command(flatten)]
    vault: Vault,
    /// A person or program: its pseudonym in the log, 32 hexadecimal digits.
    #[arg(long, value_name = "ID")]
    actor: Option<String>,
    /// A device, by its id from `leadglass device list`. What no access accounts for counts as opened through it.
    #[arg(long, value_name = "ID")]
    device: Option<String>,
    /// A study key, by its id.
    #[arg(long, value_name = "ID")]
    key: Option<String>,
    /// A node: the first 32 digits of its fingerprint at the key service, or `this` for the vault that is asked.
    #[arg(long, value_name = "ID")]
    node: Option<String>,
    /// From this day (2026-11-20, UTC) or moment (2026-11-20T18:00:00Z) on.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    from: u64,
    /// Before this day or moment.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    to: u64,
    /// When the breach became known: 72 hours later it has to be notified (Art. 33). Now, without it.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    aware: Option<u64>,
    /// Writes the draft of the notification (Art. 33(3)) to this file. It names no patient.
    #[arg(long, value_name = "FILE")]
    draft: Option<PathBuf>,
    /// Writes who was reached (Art. 34) to this file, as CSV. It names patients.
    #[arg(long, value_name = "FILE")]
    letters: Option<PathBuf>,
    /// In which language draft and list are written: en, de, it, es, fr.
    #[arg(long, default_value = "en")]
    language: Language,
}

/// `leadglass breach`
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Command::Scope(args) = args.command;
    let client = Client::new(&args.vault).context("the vault cannot be asked")?;
    let mut asked = json!({ "from_ms": args.from, "to_ms": args.to });
    let by = [("actor", &args.actor), ("device", &args.device), ("key", &args.key), ("node", &args.node)];
    for (name, id) in by {
        if let Some(id) = id {
            asked[name] = json!(id);
        }
    }
    if let Some(aware) = args.aware {
        asked["aware_ms"] = json!(aware);
    }
    let request = client.http.post(format!("{}/api/v1/breach/scope", client.base)).json(&asked);
    let scope: Value = client.send(request).await?.json().await.context("the vault's answer does not parse")?;
    if let Some(file) = &args.draft {
        written(file, &draft::notification(&scope, args.language))?;
    }
    if let Some(file) = &args.letters {
        written(file, &letters(&scope, args.language))?;
    }
    if args.vault.json {
        print(&scope.to_string());
    } else {
        tell(&scope);
    }
    let amiss = list(&scope["unaccounted"]).len() as u64 + number(&scope["unaccounted_elsewhere"]);
    Ok(if amiss == 0 { ExitCode::SUCCESS } else { ExitCode::from(crate::admin::ATTENTION) })
}

fn tell(scope: &Value) {
    let counts = Counts::of(scope);
    let at = |field: &str| time(number(&scope[field]));
    print(&format!("{} {}  {} to {}", text(&scope["by"]), text(&scope["id"]), at("from_ms"), at("to_ms")));
    let Counts { opened, sealed, .. } = &counts;
    print(&format!("opened   {} patients, {} studies, {} images", opened.patients, opened.studies, opened.instances));
    print(&format!("sealed   {} patients, {} studies, {} images", sealed.patients, sealed.studies, sealed.instances));
    if counts.gone > 0 {
        print(&format!("{} of the studies were erased; how many images they had is not known any more", counts.gone));
    }
    for patient in list(&scope["patients"]) {
        // What devices sent stays on its line.
        let who = [&patient["subject"], &patient["patient_id"], &patient["name"]]
            .map(|part| text(part).replace(char::is_control, " "));
        print(&who.join("  "));
        for study in list(&patient["opened"]) {
            let images = study["instances"]
                .as_array()
                .map_or_else(|| "erased".to_owned(), |uids| format!("{} images", uids.len()));
            let (times, accesses) = (number(&study["unwraps"]), number(&study["accesses"]));
            let lost = number(&study["unaccounted"]);
            let lost = if lost == 0 { String::new() } else { format!(", {lost} UNACCOUNTED FOR") };
            let came = if study["taken_in"] == true { ", came in during the span" } else { "" };
            print(&format!(
                "  opened  {}  {images}, {times} keys given out, {accesses} accesses{lost}{came}",
                text(&study["study_ref"])
            ));
        }
        for study in list(&patient["sealed"]) {
            let images = study["instances"].as_u64().map_or_else(|| "erased".to_owned(), |n| format!("{n} images"));
            print(&format!("  sealed  {}  {images}", text(&study["study_ref"])));
        }
    }
    let unaccounted = list(&scope["unaccounted"]).len();
    if unaccounted > 0 {
        print(&format!(
            "UNACCOUNTED FOR  {unaccounted} openings that the vault's log does not hold; counted as opened"
        ));
    }
    let elsewhere = number(&scope["unaccounted_elsewhere"]);
    if elsewhere > 0 {
        print(&format!("UNACCOUNTED FOR ELSEWHERE  {elsewhere} openings of this span: ask for the node, too"));
    }
    if scope["by"] == "node" {
        eprintln!(
            "A node that runs holds the index keys, which open names and IDs of all patients (given out {} times in the span). \
             Who had the running machine had these.",
            number(&scope["index_keys"])
        );
    }
    eprintln!(
        "Notify by {} (72 hours after {}): {} hours left.",
        at("deadline_ms"),
        at("aware_ms"),
        number(&scope["seconds_left"]) / 3600
    );
    // `2026-11-20T18:05:00Z`: the day and the minute.
    if let (Some(day), Some(minute)) = (at("aware_ms").get(..10), at("aware_ms").get(11..16)) {
        eprintln!("To keep its clock as a case: leadglass case open breach --received {day} --at {minute} --channel …");
    }
}

/// Who was reached, a line each, those first whose studies were opened.
fn letters(scope: &Value, language: Language) -> String {
    let words = Words::of(language);
    let mut lines = vec![words.sentence("list.head").to_owned()];
    for opened in [true, false] {
        for patient in list(&scope["patients"]).iter().filter(|p| list(&p["opened"]).is_empty() != opened) {
            let images = |study: &Value| match &study["instances"] {
                Value::Array(uids) => uids.len() as u64,
                count => number(count),
            };
            let counted = |kind: &str| {
                let studies = list(&patient[kind]);
                (studies.len().to_string(), studies.iter().map(images).sum::<u64>().to_string())
            };
            let ((studies, instances), (sealed, _)) = (counted("opened"), counted("sealed"));
            let reach = words.sentence(if opened { "list.opened" } else { "list.sealed" });
            let part = |field: &str| patient[field].as_str().unwrap_or_default().to_owned();
            let fields = [
                part("subject"),
                part("patient_id"),
                part("issuer"),
                part("name"),
                reach.to_owned(),
                studies,
                instances,
                sealed,
                words.sentence("list.question").to_owned(),
            ];
            lines.push(fields.map(|text| csv_field(&text)).join(","));
        }
    }
    lines.push(String::new());
    lines.join("\r\n")
}

/// How many, of everything.
#[derive(Debug, Default)]
struct Counts {
    opened: Reach,
    sealed: Reach,
    /// Studies that were erased since.
    gone: u64,
}

/// How many were reached one way. A patient with an opened study counts as opened only.
#[derive(Debug, Default)]
struct Reach {
    patients: u64,
    studies: u64,
    instances: u64,
}

impl Counts {
    fn of(scope: &Value) -> Self {
        let mut counts = Self::default();
        for patient in list(&scope["patients"]) {
            let (opened, sealed) = (list(&patient["opened"]), list(&patient["sealed"]));
            let whose = if opened.is_empty() { &mut counts.sealed } else { &mut counts.opened };
            whose.patients += 1;
            counts.opened.studies += opened.len() as u64;
            counts.sealed.studies += sealed.len() as u64;
            counts.opened.instances += opened.iter().map(|study| list(&study["instances"]).len() as u64).sum::<u64>();
            counts.sealed.instances += sealed.iter().map(|study| number(&study["instances"])).sum::<u64>();
            counts.gone += opened.iter().chain(sealed).filter(|study| study["study"].is_null()).count() as u64;
        }
        counts
    }
}

fn written(file: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope() -> Value {
        let study = |n: &str, instances: Value| json!({ "study_ref": n, "study": "2.25.1", "instances": instances });
        json!({
            "by": "actor", "id": "4f".repeat(16), "from_ms": 0, "to_ms": 1_000, "made_ms": 2_000, "aware_ms": 2_000,
            "deadline_ms": 259_202_000_u64, "seconds_left": 259_200, "unaccounted": [], "unaccounted_elsewhere": 0,
            "contact": "", "controller": "Practice Müller",
            "patients": [
                { "subject": "aa", "name": "=HYPERLINK(\"x\")", "patient_id": "@SUM(1)", "issuer": null,
                  "opened": [study("01", json!(["1", "2"]))], "sealed": [study("02", json!(5))] },
                { "subject": "bb", "name": null, "patient_id": null, "issuer": null, "sealed": [],
                  "opened": [{ "study_ref": "03", "study": null, "instances": null }] },
                { "subject": "cc", "name": "C", "patient_id": "3", "issuer": null, "opened": [],
                  "sealed": [study("04", json!(7))] },
            ],
        })
    }

    #[test]
    fn the_list_is_no_spreadsheets_formula_and_puts_the_question() {
        let list = letters(&scope(), Language::En);
        let lines: Vec<&str> = list.lines().collect();
        assert_eq!(lines.len(), 4);
        assert!(lines[1].starts_with("aa,\"'@SUM(1)\",,\"'=HYPERLINK(\"\"x\"\")\",opened,1,2,1,"), "{}", lines[1]);
        assert!(lines[2].starts_with("bb,,,,opened,1,0,0,"), "{}", lines[2]);
        assert!(lines[3].starts_with("cc,3,,C,sealed only,0,0,1,") && lines[3].ends_with("(Art. 34(1))?]"));
    }

    #[test]
    fn the_draft_names_nobody_counts_and_marks_what_is_missing_in_every_language() {
        for (language, words) in [
            (Language::En, ["2 persons", "1 person more", "[contact point", "[likely consequences"]),
            (Language::De, ["2 Personen", "1 Person mehr", "[Kontaktstelle", "[wahrscheinliche Folgen"]),
            (Language::It, ["2 persone", "1 persona in più", "[punto di contatto", "[probabili conseguenze"]),
            (Language::Es, ["2 personas", "1 persona más", "[punto de contacto", "[posibles consecuencias"]),
            (Language::Fr, ["2 personnes", "1 personne de plus", "[point de contact", "[conséquences probables"]),
        ] {
            let draft = draft::notification(&scope(), language);
            for wanted in words.iter().chain(&["Practice Müller", "1970-01-04T00:00:02Z", "34"]) {
                assert!(draft.contains(wanted), "{wanted}: {draft}");
            }
            assert!(!draft.contains("HYPERLINK") && !draft.contains("@SUM") && !draft.contains(['{', '}']), "{draft}");
            let list = letters(&scope(), language);
            let head = list.lines().next().unwrap();
            assert_eq!((list.lines().count(), head.split(',').count()), (4, 9), "{head}");
            let words = Words::of(language);
            assert!(KEYS.iter().all(|key| !words.sentence(key).is_empty()), "{language}");
        }
    }

    const KEYS: [&str; 14] = [
        "controller",
        "contact",
        "kind.actor",
        "kind.device",
        "kind.key",
        "kind.node",
        "person",
        "persons",
        "gone",
        "unaccounted",
        "node",
        "list.opened",
        "list.sealed",
        "list.question",
    ];
}
