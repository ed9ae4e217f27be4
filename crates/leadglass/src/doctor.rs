//! `leadglass doctor`: in plain words, what is not yet safe.
//!
//! It only looks. Each check answers findings; a check that cannot be made says so instead of passing.

mod backups;
mod certificates;
mod devices;
mod doors;
mod finding;
mod host;
mod keys;
mod limits;
mod people;
mod repository;
mod running;
mod store;
mod tokens;
mod vault;

use crate::{config::Config, up};
use anyhow::Context;
use finding::{Diagnosis, Finding, Light};
use leadglass_model::{Clock, SystemClock};
use std::{
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
};

/// Tells in plain words what is not yet safe.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit codes: 0 nothing is red, 1 it could not look, 3 something is red.")]
#[command(group(clap::ArgGroup::new("whom").required(true).args(["config", "data"])))]
pub struct Args {
    /// The vault's configuration file.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The directory of a `leadglass up`, running or not.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The key service's data directory, if it is on this host: then backups and recovery are looked at too.
    #[arg(long, value_name = "DIR")]
    keyd_data: Option<PathBuf>,
    /// The running vault's address: with a token, its people and devices are looked at too.
    #[arg(long, value_name = "URL", conflicts_with = "data", requires = "token_file")]
    url: Option<String>,
    /// A file that holds a token of the role admin.
    #[arg(long, value_name = "FILE", requires = "url")]
    token_file: Option<PathBuf>,
    /// The authority that the vault's certificate is checked with.
    #[arg(long, value_name = "FILE", requires = "url")]
    ca: Option<PathBuf>,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

/// Does it.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let place = Place::of(&args)?;
    let config = Config::read(&place.config)?;
    let mut findings = keys::service(&config).await;
    findings.extend(keys::recovery(place.keyd_data.as_deref()).await);
    findings.extend(keys::sheets(&place.sheets(&config)));
    findings.extend(certificates::look(&config, SystemClock.now()));
    findings.extend(doors::look(&config));
    findings.push(tokens::look(&config).await);
    findings.push(people::second_factor(&config));
    findings.extend(people::providers(&config));
    findings.extend(vault::look(&config));
    findings.extend(repository::look(&config).await);
    findings.push(backups::look(&config.data, SystemClock.now()));
    findings.extend(store::look(&config).await);
    let running = running::Running::of(&args);
    findings.extend(devices::look(&running, &config).await);
    findings.extend(people::look(&running).await);
    findings.extend(host::look(&config, &place.config, place.keyd_data.is_some()));
    let diagnosis = Diagnosis::of(findings);
    let text = if args.json { serde_json::to_string(&diagnosis)? + "\n" } else { diagnosis.words() };
    std::io::stdout().lock().write_all(text.as_bytes()).context("cannot write")?;
    Ok(if diagnosis.light == Light::Red { ExitCode::from(3) } else { ExitCode::SUCCESS })
}

/// Where to look.
struct Place {
    config: PathBuf,
    keyd_data: Option<PathBuf>,
}

impl Place {
    fn of(args: &Args) -> anyhow::Result<Self> {
        let keyd_data = args.keyd_data.clone();
        match (&args.config, &args.data) {
            (Some(config), _) => Ok(Self { config: config.clone(), keyd_data }),
            (None, Some(data)) => {
                Ok(Self { config: up::vault_config(data), keyd_data: keyd_data.or_else(|| Some(up::keyd_data(data))) })
            }
            (None, None) => anyhow::bail!("give --config FILE or --data DIR"),
        }
    }

    /// Directories where somebody would have put a recovery sheet: those of the configuration, of both services' data,
    /// and the one above each, which is where `leadglass up` puts it.
    fn sheets(&self, config: &Config) -> Vec<PathBuf> {
        let homes = [Some(self.config.as_path()), Some(&config.data), self.keyd_data.as_deref()];
        let mut dirs: Vec<PathBuf> = homes
            .into_iter()
            .flatten()
            .filter_map(|path| path.canonicalize().ok())
            .flat_map(|path| [Some(path.clone()), path.parent().map(Path::to_owned)])
            .flatten()
            .collect();
        dirs.sort();
        dirs.dedup();
        dirs
    }
}

/// Permission bits of others than the owner.
fn open_to_others(path: &Path) -> std::io::Result<u32> {
    use std::os::unix::fs::PermissionsExt;
    Ok(std::fs::metadata(path)?.permissions().mode() & 0o077)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn it_is_told_where_to_look_once() {
        let parse = |words: &[&str]| Line::try_parse_from([&["doctor"], words].concat()).map(|line| line.args.json);
        assert!(parse(&["--data", "d", "--json", "--keyd-data", "k"]).unwrap());
        assert!(!parse(&["--config", "c"]).unwrap());
        assert!(parse(&["--json"]).is_err() && parse(&["--config", "c", "--data", "d"]).is_err());
    }
}
