//! `leadglass up`: key service and vault on one machine, for evaluation and for scripts.
//!
//! Everything lies in one directory. The first start makes it all; a later one goes on with it. We hold the directory's
//! lock, the two children run below us and end with us, whatever ends us.

mod children;
mod device;
mod home;
mod keyd;
mod overrides;
mod people;
mod ports;
mod sample;
mod setup;
mod summary;
mod supervise;

#[cfg(test)]
pub use setup::tests;
pub use summary::Summary;

use crate::config::{Config, Device};
use anyhow::Context;
use children::Children;
use home::{Home, Installation, Stage};
use keyd::Keyd;
use overrides::Overrides;
use std::{
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Starts key service and vault on this machine.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Budgets are those of a reading room (a person: 240 studies an hour, 2,000 a day) and 20,000 studies an hour for the node.
Whoever runs on this machine may send, under any AE title. --config takes a TOML file that changes both:

  [budgets]
  person_per_hour = 60

  [[devices]]
  name = \"ct\"
  aet = \"CT1\"            # `*` takes any
  address = \"127.0.0.1\"  # an address, a network, `loopback` or `any`

It may also hold [limits] and the lists of [dicom] of a vault's configuration.")]
pub struct Args {
    /// The directory for everything, made when it is missing; $XDG_DATA_HOME/leadglass or ~/.local/share/leadglass unless given.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Prints one line of JSON when everything is ready.
    #[arg(long)]
    json: bool,
    /// Loads no sample study at the first start.
    #[arg(long)]
    no_sample: bool,
    /// Devices and budgets instead of the usual ones; remembered.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where a person's data lie, by the XDG base directory specification.
    #[arg(long, env = "XDG_DATA_HOME", hide = true)]
    xdg_data_home: Option<PathBuf>,
}

/// Does it.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::listen()?;
    let overrides = args.config.as_deref().map(Overrides::read).transpose()?;
    let dir = home::choose(args.data.clone(), args.xdg_data_home.clone(), std::env::home_dir())?;
    let home = Home::at(&dir)?;
    let lock = tokio::select! {
        lock = home.lock() => lock?,
        () = signals.next() => return Ok(ExitCode::SUCCESS),
    };
    let keyd = Keyd::beside_us(home.keyd())?.under(lock);
    let running = tokio::select! {
        running = start(&home, &keyd, overrides.as_ref(), args.no_sample) => running?,
        () = signals.next() => {
            tracing::info!("stopped before everything was ready");
            return Ok(ExitCode::SUCCESS);
        }
    };
    let Running { mut children, tokens, summary, senders } = running;
    say(&if args.json {
        serde_json::to_string(&summary).context("cannot write JSON")? + "\n"
    } else {
        let invited = people::words(&summary).await;
        let invited = invited.inspect_err(|error| tracing::warn!("nobody could be invited: {error:#}"));
        summary.page(&home, &senders) + "\n" + &invited.unwrap_or_default()
    });
    loop {
        tokio::select! {
            () = signals.next() => break,
            changed = children.changed() => {
                changed?;
                children.summary(&home, &tokens).write(&home)?;
            }
        }
    }
    tracing::info!("stopping; once more ends it at once");
    tokio::select! {
        () = children.end() => {}
        () = signals.next() => {}
    }
    Ok(ExitCode::SUCCESS)
}

/// The vault's configuration in a directory of `up`.
pub fn vault_config(dir: &Path) -> PathBuf {
    dir.join("config").join("vault.toml")
}

/// The key service's data directory there.
pub fn keyd_data(dir: &Path) -> PathBuf {
    dir.join("keyd")
}

/// The recovery sheet there, as long as it was not taken away.
pub fn sheet(dir: &Path) -> PathBuf {
    dir.join("recovery-sheet.txt")
}

/// What the key service's doctor finds in its data directory, as JSON.
pub async fn keyd_doctor(keyd_data: &Path) -> anyhow::Result<serde_json::Value> {
    Keyd::beside_us(keyd_data.to_owned())?.doctor().await
}

struct Running {
    children: Children,
    tokens: summary::Tokens,
    summary: Summary,
    senders: Vec<String>,
}

