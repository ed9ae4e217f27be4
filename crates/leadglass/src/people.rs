//! The people of a running node: their records, and the engine as their chronicle.

use crate::{config::Config, node::Node};
use anyhow::Context;
use async_trait::async_trait;
use leadglass_engine::{Engine, Person};
use leadglass_identity::{Act, Chronicle, PasskeyRules, People, Ports, Roll, Unrecorded};
use leadglass_model::{ActorRef, SystemClock, SystemEntropy};
use leadglass_records::Sessions;
use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Reads everybody, and the sessions that go on.
pub async fn open(config: &Config, node: &Node, tasks: TaskTracker) -> anyhow::Result<(People, Sessions)> {
    let roll = Arc::new(Roll::load(&node.tenant_records).await.context("cannot read who works here")?);
    let (asked, named) = (roll.clone(), roll.clone());
    node.engine.set_names(Arc::new(move |actor| named.name_of(actor)));
    let sessions =
        tokio::task::block_in_place(|| node.records.sessions_of(asked)).context("cannot read the sessions")?;
    sessions.shorten((&config.sessions).into());
    let people = People::new(Ports {
        records: node.tenant_records.clone(),
        roll,
        sessions: sessions.clone(),
        chronicle: Arc::new(Log(node.engine.clone())),
        keys: node.keys.service().clone(),
        passkeys: PasskeyRules::among(&config.http.hosts),
        clock: Arc::new(SystemClock),
        entropy: Arc::new(SystemEntropy),
        tasks,
    });
    Ok((people, sessions))
}

/// Raises an alarm whenever a login begins to be used like several people's, until `stop`.
pub async fn watch(people: People, engine: Engine, stop: CancellationToken) {
    let mut tick = tokio::time::interval(LOOK_EVERY);
    let mut told: HashMap<ActorRef, Instant> = HashMap::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => {}
        }
        told.retain(|_, at| at.elapsed() < TELL_AGAIN);
        for (tenant, person) in people.surely_shared() {
            told.entry(person).or_insert_with(|| {
                engine.alarm_shared_login(tenant, person);
                Instant::now()
            });
        }
    }
}

/// The audit log, and what is being given out.
struct Log(Engine);

#[async_trait]
impl Chronicle for Log {
    async fn record(&self, act: Act) -> Result<(), Unrecorded> {
        let by = Person { tenant: act.tenant, actor: act.by, role: act.role, address: act.address };
        let recorded = self.0.record_deed(&by, act.person, act.deed.as_str()).await;
        recorded.map(drop).map_err(|error| {
            tracing::error!(%error, deed = act.deed.as_str(), "a change of a person could not be recorded");
            Unrecorded
        })
    }

    fn end_session(&self, session: [u8; 16]) {
        self.0.end_session(session);
    }

    fn end_actor(&self, actor: ActorRef) {
        self.0.end_actor(actor);
    }
}

/// All sessions are looked through; whoever shares a login does so for hours.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// A login that is still shared is told again after this, and not each time that its sessions cross the bound.
const TELL_AGAIN: Duration = Duration::from_secs(24 * 3600);
