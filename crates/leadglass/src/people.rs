//! The people of a running node: their records, and the engine as their chronicle.

use crate::{config::Config, node::Node};
use anyhow::Context;
use async_trait::async_trait;
use leadglass_engine::{Engine, Person};
use leadglass_identity::{Act, Chronicle, PasskeyRules, People, Ports, Roll, Unrecorded};
use leadglass_model::{ActorRef, SystemClock, SystemEntropy};
use leadglass_records::Sessions;
use std::sync::Arc;
use tokio_util::task::TaskTracker;

/// Reads everybody, and the sessions that go on.
pub async fn open(config: &Config, node: &Node, tasks: TaskTracker) -> anyhow::Result<(People, Sessions)> {
    let roll = Arc::new(Roll::load(&node.tenant_records).await.context("cannot read who works here")?);
    let (asked, named) = (roll.clone(), roll.clone());
    node.engine.set_names(Arc::new(move |actor| named.name_of(actor)));
    let sessions =
        tokio::task::block_in_place(|| node.records.sessions_of(asked)).context("cannot read the sessions")?;
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
