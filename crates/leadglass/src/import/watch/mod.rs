//! `leadglass import --watch DIR`: a sensor's export folder, file by file as it appears.
//!
//! A file is brought in when it did not change for a while and, for DICOM, when its data set ends where the file does.
//! What the vault acknowledged is noted on the disk before the file is moved or deleted. What cannot come in stays where
//! it is and is told once. Events of the system only hurry it: the folder is looked at whole at intervals too, since
//! network shares tell of no changes.

mod after;
mod settle;

use super::{
    carry::{Carrier, Outcome},
    item::{Item, Origin, SourceError, Stamp, open_file},
    kind::{Kind, SNIFF_BYTES},
    patient::is_gdt,
    print,
    source::{Found, folder, is_hidden},
    stow::Ending,
};
use after::Then;
use anyhow::{Context, ensure};
use futures::StreamExt;
use leadglass_model::Phi;
use leadglass_tap::{Limits, Part10Tap};
use notify::{RecursiveMode, Watcher};
use serde::Serialize;
use settle::Settling;
use std::{
    io::Read,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{sync::mpsc, time::Instant};

/// What is watched, and how.
#[derive(Debug, Clone)]
pub struct Config {
    folders: Vec<PathBuf>,
    then: Then,
    settle: Duration,
    rescan: Duration,
    json: bool,
}

impl Config {
    /// Of the command line.
    pub fn new(
        folders: &[PathBuf],
        then: &[PathBuf],
        settle: Duration,
        rescan: Duration,
        json: bool,
    ) -> anyhow::Result<Self> {
        let whole = |dir: &PathBuf| -> anyhow::Result<PathBuf> {
            let path = dir.canonicalize().with_context(|| format!("cannot watch {}", dir.display()))?;
            ensure!(path.is_dir(), "{} is no folder", dir.display());
            Ok(path)
        };
        let folders = folders.iter().map(whole).collect::<anyhow::Result<Vec<_>>>()?;
        let then = Then::parse(then)?;
        if let Then::Move(target) = &then {
            ensure!(
                !folders.iter().any(|dir| target.starts_with(dir) || dir.starts_with(target)),
                "files cannot be moved into a watched folder, nor into one above it"
            );
        }
        ensure!(!rescan.is_zero(), "--rescan must be longer than nothing");
        Ok(Self { folders, then, settle, rescan, json })
    }
}

/// A line of what happens. Scripts rely on these names.
#[derive(Debug, Default, Serialize)]
struct Event<'a> {
    event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<Kind>,
    /// As in the ledger.
    #[serde(skip_serializing_if = "Option::is_none")]
    item: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    /// What became of the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    then: Option<&'static str>,
}

impl Event<'_> {
    fn tell(&self, json: bool) {
        if json {
            if let Ok(line) = serde_json::to_string(self) {
                print(&line);
            }
            return;
        }
        let Self { event, kind, item, code, bytes, then } = self;
        let (kind, item) = (kind.map(|kind| format!("{kind:?}").to_lowercase()), item.as_deref());
        match *event {
            "waiting" | "refused" | "unreadable" | "vault" => {
                tracing::warn!(kind, item, code, "import: {event} {}", code.unwrap_or_default());
            }
            _ => tracing::info!(kind, item, code, bytes, then, "import: {event}"),
        }
    }
}

/// Watches until it is told to stop.
///
/// # Errors
/// When nothing will go in without a person: a refused token, a ledger that cannot be written.
pub async fn run(config: Config, carrier: &Arc<Carrier>, in_flight: usize) -> anyhow::Result<ExitCode> {
    let (poke, mut poked) = mpsc::channel::<PathBuf>(EVENTS);
    let lost = Arc::new(AtomicBool::new(false));
    let losing = lost.clone();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| match event {
        Ok(event) => {
            for path in event.paths {
                if poke.try_send(path).is_err() {
                    losing.store(true, Ordering::Relaxed);
                }
            }
        }
        Err(_) => losing.store(true, Ordering::Relaxed),
    })
    .ok();
    for dir in &config.folders {
        let watched = watcher.as_mut().map(|w| w.watch(dir, RecursiveMode::Recursive));
        if !matches!(watched, Some(Ok(()))) {
            tracing::warn!("the system tells of no changes in a watched folder: it is looked at every --rescan only");
        }
    }
    let mut settling = Settling::new(config.settle);
    let mut rescan = tokio::time::interval(config.rescan);
    rescan.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    Event { event: "watching", ..Event::default() }.tell(config.json);
    loop {
        let due = settling.next_due();
        tokio::select! {
            () = carrier.stop.cancelled() => break,
            Some(path) = poked.recv() => touch(&mut settling, path).await,
            _ = rescan.tick() => look(&config, &mut settling).await,
            () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                let ready = settling.take_due(Instant::now());
                bring_all(&config, carrier, &mut settling, ready, in_flight).await?;
            }
        }
        if lost.swap(false, Ordering::Relaxed) {
            look(&config, &mut settling).await;
        }
    }
    Event { event: "stopped", ..Event::default() }.tell(config.json);
    Ok(ExitCode::SUCCESS)
}

