//! One instance: coerced as it is read, taken in by the path of an arriving one.

use super::{Rectification, RectifyError, attribute::coerced, split::Split};
use crate::{
    Shared,
    ingest::{Announced, Corrects, Destination, IngestError, Source},
    quarantine::Note,
    retention::Day,
    retrieve::{ReadBy, Reader, RetrieveError},
};
use bytes::Bytes;
use futures::TryStreamExt;
use leadglass_index::{IndexError, InstanceRow, InstanceState, SealUnder, Table};
use leadglass_keys::ObjectLease;
use leadglass_model::{ActorRef, KeyId, ObjectId, Phi, ReceiverId, Role, StudyRef, TenantId, UnixMillis};
use leadglass_seal::SealedName;
use leadglass_tap::{CoerceError, CoercedBy, Coercer, Syntax, part10};
use std::{collections::BTreeSet, mem, sync::Arc, time::Duration};

/// Whether an instance said it already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Was {
    Right,
    Wrong,
}

impl Shared {
    /// Whether an instance can say it. Of one that can, as much is read as may change.
    pub(super) async fn would_fit(
        self: &Arc<Self>,
        tenant: TenantId,
        order: &Rectification,
        row: &InstanceRow,
        by: ReadBy,
    ) -> Result<Result<(), CoerceError>, RectifyError> {
        let mut coercer = match coercer(order, row) {
            Ok(coercer) => coercer,
            Err(error) => return Ok(Err(error)),
        };
        let (_, reader) = self.to_read(tenant, row, by).await?;
        let mut pieces = Box::pin(reader.plain(row.dataset_start..row.body_len));
        let mut out = Vec::new();
        while !coercer.is_settled() {
            out.clear();
            let done = match pieces.try_next().await? {
                Some(piece) => coercer.feed(&piece, &mut out),
                None => return Ok(coercer.finish(&mut out)),
            };
            if let Err(error) = done {
                return Ok(Err(error));
            }
        }
        Ok(Ok(()))
    }

    /// Takes an instance in as it should be. Dying here, it is the old or the new one, and done again if it is the old. One that
    /// belongs to another study is there before it is hidden here.
    pub(super) async fn correct(
        self: &Arc<Self>,
        tenant: TenantId,
        order: &Rectification,
        study: StudyRef,
        row: &InstanceRow,
        by: ReadBy,
    ) -> Result<Was, RectifyError> {
        let (lease, reader) = self.to_read(tenant, row, by).await?;
        let source = Arc::new(Source {
            tenant,
            // The device stays the one that delivered it: its next correction is a version, not a stranger.
            receiver: row.receiver,
            actor: order.by,
            role: Role::Dpo,
            calling: Phi::new(String::new()),
            address: Phi::new(String::new()),
            level: None,
            corrects: Corrects::Versions,
        });
        let mut announced = Announced {
            sop_class: row.sop_class.clone(),
            sop_instance: row.sop_uid.clone(),
            transfer_syntax: row.transfer_syntax.clone(),
        };
        let (head, destination): (Bytes, _) = match &order.split {
            // The head as it was received.
            None => {
                let head: Vec<Bytes> = reader.plain(0..row.dataset_start).try_collect().await?;
                (head.concat().into(), Destination::Replaces(study, row.object_id))
            }
            Some(split) => {
                announced.sop_instance = split.instance(row).ok_or(RectifyError::Missing)?;
                let Announced { sop_class, sop_instance, transfer_syntax } = &announced;
                let head = part10::write_head(sop_class, sop_instance, transfer_syntax, None);
                (head.into(), Destination::AsNamed)
            }
        };
        let mut transfer = self.begin_after(head, source, announced, destination)?;
        let mut coercer = coercer(order, row)?;
        let mut pieces = Box::pin(reader.plain(row.dataset_start..row.body_len));
        let mut out = Vec::new();
        while let Some(piece) = pieces.try_next().await? {
            coercer.feed(&piece, &mut out)?;
            if coercer.is_settled() && !coercer.changes() {
                return Ok(Was::Right);
            }
            if coercer.is_settled() || out.len() > HELD_BYTES {
                transfer.write(mem::take(&mut out).into()).await?;
            }
        }
        coercer.finish(&mut out)?;
        if !coercer.changes() {
            return Ok(Was::Right);
        }
        transfer.write(out.into()).await?;
        match transfer.finish().await {
            // Nobody would see it any more, neither here nor there.
            Ok(receipt) if receipt.is_set_aside() => return Err(RectifyError::SetAside),
            Ok(_) => {}
            // Something came while it was read, and is looked at next.
            Err(IngestError::Overtaken) if self.is_other_now(tenant, study, row).await? => return Ok(Was::Right),
            Err(error) => return Err(error.into()),
        }
        if order.split.is_some() {
            self.hide(tenant, order, study, &lease, row).await?;
        }
        Ok(Was::Wrong)
    }

