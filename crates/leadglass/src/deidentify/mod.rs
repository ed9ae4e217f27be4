//! `leadglass deidentify`: instances without what names a patient, fetched from a running vault over HTTPS.

mod package;
mod report;

use crate::{
    admin::{ATTENTION, Client, Vault, print},
    export::deliver,
};
use anyhow::{Context, bail, ensure};
use package::Package;
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::ExitCode,
};

/// Takes names out of a patient's, a study's or an instance's images (PS3.15 Annex E).
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Every job has a key of its own, which makes new UIDs, a pseudonym and, for research, a number of days by which dates are
moved: the same ones within the job, so what belonged together still does. The key is forgotten when the job is over;
nobody finds the way back then, and a second job gives other names. With a token of the data protection officer.

  research        basic profile; dates moved, descriptions kept as far as they consist of words of the trade
  teaching        basic profile; age, sex, size and weight stay
  vendor-support  basic profile; no pixels

  leadglass deidentify --study-file uid.txt --preset research --out folder --held held.txt
  leadglass deidentify --study-file uid.txt --preset research --out study.zip --reviewed-file held.txt
  leadglass deidentify --patient-file id.txt --preset teaching --to PEER

No program sees reliably whether a name is painted into a picture, or a face can be seen in it. What may hold either is
held back: ultrasound, secondary captures, panoramic pictures and others, unless they say that nothing is burned in;
photographs; CT, MR and PET slices of a head, or of a part that nobody says. --held writes down what. Look at each of
them, take out of the file those that name or show somebody, and hand the rest in with --reviewed-file. Regions that are
to be blanked stand in --regions FILE, as JSON:

  [{\"modality\": \"US\", \"manufacturer\": \"Maker\", \"rows\": 600, \"columns\": 800,
    \"regions\": [{\"x\": 0, \"y\": 0, \"width\": 800, \"height\": 48}]}]

Only pixels that lie uncompressed can be blanked; compressed ones that match a rule stay here, and documents such as PDF.
Exit code 3: something was held back, or the peer did not take everything.")]
pub struct Args {
    #[command(flatten)]
    vault: Vault,
    /// A file that holds the Patient ID; `-` reads it from standard input.
    #[arg(long, value_name = "FILE", group = "what")]
    patient_file: Option<PathBuf>,
    /// A file that holds the Issuer of Patient ID, where devices send one.
    #[arg(long, value_name = "FILE", requires = "patient_file")]
    issuer_file: Option<PathBuf>,
    /// A file that holds the Study Instance UID; `-` reads it from standard input.
    #[arg(long, value_name = "FILE", group = "what")]
    study_file: Option<PathBuf>,
    /// A file that holds the UIDs of study, series and instance, a line each; `-` reads them from standard input.
    #[arg(long, value_name = "FILE", group = "what")]
    instance_file: Option<PathBuf>,
    /// What may stay.
    #[arg(long, value_parser = ["research", "teaching", "vendor-support"])]
    preset: String,
    /// Where the files go: a folder that is empty or not there yet, or a ZIP by its ending.
    #[arg(long, value_name = "PATH", required_unless_present = "to")]
    out: Option<PathBuf>,
    /// Brings them to this peer of the configuration instead, by C-STORE or STOW-RS.
    #[arg(long, value_name = "PEER", conflicts_with = "out")]
    to: Option<String>,
    /// Rules for regions of pixels that are blanked, JSON.
    #[arg(long, value_name = "FILE")]
    regions: Option<PathBuf>,
    /// What a person has looked at: the UID of a series or an instance at the beginning of each line.
    #[arg(long, value_name = "FILE")]
    reviewed_file: Option<PathBuf>,
    /// Writes down what is held back, and why. The list names the real UIDs: it stays in the house.
    #[arg(long, value_name = "FILE")]
    held: Option<PathBuf>,
}

/// Does it.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.vault)?;
    let jobs = format!("{}/api/v1/deidentifications", client.base);
    let package = args.out.as_deref().map(Package::new).transpose()?;
    eprintln!("Reading what is to go out …");
    let request = client.http.post(&jobs).json(&asked(&args)?);
    let begun: Value = client.send(request).await?.json().await.context("the vault's answer does not parse")?;
    let id = begun["id"].as_str().filter(|id| id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()));
    let job = format!("{jobs}/{}", id.context("the vault's answer lacks the job's id")?);
    let done = go_out(&client, &job, &begun, package, &args).await;
    // Whatever came of it: nobody is to find the way back. The vault forgets it within the hour by itself.
    let forgotten = client.send(client.http.delete(&job)).await;
    let whole = done?;
    forgotten.context("the job could not be forgotten; the vault does so within the hour")?;
    let held = begun["held"].as_array().map(Vec::as_slice).unwrap_or_default();
    tell_held(held, args.held.as_deref())?;
    Ok(if whole && held.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(ATTENTION) })
}

