//! A job's instances are brought to a peer.

use super::{DeidentifiedId, DeidentifyBy};
use crate::{Brought, CourierError, Delivery, ExportError, Parcel, Shared};
use leadglass_audit::Outcome;
use std::sync::Arc;
use tokio::sync::mpsc;

impl Shared {
    pub(super) async fn deliver_nameless(
        self: &Arc<Self>,
        by: &DeidentifyBy,
        id: DeidentifiedId,
        peer: &str,
    ) -> Result<mpsc::Receiver<Delivery>, ExportError> {
        let tenant = by.permit.tenant();
        let courier = self.exports.courier.lock().clone();
        let courier = courier.filter(|courier| courier.knows(tenant, peer)).ok_or(ExportError::NoPeer)?;
        let turn = self.deidentified.turns.clone().try_acquire_owned().map_err(|_| ExportError::Busy)?;
        let nameless = self.nameless(by, id)?;
        let total = nameless.len();
        let refs = nameless.studies().to_vec();
        let first = refs.first().and_then(|study| self.catalog.study_by_ref(tenant, *study));
        let first = first.ok_or(ExportError::Missing)?;
        let entry = self.nameless_entry(by, &format!("nameless-to-{peer}"), &first, &refs, total);
        self.commit_entry(entry, None).await?;
        let (told, mut answers) = mpsc::channel(ANSWERS_AHEAD);
        let work = courier.bring(peer, Parcel::nameless(nameless), told);
        let (tell, deliveries) = mpsc::channel(ANSWERS_AHEAD);
        let (shared, stop, by) = (self.clone(), self.stop.clone(), by.clone());
        self.tasks.spawn(async move {
            let (mut taken, mut done, mut why) = (0, 0, Vec::new());
            let bringing = async {
                tokio::select! {
                    () = stop.cancelled() => Err(CourierError("the vault is stopping".to_owned())),
                    () = tell.closed() => Err(CourierError("it was called off".to_owned())),
                    brought = work => brought,
                }
            };
            let listening = async {
                while let Some(Brought { refused, .. }) = answers.recv().await {
                    done += 1;
                    match refused {
                        None => taken += 1,
                        Some(words) if why.len() < WHYS && !why.contains(&words) => why.push(words),
                        Some(_) => {}
                    }
                    // A slow reader misses steps, never the end.
                    let _ = tell.try_send(Delivery::Step { done, total });
                }
            };
            let (ended, ()) = tokio::join!(bringing, listening);
            if let Err(CourierError(words)) = ended {
                why.push(words);
            }
            let mut entry = shared.nameless_entry(&by, "nameless-brought", &first, &refs, taken);
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
