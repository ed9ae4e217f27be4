//! What the key service takes away goes from this node's memory, too.
//!
//! A revocation that is heard names its studies. Where some may have been missed (the service came back, or this node read
//! too slowly), every study is asked for again: one whose index key is not given any more was destroyed meanwhile.

use crate::Shared;
use futures::TryStreamExt;
use leadglass_keys::{KeysError, Notice, RevocationKind};
use leadglass_model::{StudyRef, TenantId};
use std::{collections::HashSet, sync::Arc, time::Duration};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio_util::sync::CancellationToken;

impl Shared {
    /// A study whose keys are destroyed goes from memory at once; leases are dropped by whoever holds them.
    pub(crate) async fn follow_revocations(
        self: Arc<Self>,
        mut notices: broadcast::Receiver<Notice>,
        stop: CancellationToken,
    ) {
        loop {
            let notice = tokio::select! {
                () = stop.cancelled() => return,
                notice = notices.recv() => notice,
            };
            self.cache.sweep();
            match notice {
                Ok(Notice::Revoked(revocation)) if revocation.kind == RevocationKind::Destroyed => {
                    for study in revocation.study_refs.iter() {
                        self.catalog.forget(revocation.tenant, *study);
                    }
                    self.care.restricted.apply(&revocation);
                }
                // Its leases are dropped, so what is being given out stops; from now on nobody finds it who may not.
                Ok(Notice::Revoked(revocation)) => self.care.restricted.apply(&revocation),
                Ok(Notice::Everything) | Err(RecvError::Lagged(_)) => {
                    tokio::select! {
                        () = stop.cancelled() => return,
                        () = self.relearn() => {}
                    }
                    self.learn_restrictions(&stop).await;
                }
                Err(RecvError::Closed) => return,
            }
        }
    }

    /// Forgets every study that the key service does not give an index key for; tries until it answers.
    async fn relearn(&self) {
        for tenant in &self.tenants {
            while let Err(error) = self.relearn_tenant(*tenant).await {
                tracing::warn!(%error, "which studies were destroyed meanwhile is not known yet");
                tokio::time::sleep(TRY_AGAIN).await;
            }
        }
    }

    async fn relearn_tenant(&self, tenant: TenantId) -> Result<(), KeysError> {
        self.show_receipts_again(tenant).await?;
        // Listed before the service is asked: what comes in meanwhile has a key that is newer than the answer.
        let mut doubted: HashSet<StudyRef> = self.catalog.study_refs(tenant).into_iter().collect();
        let mut pages = std::pin::pin!(self.keys.index_keys(tenant));
        while let Some(page) = pages.try_next().await? {
            for entry in page {
                doubted.remove(&entry.study_ref);
            }
        }
        if !doubted.is_empty() {
            tracing::info!(%tenant, studies = doubted.len(), "studies were destroyed while nobody listened");
        }
        for study in doubted {
            self.catalog.forget(tenant, study);
        }
        Ok(())
    }
}

const TRY_AGAIN: Duration = Duration::from_secs(5);