/// Everything up to the line that says so.
async fn start(home: &Home, keyd: &Keyd, overrides: Option<&Overrides>, no_sample: bool) -> anyhow::Result<Running> {
    let stage = home.stage()?;
    children::wait_for_orphans(home).await?;
    let installation = match stage {
        Stage::Made(installation) => installation,
        Stage::Empty | Stage::HalfMade => {
            tracing::info!("first start: making keys, certificates and tokens in {}", home.root().display());
            setup::make(home, keyd, !no_sample).await?
        }
    };
    let mut config = setup::settle(home, keyd, overrides).await?;
    let tokens = setup::tokens(home, &installation).await?;
    let senders = config.devices.iter().map(words).collect();
    let mut tries = PORT_TRIES;
    let children = loop {
        match Children::start(home, keyd).await {
            Ok(children) => break children,
            Err(error) => {
                // A port that was free when we chose it may be somebody else's by the time a child wants it, and free
                // again when we look: another `up` holds each for a moment while it chooses.
                tries -= 1;
                if tries == 0 || error.downcast_ref::<supervise::Ended>().is_none() {
                    return Err(error);
                }
                tracing::info!("{error}; trying again, with other ports where ours are taken");
                config = setup::settle(home, keyd, overrides).await?;
            }
        }
    };
    match open_doors(home, &config, &children, &tokens, installation, no_sample).await {
        Ok(summary) => Ok(Running { children, tokens, summary, senders }),
        Err(error) => {
            children.end().await;
            Err(error)
        }
    }
}

/// From two children that listen to a vault that stores and opens, has its sample, and says where it is.
async fn open_doors(
    home: &Home,
    config: &Config,
    children: &Children,
    tokens: &summary::Tokens,
    installation: Installation,
    no_sample: bool,
) -> anyhow::Result<Summary> {
    let summary = children.summary(home, tokens);
    wait_ready(&summary).await?;
    device::ensure(home, &summary).await.context("the device for DICOM over TLS could not be enrolled")?;
    if installation.sample_pending {
        match sample::caller(config) {
            _ if no_sample => {}
            Some(caller) => {
                let count = sample::load(&summary.dicom, caller).await.context("the sample study was not stored")?;
                tracing::info!("sample study loaded over C-STORE, {count} images");
            }
            None => tracing::warn!("no sample study: no device may send from this machine"),
        }
        home.remember(&Installation { sample_pending: false, ..installation })?;
    }
    // A child may have been started again meanwhile.
    let summary = children.summary(home, tokens);
    summary.write(home)?;
    Ok(summary)
}

fn words(device: &Device) -> String {
    let title = if device.aet == "*" { "any AE title".to_owned() } else { device.aet.clone() };
    format!("{} ({title} from {})", device.name, device.address)
}

/// Waits until studies can be stored and opened, over HTTPS as anybody would ask.
async fn wait_ready(summary: &Summary) -> anyhow::Result<()> {
    // One provider for every TLS of this process; a second installation changes nothing.
    let _installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let ca = std::fs::read(&summary.ca).context("cannot read the authority's certificate")?;
    let client = reqwest::Client::builder()
        .tls_certs_only([reqwest::Certificate::from_pem(&ca)?])
        .no_proxy()
        .timeout(ASK_TIME)
        .build()?;
    let url = format!("{}/readyz", summary.http.base);
    let begun = Instant::now();
    loop {
        let last = match client.get(&url).send().await {
            Ok(answer) if answer.status().is_success() => return Ok(()),
            Ok(answer) => format!("it answers {}", answer.status()),
            Err(error) => format!("{:#}", anyhow::Error::new(error)),
        };
        anyhow::ensure!(begun.elapsed() < READY_TIME, "the vault does not get ready: {last}");
        tokio::time::sleep(ASK_EVERY).await;
    }
}

/// To standard output. Nobody reading it is no reason to stop.
fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    if let Err(error) = out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        tracing::warn!(%error, "nobody reads standard output");
    }
}

/// SIGINT and SIGTERM, heard from the beginning on.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn listen() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("signals cannot be heard");
        Ok(Self { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Starts, with other ports when somebody is quicker.
const PORT_TRIES: u32 = 5;
const ASK_TIME: Duration = Duration::from_secs(5);
const ASK_EVERY: Duration = Duration::from_millis(50);
const READY_TIME: Duration = Duration::from_secs(120);
