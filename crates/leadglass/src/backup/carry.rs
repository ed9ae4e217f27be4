//! Sealed objects into a backup: as they are, once each, with their digests, and read again after they were written.

use super::{set::Copied, shelf::Shelf};
use anyhow::{Context, ensure};
use futures::{StreamExt, TryStreamExt};
use leadglass_model::{KeyId, ObjectId};
use leadglass_seal::{HEADER_LEN, Header};
use leadglass_store::{Objects, StoreError};
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use std::{
    collections::HashMap,
    fs::File,
    io::{Read, Write},
    path::Path,
};

/// What was carried.
#[derive(Debug, Clone, Copy, Default)]
pub struct Carried {
    /// Objects that were not there.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Copies what the shelf lacks. Answers all objects of the store, by name, as they lie in the backup.
pub async fn objects(
    store: &Objects,
    shelf: &Shelf,
    mut told: impl FnMut(u64, u64),
) -> anyhow::Result<(Vec<Copied>, Carried)> {
    let listed: Vec<(ObjectId, u64)> = store.list().try_collect().await.context("cannot list the store")?;
    let known: HashMap<ObjectId, Copied> = shelf.objects()?.into_iter().map(|one| (one.object, one)).collect();
    let is_there = |(object, len): &(ObjectId, u64)| known.get(object).filter(|one| one.len == *len).copied();
    let mut all: Vec<Copied> = listed.iter().filter_map(is_there).collect();
    let wanted: Vec<(ObjectId, u64)> = listed.into_iter().filter(|one| is_there(one).is_none()).collect();
    let (total, mut carried) = (wanted.iter().map(|(_, len)| len).sum::<u64>(), Carried::default());
    let mut rest = wanted.as_slice();
    while !rest.is_empty() {
        let batch = batch(rest);
        rest = &rest[batch.len()..];
        let copies = futures::stream::iter(batch.iter().copied().map(|(object, len)| one(store, shelf, object, len)));
        let copied: Vec<Option<Copied>> = copies.buffer_unordered(AT_A_TIME).try_collect().await?;
        let copied: Vec<Copied> = copied.into_iter().flatten().collect();
        tokio::task::block_in_place(|| {
            shelf.sync()?;
            copied.iter().try_for_each(|one| check(&shelf.object(one.object), one))?;
            shelf.add_objects(&copied)
        })?;
        carried.objects += copied.len() as u64;
        carried.bytes += batch.iter().map(|(_, len)| len).sum::<u64>();
        all.extend(copied);
        told(carried.bytes, total);
    }
    all.sort_unstable_by_key(|one| one.object);
    Ok((all, carried))
}

/// As many as share one sync.
fn batch(rest: &[(ObjectId, u64)]) -> &[(ObjectId, u64)] {
    let mut bytes = 0;
    let fits = |(_, len): &&(ObjectId, u64)| {
        bytes += len;
        bytes <= BATCH_BYTES
    };
    let count = rest.iter().take(BATCH_OBJECTS).take_while(fits).count().max(1);
    &rest[..count]
}

/// One object; nothing if it was erased meanwhile.
async fn one(store: &Objects, shelf: &Shelf, object: ObjectId, len: u64) -> anyhow::Result<Option<Copied>> {
    let cannot = || format!("cannot copy object {object}");
    let mut file = File::create(shelf.object(object)).with_context(cannot)?;
    let (mut hasher, mut key, mut at) = (blake3::Hasher::new(), KeyId::from_bytes([0; 16]), 0);
    while at < len {
        let end = len.min(at + PART_BYTES);
        let (bytes, whole) = match store.range(object, at..end).await {
            Err(StoreError::Missing) => {
                std::fs::remove_file(shelf.object(object)).with_context(cannot)?;
                return Ok(None);
            }
            read => read.with_context(cannot)?,
        };
        ensure!(whole == len, "object {object} has another length than it was listed with");
        if at == 0 {
            key = key_of(&bytes).unwrap_or(key);
        }
        tokio::task::block_in_place(|| {
            hasher.update(&bytes);
            file.write_all(&bytes)
        })
        .with_context(cannot)?;
        at = end;
    }
    Ok(Some(Copied { object, key, len, digest: *hasher.finalize().as_bytes() }))
}

/// The key that an object lies under, as its header says. It stands there in clear.
pub fn key_of(head: &[u8]) -> Option<KeyId> {
    Header::parse(head.first_chunk::<HEADER_LEN>()?).ok().map(|header| header.key_id())
}

/// Reads a copy from its disk again, past what memory remembers of it.
pub fn check(path: &Path, expected: &Copied) -> anyhow::Result<()> {
    let cannot = || format!("cannot read {} again", path.display());
    let mut file = File::open(path).with_context(cannot)?;
    // Only advice: a file system that does not take it reads from memory.
    let _ = posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED);
    let (mut hasher, mut buffer, mut len) = (blake3::Hasher::new(), vec![0; 1 << 20], 0);
    loop {
        let read = file.read(&mut buffer).with_context(cannot)?;
        if read == 0 {
            break;
        }
        hasher.update(&buffer[..read]);
        len += read as u64;
    }
    let same = len == expected.len && *hasher.finalize().as_bytes() == expected.digest;
    ensure!(same, "object {} is not what was copied", expected.object);
    Ok(())
}

/// Read ahead of each other: what a bucket's answers take.
const AT_A_TIME: usize = 4;
/// Objects between two syncs.
const BATCH_OBJECTS: usize = 512;
const BATCH_BYTES: u64 = 512 << 20;
/// Of an object in memory.
const PART_BYTES: u64 = 8 << 20;
