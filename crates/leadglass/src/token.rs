//! `leadglass token`: bearer tokens, until people have logins. The vault must be stopped: it holds the records.

use crate::{config::Config, node::Layout};
use anyhow::Context;
use leadglass_model::{ActorRef, Clock, Role, SystemClock, SystemEntropy, TenantId, UnixMillis};
use leadglass_records::{NewToken, Records, Tokens};
use std::{path::PathBuf, process::ExitCode, sync::Arc};

/// Issues, lists and revokes bearer tokens.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The vault's configuration file.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
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
        /// The tenant's id.
        #[arg(long)]
        tenant: TenantId,
        /// The token's actor, from `list`.
        actor: String,
    },
}

/// Does it.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let config = Config::read(&args.config)?;
    let tokens = open(&config)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(act(&config, &tokens, args))
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
            let mut bytes = [0; 16];
            hex::decode_to_slice(&actor, &mut bytes).context("the actor is 32 hexadecimal digits, see `token list`")?;
            tokens.revoke(tenant, ActorRef(bytes)).await?;
            eprintln!("Revoked.");
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[allow(clippy::print_stdout, reason = "data goes to standard output")]
fn print(line: &dyn std::fmt::Display) {
    println!("{line}");
}