/// Whether everything that may leave has arrived.
async fn go_out(
    client: &Client,
    job: &str,
    begun: &Value,
    package: Option<Package>,
    args: &Args,
) -> anyhow::Result<bool> {
    let report = &begun["report"];
    let instances = report["instances"].as_array().map(Vec::as_slice).unwrap_or_default();
    let Some(mut package) = package else {
        let peer = args.to.as_deref().context("--out or --to is missing")?;
        if instances.is_empty() {
            return Ok(true);
        }
        let code = deliver::deliver(client, &format!("{job}/deliver"), peer, args.vault.json).await?;
        return Ok(code == ExitCode::SUCCESS);
    };
    for (number, line) in instances.iter().enumerate() {
        let name = line["file"].as_str().context("the vault's answer lacks a file's name")?;
        let len = line["bytes"].as_u64().context("the vault's answer lacks a file's length")?;
        package.fetch(client, &format!("{job}/instances/{number}"), name, len).await?;
    }
    package.finish(&serde_json::to_vec_pretty(report)?, report::text(report).as_bytes())?;
    eprintln!("{} instances written to {}.", instances.len(), package.place().display());
    if args.vault.json {
        print(&report.to_string());
    }
    Ok(true)
}

fn tell_held(held: &[Value], file: Option<&Path>) -> anyhow::Result<()> {
    if held.is_empty() {
        return Ok(());
    }
    eprintln!("{} instances are held back:", held.len());
    let because: BTreeSet<&str> = held.iter().filter_map(|one| one["because"].as_str()).collect();
    for because in because {
        let count = held.iter().filter(|one| one["because"] == because).count();
        eprintln!("  {count}: {because}");
    }
    let Some(file) = file else {
        eprintln!("--held FILE writes down which.");
        return Ok(());
    };
    let mut text =
        String::from("# Instance, series, why. Lines of \"review\" may be handed in with --reviewed-file.\n");
    for one in held {
        let word = |field: &str| one[field].as_str().unwrap_or("-").to_owned();
        // What cannot be made nameless does not become so by being looked at.
        let mark = if one["why"] == "review" { "" } else { "# " };
        text.push_str(&format!("{mark}{} {} {}: {}\n", word("instance"), word("series"), word("why"), word("because")));
    }
    crate::files::write(file, text.as_bytes())
}

fn asked(args: &Args) -> anyhow::Result<Value> {
    let mut asked = if let Some(file) = &args.patient_file {
        let issuer = args.issuer_file.as_deref().map(crate::files::text).transpose()?;
        json!({ "patient_id": crate::files::text(file)?, "issuer": issuer })
    } else if let Some(file) = &args.study_file {
        json!({ "study": crate::files::text(file)?.trim() })
    } else if let Some(file) = &args.instance_file {
        let text = crate::files::text(file)?;
        let uids: Vec<&str> = text.split_whitespace().collect();
        let [study, series, instance] = uids.as_slice() else {
            bail!("the file holds three UIDs: of the study, the series and the instance");
        };
        json!({ "study": study, "series": series, "instance": instance })
    } else {
        bail!("say of what names are to be taken out: --patient-file, --study-file or --instance-file");
    };
    asked["preset"] = Value::String(args.preset.clone());
    if let Some(file) = &args.regions {
        asked["regions"] = serde_json::from_str(&crate::files::text(file)?).context("the rules are no JSON")?;
    }
    if let Some(file) = &args.reviewed_file {
        let text = crate::files::text(file)?;
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let uids: Vec<&str> = lines.filter_map(|line| line.split_whitespace().next()).collect();
        let good = |uid: &&str| uid.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        ensure!(uids.iter().all(good), "each line of the reviewed file begins with a UID");
        asked["reviewed"] = json!(uids);
    }
    Ok(asked)
}
