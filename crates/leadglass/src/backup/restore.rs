//! `leadglass restore`: a backup into an empty place.
//!
//! Steps, each of which may be done again: mark in the data directory · objects, those that are not there yet · state, from
//! the start · entry in the log · note of what came back · mark away. While the mark stands no vault starts on that directory.

use super::{
    Keyhole, OPERATOR, bar, carry, open_set, print,
    set::{Copied, Set},
    shelf::{self, Shelf},
    state,
};
use crate::{
    config::{self, Config},
    node::{self, Layout},
    objects,
};
use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use futures::TryStreamExt;
use leadglass_audit::{CodeWord, Counts, Event, Log, NewEntry, Outcome};
use leadglass_keys::wire::{Hex32, LogHead};
use leadglass_model::{Clock, EntryId, ObjectId, Role, SystemClock, SystemEntropy};
use leadglass_store::Objects;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    collections::HashMap,
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
    process::ExitCode,
};

/// Brings a backup into an empty place: objects, index, log and records.
///
/// The key service comes first (`leadglass-keyd restore`). What it has destroyed stays away. Broken off, the same command
/// goes on. At its first start the vault asks for a word from the key host that this was an honest restore.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The folder of `leadglass backup`.
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
    #[command(flatten)]
    whom: super::Whom,
    /// The backup that was taken then, milliseconds since 1970, as its file in `sets` is called. Default: the newest.
    #[arg(long, value_name = "TIME")]
    taken: Option<u64>,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

/// What stands in a data directory while it is being filled.
#[derive(Debug, Serialize, Deserialize)]
struct UnderWay {
    /// Which backup.
    taken_ms: u64,
}

/// Whether a restore into this data directory was begun and not finished.
pub fn is_under_way(data: &Path) -> bool {
    data.join(MARK).exists()
}

/// What came back.
#[derive(Debug, Serialize, Deserialize)]
struct Restored {
    taken_ms: u64,
    objects: u64,
    object_bytes: u64,
    rows: u64,
    log_entries: u64,
    /// What the key host is asked to believe.
    log: LogHead,
    erased_objects: u64,
    erased_rows: u64,
}

/// Does it.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let (_, config) = args.whom.config()?;
    let layout = Layout::of(&config)?;
    let shelf = Shelf::open(&args.folder)?;
    let under_way: Option<UnderWay> = read(&config.data.join(MARK))?;
    let store = objects::open(&config)?;
    if under_way.is_none() {
        if let Some(restored) = finished(&config.data, &layout, args.taken)? {
            return tell(&restored, args.json);
        }
        refuse_used(&config, &layout, &store).await?;
    }
    let taken = match (&under_way, args.taken) {
        (Some(old), Some(new)) if old.taken_ms != new => {
            bail!("a restore of the backup of {} is under way here: finish it, or empty the place", old.taken_ms)
        }
        (Some(old), _) => Some(old.taken_ms),
        (None, taken) => taken,
    };
    let keyhole = Keyhole::ask(&config).await?;
    let set = open_set(&shelf, &keyhole.vessel, taken)?;
    let mark = serde_json::to_vec(&UnderWay { taken_ms: set.taken_ms })?;
    shelf::replace(&config.data.join(MARK), &mark)?;

    let kept_config = config.data.join("vault.toml.of-the-backup");
    let put = state::put(&config.data, &layout, (&set, &shelf, &keyhole), &kept_config).await?;
    bring_objects(&set, &put.objects, &shelf, &store, args.json).await?;
    let log = enter(&layout, &keyhole, &set, &put).await?;
    let restored = Restored {
        taken_ms: set.taken_ms,
        objects: put.objects.len() as u64,
        object_bytes: put.objects.iter().map(|one| one.len).sum(),
        rows: put.rows,
        log_entries: log.size,
        log,
        erased_objects: put.erased_objects,
        erased_rows: put.erased_rows,
    };
    // Everything durable, then the mark: from here on a vault starts.
    let data = File::open(&config.data)?;
    nix::unistd::syncfs(&data).context("cannot sync the data directory")?;
    shelf::replace(&config.data.join(FINISHED), &serde_json::to_vec(&restored)?)?;
    fs::remove_file(config.data.join(MARK)).context("cannot take the mark away")?;
    data.sync_all().context("cannot sync the data directory")?;
    tell(&restored, args.json)
}

