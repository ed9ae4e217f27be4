//! `leadglass backup`, `restore` and `drill`: what the vault keeps, elsewhere, sealed; back again; and the proof that it
//! would come back.
//!
//! A backup is a point in time: what the index held when it was taken, with all objects, the log up to there and the records.
//! What was still in the journal then belongs to the next one. It opens with the key service alone, so it is worth nothing
//! without `leadglass-keyd backup`; and what the key service has destroyed does not come back from any of them.

mod carry;
mod drill;
mod restore;
mod set;
mod shelf;
mod socket;
mod stage;
mod state;
mod vessel;

pub use drill::{Args as DrillArgs, Drilled, last as last_drill, run as drill};
pub use restore::{Args as RestoreArgs, forget_finished, is_under_way, run as restore};
pub use socket::serve;
pub use stage::Desk;

use crate::{
    config::Config,
    node::{self, KeyPort},
    objects, up,
};
use anyhow::{Context, ensure};
use futures::TryStreamExt;
use indicatif::{ProgressBar, ProgressStyle};
use leadglass_index::{StudyIndexKey, TenantKeys};
use leadglass_keys::{SecretName, wire};
use leadglass_model::{ActorRef, Clock, KeyId, ObjectId, SystemClock, SystemEntropy, TenantId};
use leadglass_seal::Secret;
use serde::Serialize;
use set::{Copied, ObjectList, Set, SetFile};
use shelf::Shelf;
use std::{
    collections::HashSet,
    fs::{self, File},
    io::{self, IsTerminal, Read},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Instant,
};
use vessel::{PIECE_BYTES, Vessel};

/// Which vault.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("whom").required(true).args(["config", "data"])))]
pub struct Whom {
    /// The vault's configuration file.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The directory of a `leadglass up`.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

/// Takes a backup of a running vault into a folder.
///
/// The folder holds many backups; what did not change is there once. Everything in it is sealed: it opens with the key
/// service alone, which has backups of its own (`leadglass-keyd backup`). Broken off, the next run goes on. Objects in a
/// bucket stay there, which keeps versions and copies of its own, unless they are asked for.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The folder; made if it is not there. On another disk, or it is no backup.
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
    #[command(flatten)]
    whom: Whom,
    /// Copies the objects of a bucket, too.
    #[arg(long)]
    with_objects: bool,
    /// So many backups are kept; older ones are removed.
    #[arg(long, value_name = "COUNT", default_value_t = 14, value_parser = clap::value_parser!(u16).range(1..))]
    keep: u16,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

impl Whom {
    fn config(&self) -> anyhow::Result<(PathBuf, Config)> {
        let path = match (&self.config, &self.data) {
            (Some(config), _) => config.clone(),
            (None, Some(data)) => up::vault_config(data),
            (None, None) => anyhow::bail!("give --config FILE or --data DIR"),
        };
        let config = Config::read(&path)?;
        Ok((path, config))
    }
}

/// What opens a backup: the key service's answers.
struct Keyhole {
    vessel: Vessel,
    seed: Arc<leadglass_keys::Secret>,
    tenants: Vec<TenantKeys>,
    records: Vec<(TenantId, Arc<leadglass_keys::Secret>)>,
    live: HashSet<KeyId>,
}

impl Keyhole {
    /// Asks the key service, as long as it takes.
    async fn ask(config: &Config) -> anyhow::Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let KeyPort { keys, tasks, stop } = node::connect(config, &clock)?;
        let secret = async |tenant, name| node::patiently("the key service", || keys.secret(tenant, name)).await;
        let seed = secret(wire::INSTALLATION, SecretName::AuditLog).await?;
        let (mut tenants, mut records, mut live) = (Vec::new(), Vec::new(), HashSet::new());
        for tenant in &config.tenants {
            let token = secret(tenant.id, SecretName::Token).await?;
            records.push((tenant.id, secret(tenant.id, SecretName::Record).await?));
            let index_keys: Vec<StudyIndexKey> = node::index_keys(&keys, tenant.id).await?;
            live.extend(index_keys.iter().map(|key| key.key_id));
            tenants.push(TenantKeys { tenant: tenant.id, token: Secret::from_bytes(*token.expose()), index_keys });
        }
        stop.cancel();
        tasks.close();
        tasks.wait().await;
        Ok(Self { vessel: Vessel::new(seed.expose()), seed, tenants, records, live })
    }
}

