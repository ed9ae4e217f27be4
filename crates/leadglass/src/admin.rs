//! `leadglass status`, `verify`, `quarantine`: asks a running vault over HTTPS.

use anyhow::{Context, bail};
use futures::TryStreamExt;
use indicatif::{ProgressBar, ProgressStyle};
use leadglass_model::StudyRef;
use serde_json::Value;
use std::{
    io::{IsTerminal, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

/// Which vault, and with which token.
#[derive(Debug, clap::Args)]
pub struct Vault {
    /// The directory of a running `leadglass up`: address, certificate and token are taken from it.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["url", "token_file", "ca"])]
    data: Option<PathBuf>,
    /// The vault's address, such as https://vault.example.org.
    #[arg(long, value_name = "URL", required_unless_present = "data")]
    url: Option<String>,
    /// A file that holds a token of the role dpo or admin.
    #[arg(long, value_name = "FILE", required_unless_present = "data")]
    token_file: Option<PathBuf>,
    /// The authority of the vault's certificate, PEM, when the system does not know it.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Prints JSON.
    #[arg(long)]
    pub json: bool,
}

/// Tells how a running vault is.
#[derive(Debug, clap::Args)]
pub struct StatusArgs {
    #[command(flatten)]
    vault: Vault,
}

/// Opens every stored object: lengths, keys, digests; names what is missing, damaged or unknown.
///
/// It needs keys for every study, so the key service wants an approval for more studies than the nightly sample:
/// `leadglass-keyd approve --tenant … --purpose storage-check --count …`. Exit code 3 when something was found.
#[derive(Debug, clap::Args)]
pub struct VerifyArgs {
    #[command(flatten)]
    vault: Vault,
}

/// Lists, releases and moves instances that did not fit their study.
#[derive(Debug, clap::Args)]
pub struct QuarantineArgs {
    #[command(flatten)]
    vault: Vault,
    #[command(subcommand)]
    command: QuarantineCommand,
}

#[derive(Debug, clap::Subcommand)]
enum QuarantineCommand {
    /// Lists what waits for a decision. The list names patients; reading it is recorded.
    List,
    /// Takes the instances of a case into the study that they name, as its current versions.
    Release {
        /// The case, from `list`.
        case: StudyRef,
    },
    /// Takes the instances of a case into another study.
    Move {
        /// The case, from `list`.
        case: StudyRef,
        /// A file that holds the Study Instance UID; `-` reads it from standard input. Process arguments are readable
        /// by others, so the UID is none.
        #[arg(long, value_name = "FILE")]
        study_file: PathBuf,
    },
}

/// A running vault's admin API.
pub struct Client {
    /// Trusts the vault.
    pub http: reqwest::Client,
    /// Scheme, host and port.
    pub base: String,
    token: String,
}

impl Client {
    /// Reads where the vault is.
    pub fn new(vault: &Vault) -> anyhow::Result<Self> {
        Self::with_role(vault, "dpo")
    }

    /// The same, for what the role admin alone may do.
    pub fn for_admin(vault: &Vault) -> anyhow::Result<Self> {
        Self::with_role(vault, "admin")
    }

    fn with_role(vault: &Vault, role: &str) -> anyhow::Result<Self> {
        if let Some(dir) = &vault.data {
            return Self::of_up(dir, role);
        }
        let base = vault.url.as_deref().context("--url is missing")?;
        let file = vault.token_file.as_ref().context("--token-file is missing")?;
        let token = std::fs::read_to_string(file).context("cannot read the token file")?;
        Self::at(base, token.trim(), vault.ca.as_deref())
    }

    /// What `leadglass up` runs in a directory, with its token of that role.
    pub fn of_up(dir: &Path, role: &str) -> anyhow::Result<Self> {
        let text = std::fs::read(dir.join("up.json")).context("no up.json there: is `leadglass up` running?")?;
        let up: Value = serde_json::from_slice(&text).context("up.json does not parse")?;
        let text = |value: &Value| value.as_str().map(str::to_owned).context("up.json lacks a field");
        let ca = PathBuf::from(text(&up["ca"])?);
        Self::at(&text(&up["http"]["base"])?, &text(&up["tokens"][role])?, Some(&ca))
    }

    /// The vault at an address, with a token.
    pub fn at(base: &str, token: &str, ca: Option<&Path>) -> anyhow::Result<Self> {
        let _installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let mut builder = reqwest::Client::builder().https_only(true).connect_timeout(CONNECT_TIME);
        if let Some(ca) = ca {
            let pem = std::fs::read(ca).with_context(|| format!("cannot read {}", ca.display()))?;
            builder = builder.tls_certs_only(reqwest::Certificate::from_pem_bundle(&pem)?);
        }
        Ok(Self { http: builder.build()?, base: base.trim_end_matches('/').to_owned(), token: token.to_owned() })
    }

    /// Asks; an answer that is no success is an error with the vault's sentence and its request id.
    pub async fn send(&self, request: reqwest::RequestBuilder) -> anyhow::Result<reqwest::Response> {
        let answer = request.bearer_auth(&self.token).send().await.context("the vault does not answer")?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let status = answer.status();
        let problem: Value = answer.json().await.unwrap_or_default();
        let detail = problem["detail"].as_str().unwrap_or("no reason given");
        bail!("{status}: {detail} (request {})", problem["request_id"].as_str().unwrap_or("unknown"))
    }

    /// Asks; an answer that is no success is the vault's problem document.
    pub async fn ask(&self, request: reqwest::RequestBuilder) -> anyhow::Result<Result<Value, Value>> {
        let answer = request.bearer_auth(&self.token).send().await.context("the vault does not answer")?;
        let good = answer.status().is_success();
        let value: Value = answer.json().await.context("the answer does not parse")?;
        Ok(if good { Ok(value) } else { Err(value) })
    }

    /// GET of JSON.
    pub async fn get(&self, path: &str) -> anyhow::Result<Value> {
        let request = self.http.get(format!("{}{path}", self.base)).timeout(CALL_TIME);
        self.send(request).await?.json().await.context("the answer does not parse")
    }
}

/// `leadglass status`
pub async fn status(args: StatusArgs) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.vault)?;
    let status = client.get("/api/v1/status").await?;
    if args.vault.json {
        print(&status.to_string());
    } else {
        let yes = |field: &str| if status[field] == true { "yes" } else { "NO" };
        print(&format!("takes instances   {}", yes("stores")));
        print(&format!("opens studies     {}", yes("opens")));
        print(&format!("key service       {}", status["key_service"].as_str().unwrap_or("unknown")));
        print(&format!("keys in reserve   {}", status["reserve_keys"]));
        print(&format!("studies           {}", status["studies"]));
        let signed = match status["cosignature_age_s"].as_u64() {
            Some(age) => format!("{} of {}, {age} s ago", status["cosigned_entries"], status["audit_entries"]),
            None => format!("not since the start; {} entries", status["audit_entries"]),
        };
        print(&format!("log cosigned      {signed}"));
        if status["witness_refuses"] == true {
            print("                  THE WITNESS REFUSES THIS LOG: it is not the one that it has signed");
        }
        print(&format!("waiting to settle {} records", status["journal_records"]));
    }
    let ready = status["stores"] == true && status["opens"] == true;
    Ok(if ready { ExitCode::SUCCESS } else { ExitCode::from(ATTENTION) })
}

