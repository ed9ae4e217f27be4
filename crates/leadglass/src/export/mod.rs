//! `leadglass export`: a package of a patient, a study or an instance, fetched from a running vault over HTTPS.

pub(crate) mod deliver;
mod fetch;
mod papers;

pub use papers::Papers;

use crate::admin::{Client, Vault, print};
use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};
use std::{path::PathBuf, process::ExitCode};

/// Exports a patient, a study or an instance as a package for media (GDPR Art. 15, 20).
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The package is a ZIP: the images exactly as they came with a DICOMDIR, previews, metadata, who looked, what Art. 15 asks to
be told, checksums and a signature. What is asked for stands in a file, or is read from standard input: process arguments
are readable by others.

The data protection officer needs an open case of the patient: `leadglass case open access --patient-file id.txt --channel
letter`. A clinician exports one study or instance of those that open to him; the reception hands out what was ordered.

  leadglass export --patient-file id.txt --out package.zip
  leadglass export --patient-file id.txt --sealed --out package.zip.age   (the passphrase is shown once)
  leadglass export --resume ID --out package.zip                          goes on with package.zip.part
  leadglass export --study-file uid.txt --to PEER                         the images to another house
  leadglass export --study-file uid.txt --sealed --hand-out               the reception has it under --list

PEER is a name of [[peers]] in the configuration, which also says whether it is reached by C-STORE or by STOW-RS. Exit
code 3: the peer did not take everything. A package that goes to somebody else than the patient names whom in
--recipient-file; `leadglass erase recipients` names all who got something, should it be erased one day (Art. 19).

A download that breaks off is gone on with by itself while the vault comes back; for seven days by --resume.")]
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
    /// Goes on with an export that was begun.
    #[arg(long, value_name = "ID", group = "what")]
    resume: Option<String>,
    /// Lists the exports that can still be fetched.
    #[arg(long, group = "what")]
    list: bool,
    /// Takes an export back. What was fetched stays with whoever has it.
    #[arg(long, value_name = "ID", group = "what")]
    take_back: Option<String>,
    /// Where the package goes; `-` writes it to standard output.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Brings the images to this peer of the configuration instead, as they came, by C-STORE or STOW-RS.
    #[arg(long, value_name = "PEER", conflicts_with_all = ["out", "sealed", "list", "take_back"])]
    to: Option<String>,
    /// A file that names to whom the package will be handed, in one line that does not name the patient.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["to", "resume", "list", "take_back"])]
    recipient_file: Option<PathBuf>,
    /// Leaves the package to the reception, who lists it, fetches it and hands it out, and sees nothing else of it.
    #[arg(long, conflicts_with_all = ["to", "resume", "list", "take_back"])]
    hand_out: bool,
    /// Seals the package for the patient (age): a passphrase is made and shown once.
    #[arg(long)]
    sealed: bool,
    /// Without the report on who opened the patient's studies, which otherwise goes with a patient's package.
    #[arg(long)]
    no_report: bool,
}

