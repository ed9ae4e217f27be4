//! `leadglass import`: brings in what is there already: folders, archives, discs, another archive; `--watch` for the
//! export folder of a sensor.
//!
//! **Invariant:** ledger, report, log and standard output name no file and no patient; only `--names FILE`, which is asked
//! for, does.

mod bar;
mod carry;
mod destination;
mod gdt;
mod item;
mod kind;
mod ledger;
mod patient;
mod pattern;
mod report;
mod source;
mod stow;
mod watch;

use anyhow::Context;
use bar::Bar;
use carry::{Carrier, Outcome};
use clap::value_parser;
use destination::To;
use futures::StreamExt;
use leadglass_model::{Phi, SystemClock, SystemEntropy};
use ledger::{Ledger, Namer};
use patient::Finder;
use pattern::Pattern;
use report::Report;
use source::{
    Found, Source,
    orthanc::{Access, PASSWORD_VARIABLE},
};
use std::{
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};
use stow::Ending;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

/// Brings in what is there already; goes on where it was interrupted.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A source is a folder, a DICOM file, a ZIP archive, a DICOMDIR (what it lists), or the address of an
Orthanc. What was acknowledged stands in a ledger that names no file and no patient; a second run
sends only the rest.

Rules for --patient-from: {patient_id} {last} {first} {name} {birth_date} {sex} {description} and
{taken_at} take a value, * takes any text, the rest stands for itself. A value ends where the text
that follows it begins. Dates are YYYYMMDD, or as {birth_date:DDMMYYYY} says. A GDT file belongs to
the images of its own name, and to those that it names (6305).

Exit codes: 0 all is in, 1 ended early or nothing came in, 3 some was refused or could not be read.
Examples:
  leadglass import --data DIR /media/archive discs.zip
  leadglass import --url https://vault --token-file token --ca ca.pem http://127.0.0.1:8042
  leadglass import --data DIR --watch export --patient-from '{patient_id}_{last}^{first}_*.jpg'")]
pub struct Args {
    /// Folders, files, ZIP archives, DICOMDIR files, addresses of Orthanc servers.
    #[arg(value_name = "SOURCE", required_unless_present = "watch")]
    sources: Vec<String>,
    #[command(flatten)]
    to: To,
    /// The ledger; DIR/import/ledger with --data DIR, else $XDG_STATE_HOME/leadglass/import.ledger or
    /// ~/.local/state/leadglass/import.ledger.
    #[arg(long, value_name = "FILE")]
    ledger: Option<PathBuf>,
    /// Looks, compares with the ledger and reports, and sends nothing.
    #[arg(long)]
    dry_run: bool,
    /// Requests at one time.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = value_parser!(u16).range(1..=32))]
    in_flight: u16,
    /// How long a vault may be away or full before the run ends.
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = time)]
    patience: Duration,
    /// The user of an Orthanc; the password is taken from LEADGLASS_SOURCE_PASSWORD.
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// The authority of an Orthanc's certificate, PEM.
    #[arg(long, value_name = "FILE")]
    source_ca: Option<PathBuf>,
    /// Reads the patient of photos and PDF files out of their names; see below. May be given several times.
    #[arg(long, value_name = "RULE")]
    patient_from: Vec<Pattern>,
    /// Writes the report as JSON.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Writes which files did not come in, and why. Such a list may name patients.
    #[arg(long, value_name = "FILE", conflicts_with = "watch")]
    names: Option<PathBuf>,
    /// Prints the report as JSON; with --watch, a line of JSON for each thing that happens.
    #[arg(long)]
    json: bool,
    /// Watches a folder and brings in what appears there, until SIGTERM. May be given several times.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["sources", "dry_run", "report"])]
    watch: Vec<PathBuf>,
    /// What happens to a watched file that the vault acknowledged: keep, delete, or move DIR.
    #[arg(long, value_names = ["WHAT", "DIR"], num_args = 1..=2, requires = "watch")]
    then: Vec<PathBuf>,
    /// A watched file is complete when it did not change for so long.
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = time)]
    settle: Duration,
    /// Looks at the whole folder so often: network shares tell of no changes.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = time)]
    rescan: Duration,
    /// Where a person's state lies, by the XDG base directory specification.
    #[arg(long, env = "XDG_STATE_HOME", hide = true)]
    xdg_state_home: Option<PathBuf>,
    /// As above.
    #[arg(long, env = "HOME", hide = true)]
    home: Option<PathBuf>,
}