    /// A rebuilt index takes whose study it is from its current versions, and not from what came first. The note lies under
    /// none of the keys that end.
    pub(crate) async fn note_rectified(
        self: &Arc<Self>,
        tenant: TenantId,
        study: StudyRef,
        ending: &BTreeSet<KeyId>,
        by: ReadBy,
    ) -> Result<(), RectifyError> {
        let rows = self.catalog.instances(tenant, study).await?;
        let fits = |row: &&InstanceRow| row.state == InstanceState::Current && !ending.contains(&row.key_id);
        let Some(row) = rows.iter().find(fits) else { return Ok(()) };
        let (lease, _) = self.to_read(tenant, row, by).await?;
        self.decided(tenant, study, &lease, row, "rectify", by.actor).await
    }

    /// Sealed beside an instance, under its key.
    pub(crate) async fn decided(
        self: &Arc<Self>,
        tenant: TenantId,
        study: StudyRef,
        lease: &ObjectLease,
        row: &InstanceRow,
        decision: &str,
        actor: ActorRef,
    ) -> Result<(), RectifyError> {
        let (object, version) = (row.object_id, row.version);
        let note =
            Note { decision, object, target: study, case: study, version, receiver: ReceiverId::from_bytes(actor.0) };
        let object_id = ObjectId::random(&*self.entropy);
        let name = SealedName { tenant, object_id, key_id: lease.key_id(), key_gen: lease.key_gen() };
        Ok(self.write_note(lease.study_key(), &name, &note).await?)
    }

    /// Whether another object stands in the place of this one.
    async fn is_other_now(&self, tenant: TenantId, study: StudyRef, row: &InstanceRow) -> Result<bool, RectifyError> {
        let now = self.catalog.instance(tenant, study, &row.sop_uid).await?;
        Ok(now.is_none_or(|now| now.object_id != row.object_id))
    }

    async fn to_read(
        self: &Arc<Self>,
        tenant: TenantId,
        row: &InstanceRow,
        by: ReadBy,
    ) -> Result<(Arc<ObjectLease>, Reader), RectifyError> {
        let mut opened = self.keys.open(tenant, &[row.key_id], by.purpose, by.actor, by.entry).await?;
        let lease = opened.remove(&row.key_id).ok_or(RetrieveError::Missing)?.map_err(RetrieveError::Refused)?;
        let reader = self.reader(lease.clone(), row, by, Arc::default())?;
        Ok((lease, reader))
    }

    /// Nobody sees the instance here any more; it is kept. The note goes first: a rebuilt index hides it, too.
    async fn hide(
        self: &Arc<Self>,
        tenant: TenantId,
        order: &Rectification,
        study: StudyRef,
        lease: &Arc<ObjectLease>,
        row: &InstanceRow,
    ) -> Result<(), RectifyError> {
        self.decided(tenant, study, lease, row, "hide", order.by).await?;
        let no_key = IndexError::NoKey { table: Table::Instance };
        let at = self.catalog.instance_key(tenant, study, &row.sop_uid).ok_or(no_key)?;
        let series = self.series_token(tenant, &row.series_uid).ok_or(RectifyError::Missing)?;
        let (shared, lease, row) = (self.clone(), lease.clone(), row.clone());
        let work = async move {
            let _turn = shared.claims.turn(tenant, &row.sop_uid).await;
            loop {
                let now = shared.catalog.instance(tenant, study, &row.sop_uid).await?;
                if now.is_none_or(|now| now.object_id != row.object_id || now.state != InstanceState::Current) {
                    // Hidden already; or a newer version came, which is looked at next.
                    return Ok(());
                }
                let under = SealUnder { key_id: lease.key_id(), key_gen: lease.key_gen(), key: lease.index_key() };
                let hidden = InstanceRow { state: InstanceState::Withdrawn, ..row.clone() };
                let hidden = vec![(at, shared.catalog.seal(tenant, &at, &under, &hidden), series)];
                match shared.catalog.hide(tenant, study, hidden).await {
                    // Its own version is still on its way to the engine.
                    Err(IndexError::Pending { .. }) => tokio::time::sleep(PENDING_REST).await,
                    done => return Ok(done?),
                }
            }
        };
        self.tasks.spawn(work).await.map_err(|_| RectifyError::Stopping)?
    }
}

fn coercer(order: &Rectification, row: &InstanceRow) -> Result<Coercer, CoerceError> {
    let by = CoercedBy { at: date_time(order.at), system: SYSTEM.to_owned() };
    let mut all = coerced(&order.values)?;
    all.extend(order.split.as_ref().map(|split: &Split| split.coerced(row)).transpose()?.into_iter().flatten());
    Coercer::new(Syntax::of(&row.transfer_syntax), all, by)
}

/// A moment as DICOM writes it (DT), in UTC.
fn date_time(at: UnixMillis) -> String {
    let day = Day::of(at).to_string().replace('-', "");
    let seconds = at.0 / 1000 % 86_400;
    format!("{day}{:02}{:02}{:02}+0000", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// Modifying System.
const SYSTEM: &str = "Leadglass";
/// Held of an instance while it is not known whether it changes.
const HELD_BYTES: usize = 1 << 20;
/// The drain takes a moment to bring a row to the engine.
const PENDING_REST: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_written_as_dicom_has_it() {
        assert_eq!(date_time(UnixMillis(1_767_323_045_000)), "20260102030405+0000");
    }
}