/// Does it.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.vault)?;
    let exports = format!("{}/api/v1/exports", client.base);
    if args.list {
        let found = client.get("/api/v1/exports").await?;
        if args.vault.json {
            print(&found.to_string());
            return Ok(ExitCode::SUCCESS);
        }
        for view in found.as_array().into_iter().flatten() {
            let id = view["id"].as_str().unwrap_or("-");
            let (made, until) = (time(view, "made_ms"), time(view, "until_ms"));
            // Whoever hands it out finds by the study whose it is.
            let studies: Vec<&str> =
                view["study_uids"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            let to_hand_out = match view["hand_out"].as_bool() {
                Some(true) => format!("  to be handed out: {}", studies.join(" ")),
                _ => String::new(),
            };
            print(&format!(
                "{id}  made {made}  until {until}  {:>6} instances  {} bytes{to_hand_out}",
                view["instances"], view["bytes"]
            ));
        }
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(id) = &args.take_back {
        client.send(client.http.delete(format!("{exports}/{}", named(id)?))).await?;
        eprintln!("Taken back.");
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(peer) = &args.to {
        let export = begun(&client, &exports, &args).await?;
        let id = named(export["id"].as_str().context("the vault's answer lacks the export's id")?)?;
        return deliver::deliver(&client, &format!("{exports}/{id}/deliver"), peer, args.vault.json).await;
    }
    let out = args.out.as_deref();
    ensure!(out.is_some() || args.hand_out, "--out is missing: name a file, or - for standard output");
    let to_stdout = out.is_some_and(|out| out.as_os_str() == "-");
    ensure!(!(to_stdout && args.vault.json), "--json and --out - both want standard output");
    let export = begun(&client, &exports, &args).await?;
    let id = named(export["id"].as_str().context("the vault's answer lacks the export's id")?)?.to_owned();
    let total = export["bytes"].as_u64().context("the vault's answer lacks the export's length")?;
    eprintln!("Export {id}: {} studies, {} instances, {total} bytes.", export["studies"], export["instances"]);
    if let Some(words) = export["passphrase"].as_str() {
        eprintln!("Passphrase, shown this once; hand it over by another way than the package:\n\n  {words}\n");
    }
    // Told before the download: whoever loses it can go on by the id.
    if args.vault.json {
        print(&export.to_string());
    }
    let Some(out) = out else {
        eprintln!("The reception fetches it by: leadglass export --resume {id} --out FILE");
        return Ok(ExitCode::SUCCESS);
    };
    let address = format!("{exports}/{id}/content");
    fetch::fetch(&client, &address, total, if to_stdout { None } else { Some(out) }).await?;
    if !to_stdout {
        eprintln!("Written to {}. It names the patient: keep it as you keep the record itself.", out.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// The export that is asked for: one that was begun, or a new one.
async fn begun(client: &Client, exports: &str, args: &Args) -> anyhow::Result<Value> {
    if let Some(id) = &args.resume {
        return client.get(&format!("/api/v1/exports/{}", named(id)?)).await;
    }
    eprintln!("Looking through what is to go out …");
    let request = client.http.post(exports).json(&asked(args)?);
    client.send(request).await?.json().await.context("the vault's answer does not parse")
}

fn asked(args: &Args) -> anyhow::Result<Value> {
    let mut asked = if let Some(file) = &args.patient_file {
        let issuer = args.issuer_file.as_deref().map(crate::files::text).transpose()?;
        json!({ "level": "patient", "patient_id": crate::files::text(file)?, "issuer": issuer })
    } else if let Some(file) = &args.study_file {
        json!({ "level": "study", "study": crate::files::text(file)?.trim() })
    } else if let Some(file) = &args.instance_file {
        let text = crate::files::text(file)?;
        let uids: Vec<&str> = text.split_whitespace().collect();
        let [study, series, instance] = uids.as_slice() else {
            bail!("the file holds three UIDs: of the study, the series and the instance");
        };
        json!({ "level": "instance", "study": study, "series": series, "instance": instance })
    } else {
        bail!("say what is to be exported: --patient-file, --study-file or --instance-file");
    };
    asked["sealed"] = Value::Bool(args.sealed);
    asked["hand_out"] = Value::Bool(args.hand_out);
    if let Some(file) = &args.recipient_file {
        asked["recipient"] = Value::String(crate::files::text(file)?);
    }
    // A report on accesses is for the patient, not for a peer.
    if args.no_report || args.to.is_some() {
        asked["report"] = Value::Bool(false);
    }
    Ok(asked)
}

fn named(id: &str) -> anyhow::Result<&str> {
    ensure!(id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()), "an export's id is 32 hexadecimal digits");
    Ok(id)
}

fn time(view: &Value, field: &str) -> String {
    crate::audit::time(view[field].as_u64().unwrap_or(0))
}