fn tell(restored: &Restored, json: bool) -> anyhow::Result<ExitCode> {
    if json {
        print(&serde_json::to_string(restored)?);
    } else {
        eprintln!(
            "{} objects and {} rows are back; {} objects of erased studies stay away. The log holds {} entries.\n\
             The key service saw more of it: it takes this for an older disk until somebody says on the key host\n  \
             leadglass-keyd approve --action log-reset --log {}\nThen start the vault.",
            restored.objects, restored.rows, restored.erased_objects, restored.log_entries, restored.log
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn read<T: DeserializeOwned>(path: &Path) -> anyhow::Result<Option<T>> {
    if !path.exists() {
        return Ok(None);
    }
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_slice(&bytes).map(Some).with_context(|| format!("{} does not parse", path.display()))
}

/// What a restore brought that was finished here and nothing has been changed since: whoever was broken off between its last
/// step and its answer asks again and hears it. A vault that has started there takes the note away ([`forget_finished`]).
fn finished(data: &Path, layout: &Layout, taken: Option<u64>) -> anyhow::Result<Option<Restored>> {
    let restored: Option<Restored> = read(&data.join(FINISHED))?;
    Ok(restored.filter(|it| layout.audit.exists() && taken.is_none_or(|taken| taken == it.taken_ms)))
}

/// The vault starts on what came back: from here on it is a used place.
///
/// # Errors
///
/// The note cannot be taken away.
pub fn forget_finished(data: &Path) -> std::io::Result<()> {
    match fs::remove_file(data.join(FINISHED)) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

/// Nothing is written over.
async fn refuse_used(config: &Config, layout: &Layout, store: &Objects) -> anyhow::Result<()> {
    for path in [&layout.journal, &layout.index, &layout.audit, &layout.records, &layout.key_log] {
        ensure!(!path.exists(), "{} is there: a restore wants an empty place and writes over nothing", path.display());
    }
    if let config::Store::Local { path, .. } = &config.store {
        let first = store.list().try_next().await.context("cannot look into the store")?;
        ensure!(first.is_none(), "there are objects in {}: a restore wants an empty place", path.display());
    }
    Ok(())
}

/// Objects that are not in the store yet, each compared with its digest before it gets its name.
async fn bring_objects(
    set: &Set,
    wanted: &[Copied],
    shelf: &Shelf,
    store: &Objects,
    quiet: bool,
) -> anyhow::Result<()> {
    let there: HashMap<ObjectId, u64> = store.list().try_collect().await.context("cannot list the store")?;
    let lacks = |one: &&Copied| there.get(&one.object) != Some(&one.len);
    let lacking: Vec<Copied> = wanted.iter().filter(lacks).copied().collect();
    if !set.objects.copied {
        let objects = lacking.len();
        ensure!(objects == 0, "{objects} objects are not in the bucket, and this backup does not hold them");
        return Ok(());
    }
    let (bar, mut batch, mut bytes) = (bar(quiet), Vec::new(), 0);
    bar.set_length(lacking.iter().map(|one| one.len).sum());
    for one in lacking {
        let path = shelf.object(one.object);
        if one.len > LARGE_BYTES {
            tokio::task::block_in_place(|| carry::check(&path, &one))?;
            upload(store, &path, one.object).await?;
        } else {
            let read = tokio::task::block_in_place(|| fs::read(&path));
            let read = read.with_context(|| format!("cannot read {}", path.display()))?;
            let same = read.len() as u64 == one.len && *blake3::hash(&read).as_bytes() == one.digest;
            ensure!(same, "object {} is not what was copied", one.object);
            batch.push((one.object, vec![Bytes::from(read)]));
            bytes += one.len;
        }
        if bytes >= BATCH_BYTES || batch.len() >= BATCH_OBJECTS {
            store.put_batch(std::mem::take(&mut batch)).await.context("the store takes no objects")?;
            bytes = 0;
        }
        bar.inc(one.len);
    }
    store.put_batch(batch).await.context("the store takes no objects")?;
    bar.finish_and_clear();
    Ok(())
}

async fn upload(store: &Objects, path: &Path, object: ObjectId) -> anyhow::Result<()> {
    let mut upload = store.begin(object).await.with_context(|| format!("object {object} cannot be begun"))?;
    let mut file = File::open(path)?;
    loop {
        let mut part = Vec::new();
        tokio::task::block_in_place(|| file.by_ref().take(LARGE_BYTES).read_to_end(&mut part))?;
        if part.is_empty() {
            break;
        }
        upload.write(part.into()).await.context("the store takes no objects")?;
    }
    upload.finish().await.context("the store takes no objects")?;
    Ok(())
}

/// Reads the whole log, which proves it, and says in it what happened. Answers how many entries it holds.
async fn enter(layout: &Layout, keyhole: &Keyhole, set: &Set, put: &state::Put) -> anyhow::Result<LogHead> {
    let (dir, seed) = (layout.audit.clone(), keyhole.seed.clone());
    let mut entry = NewEntry::new(EntryId::random(&SystemEntropy), SystemClock.now(), Event::Restore, Outcome::Success);
    entry.actor = Some(OPERATOR);
    entry.role = Some(Role::Admin);
    entry.code = CodeWord::parse("backup");
    entry.counts = Counts { instances: put.objects.len() as u64, ..Counts::default() };
    let at_least = set.tree_size;
    tokio::task::spawn_blocking(move || {
        let log = Log::open(&dir, node::LOG_ORIGIN, seed.expose()).context("the log of the backup does not hold")?;
        ensure!(log.head().size >= at_least, "the log of the backup is shorter than its index");
        let head = log.append(vec![entry], None).context("the restore cannot be recorded")?;
        log.publish().context("the restore cannot be recorded")?;
        Ok(LogHead { size: head.size, root: Hex32(head.root.0) })
    })
    .await?
}

const MARK: &str = "restore-under-way.json";
/// What came back, from the last step until a vault starts on it.
const FINISHED: &str = "restored.json";
/// Longer objects go part by part.
const LARGE_BYTES: u64 = 8 << 20;
/// Of objects that share a sync, in memory.
const BATCH_BYTES: u64 = 64 << 20;
const BATCH_OBJECTS: usize = 512;
