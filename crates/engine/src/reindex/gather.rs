//! What there is: records of the journal, objects of the store, and whose they are.

use super::{LeftOut, Rebuilt, ReindexError, Why, append};
use crate::Record;
use futures::{StreamExt, TryStreamExt, stream};
use leadglass_audit::{Log, NewEntry};
use leadglass_journal::{Replay, Replayed};
use leadglass_model::{Fault, KeyId, ObjectId, StudyRef, TenantId};
use leadglass_seal::{HEADER_LEN, Header};
use leadglass_store::{Objects, StoreError};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

/// An object and whose it is. The order brings a study's objects together, and those under one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) tenant: TenantId,
    pub(super) study: StudyRef,
    pub(super) key: KeyId,
    pub(super) object: ObjectId,
    pub(super) len: u64,
}

/// Objects under keys that the key service did not list, by key.
pub(super) type Strangers = BTreeMap<KeyId, Vec<ObjectId>>;

/// Takes what the journal holds where it belongs, but for the rows: those are read from the objects. Nothing is trimmed, and
/// doing it twice changes nothing.
pub(super) async fn bring_home(mut replay: Replay, objects: &Objects, log: &Arc<Log>) -> Result<u64, ReindexError> {
    let mut total = 0;
    loop {
        let batch: Vec<Replayed> = replay.by_ref().take(JOURNAL_BATCH).collect::<Result<_, _>>()?;
        let Some(upto) = batch.last().map(|item| item.position.0) else { return Ok(total) };
        total += batch.len() as u64;
        let held = log.position().unwrap_or(0);
        let (mut entries, mut sealed) = (Vec::new(), Vec::new());
        for Replayed { position, record } in batch {
            let record = Record::decode(&[record])?;
            if position.0 > held {
                for entry in &record.entries {
                    entries.push(NewEntry::decode(entry)?);
                }
            }
            sealed.extend(record.object);
        }
        let put = |(id, bytes)| objects.put(id, vec![bytes]);
        stream::iter(sealed).map(put).buffer_unordered(PUTS_AT_ONCE).try_for_each(async |_| Ok(())).await?;
        append(log, entries, Some(upto)).await?;
    }
}

/// Lists the store and reads every header. About 80 bytes an object stay in memory.
pub(super) async fn places(
    objects: &Objects,
    known: &HashMap<KeyId, (TenantId, StudyRef)>,
    rebuilt: &mut Rebuilt,
) -> Result<(Vec<Place>, Strangers), ReindexError> {
    let head = |(object, len): (ObjectId, u64)| async move {
        let key = match objects.range(object, 0..HEADER_LEN as u64).await {
            Ok((bytes, _)) => match Header::parse(&bytes) {
                Ok(header) if header.object_id() == object => Ok(header.key_id()),
                _ => Err(Why::Damaged),
            },
            Err(error) => Err(why_unread(&error)),
        };
        Ok::<_, StoreError>((object, len, key))
    };
    let mut heads = objects.list().map_ok(head).try_buffer_unordered(HEADS_AT_ONCE);
    let (mut places, mut strangers) = (Vec::new(), Strangers::new());
    while let Some((object, len, key)) = heads.try_next().await? {
        rebuilt.objects += 1;
        match key {
            Ok(key) => match known.get(&key) {
                Some((tenant, study)) => places.push(Place { tenant: *tenant, study: *study, key, object, len }),
                None => strangers.entry(key).or_default().push(object),
            },
            Err(why) => rebuilt.leave_out(object, why)?,
        }
    }
    places.sort_unstable();
    Ok((places, strangers))
}

/// What it means for an object that the store did not give it.
pub(super) fn why_unread(error: &StoreError) -> Why {
    match error.fault() {
        Fault::Missing => Why::Missing,
        Fault::Corrupt => Why::Damaged,
        _ => Why::Unreadable,
    }
}

impl Rebuilt {
    /// Notes an object that gets no row. A bad sector is one object's misfortune; a store that went away is not, and ends
    /// the work.
    pub(super) fn leave_out(&mut self, object: ObjectId, why: Why) -> Result<(), ReindexError> {
        self.left_out.push(LeftOut { object, why });
        if why == Why::Unreadable {
            let objects = self.left_out.iter().filter(|out| out.why == why).count();
            if objects > UNREADABLE_MAX {
                return Err(ReindexError::StoreFailing { objects });
            }
        }
        Ok(())
    }
}

/// Records that lie in memory at one time; each has a handful of entries, and an append takes 1,024.
const JOURNAL_BATCH: usize = 64;
const PUTS_AT_ONCE: usize = 8;
const HEADS_AT_ONCE: usize = 32;
/// Objects on which the store may fail.
const UNREADABLE_MAX: usize = 64;
