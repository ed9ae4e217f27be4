//! The two tasks: following revocations, and keeping house.

use crate::{
    ServiceError,
    keys::{Contact, Core, Notice},
    wire::RevocationEvent,
};
use futures::StreamExt;
use std::{sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// Follows revocations until `stop`; comes back whenever the stream breaks.
pub(crate) async fn follow_revocations(core: Arc<Core>, stop: CancellationToken) {
    let mut after = None;
    loop {
        let end = tokio::select! {
            () = stop.cancelled() => return,
            end = follow_once(&core, &mut after) => end,
        };
        match end {
            Ok(()) => info!("The revocation stream ended"),
            Err(error) => warn!(%error, "The revocation stream broke"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(RECONNECT_PAUSE) => {}
        }
    }
}

/// Follows one stream to its end.
pub(crate) async fn follow_once(core: &Core, after: &mut Option<u64>) -> Result<(), ServiceError> {
    let mut events = core.call(core.service.revocations(*after)).await?;
    loop {
        match tokio::time::timeout(SILENCE, events.next()).await {
            Err(_) => return Err(ServiceError::TimedOut),
            Ok(None) => return Ok(()),
            Ok(Some(event)) => {
                let event = event?;
                let before = after.replace(event.seq());
                core.take_event(event, before);
            }
        }
    }
}

impl Core {
    /// Carries out one event; `before` is the number of the last one. A new reader has none and does not know what was
    /// before its first.
    fn take_event(&self, event: RevocationEvent, before: Option<u64>) {
        if before.is_none() {
            self.spread(&Notice::Everything);
        }
        match event {
            RevocationEvent::Beat { .. } => {}
            RevocationEvent::Revoked { revocation, .. } => {
                info!(kind = ?revocation.kind, tenant = %revocation.tenant, studies = revocation.study_refs.len(),
                    keys = revocation.key_ids.len(), "Revoked");
                self.revoke_sealing(&revocation);
                self.spread(&Notice::Revoked(Arc::new(revocation)));
            }
            RevocationEvent::Reset { .. } => {
                warn!("The key service cannot tell what was revoked: all leases and unused keys are dropped");
                self.distrust_keys();
                self.spread(&Notice::Everything);
            }
        }
        let now = self.clock.now();
        self.open.lock().leases.heard(now);
    }

    fn spread(&self, notice: &Notice) {
        self.open.lock().revoke(notice);
        // An error means that nobody listens.
        let _ = self.notices.send(notice.clone());
    }
}

/// Ends what is over, fills reserves, renews secrets: each second and when a reserve runs low, until `stop`.
pub(crate) async fn keep_house(core: Arc<Core>, stop: CancellationToken) {
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut tenants_known, mut ticks) = (false, 0_u32);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => ticks = ticks.wrapping_add(1),
            () = core.low.notified() => {}
        }
        core.sweep();
        // A service that is away is asked now and then only.
        if *core.contact.lock() != Contact::Up && !ticks.is_multiple_of(TICKS_WHEN_AWAY) && tenants_known {
            continue;
        }
        if !tenants_known || ticks.is_multiple_of(TICKS_PER_TENANT_LIST) {
            tenants_known |= tokio::select! {
                () = stop.cancelled() => return,
                learnt = learn_tenants(&core) => learnt,
            };
        }
        fill_reserves(&core);
        core.renew_secrets();
    }
}

/// Keeps a reserve for each tenant that the key service lists.
async fn learn_tenants(core: &Core) -> bool {
    let Ok(list) = core.call(core.service.tenants()).await else { return false };
    let mut seal = core.seal.lock();
    for tenant in list.tenants.iter() {
        seal.reserves.entry(tenant.tenant).or_default();
    }
    true
}

fn fill_reserves(core: &Arc<Core>) {
    let now = core.clock.now();
    let low: Vec<_> = {
        let seal = core.seal.lock();
        seal.reserves.iter().filter(|(_, reserve)| reserve.is_due(now)).map(|(tenant, _)| *tenant).collect()
    };
    for tenant in low {
        drop(core.refill(tenant));
    }
}

const TICK: Duration = Duration::from_secs(1);
const TICKS_WHEN_AWAY: u32 = 5;
const TICKS_PER_TENANT_LIST: u32 = 60;
/// So long after a broken stream the next is asked for.
const RECONNECT_PAUSE: Duration = Duration::from_secs(1);
/// So long without a line and the stream is taken for dead; the service sends one each 10 s.
const SILENCE: Duration = Duration::from_secs(30);
