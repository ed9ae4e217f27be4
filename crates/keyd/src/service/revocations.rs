//! Revocations: what nodes must drop, numbered, kept, and pushed to whoever listens.

use super::{Caller, Service};
use crate::{
    refusal::Refusal,
    store::{Snapshot, StoreError, Table, Tx},
};
use bytes::Bytes;
use futures::Stream;
use leadglass_keys::wire::{Few, REVOCATION_BEAT_S, Revocation, RevocationEvent, RevocationKind};
use leadglass_model::{KeyId, StudyRef, TenantId};
use minicbor::{Decode, Encode};
use std::{sync::Arc, time::Duration};

/// A revocation as it is kept; its number is the row's name.
#[derive(Debug, Clone, Encode, Decode)]
#[cbor(map)]
pub struct RevocationRow {
    /// 0 destroyed, 1 restricted, 2 unrestricted.
    #[n(0)]
    pub kind: u8,
    /// Whose.
    #[n(1)]
    pub tenant: TenantId,
    /// Studies.
    #[n(2)]
    pub studies: Vec<StudyRef>,
    /// Keys.
    #[n(3)]
    pub keys: Vec<KeyId>,
}

impl RevocationRow {
    pub(super) fn new(kind: RevocationKind, tenant: TenantId, studies: Vec<StudyRef>, keys: Vec<KeyId>) -> Self {
        let kind = match kind {
            RevocationKind::Destroyed => 0,
            RevocationKind::Restricted => 1,
            RevocationKind::Unrestricted => 2,
        };
        Self { kind, tenant, studies, keys }
    }

    /// Writes it under the next number, inside the change that it tells about.
    pub(super) fn put(&self, tx: &mut Tx<'_>) -> Result<u64, StoreError> {
        let seq = tx.last_name(Table::Revocations)?.map_or(Ok(0), |name| number(&name))? + 1;
        tx.put_row(Table::Revocations, &seq.to_be_bytes(), self)?;
        Ok(seq)
    }

    fn on_wire(self) -> Option<Revocation> {
        let kind = match self.kind {
            0 => RevocationKind::Destroyed,
            1 => RevocationKind::Restricted,
            2 => RevocationKind::Unrestricted,
            _ => return None,
        };
        Some(Revocation {
            kind,
            tenant: self.tenant,
            study_refs: Few::new(self.studies)?,
            key_ids: Few::new(self.keys)?,
        })
    }
}

impl Service {
    /// Tells listeners that revocations up to `seq` are durable.
    pub(super) fn push(&self, seq: u64) {
        self.revoked.send_modify(|last| *last = (*last).max(seq));
    }

    /// The stream of one listener: what came after `after` (`None`: only what comes from now on), then what comes, a beat
    /// in between. It ends when the listener goes or the database fails.
    pub fn revocations(
        self: &Arc<Self>,
        caller: Caller,
        after: Option<u64>,
    ) -> impl Stream<Item = Bytes> + Send + 'static {
        let after = after.unwrap_or_else(|| *self.revoked.borrow());
        let listener =
            Listener { service: Arc::clone(self), seen: self.revoked.subscribe(), caller, after, first: true };
        futures::stream::unfold(listener, |mut listener| async move {
            let lines = listener.next().await.ok()?;
            Some((Bytes::from(lines), listener))
        })
    }
}

struct Listener {
    service: Arc<Service>,
    seen: tokio::sync::watch::Receiver<u64>,
    caller: Caller,
    after: u64,
    first: bool,
}

impl Listener {
    async fn next(&mut self) -> Result<Vec<u8>, Refusal> {
        if !std::mem::take(&mut self.first) {
            let last = *self.seen.borrow_and_update();
            if last <= self.after {
                let changed =
                    tokio::time::timeout(Duration::from_secs(REVOCATION_BEAT_S) / 2, self.seen.changed()).await;
                if matches!(changed, Ok(Err(_))) {
                    return Err(Refusal::from(StoreError::Stopped));
                }
            }
        }
        let last = *self.seen.borrow_and_update();
        if self.after > last {
            // A reader from before a restore: what it saw is not what is kept here.
            self.after = last;
            return Ok(RevocationEvent::Reset { seq: last }.to_line());
        }
        let mut lines = Vec::new();
        let snapshot = self.service.store.snapshot()?;
        for (name, value) in snapshot.scan(Table::Revocations, b"", Some(&self.after.to_be_bytes()), LINES_AT_ONCE)? {
            let seq = number(&name)?;
            let row: RevocationRow = crate::store::decode(Table::Revocations, &value)?;
            self.after = seq;
            if self.caller.may(row.tenant)
                && let Some(revocation) = row.on_wire()
            {
                lines.extend(RevocationEvent::Revoked { seq, revocation }.to_line());
            }
        }
        if lines.is_empty() {
            lines = RevocationEvent::Beat { seq: self.after }.to_line();
        }
        Ok(lines)
    }
}

/// The number of the last revocation.
pub(super) fn last(snapshot: &Snapshot) -> Result<u64, StoreError> {
    snapshot.last(Table::Revocations)?.map_or(Ok(0), |(name, _)| number(&name))
}

fn number(name: &[u8]) -> Result<u64, StoreError> {
    name.try_into().map(u64::from_be_bytes).map_err(|_| StoreError::Damaged { table: Table::Revocations })
}

/// At most 32 KiB each.
const LINES_AT_ONCE: usize = 16;
