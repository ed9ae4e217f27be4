//! `leadglass doctor`: in plain words, what is not yet safe.
//!
//! It only looks. Each check answers findings; a check that cannot be made says so instead of passing.

mod devices;
mod host;
mod keys;
mod vault;

use crate::{config::Config, up};
use anyhow::Context;
use serde::Serialize;
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
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

/// How bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Light {
    /// As it should be.
    Green,
    /// Works, and is weaker than it could be, or cannot be told from here.
    Yellow,
    /// Images or keys could be lost or stolen.
    Red,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Finding {
    /// Stable word.
    code: String,
    /// How bad.
    light: Light,
    /// What was found, and what to do.
    sentence: String,
}

impl Finding {
    fn new(code: &str, light: Light, sentence: impl Into<String>) -> Self {
        Self { code: code.to_owned(), light, sentence: sentence.into() }
    }

    fn green(code: &str, sentence: impl Into<String>) -> Self {
        Self::new(code, Light::Green, sentence)
    }

    fn yellow(code: &str, sentence: impl Into<String>) -> Self {
        Self::new(code, Light::Yellow, sentence)
    }

    fn red(code: &str, sentence: impl Into<String>) -> Self {
        Self::new(code, Light::Red, sentence)
    }
}

/// All that was looked at, and the worst light.
#[derive(Debug, Serialize)]
struct Diagnosis {
    light: Light,
    findings: Vec<Finding>,
}

/// Does it.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let place = Place::of(&args)?;
    let config = Config::read(&place.config)?;
    let mut findings = keys::service(&config).await;
    findings.extend(keys::recovery(place.keyd_data.as_deref()).await);
    findings.extend(place.sheet.as_deref().map(keys::sheet));
    findings.extend(vault::look(&config));
    findings.extend(devices::look(args.data.as_deref(), &config).await);
    findings.extend(host::look());
    let light = findings.iter().map(|finding| finding.light).max().unwrap_or(Light::Green);
    let diagnosis = Diagnosis { light, findings };
    let text = if args.json { serde_json::to_string(&diagnosis)? + "\n" } else { diagnosis.words() };
    std::io::stdout().lock().write_all(text.as_bytes()).context("cannot write")?;
    Ok(if light == Light::Red { ExitCode::from(3) } else { ExitCode::SUCCESS })
}

impl Diagnosis {
    fn words(&self) -> String {
        let count = |light| self.findings.iter().filter(|finding| finding.light == light).count();
        let mut words = String::new();
        for finding in &self.findings {
            let mark = match finding.light {
                Light::Green => '✓',
                Light::Yellow => '!',
                Light::Red => '✗',
            };
            words.push_str(&format!("{mark} {}\n", finding.sentence));
        }
        words.push_str(&format!(
            "\n{} well, {} to think about, {} not safe\n",
            count(Light::Green),
            count(Light::Yellow),
            count(Light::Red)
        ));
        words
    }
}

/// Where to look.
struct Place {
    config: PathBuf,
    keyd_data: Option<PathBuf>,
    sheet: Option<PathBuf>,
}

impl Place {
    fn of(args: &Args) -> anyhow::Result<Self> {
        let keyd_data = args.keyd_data.clone();
        match (&args.config, &args.data) {
            (Some(config), _) => Ok(Self { config: config.clone(), keyd_data, sheet: None }),
            (None, Some(data)) => Ok(Self {
                config: up::vault_config(data),
                keyd_data: keyd_data.or_else(|| Some(up::keyd_data(data))),
                sheet: Some(up::sheet(data)),
            }),
            (None, None) => anyhow::bail!("give --config FILE or --data DIR"),
        }
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

    #[test]
    fn words_carry_a_mark_and_a_count() {
        let findings = vec![Finding::green("a", "Fine."), Finding::yellow("b", "Hm."), Finding::red("c", "Bad.")];
        let words = Diagnosis { light: Light::Red, findings }.words();
        assert_eq!(words, "✓ Fine.\n! Hm.\n✗ Bad.\n\n1 well, 1 to think about, 1 not safe\n");
    }

    #[test]
    fn the_worst_light_counts() {
        assert!(Light::Red > Light::Yellow && Light::Yellow > Light::Green);
        let json = serde_json::to_value(Finding::red("plain", "Bad.")).unwrap();
        assert_eq!(json, serde_json::json!({ "code": "plain", "light": "red", "sentence": "Bad." }));
    }
}