/// Does it.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let _installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let stop = CancellationToken::new();
    let carrier = Arc::new(carrier(&args, stop.clone())?);
    listen(stop)?;
    if args.watch.is_empty() {
        let names = args.names.as_deref().map(Names::create).transpose()?;
        return walk(&args, &carrier, names).await;
    }
    let config = watch::Config::new(&args.watch, &args.then, args.settle, args.rescan, args.json)?;
    let ended = watch::run(config, &carrier, usize::from(args.in_flight)).await;
    close(&carrier).await;
    ended
}

fn carrier(args: &Args, stop: CancellationToken) -> anyhow::Result<Carrier> {
    let to = (args.to.is_given() || !args.dry_run).then(|| args.to.resolve()).transpose()?;
    let ledger = match &to {
        None => None,
        Some(to) => {
            let path = ledger_path(args)?;
            let identity = [to.base.as_bytes(), to.token.as_bytes()];
            Some(Ledger::open(&path, &identity, Arc::new(SystemClock), &SystemEntropy)?)
        }
    };
    let broken_lines = ledger.as_ref().map_or(0, Ledger::broken_lines);
    if broken_lines > 0 {
        tracing::warn!(
            broken_lines,
            "{broken_lines} lines of the ledger do not parse: what they told of is sent again"
        );
    }
    Ok(Carrier {
        to: to.filter(|_| !args.dry_run),
        ledger,
        namer: Namer::fleeting(&SystemEntropy),
        finder: Finder { patterns: args.patient_from.clone() },
        patience: args.patience,
        durably: !args.watch.is_empty(),
        stop,
    })
}

/// Walks the sources, a few things at a time, to the end or to the first reason to end.
async fn walk(args: &Args, carrier: &Arc<Carrier>, mut names: Option<Names>) -> anyhow::Result<ExitCode> {
    let access = Access {
        user: args.user.clone(),
        password: std::env::var_os(PASSWORD_VARIABLE).and_then(|p| p.into_string().ok()).map(Zeroizing::new),
        ca: args.source_ca.clone(),
    };
    let begun = Instant::now();
    let mut report = Report::begin(args.dry_run);
    let mut sources = Vec::new();
    for word in &args.sources {
        sources.push(Source::open(word, &access).await?);
    }
    if let Some(to) = &carrier.to
        && let Err(ending) = to.knock(args.patience.min(KNOCK_TIME)).await
    {
        anyhow::bail!("{ending} at {}", to.base);
    }
    let bar = Bar::new(sources.len(), args.json);
    if bar.is_shown() {
        for (at, source) in sources.iter().cloned().enumerate() {
            let bar = bar.clone();
            tokio::spawn(source.count(move |totals| bar.count(at, totals)));
        }
    }
    let (tell, told) = mpsc::channel(LISTED_AHEAD);
    let listing = list(sources, tell);
    let carrying = carry_all(args, carrier, told, &bar, &mut report, &mut names);
    let (listed, ()) = futures::join!(listing, carrying);
    bar.finish();
    if let Err(error) = listed {
        report.unreadable(error.code());
        report.end(Ending::Source);
    }
    if !close(carrier).await {
        report.end(Ending::Ledger);
    }
    report.close(begun.elapsed());
    if let Some(path) = &args.report {
        crate::files::write_json(path, &report)?;
    }
    if args.json {
        print(&serde_json::to_string(&report)?);
    } else {
        print(&report.words());
    }
    Ok(report.exit_code())
}

async fn list(sources: Vec<Source>, tell: mpsc::Sender<Found>) -> Result<(), item::SourceError> {
    for source in sources {
        if tell.is_closed() {
            break;
        }
        source.list(tell.clone()).await?;
    }
    Ok(())
}