/// Looks at one path that the system told of.
async fn touch(settling: &mut Settling, path: PathBuf) {
    let path = Arc::new(path);
    let asked = path.clone();
    let seen = tokio::task::spawn_blocking(move || match std::fs::symlink_metadata(&*asked) {
        // A folder that was moved here brings its files without a word about them.
        Ok(meta) if meta.is_dir() => below(&asked),
        _ if is_left_out(&asked) => Vec::new(),
        Ok(_) => Stamp::of(&asked).map(|stamp| vec![(asked.to_path_buf(), stamp)]).unwrap_or_default(),
        Err(_) => Vec::new(),
    })
    .await
    .unwrap_or_default();
    if seen.is_empty() {
        settling.forget(&path);
    }
    for (path, stamp) in seen {
        settling.see(path, stamp, Instant::now());
    }
}

/// Looks at everything.
async fn look(config: &Config, settling: &mut Settling) {
    let folders = config.folders.clone();
    let listed =
        tokio::task::spawn_blocking(move || folders.iter().flat_map(|dir| below(dir)).collect::<Vec<_>>()).await;
    let seen = listed.unwrap_or_default();
    settling.keep_only(&seen);
    for (path, stamp) in seen {
        settling.see_again(path, stamp, Instant::now());
    }
}

fn below(dir: &Path) -> Vec<(PathBuf, Stamp)> {
    let mut all = Vec::new();
    let listed = folder::list(dir, |found| {
        if let Found::Item(Item { origin: Origin::File(path), .. }) = found
            && !is_left_out(path.expose())
            && let Ok(stamp) = Stamp::of(path.expose())
        {
            all.push((path.into_exposed(), stamp));
        }
        all.len() < MAX_FILES
    });
    if let Err(error) = listed {
        tracing::warn!(code = error.code(), "a watched folder cannot be read now: {}", error.code());
    }
    all
}

/// Names that mean "not yet", and those that never mean anything.
fn is_left_out(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let unfinished = |end: &str| name.len() > end.len() && name.to_ascii_lowercase().ends_with(end);
    is_hidden(&name) || UNFINISHED.iter().any(|end| unfinished(end))
}

async fn bring_all(
    config: &Config,
    carrier: &Arc<Carrier>,
    settling: &mut Settling,
    ready: Vec<(PathBuf, Stamp)>,
    in_flight: usize,
) -> anyhow::Result<()> {
    let (companions, files): (Vec<_>, Vec<_>) = ready.into_iter().partition(|(path, _)| is_gdt(path));
    let now = Instant::now();
    for (path, stamp) in companions {
        settling.rest(path.clone(), stamp, "gdt", false);
        settling.wake_beside(&path, now);
    }
    let mut brought = futures::stream::iter(files)
        .map(|(path, stamp)| async move {
            let came = bring(config, carrier, &path, stamp).await;
            (path, stamp, came)
        })
        .buffer_unordered(in_flight)
        .boxed_local();
    let mut ending = None;
    while let Some((path, stamp, came)) = brought.next().await {
        match came {
            Came::In(event) => {
                settling.rest(path, stamp, "in", false);
                event.tell(config.json);
            }
            Came::Quietly(word) => {
                settling.rest(path, stamp, word, false);
            }
            Came::Changed => settling.see(path, stamp, Instant::now()),
            Came::NotIn { event, waits } => {
                let code = event.code.unwrap_or(event.event);
                if settling.rest(path, stamp, code, waits) {
                    event.tell(config.json);
                }
            }
            Came::Ended(Ending::Stopped) => {}
            Came::Ended(why) if why.passes() => {
                if settling.rest(path.clone(), stamp, why.code(), true) {
                    Event { event: "vault", code: Some(why.code()), ..Event::default() }.tell(config.json);
                }
                settling.again(path, stamp, Instant::now() + config.rescan);
            }
            Came::Ended(why) => ending = Some(why),
        }
    }
    match ending {
        None => Ok(()),
        Some(why) => {
            Event { event: "ended", code: Some(why.code()), ..Event::default() }.tell(config.json);
            anyhow::bail!("{why}")
        }
    }
}

