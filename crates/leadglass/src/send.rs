//! `leadglass send`: C-STORE as SCU, with a progress bar; C-ECHO to try the way.

mod gather;
mod report;
mod stream;

use crate::up;
use anyhow::{Context, bail};
use clap::value_parser;
use gather::Gathered;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use leadglass_dimse::{
    AeTitle,
    send::{Outcome, Outgoing, Progress, Proposal, Requestor, SendConfig, SendError, send_files},
};
use report::Report;
use std::{io::IsTerminal, path::PathBuf, process::ExitCode, time::Instant};
pub(crate) use stream::{Duplex, Way, connector};

/// Sends DICOM files by C-STORE, as they are: nothing is re-encoded.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit codes: 0 all stored, 1 nothing stored or no way to the peer, 3 some not stored.
Examples:
  leadglass send --data DIR images/           to the vault that `leadglass up --data DIR` runs
  leadglass send --host pacs --port 104 --aet PACS a.dcm b.dcm
  leadglass send --data DIR --echo            only asks whether anybody answers")]
pub struct Args {
    /// Files, and directories with all that lies below them. What is not DICOM is skipped.
    #[arg(value_name = "FILES", required_unless_present = "echo")]
    paths: Vec<PathBuf>,
    /// The directory of a running `leadglass up`, for whatever of host, port and AE title is not given.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The receiver's host.
    #[arg(long, required_unless_present = "data")]
    host: Option<String>,
    /// The receiver's port; 104, or 2762 with TLS.
    #[arg(long)]
    port: Option<u16>,
    /// The receiver's AE title ("called").
    #[arg(long, required_unless_present = "data")]
    aet: Option<AeTitle>,
    /// Our own AE title ("calling").
    #[arg(long, default_value = "LEADGLASS_SEND")]
    calling_aet: AeTitle,
    /// Associations at one time.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = value_parser!(u16).range(1..=64))]
    associations: u16,
    /// Sends a C-ECHO and nothing else.
    #[arg(long, conflicts_with = "paths")]
    echo: bool,
    /// Speaks TLS, with a receiver that this authority vouches for (PEM).
    #[arg(long, value_name = "FILE")]
    tls_ca: Option<PathBuf>,
    /// Our certificate chain for TLS (PEM).
    #[arg(long, value_name = "FILE", requires_all = ["tls_ca", "tls_key"])]
    tls_cert: Option<PathBuf>,
    /// Its private key (PEM).
    #[arg(long, value_name = "FILE", requires_all = ["tls_ca", "tls_cert"])]
    tls_key: Option<PathBuf>,
    /// Prints a summary as JSON.
    #[arg(long)]
    json: bool,
}

/// Does it.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let (way, config) = target(&args)?;
    if args.echo {
        return echo(&way, &config, args.json).await;
    }
    let gathered = gather::gather(args.paths).await;
    if gathered.files.is_empty() && gathered.unreadable.is_empty() {
        bail!("there is no DICOM file among {} files", gathered.skipped);
    }
    let begun = Instant::now();
    let bar = progress_bar(&gathered);
    let lanes = lanes(&gathered.files, usize::from(args.associations));
    let sent = futures::future::join_all(lanes.into_iter().map(|lane| send_lane(&way, &config, lane, &bar))).await;
    bar.finish_and_clear();
    let report = Report::of(gathered, sent.into_iter().flatten(), begun.elapsed());
    if args.json {
        print(&serde_json::to_string(&report)?);
    } else {
        print(&report.words());
    }
    Ok(report.exit_code())
}

/// Where to, and as whom: what is given, and the rest from a running `up`.
fn target(args: &Args) -> anyhow::Result<(Way, SendConfig)> {
    let up = args.data.as_ref().map(|dir| up::Summary::read(dir)).transpose()?;
    let tls = args.tls_ca.is_some();
    let host = args.host.clone().or_else(|| up.as_ref().map(|up| up.dicom.host.clone())).context("give --host")?;
    let port_of_up = up.as_ref().map(|up| if tls { up.dicom.tls_port } else { up.dicom.port });
    let port = args.port.or(port_of_up).unwrap_or(if tls { TLS_PORT } else { PORT });
    let aet = match (&args.aet, &up) {
        (Some(aet), _) => aet.clone(),
        (None, Some(up)) => AeTitle::parse(&up.dicom.aet)?,
        (None, None) => bail!("give --aet"),
    };
    let tls =
        args.tls_ca.as_ref().map(|ca| stream::connector(ca, args.tls_cert.as_deref().zip(args.tls_key.as_deref())));
    Ok((Way { host, port, tls: tls.transpose()? }, SendConfig::new(args.calling_aet.clone(), aet)))
}