/// `leadglass quarantine`
pub async fn quarantine(args: QuarantineArgs) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.vault)?;
    let decide = async |case: StudyRef, verdict: Value| -> anyhow::Result<ExitCode> {
        let request = client.http.post(format!("{}/api/v1/quarantine/{case}", client.base)).json(&verdict);
        let done: Value = client.send(request).await?.json().await?;
        if args.vault.json {
            print(&done.to_string());
        } else {
            eprintln!("{} instances taken over.", done["instances"]);
        }
        Ok(ExitCode::SUCCESS)
    };
    match &args.command {
        QuarantineCommand::List => {
            let cases = client.get("/api/v1/quarantine").await?;
            if args.vault.json {
                print(&cases.to_string());
                return Ok(ExitCode::SUCCESS);
            }
            for case in cases.as_array().into_iter().flatten() {
                let text = |field: &str| case[field].as_str().unwrap_or("-").to_owned();
                let (id, reason, instances) = (text("case"), text("reason"), &case["instances"]);
                print(&format!(
                    "{id}  {reason:<14} {instances:>5} instances  {}  {}",
                    text("patient_id"),
                    text("patient_name")
                ));
            }
            if cases.as_array().is_some_and(Vec::is_empty) {
                eprintln!("Nothing waits for a decision.");
            }
            Ok(ExitCode::SUCCESS)
        }
        QuarantineCommand::Release { case } => decide(*case, serde_json::json!({ "verdict": "release" })).await,
        QuarantineCommand::Move { case, study_file } => {
            let study = crate::files::text(study_file)?;
            decide(*case, serde_json::json!({ "verdict": "move", "study": study.trim() })).await
        }
    }
}