/// What a backup took.
#[derive(Debug, Serialize)]
struct Taken {
    taken_ms: u64,
    /// Objects in it, and their bytes.
    objects: u64,
    object_bytes: u64,
    /// Of these, not there before.
    new_objects: u64,
    new_object_bytes: u64,
    /// Pieces not there before, and their bytes.
    new_pieces: u64,
    new_piece_bytes: u64,
    /// Copies of erased objects that were removed.
    erased_objects: u64,
    /// For so long nothing moved on from the journal.
    still_ms: u64,
    /// How long all of it took.
    took_ms: u64,
}

/// `leadglass backup`
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let begun = Instant::now();
    let (_, config) = args.whom.config()?;
    let shelf = Shelf::open_or_make(&args.folder)?;
    let keyhole = Keyhole::ask(&config).await?;
    let held = socket::ask(&config.data).await?;
    let stage = &held.stage;

    let mut written = Written::default();
    let files = tokio::task::block_in_place(|| files(&stage.dir, &shelf, &keyhole.vessel, &mut written))?;
    let store = objects::open(&config)?;
    let copied = args.with_objects || !store.is_far();
    let bar = bar(args.json);
    let (all, carried) = if copied {
        let told = |done, total| {
            bar.set_length(total);
            bar.set_position(done);
        };
        carry::objects(&store, &shelf, told).await?
    } else {
        (listed(&store).await?, carry::Carried::default())
    };
    bar.finish_and_clear();
    let list: Vec<u8> = all.iter().flat_map(|one| one.to_bytes()).collect();
    let pieces = tokio::task::block_in_place(|| pieces(list.as_slice(), &shelf, &keyhole.vessel, &mut written))?;
    let objects = ObjectList { count: all.len() as u64, bytes: all.iter().map(|one| one.len).sum(), copied, pieces };
    let set = Set {
        version: VERSION,
        taken_ms: stage.taken_ms,
        tree_size: stage.tree_size,
        position: stage.position,
        files,
        objects,
    };
    let erased_objects = tokio::task::block_in_place(|| {
        shelf.sync()?;
        // From the disk again: what does not open now would not open when it is needed.
        written.names.iter().try_for_each(|name| read_piece(&shelf, &keyhole.vessel, *name).map(drop))?;
        let name = keyhole.vessel.set_name(set.taken_ms);
        let sealed = keyhole.vessel.seal(name, &serde_json::to_vec(&set)?, &SystemEntropy);
        shelf.put_set(set.taken_ms, &sealed)?;
        thin_out(&shelf, &keyhole.vessel, usize::from(args.keep))?;
        if copied { forget_erased(&shelf, &all, &keyhole.live) } else { Ok(0) }
    })?;
    let taken = Taken {
        taken_ms: set.taken_ms,
        objects: set.objects.count,
        object_bytes: set.objects.bytes,
        new_objects: carried.objects,
        new_object_bytes: carried.bytes,
        new_pieces: written.names.len() as u64,
        new_piece_bytes: written.bytes,
        erased_objects,
        still_ms: stage.still_ms,
        took_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
    };
    drop(held);
    if args.json {
        print(&serde_json::to_string(&taken)?);
    } else {
        eprintln!(
            "{} objects, {} MB, of which {} are new; {} new pieces. It opens with the key service alone: \
             `leadglass-keyd backup` belongs to it, and `leadglass drill` proves it.",
            taken.objects,
            taken.object_bytes / 1_000_000,
            taken.new_objects,
            taken.new_pieces
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// Pieces that were not there before.
#[derive(Debug, Default)]
struct Written {
    names: Vec<ObjectId>,
    bytes: u64,
}

/// The files of a stage, in pieces.
fn files(stage: &Path, shelf: &Shelf, vessel: &Vessel, written: &mut Written) -> anyhow::Result<Vec<SetFile>> {
    let (mut files, mut folders) = (Vec::new(), vec![PathBuf::new()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(stage.join(&folder)).context("the vault took its copy back")? {
            let entry = entry?;
            let path = folder.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                folders.push(path);
                continue;
            }
            let pieces = pieces(File::open(entry.path())?, shelf, vessel, written)?;
            let path = path.to_str().context("a file of the vault has a strange name")?.to_owned();
            files.push(SetFile { path, pieces });
        }
    }
    files.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

fn pieces(mut from: impl Read, shelf: &Shelf, vessel: &Vessel, written: &mut Written) -> anyhow::Result<Vec<ObjectId>> {
    let mut names = Vec::new();
    loop {
        let mut plain = Vec::new();
        from.by_ref().take(PIECE_BYTES as u64).read_to_end(&mut plain)?;
        if plain.is_empty() {
            return Ok(names);
        }
        let name = vessel.name(&plain);
        if !shelf.has_piece(name) {
            let sealed = vessel.seal(name, &plain, &SystemEntropy);
            shelf.put_piece(name, &sealed)?;
            written.names.push(name);
            written.bytes += sealed.len() as u64;
        }
        names.push(name);
    }
}

fn read_piece(shelf: &Shelf, vessel: &Vessel, name: ObjectId) -> anyhow::Result<Vec<u8>> {
    vessel.open_piece(name, shelf.piece(name)?).with_context(|| format!("piece {name} of the backup does not open"))
}

/// Opens a set: the newest, or the one that was taken then.
fn open_set(shelf: &Shelf, vessel: &Vessel, taken_ms: Option<u64>) -> anyhow::Result<Set> {
    let newest = || shelf.sets()?.first().copied().context("there is no whole backup in this folder");
    let taken_ms = taken_ms.map_or_else(newest, Ok)?;
    let opened = vessel.open(vessel.set_name(taken_ms), shelf.set(taken_ms)?);
    let plain = opened.context("the backup does not open: is it another installation's, or was it changed?")?;
    let set: Set = serde_json::from_slice(&plain).context("the backup is of another version")?;
    ensure!(set.version == VERSION && set.taken_ms == taken_ms, "the backup is of another version");
    Ok(set)
}

/// The objects of a set.
fn list_of(set: &Set, shelf: &Shelf, vessel: &Vessel) -> anyhow::Result<Vec<Copied>> {
    let mut bytes = Vec::new();
    for name in &set.objects.pieces {
        bytes.extend(read_piece(shelf, vessel, *name)?);
    }
    let list = Copied::read_all(&bytes);
    ensure!(list.len() as u64 == set.objects.count, "the list of objects is not whole");
    Ok(list)
}

/// Objects that stay where they are.
async fn listed(store: &leadglass_store::Objects) -> anyhow::Result<Vec<Copied>> {
    let listed: Vec<(ObjectId, u64)> = store.list().try_collect().await.context("cannot list the store")?;
    let nobody = KeyId::from_bytes([0; 16]);
    let mut all: Vec<Copied> =
        listed.into_iter().map(|(object, len)| Copied { object, key: nobody, len, digest: [0; 32] }).collect();
    all.sort_unstable_by_key(|one| one.object);
    Ok(all)
}

/// Removes backups beyond the newest `keep`, and pieces that none of those left names.
fn thin_out(shelf: &Shelf, vessel: &Vessel, keep: usize) -> anyhow::Result<()> {
    let sets = shelf.sets()?;
    let (kept, old) = sets.split_at(keep.min(sets.len()));
    old.iter().try_for_each(|taken| shelf.remove_set(*taken))?;
    let mut wanted = HashSet::new();
    for taken in kept {
        let Ok(set) = open_set(shelf, vessel, Some(*taken)) else {
            // Another installation's, or damaged: then nobody can tell what it needs.
            tracing::warn!(taken_ms = taken, "a backup in this folder does not open; no piece is removed");
            return Ok(());
        };
        wanted.extend(set.files.into_iter().flat_map(|file| file.pieces));
        wanted.extend(set.objects.pieces);
    }
    shelf.sweep_pieces(&wanted)?;
    Ok(())
}

/// Removes copies of what was erased: gone from the store, and its key from the key service. One alone is not enough: a
/// store that was lost must not take its backup with it.
fn forget_erased(shelf: &Shelf, there: &[Copied], live: &HashSet<KeyId>) -> anyhow::Result<u64> {
    let there: HashSet<ObjectId> = there.iter().map(|one| one.object).collect();
    let is_erased = |one: &Copied| !there.contains(&one.object) && !live.contains(&one.key);
    let (gone, kept): (Vec<Copied>, Vec<Copied>) = shelf.objects()?.into_iter().partition(is_erased);
    if !gone.is_empty() && !live.is_empty() {
        let names: Vec<ObjectId> = gone.iter().map(|one| one.object).collect();
        shelf.forget_objects(&kept, &names)?;
        return Ok(names.len() as u64);
    }
    Ok(0)
}

fn bar(quiet: bool) -> ProgressBar {
    if quiet || !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:40} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left");
    ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

#[allow(clippy::print_stdout, reason = "data goes to standard output")]
fn print(line: &str) {
    println!("{line}");
}

/// Whoever sits at the vault's terminal, as the logs have it: no token and no device.
const OPERATOR: ActorRef = ActorRef(*b"operator at host");
/// Of a set's description.
const VERSION: u32 = 1;
/// Exit code: done, and something needs a person.
const ATTENTION: u8 = 3;
