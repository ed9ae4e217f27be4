//! An export that is brought to another house (GDPR Art. 20): its instances as they came, one by one, by whoever knows the way.

use super::{ExportBy, ExportError, ExportId, Handed, body::Run};
use crate::{Announced, RetrieveError, Shared, deidentify::Nameless};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, future::BoxFuture, stream, stream::BoxStream};
use leadglass_audit::Outcome;
use leadglass_imaging::Instance;
use leadglass_model::{SopClassUid, TenantId, TransferSyntaxUid};
use leadglass_tap::part10::write_head;
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

/// Instances that are brought, in their order.
pub struct Parcel(Contents);

enum Contents {
    /// Of an export.
    Export { run: Arc<Run>, places: Vec<(usize, usize, usize)> },
    /// Made here.
    Made(Vec<Instance>),
    /// Without what names anybody.
    Nameless(Nameless),
}

/// Bytes of an instance. An error ends it.
pub type ParcelPieces = BoxStream<'static, Result<Bytes, ExportError>>;

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
        f.debug_struct("Parcel").field("instances", &self.len()).finish_non_exhaustive()
    }
}

impl Parcel {
    /// Instances that were made here.
    pub(crate) const fn made(instances: Vec<Instance>) -> Self {
        Self(Contents::Made(instances))
    }

    /// Instances of a job that takes names out of them.
    pub(crate) const fn nameless(nameless: Nameless) -> Self {
        Self(Contents::Nameless(nameless))
    }

    /// How many instances.
    pub fn len(&self) -> usize {
        match &self.0 {
            Contents::Export { places, .. } => places.len(),
            Contents::Made(instances) => instances.len(),
            Contents::Nameless(nameless) => nameless.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What an instance is.
    pub fn announced(&self, number: usize) -> Option<Announced> {
        match &self.0 {
            Contents::Export { run, places } => {
                let at = *places.get(number)?;
                let (part, (_, _, sop_instance)) = (run.job.part(at)?, run.job.uids(at)?);
                Some(Announced {
                    sop_class: SopClassUid::parse(&part.class).ok()?,
                    sop_instance,
                    transfer_syntax: TransferSyntaxUid::parse(&part.syntax).ok()?,
                })
            }
            Contents::Made(instances) => instances.get(number).map(announced),
            Contents::Nameless(nameless) => nameless.announced(number),
        }
    }

    /// The data set of an instance, and its length.
    ///
    /// Cancel safety: reads only.
    pub async fn data_set(&self, number: usize) -> Result<(u64, ParcelPieces), ExportError> {
        match &self.0 {
            Contents::Export { run, places } => {
                let instance = opened(run, places, number).await?;
                let range = instance.data_set();
                Ok((range.end - range.start, run.watched(instance.read(range).map_err(ExportError::from))))
            }
            Contents::Made(instances) => {
                let instance = instances.get(number).ok_or(ExportError::Changed)?;
                Ok(held(instance.pieces.clone()))
            }
            Contents::Nameless(nameless) => nameless.data_set(number).await,
        }
    }

    /// Length of an instance as a PS3.10 file.
    pub fn file_len(&self, number: usize) -> Option<u64> {
        match &self.0 {
            Contents::Export { run, places } => Some(run.job.part(*places.get(number)?)?.len),
            Contents::Made(instances) => Some(held(file(instances.get(number)?)).0),
            Contents::Nameless(nameless) => nameless.file_len(number),
        }
    }

    /// An instance as a PS3.10 file, and its length.
    ///
    /// Cancel safety: reads only.
    pub async fn file(&self, number: usize) -> Result<(u64, ParcelPieces), ExportError> {
        match &self.0 {
            Contents::Export { run, places } => {
                let instance = opened(run, places, number).await?;
                let len = instance.len();
                Ok((len, run.watched(instance.read(0..len).map_err(ExportError::from))))
            }
            Contents::Made(instances) => Ok(held(file(instances.get(number).ok_or(ExportError::Changed)?))),
            Contents::Nameless(nameless) => nameless.file(number).await,
        }
    }
}

/// An instance of an export, as it was listed.
async fn opened(
    run: &Arc<Run>,
    places: &[(usize, usize, usize)],
    number: usize,
) -> Result<crate::retrieve::Instance, ExportError> {
    let at = *places.get(number).ok_or(ExportError::Changed)?;
    // Whoever signed out gives nothing away any more.
    if run.access.over.load(Ordering::Relaxed) {
        return Err(ExportError::Read(RetrieveError::SignedOut));
    }
    run.instance(at).await
}

fn announced(instance: &Instance) -> Announced {
    Announced {
        sop_class: instance.sop_class.clone(),
        sop_instance: instance.sop_instance.clone(),
        transfer_syntax: instance.transfer_syntax.clone(),
    }
}

/// A file's head and its data set.
fn file(instance: &Instance) -> Vec<Bytes> {
    let Announced { sop_class, sop_instance, transfer_syntax } = announced(instance);
    let head = write_head(&sop_class, &sop_instance, &transfer_syntax, None);
    std::iter::once(Bytes::from(head)).chain(instance.pieces.iter().cloned()).collect()
}

fn held(pieces: Vec<Bytes>) -> (u64, ParcelPieces) {
    let len = pieces.iter().map(|piece| piece.len() as u64).sum();
    (len, stream::iter(pieces.into_iter().map(Ok)).boxed())
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
        if !by.decides(&job.head.view) {
            return Err(ExportError::NotYours);
        }
        let refs: Vec<_> = job.head.studies.iter().map(|(study, _)| *study).collect();
        let first = refs.first().and_then(|study| self.catalog.study_by_ref(tenant, *study));
        let first = first.ok_or(ExportError::Missing)?;
        let by = self.opened(by, &first).await?;
        let access = self.access(&by.permit, by.session, &first).await?;
        let places: Vec<_> = job.list.instances().map(|(at, _)| at).collect();
        let total = places.len();
        let entry = self.export_entry(&by, &format!("to-{peer}"), &first, &refs, total);
        self.commit_entry(entry, None).await?;
        self.note_disclosure(tenant, &job, peer, Handed::Peer).await?;
        let mut taken_of = vec![0; job.list.studies.len()];
        let study_of: Vec<usize> = places.iter().map(|(study, ..)| *study).collect();
        let run = Arc::new(Run { shared: self.clone(), job: job.clone(), by: by.clone(), access });
        let (told, mut answers) = mpsc::channel(ANSWERS_AHEAD);
        let work = courier.bring(peer, Parcel(Contents::Export { run, places }), told);
        let (tell, deliveries) = mpsc::channel(ANSWERS_AHEAD);
        let (shared, stop, peer) = (self.clone(), self.stop.clone(), peer.to_owned());
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
                while let Some(Brought { number, refused }) = answers.recv().await {
                    done += 1;
                    match refused {
                        None => {
                            taken += 1;
                            if let Some(count) = study_of.get(number).and_then(|study| taken_of.get_mut(*study)) {
                                *count += 1;
                            }
                        }
                        Some(words) => note(words),
                    }
                    // A slow reader misses steps, never the end.
                    let _ = tell.try_send(Delivery::Step { done, total });
                }
            };
            let (ended, ()) = tokio::join!(bringing, listening);
            // What broke off stays written as all of it: nobody knows what arrived behind the last answer.
            if ended.is_ok()
                && let Err(error) = shared.close_disclosure(tenant, &job, &peer, &taken_of).await
            {
                tracing::error!(%error, "what a peer has could not be written down; it stands as all of the export");
            }
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