/// `leadglass verify`
pub async fn verify(args: VerifyArgs) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.vault)?;
    let answer = client.send(client.http.post(format!("{}/api/v1/verify", client.base))).await?;
    let bar = if args.vault.json || !std::io::stderr().is_terminal() {
        ProgressBar::hidden()
    } else {
        let style = "{bar:40} {pos}/{len} studies, {eta} left";
        ProgressBar::new(0)
            .with_style(ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()))
    };
    let mut lines = answer.bytes_stream();
    let (mut pending, mut last) = (Vec::new(), Value::Null);
    while let Some(piece) = lines.try_next().await.context("the vault stopped answering")? {
        pending.extend_from_slice(&piece);
        while let Some(end) = pending.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = pending.drain(..=end).collect();
            last = serde_json::from_slice(&line).context("the answer does not parse")?;
            if let (Some(done), Some(total)) = (last["done"].as_u64(), last["total"].as_u64()) {
                bar.set_length(total);
                bar.set_position(done);
            }
        }
        if pending.len() > MAX_LINE_BYTES {
            bail!("the vault's answer is too long");
        }
    }
    bar.finish_and_clear();
    if let Some(error) = last["error"].as_str() {
        bail!("the check ended early: {error}");
    }
    let report = &last["report"];
    if !report.is_object() {
        bail!("the check ended without a report");
    }
    if args.vault.json {
        print(&last.to_string());
    } else {
        print(&format!("{} of {} objects are whole ({} bytes).", report["good"], report["objects"], report["bytes"]));
        for finding in report["findings"].as_array().into_iter().flatten() {
            let text = |field: &str| finding[field].as_str().unwrap_or("-").to_owned();
            print(&format!("{:<10} object {} of study {}", text("what"), text("object"), text("study_ref")));
        }
        if report["complete"] != true {
            eprintln!(
                "The check ended early: the key service opens no more studies for it today. On the key host:\n  \
                 leadglass-keyd approve --tenant TENANT --purpose storage-check --scope object --count STUDIES"
            );
        }
        for object in report["unknown_objects"].as_array().into_iter().flatten() {
            print(&format!("unknown    object {}", object.as_str().unwrap_or("-")));
        }
    }
    Ok(if last["clean"] == true { ExitCode::SUCCESS } else { ExitCode::from(ATTENTION) })
}

/// Data, to standard output.
#[allow(clippy::print_stdout, reason = "data goes to standard output")]
pub fn print(line: &str) {
    println!("{line}");
    let _ = std::io::stdout().flush();
}

/// Exit code: done, and something needs a person.
pub const ATTENTION: u8 = 3;
const CONNECT_TIME: Duration = Duration::from_secs(10);
const CALL_TIME: Duration = Duration::from_secs(30);
/// A report names each damaged object in about 150 bytes.
const MAX_LINE_BYTES: usize = 256 << 20;
