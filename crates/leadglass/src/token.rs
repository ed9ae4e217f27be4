//! `leadglass token`: bearer tokens for programs. A vault that runs holds its records: there tokens are listed and ended over
//! HTTPS, and issued when it is stopped.

use crate::{admin::Client, config::Config, node::Layout};
use anyhow::Context;
use leadglass_model::{ActorRef, Clock, Role, SystemClock, SystemEntropy, TenantId, UnixMillis};
use leadglass_records::{NewToken, Records, Tokens};
use std::{path::PathBuf, process::ExitCode, sync::Arc};

/// Issues, lists and revokes bearer tokens.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A vault that runs lists and revokes: with --data, or with --url and a token of the role admin. What a revoked token is being
given ends at once.

  leadglass token --url https://vault.example.org --token-file admin.token revoke ACTOR

A vault that is stopped issues as well; its next start enters in the log what was issued and revoked meanwhile:

  leadglass token --config vault.toml issue --tenant ID --role device --label gateway --days 90")]
#[command(group(clap::ArgGroup::new("whose").required(true).args(["config", "data", "url"])))]
pub struct Args {
    /// The configuration file of a vault that is stopped.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The directory of a running `leadglass up`.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The address of a vault that runs.
    #[arg(long, value_name = "URL", requires = "token_file")]
    url: Option<String>,
    /// A file that holds a token of the role admin.
    #[arg(long, value_name = "FILE", requires = "url")]
    token_file: Option<PathBuf>,
    /// The authority of the vault's certificate, PEM, when the system does not know it.
    #[arg(long, value_name = "FILE", requires = "url")]
    ca: Option<PathBuf>,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Issues a token and prints it: this is the only time it can be read.
    Issue {
        /// The tenant's id.
        #[arg(long)]
        tenant: TenantId,
        /// What it is for: device, clinician, radiographer, reception, dpo, admin, auditor or patient.
        #[arg(long)]
        role: Role,
        /// A label for people; no patient's name.
        #[arg(long)]
        label: String,
        /// Days until it ends; without it, it ends when it is revoked.
        #[arg(long, value_name = "DAYS")]
        days: Option<u64>,
    },
    /// Lists tokens, without their secrets.
    List,
    /// Ends a token at once.
    Revoke {
        /// The tenant's id, where the vault is stopped.
        #[arg(long)]
        tenant: Option<TenantId>,
        /// The token's actor, from `list`.
        actor: String,
    },
}

/// Does it.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let Some(file) = &args.config else { return runtime.block_on(ask(args)) };
    let config = Config::read(file)?;
    let tokens = open(&config)?;
    runtime.block_on(act(&config, &tokens, args))
}

/// Asks a vault that runs.
async fn ask(args: Args) -> anyhow::Result<ExitCode> {
    let client = match (&args.data, &args.url, &args.token_file) {
        (Some(dir), ..) => Client::of_up(dir, "admin")?,
        (None, Some(url), Some(file)) => Client::at(url, &crate::files::text(file)?, args.ca.as_deref())?,
        _ => anyhow::bail!("--url and --token-file, or --data"),
    };
    match args.command {
        Command::Issue { .. } => anyhow::bail!("a token is issued with --config, while the vault is stopped"),
        Command::List => {
            for token in client.get("/api/v1/tokens").await?.as_array().into_iter().flatten() {
                if args.json {
                    print(token);
                    continue;
                }
                let text = |field: &str| token[field].as_str().unwrap_or("-").to_owned();
                let state = if token["revoked_ms"].is_null() { "valid" } else { "revoked" };
                print(&format!("{}  {:<12}  {state:<7}  {}", text("actor"), text("role"), text("label")));
            }
        }
        Command::Revoke { actor, .. } => {
            let id = actor_of(&actor)?;
            client.send(client.http.delete(format!("{}/api/v1/tokens/{id}", client.base))).await?;
            eprintln!("Revoked.");
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn actor_of(text: &str) -> anyhow::Result<ActorRef> {
    let mut bytes = [0; 16];
    hex::decode_to_slice(text, &mut bytes).context("the actor is 32 hexadecimal digits, see `token list`")?;
    Ok(ActorRef(bytes))
}

/// The token table of a node that does not run.
pub fn open(config: &Config) -> anyhow::Result<Tokens> {
    let path = Layout::of(config)?.records;
    let records = Records::open(&path, Arc::new(SystemClock), Arc::new(SystemEntropy));
    Ok(records.context("cannot open the records: is the vault running?")?.tokens())
}

async fn act(config: &Config, tokens: &Tokens, args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Issue { tenant, role, label, days } => {
            anyhow::ensure!(config.tenants.iter().any(|t| t.id == tenant), "the configuration has no tenant {tenant}");
            let expires = days.map(|days| SystemClock.now().plus_secs(days * 86_400));
            let (token, info) = tokens.issue(NewToken { tenant, role, label, expires }).await?;
            let actor = info.grant.actor.to_string();
            if args.json {
                print(&serde_json::json!({ "token": token.reveal(), "actor": actor, "tenant": tenant, "role": role }));
            } else {
                eprintln!("Keep it now; it cannot be shown again. Actor in the log: {actor}");
                print(&token.reveal());
            }
        }
        Command::List => {
            for info in tokens.list(None).await? {
                let time = |t: Option<UnixMillis>| t.map(|t| t.0);
                let line = serde_json::json!({
                    "actor": info.grant.actor.to_string(),
                    "tenant": info.grant.tenant,
                    "role": info.grant.role,
                    "label": info.grant.label,
                    "issued_ms": info.issued.0,
                    "expires_ms": time(info.expires),
                    "revoked_ms": time(info.revoked),
                });
                if args.json {
                    print(&line);
                } else {
                    let state = if info.revoked.is_some() { "revoked" } else { "valid" };
                    let (grant, role) = (&info.grant, info.grant.role);
                    print(&format!("{}  {}  {role:<12}  {state:<7}  {}", grant.actor, grant.tenant, grant.label));
                }
            }
        }
        Command::Revoke { tenant, actor } => {
            let tenant = tenant.context("--tenant says whose it is")?;
            tokens.revoke(tenant, actor_of(&actor)?).await?;
            eprintln!("Revoked.");
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[allow(clippy::print_stdout, reason = "data goes to standard output")]
fn print(line: &dyn std::fmt::Display) {
    println!("{line}");
}