async fn echo(way: &Way, config: &SendConfig, json: bool) -> anyhow::Result<ExitCode> {
    let begun = Instant::now();
    let stream = way.open().await.with_context(|| format!("no way to {way}"))?;
    let refused = || format!("{way} does not answer C-ECHO");
    let mut association = Requestor::open(stream, config, &[Proposal::verification()]).await.with_context(refused)?;
    let status = association.echo().await.with_context(refused)?;
    // The answer is here; how the peer takes leave changes nothing.
    let _released = association.release().await;
    let millis = begun.elapsed().as_millis();
    if json {
        print(&serde_json::json!({ "status": status.to_string(), "duration_ms": millis }).to_string());
    } else {
        print(&format!("{way} answers {status} after {millis} ms"));
    }
    Ok(if status.is_done() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// One association after the other for its part of the files, until all are answered or nothing moves any more.
async fn send_lane(way: &Way, config: &SendConfig, lane: Vec<Outgoing>, bar: &ProgressBar) -> Vec<Sent> {
    let mut all = Vec::with_capacity(lane.len());
    let mut rest = lane;
    while !rest.is_empty() {
        let batch = rest.len().min(fitting(&rest));
        let batch: Vec<Outgoing> = rest.drain(..batch).collect();
        let outcome = send_batch(way, config, &batch, bar).await;
        let outcomes = match outcome {
            Ok(outcomes) => outcomes,
            Err(error) => {
                // The way itself is closed: the others would only wait for the same.
                let why = chain(&error);
                all.extend(batch.into_iter().chain(rest).map(|file| Sent { file, came: Came::NoWay(why.clone()) }));
                return all;
            }
        };
        // The file under way when an association broke is in doubt; those behind it were never begun.
        let broken = outcomes.iter().position(|outcome| matches!(outcome, Outcome::Unknown | Outcome::Unreadable(_)));
        let mut untried = Vec::new();
        for (at, (file, outcome)) in batch.into_iter().zip(outcomes).enumerate() {
            match broken {
                Some(broken) if at > broken && matches!(outcome, Outcome::Unknown) => untried.push(file),
                _ => all.push(Sent { file, came: Came::Tried(outcome) }),
            }
        }
        untried.extend(rest);
        rest = untried;
    }
    all
}

async fn send_batch(
    way: &Way,
    config: &SendConfig,
    batch: &[Outgoing],
    bar: &ProgressBar,
) -> Result<Vec<Outcome>, SendError> {
    let stream = way.open().await?;
    send_files(stream, config, batch, |progress| match progress {
        Progress::Sent { bytes, .. } => bar.inc(bytes),
        _ => bar.tick(),
    })
    .await
}

/// A file, and what came of it.
#[derive(Debug)]
struct Sent {
    file: Outgoing,
    came: Came,
}

#[derive(Debug)]
enum Came {
    Tried(Outcome),
    /// No association could be opened.
    NoWay(String),
}

/// Shares files out among associations: neighbours stay together, so that a study is not scattered.
fn lanes(files: &[Outgoing], count: usize) -> Vec<Vec<Outgoing>> {
    let per_lane = files.len().div_ceil(count).max(1);
    files.chunks(per_lane).map(<[Outgoing]>::to_vec).collect()
}

/// How many of these files, from the first on, one association can carry: it has 128 presentation contexts (PS3.8 §9.3.2).
fn fitting(files: &[Outgoing]) -> usize {
    let mut pairs = std::collections::BTreeSet::new();
    for (at, file) in files.iter().enumerate() {
        pairs.insert((file.sop_class.as_str(), file.transfer_syntax.as_str()));
        if pairs.len() > MAX_CONTEXTS {
            return at;
        }
    }
    files.len()
}

fn chain(error: &SendError) -> String {
    let mut words = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        words = format!("{words}: {inner}");
        source = inner.source();
    }
    words
}

fn progress_bar(gathered: &Gathered) -> ProgressBar {
    let bytes = gathered.files.iter().map(|file| file.data_set_bytes).sum();
    let terminal = std::io::stderr().is_terminal();
    let target = if terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let style = ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes} {bytes_per_sec} {eta}")
        .expect("the template is well-formed: a test draws it");
    ProgressBar::with_draw_target(Some(bytes), target).with_style(style)
}

#[allow(clippy::print_stdout, reason = "data goes to standard output")]
fn print(line: &str) {
    println!("{line}");
}

/// PS3.8 §9.1.1, registered for DICOM in clear.
const PORT: u16 = 104;
/// Registered for DICOM over TLS (PS3.15 §B.1).
const TLS_PORT: u16 = 2762;
const MAX_CONTEXTS: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;
    use leadglass_model::{SopClassUid, SopInstanceUid, TransferSyntaxUid};

    fn file(number: usize, class: usize) -> Outgoing {
        Outgoing {
            sop_class: SopClassUid::parse(&format!("1.2.3.{class}")).unwrap(),
            sop_instance: SopInstanceUid::parse(&format!("1.2.4.{number}")).unwrap(),
            transfer_syntax: TransferSyntaxUid::parse("1.2.840.10008.1.2.1").unwrap(),
            data_set_offset: 0,
            data_set_bytes: 10,
            path: PathBuf::new(),
        }
    }

    #[test]
    fn lanes_share_all_files_and_keep_neighbours_together() {
        let files: Vec<Outgoing> = (0..10).map(|n| file(n, 1)).collect();
        let lanes = lanes(&files, 4);
        assert_eq!(lanes.iter().map(Vec::len).collect::<Vec<_>>(), [3, 3, 3, 1]);
        let joined: Vec<_> = lanes.iter().flatten().map(|f| f.sop_instance.expose().to_owned()).collect();
        assert_eq!(joined, files.iter().map(|f| f.sop_instance.expose().to_owned()).collect::<Vec<_>>());
    }

    #[test]
    fn an_association_is_not_asked_for_more_contexts_than_it_has() {
        let files: Vec<Outgoing> = (0..300).map(|n| file(n, n / 2)).collect();
        assert_eq!(fitting(&files), 256);
        assert_eq!(fitting(&files[..10]), 10);
    }

    #[test]
    fn the_bar_can_be_drawn() {
        progress_bar(&Gathered::default()).finish_and_clear();
    }
}