async fn carry_all(
    args: &Args,
    carrier: &Arc<Carrier>,
    mut told: mpsc::Receiver<Found>,
    bar: &Bar,
    report: &mut Report,
    names: &mut Option<Names>,
) {
    let stop = &carrier.stop;
    let items = async_items(&mut told).take_until(stop.cancelled());
    let mut outcomes = items
        .map(|found| async move {
            match found {
                Found::Item(item) => Looked::At(carrier.carry(&item).await, item),
                Found::Passed(passed) => Looked::Past(passed),
                Found::Unreadable(code, place) => Looked::Not(code, place),
            }
        })
        .buffer_unordered(usize::from(args.in_flight))
        .boxed_local();
    let mut grace = None;
    loop {
        let looked = tokio::select! {
            looked = outcomes.next() => looked,
            // What is under way may end; but not for ever.
            () = overdue(stop, &mut grace) => {
                report.end(Ending::Stopped);
                break;
            }
        };
        let Some(looked) = looked else { break };
        match looked {
            Looked::At(outcome, item) => {
                bar.done(item.bytes);
                report.add(&outcome);
                let code = match &outcome {
                    Outcome::Ended(_) => {
                        stop.cancel();
                        None
                    }
                    Outcome::Refused(_, _, code) => Some(code.clone()),
                    Outcome::Unreadable(error) => Some(error.code().to_owned()),
                    Outcome::NoPatient(_, _, why) => Some(why.code().to_owned()),
                    _ => None,
                };
                if let (Some(code), Some(names)) = (code, names.as_mut()) {
                    names.add(&code, &item.place());
                }
            }
            Looked::Past(passed) => report.pass(passed),
            Looked::Not(code, place) => {
                report.unreadable(code);
                if let Some(names) = names {
                    names.add(code, &place);
                }
            }
        }
    }
    if stop.is_cancelled() {
        report.end(Ending::Stopped);
    }
}

enum Looked {
    At(Outcome, item::Item),
    Past(source::Passed),
    Not(&'static str, Phi<String>),
}

fn async_items(told: &mut mpsc::Receiver<Found>) -> impl futures::Stream<Item = Found> {
    futures::stream::unfold(told, |told| async move { told.recv().await.map(|found| (found, told)) })
}

/// Comes back when a stop is asked for and the time to end is over.
async fn overdue(stop: &CancellationToken, grace: &mut Option<Instant>) {
    stop.cancelled().await;
    let until = *grace.get_or_insert_with(|| Instant::now() + GRACE);
    tokio::time::sleep_until(until).await;
}

/// Writes what the ledger still holds; says whether it is all on the disk.
async fn close(carrier: &Carrier) -> bool {
    match &carrier.ledger {
        Some(ledger) => ledger.close().await.is_ok(),
        None => true,
    }
}

/// The first signal ends in order, the second at once.
fn listen(stop: CancellationToken) -> anyhow::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt()).context("signals cannot be heard")?;
    let mut terminate = signal(SignalKind::terminate()).context("signals cannot be heard")?;
    tokio::spawn(async move {
        for turn in 0..2 {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if turn == 1 {
                std::process::exit(1);
            }
            stop.cancel();
        }
    });
    Ok(())
}

fn ledger_path(args: &Args) -> anyhow::Result<PathBuf> {
    let given = |path: &Option<PathBuf>| path.clone().filter(|path| path.is_absolute());
    match (&args.ledger, &args.to.data) {
        (Some(path), _) => Ok(path.clone()),
        (None, Some(dir)) => Ok(dir.join("import").join("ledger")),
        (None, None) => given(&args.xdg_state_home)
            .or_else(|| given(&args.home).map(|home| home.join(".local/state")))
            .map(|state| state.join("leadglass/import.ledger"))
            .context("there is no home directory: give --ledger FILE"),
    }
}

/// The list that was asked for: a line `code TAB place` for each thing that did not come in.
#[derive(Debug)]
struct Names(std::io::BufWriter<std::fs::File>);

impl Names {
    fn create(path: &Path) -> anyhow::Result<Self> {
        let mut options = std::fs::OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o600).open(path);
        Ok(Self(std::io::BufWriter::new(file.with_context(|| format!("cannot write {}", path.display()))?)))
    }

    fn add(&mut self, code: &str, place: &Phi<String>) {
        let place: String = place.expose().chars().map(|c| if c.is_control() { '?' } else { c }).collect();
        if let Err(error) = writeln!(self.0, "{code}\t{place}") {
            tracing::warn!(kind = %error.kind(), "the list of names cannot be written");
        }
    }
}

fn time(text: &str) -> Result<Duration, humantime_serde::re::humantime::DurationError> {
    humantime_serde::re::humantime::parse_duration(text)
}

#[allow(clippy::print_stdout, reason = "data goes to standard output")]
fn print(line: &str) {
    println!("{line}");
    // A reader who went away misses it.
    let _ = std::io::stdout().flush();
}

/// Things that are listed and not yet in work.
const LISTED_AHEAD: usize = 64;
/// What is in flight may end within this time after a stop was asked for.
const GRACE: Duration = Duration::from_secs(10);
/// A vault that is not there when a run begins is waited for so long.
const KNOCK_TIME: Duration = Duration::from_secs(20);