enum Came {
    In(Event<'static>),
    /// Nothing to tell.
    Quietly(&'static str),
    /// It is not complete after all.
    Changed,
    NotIn {
        event: Event<'static>,
        /// It may come in later without changing.
        waits: bool,
    },
    Ended(Ending),
}

async fn bring(config: &Config, carrier: &Carrier, path: &Path, stamp: Stamp) -> Came {
    if Stamp::of(path) != Ok(stamp) {
        return Came::Changed;
    }
    let asked = path.to_owned();
    let ends = tokio::task::spawn_blocking(move || ends_cleanly(&asked)).await.unwrap_or(Err(SourceError::Io));
    let waiting =
        |code, waits| Came::NotIn { event: Event { event: "waiting", code: Some(code), ..Event::default() }, waits };
    match ends {
        Ok(true) => {}
        Ok(false) => return waiting("incomplete", true),
        Err(SourceError::Gone | SourceError::Changed) => return Came::Changed,
        Err(error) => return waiting(error.code(), true),
    }
    let item = Item { origin: Origin::File(Phi::new(path.to_owned())), bytes: stamp.bytes };
    match carrier.carry(&item).await {
        Outcome::Stored(carried) | Outcome::Duplicate(carried) => {
            let then = after::settle(config, path, Some(carried.digest)).await;
            Came::In(Event {
                event: "stored",
                kind: Some(carried.kind),
                item: Some(carried.key.hex()),
                bytes: Some(carried.bytes),
                then: Some(then),
                ..Event::default()
            })
        }
        // Acknowledged before a run ended, and not yet moved.
        Outcome::Known(key) => {
            let digest = after::digest(path).await;
            let same = digest.is_some_and(|d| carrier.ledger.as_ref().is_some_and(|l| l.has_item_of(key, &d)));
            if same {
                after::settle(config, path, digest).await;
            }
            Came::Quietly("known")
        }
        Outcome::Passed(_) | Outcome::Would(..) => Came::Quietly("passed"),
        Outcome::NoPatient(key, kind, why) => Came::NotIn {
            event: Event {
                event: "waiting",
                kind: Some(kind),
                item: Some(key.hex()),
                code: Some(why.code()),
                ..Event::default()
            },
            waits: true,
        },
        Outcome::Refused(key, kind, code) => {
            tracing::warn!(code, "the vault refused a file");
            Came::NotIn {
                event: Event {
                    event: "refused",
                    kind: Some(kind),
                    item: Some(key.hex()),
                    code: Some("refused"),
                    ..Event::default()
                },
                waits: false,
            }
        }
        Outcome::Unreadable(SourceError::Changed | SourceError::Gone) => Came::Changed,
        Outcome::Unreadable(error) => waiting(error.code(), true),
        Outcome::Ended(why) => Came::Ended(why),
    }
}

/// Whether a DICOM file's data set ends where the file does; of other files nothing can be said.
fn ends_cleanly(path: &Path) -> Result<bool, SourceError> {
    let mut file = open_file(path).map_err(|e| SourceError::of(&e))?;
    let mut piece = vec![0; SNIFF_BYTES];
    let mut length = read_some(&mut file, &mut piece)?;
    let first = piece.get(..length).unwrap_or_default();
    if !Kind::of(first).is_dicom() {
        return Ok(true);
    }
    let mut tap = Part10Tap::new(Limits { kept_bytes: 0, fragments: 0, table_bytes: 0, ..Limits::default() });
    while length > 0 {
        if tap.feed(piece.get(..length).unwrap_or_default()).is_err() {
            return Ok(false);
        }
        length = read_some(&mut file, &mut piece)?;
    }
    Ok(tap.finish().is_ok())
}

/// As much as fits.
fn read_some(file: &mut impl Read, into: &mut [u8]) -> Result<usize, SourceError> {
    let mut filled = 0;
    while let Some(rest) = into.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read(rest).map_err(|e| SourceError::of(&e))? {
            0 => break,
            n => filled += n,
        }
    }
    Ok(filled)
}

/// Paths that the system told of and that are not looked at yet; past it the whole folder is looked at.
const EVENTS: usize = 4096;
/// Files that are kept an eye on.
const MAX_FILES: usize = 1_000_000;
/// Ends of names that programs give to what they are still writing.
const UNFINISHED: [&str; 6] = [".part", ".tmp", ".crdownload", ".filepart", ".partial", "~"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::{
        destination::Destination,
        ledger::{Ledger, Namer},
        patient::Finder,
    };
    use leadglass_model::{SystemClock, SystemEntropy};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[test]
    fn a_dicom_file_that_is_still_being_written_does_not_end_cleanly() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        let whole = include_bytes!("../../../../../fixtures/dx.dcm");
        for (bytes, expect) in [(&whole[..], true), (&whole[..whole.len() - 7], false), (&whole[..400], false)] {
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(ends_cleanly(&path), Ok(expect), "{} bytes", bytes.len());
        }
        std::fs::write(&path, [0xFF, 0xD8, 0xFF]).unwrap();
        assert_eq!(ends_cleanly(&path), Ok(true));
    }

