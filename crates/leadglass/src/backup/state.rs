//! What a backup holds beside the objects, put into an empty place: log, records, index, and a journal that goes on behind.
//!
//! Rows whose key the key service no longer has are left out: that is the replay of its tombstones, and it is done before
//! there is an index that anybody could open.

use super::{Keyhole, list_of, read_piece, set::Copied, set::Set, shelf::Shelf, stage};
use crate::node::Layout;
use anyhow::{Context, bail, ensure};
use leadglass_index::{Batch, Index, Mark, RowKey};
use leadglass_index_sled::{SledIndex, SledOptions};
use leadglass_journal::{Journal, Position};
use leadglass_model::{KeyId, ObjectId, TenantId};
use std::{
    collections::HashSet,
    fs::{self, File},
    io::{self, BufReader, Read, Write},
    path::{Component, Path, PathBuf},
};

/// What was put there.
#[derive(Debug, Default)]
pub struct Put {
    /// Rows of the index.
    pub rows: u64,
    /// Rows of erased studies.
    pub erased_rows: u64,
    /// Objects that belong there.
    pub objects: Vec<Copied>,
    /// Objects of erased studies.
    pub erased_objects: u64,
}

/// Puts a set's state under `layout`, from which what stood there of an earlier attempt is removed.
pub async fn put(
    data: &Path,
    layout: &Layout,
    (set, shelf, keyhole): (&Set, &Shelf, &Keyhole),
    kept_config: &Path,
) -> anyhow::Result<Put> {
    for dir in [&layout.journal, &layout.index, &layout.audit, &layout.key_log] {
        stage::clear(dir)?;
    }
    remove(&layout.records)?;
    let rows = data.join("index.rows");
    let mut put = Put::default();
    tokio::task::block_in_place(|| {
        for file in &set.files {
            let to = match place(&file.path)? {
                Place::Rows => rows.clone(),
                Place::Config => kept_config.to_owned(),
                Place::Records => layout.records.clone(),
                Place::Audit(rest) => layout.audit.join(rest),
                Place::KeyLog(rest) => layout.key_log.join(rest),
            };
            write(&to, &file.pieces, shelf, keyhole)?;
        }
        let whole = list_of(set, shelf, &keyhole.vessel)?;
        // An object in a bucket was not looked at; its rows say whose it is.
        let is_live = |one: &Copied| !set.objects.copied || keyhole.live.contains(&one.key);
        let (live, erased): (Vec<Copied>, Vec<Copied>) = whole.into_iter().partition(is_live);
        (put.objects, put.erased_objects) = (live, erased.len() as u64);
        ensure!(
            put.erased_objects == 0 || !put.objects.is_empty(),
            "the key service has not one key of this backup's objects: is it the right one, and was it restored?"
        );
        Journal::begin_behind(&layout.journal, Position(set.position)).context("cannot begin the journal")
    })?;
    index(&layout.index, &rows, set, &keyhole.live, &mut put).await?;
    remove(&rows)?;
    Ok(put)
}

enum Place {
    Rows,
    Config,
    Records,
    Audit(PathBuf),
    KeyLog(PathBuf),
}

/// Where a file of a set belongs. Names with steps upwards are refused, though only we can have sealed them.
fn place(path: &str) -> anyhow::Result<Place> {
    let whole = Path::new(path);
    ensure!(whole.components().all(|part| matches!(part, Component::Normal(_))), "the backup names a strange file");
    Ok(match path {
        stage::INDEX => Place::Rows,
        stage::CONFIG => Place::Config,
        stage::RECORDS => Place::Records,
        _ => match (whole.strip_prefix(stage::AUDIT), whole.strip_prefix(stage::KEY_LOG)) {
            (Ok(rest), _) => Place::Audit(rest.to_owned()),
            (_, Ok(rest)) => Place::KeyLog(rest.to_owned()),
            _ => bail!("the backup names a file that this version does not know"),
        },
    })
}

fn write(to: &Path, pieces: &[ObjectId], shelf: &Shelf, keyhole: &Keyhole) -> anyhow::Result<()> {
    if let Some(parent) = to.parent() {
        crate::files::make_dir(parent)?;
    }
    let cannot = || format!("cannot write {}", to.display());
    let mut file = File::create(to).with_context(cannot)?;
    for name in pieces {
        file.write_all(&read_piece(shelf, &keyhole.vessel, *name)?).with_context(cannot)?;
    }
    file.sync_data().with_context(cannot)
}

/// Fills an index; its mark comes last, with everything durable.
async fn index(dir: &Path, rows: &Path, set: &Set, live: &HashSet<KeyId>, put: &mut Put) -> anyhow::Result<()> {
    let at = dir.to_owned();
    let index = tokio::task::spawn_blocking(move || SledIndex::open(&at, SledOptions::default())).await?;
    let index = index.context("cannot make the index")?;
    let mut file = BufReader::with_capacity(1 << 20, File::open(rows).context("the backup holds no index")?);
    loop {
        let mut batch = Batch::default();
        tokio::task::block_in_place(|| {
            while batch.puts.len() < ROWS
                && let Some((tenant, key, row)) = next(&mut file)?
            {
                if key_of(&row).is_some_and(|key| live.contains(&key)) {
                    batch.puts.push((tenant, key, row.into()));
                } else {
                    put.erased_rows += 1;
                }
            }
            anyhow::Ok(())
        })?;
        if batch.puts.is_empty() {
            break;
        }
        put.rows += batch.puts.len() as u64;
        index.commit(batch).await.context("cannot write the index")?;
    }
    let mark = Mark { tree_size: set.tree_size, position: set.position };
    index.commit(Batch { mark: Some(mark), ..Batch::default() }).await.context("cannot write the index")?;
    tokio::task::spawn_blocking(move || drop(index)).await?;
    Ok(())
}

/// The next row of a file that [`stage`] wrote.
fn next(file: &mut impl Read) -> anyhow::Result<Option<(TenantId, RowKey, Vec<u8>)>> {
    let mut head = [0; 16 + RowKey::LEN + 4];
    match file.read_exact(&mut head) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    let (tenant, rest) = head.split_first_chunk::<16>().context("a head has its length")?;
    let (key, len) = rest.split_first_chunk::<{ RowKey::LEN }>().context("a head has its length")?;
    let key = RowKey::from_bytes(key).context("the backup holds rows that this version does not know")?;
    let len = u32::from_be_bytes(len.try_into()?) as usize;
    ensure!(len <= MAX_ROW_BYTES, "a row of the backup is too long");
    let mut row = vec![0; len];
    file.read_exact(&mut row).context("the rows of the backup are cut short")?;
    Ok(Some((TenantId::from_bytes(*tenant), key, row)))
}

/// The key of a sealed row: version, then the key's id (FORMAT.md, rows).
fn key_of(row: &[u8]) -> Option<KeyId> {
    row.get(1..)?.first_chunk::<16>().map(|id| KeyId::from_bytes(*id))
}

fn remove(path: &Path) -> anyhow::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Rows written at a time.
const ROWS: usize = 1_024;
/// Far above any row: metadata of an instance are the longest.
const MAX_ROW_BYTES: usize = 64 << 20;
