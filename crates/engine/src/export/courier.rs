//! An export that is brought to another house (GDPR Art. 20): its instances as they came, one by one, by whoever knows the way.

use super::{ExportBy, ExportError, ExportId, body::Run};
use crate::{Announced, RetrieveError, Shared};
use bytes::Bytes;
use futures::{Stream, TryStreamExt, future::BoxFuture};
use leadglass_audit::Outcome;
use leadglass_model::{SopClassUid, TenantId, TransferSyntaxUid};
use std::sync::{Arc, atomic::Ordering};
use tokio::sync::mpsc;

/// Brings instances to other houses.
pub trait Courier: Send + Sync + 'static {
    /// Whether this tenant's exports may go to the peer of this name.
    fn knows(&self, tenant: TenantId, peer: &str) -> bool;

    /// Brings a parcel; tells of each instance as the peer answers for it. An error ends it: what was told is so.
    fn bring(
        &self,
        peer: &str,
        parcel: Parcel,
        told: mpsc::Sender<Brought>,
    ) -> BoxFuture<'static, Result<(), CourierError>>;
}

/// The way to a peer broke off, in words that name no patient.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct CourierError(pub String);

/// The instances of an export, in their order.
pub struct Parcel {
    run: Arc<Run>,
    places: Vec<(usize, usize, usize)>,
}

/// What became of an instance.
#[derive(Debug, Clone)]
pub struct Brought {
    /// Its number in the parcel.
    pub number: usize,
    /// What kept the peer from taking it, in a few words; `None` when it did.
    pub refused: Option<String>,
}

/// How far a delivery is.
#[derive(Debug, Clone)]
pub enum Delivery {
    /// An instance was answered for.
    Step {
        /// How many were.
        done: usize,
        /// Of how many.
        total: usize,
    },
    /// It is over.
    End {
        /// Instances that the peer has.
        taken: usize,
        /// Of how many.
        total: usize,
        /// What kept it from the others, in different words each.
        why: Vec<String>,
    },
}

impl std::fmt::Debug for Parcel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parcel").field("instances", &self.places.len()).finish_non_exhaustive()
    }
}

impl Parcel {
    /// How many instances.
    pub const fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// What an instance is.
    pub fn announced(&self, number: usize) -> Option<Announced> {
        let at = *self.places.get(number)?;
        let (part, (_, _, sop_instance)) = (self.run.job.part(at)?, self.run.job.uids(at)?);
        Some(Announced {
            sop_class: SopClassUid::parse(&part.class).ok()?,
            sop_instance,
            transfer_syntax: TransferSyntaxUid::parse(&part.syntax).ok()?,
        })
    }

    /// The data set of an instance, and its length.
    ///
    /// Cancel safety: reads only.
    pub async fn data_set(
        &self,
        number: usize,
    ) -> Result<(u64, impl Stream<Item = Result<Bytes, ExportError>> + Send + 'static), ExportError> {
        let at = *self.places.get(number).ok_or(ExportError::Changed)?;
        // Whoever signed out gives nothing away any more.
        if self.run.access.over.load(Ordering::Relaxed) {
            return Err(ExportError::Read(RetrieveError::SignedOut));
        }
        let instance = self.run.instance(at).await?;
        let range = instance.data_set();
        Ok((range.end - range.start, self.run.watched(instance.read(range).map_err(ExportError::from))))
    }
}

impl Shared {
    /// Brings an export to a peer. That it goes there is an entry before the first byte, and what came of it another one.
    pub(super) async fn deliver(
        self: &Arc<Self>,
        by: ExportBy,
        id: ExportId,
        peer: &str,
    ) -> Result<mpsc::Receiver<Delivery>, ExportError> {
        let tenant = by.permit.tenant();
        let courier = self.exports.courier.lock().clone();
        let courier = courier.filter(|courier| courier.knows(tenant, peer)).ok_or(ExportError::NoPeer)?;
        let turn = self.exports.turns.clone().try_acquire_owned().map_err(|_| ExportError::Busy)?;
        let job = self.job(&by, id).await?;
        let refs: Vec<_> = job.head.studies.iter().map(|(study, _)| *study).collect();
        let first = refs.first().and_then(|study| self.catalog.study_by_ref(tenant, *study));
        let first = first.ok_or(ExportError::Missing)?;
        let access = self.access(&by.permit, by.session, &first).await?;
        let places: Vec<_> = job.list.instances().map(|(at, _)| at).collect();
        let total = places.len();
        let entry = self.export_entry(&by, &format!("to-{peer}"), &first, &refs, total);
        self.commit_entry(entry, None).await?;
        let run = Arc::new(Run { shared: self.clone(), job, by: by.clone(), access });
        let (told, mut answers) = mpsc::channel(ANSWERS_AHEAD);
        let work = courier.bring(peer, Parcel { run, places }, told);
        let (tell, deliveries) = mpsc::channel(ANSWERS_AHEAD);
        let (shared, stop) = (self.clone(), self.stop.clone());
        self.tasks.spawn(async move {
            let (mut taken, mut done, mut why) = (0, 0, Vec::new());
            let mut note = |words: String| {
                if why.len() < WHYS && !why.contains(&words) {
                    why.push(words);
                }
            };
            let bringing = async {
                tokio::select! {
                    () = stop.cancelled() => Err(CourierError("the vault is stopping".to_owned())),
                    // Nobody listens any more: it is called off.
                    () = tell.closed() => Err(CourierError("it was called off".to_owned())),
                    brought = work => brought,
                }
            };
            let listening = async {
                while let Some(Brought { refused, .. }) = answers.recv().await {
                    done += 1;
                    match refused {
                        None => taken += 1,
                        Some(words) => note(words),
                    }
                    // A slow reader misses steps, never the end.
                    let _ = tell.try_send(Delivery::Step { done, total });
                }
            };
            let (ended, ()) = tokio::join!(bringing, listening);
            if let Err(CourierError(words)) = ended {
                note(words);
            }
            let mut entry = shared.export_entry(&by, "brought", &first, &refs, taken);
            entry.outcome = if taken == total { Outcome::Success } else { Outcome::Failed };
            if let Err(error) = shared.commit_entry(entry, None).await {
                tracing::error!(%error, "what came of a delivery could not be recorded");
            }
            drop(turn);
            tokio::select! {
                () = shared.stop.cancelled() => {}
                _ = tell.send(Delivery::End { taken, total, why }) => {}
            }
        });
        Ok(deliveries)
    }
}

const ANSWERS_AHEAD: usize = 64;
/// Different reasons that are told.
const WHYS: usize = 8;