    #[test]
    fn unfinished_and_hidden_names_are_left_out() {
        for name in [".x.jpg", "x.jpg.part", "x.TMP", "Thumbs.db", "x.jpg~"] {
            assert!(is_left_out(Path::new(name)), "{name}");
        }
        for name in ["x.jpg", "tmp", "part.jpg"] {
            assert!(!is_left_out(Path::new(name)), "{name}");
        }
    }

    #[test]
    fn files_are_not_moved_to_where_they_are_watched() {
        let dir = tempfile::tempdir().unwrap();
        let config = |then: &[&str]| {
            let then: Vec<PathBuf> = then.iter().map(PathBuf::from).collect();
            Config::new(&[dir.path().to_owned()], &then, Duration::ZERO, Duration::from_secs(1), true)
        };
        let below = dir.path().join("done");
        assert!(config(&["move", below.to_str().unwrap()]).is_err());
        assert!(config(&["move"]).is_err() && config(&["burn"]).is_err() && config(&["keep", "x"]).is_err());
        assert!(config(&[]).is_ok() && config(&["delete"]).is_ok());
    }

    const YES: &[u8] =
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\nConnection: close\r\n\r\n<html>";

    /// Says 200 to every form that is sent, as portals and parked domains do.
    async fn yes_sayer() -> std::net::SocketAddr {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut read, mut write) = socket.into_split();
                    let (mut seen, mut piece) = (Vec::new(), vec![0; 65_536]);
                    while !seen.ends_with(b"--\r\n")
                        && let Ok(n @ 1..) = read.read(&mut piece).await
                    {
                        seen.extend_from_slice(&piece[..n]);
                    }
                    let _ = write.write_all(YES).await;
                });
            }
        });
        address
    }

    #[tokio::test]
    async fn what_a_server_that_says_yes_to_everything_took_is_not_stored_and_not_deleted() {
        let _installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let base = format!("http://{}", yes_sayer().await);
        let dx: &[u8] = include_bytes!("../../../../../fixtures/dx.dcm");
        for (name, bytes) in [("image.dcm", dx), ("P-1_Doe.jpg", &[0xFF, 0xD8, 0xFF, 0xD9])] {
            let dir = tempfile::tempdir().unwrap();
            let (folder, ledger) = (dir.path().join("export"), dir.path().join("ledger"));
            std::fs::create_dir(&folder).unwrap();
            let path = folder.join(name);
            std::fs::write(&path, bytes).unwrap();
            let http = reqwest::Client::builder().no_proxy().build().unwrap();
            let token = zeroize::Zeroizing::new("lg_x".to_owned());
            let carrier = Carrier {
                to: Some(Destination { http, base: base.clone(), token }),
                ledger: Some(Ledger::open(&ledger, &[b"v"], Arc::new(SystemClock), &SystemEntropy).unwrap()),
                namer: Namer::fleeting(&SystemEntropy),
                finder: Finder { patterns: vec!["{patient_id}_{name}.jpg".parse().unwrap()] },
                patience: Duration::from_secs(60),
                durably: true,
                stop: tokio_util::sync::CancellationToken::new(),
            };
            let then = [PathBuf::from("delete")];
            let config =
                Config::new(std::slice::from_ref(&folder), &then, Duration::ZERO, Duration::from_secs(1), true);
            let came = bring(&config.unwrap(), &carrier, &path, Stamp::of(&path).unwrap()).await;
            assert!(matches!(came, Came::Ended(Ending::NoService)), "{name}");
            assert!(Ending::NoService.to_string().contains("no vault") && !Ending::NoService.passes());
            assert!(path.exists(), "{name} is still there");
            carrier.ledger.as_ref().unwrap().close().await.unwrap();
            let written = std::fs::read_to_string(&ledger).unwrap();
            assert!(!written.contains("outcome"), "{name}: {written}");
        }
    }
}
