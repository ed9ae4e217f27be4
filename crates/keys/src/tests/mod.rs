//! Tests of the crate as its users see it.

mod mtls;
mod opening;
mod sealing;
mod secrets;
mod wire;

use crate::{CountedEntropy, FakeKeyService, Keys, KeysError, SealingKey};
use leadglass_model::{ActorRef, EntryId, KeyId, MockClock, Purpose, StudyRef, TenantId, UnixMillis};
use std::sync::Arc;
use tokio_util::task::TaskTracker;

/// Keys over a fake, without the tasks: tests say when what happens.
struct Bench {
    clock: Arc<MockClock>,
    fake: Arc<FakeKeyService>,
    keys: Keys,
    tenant: TenantId,
}

const T0: UnixMillis = UnixMillis(1_700_000_000_000);
const ACTOR: ActorRef = ActorRef([4; 16]);
const ENTRY: EntryId = EntryId::from_bytes([5; 16]);

impl Bench {
    fn new() -> Self {
        let clock = Arc::new(MockClock::at(T0));
        let fake = FakeKeyService::new(clock.clone(), Arc::new(CountedEntropy::new(1)));
        let tenant = fake.add_tenant("practice");
        let keys = Keys::idle(fake.clone(), clock.clone(), TaskTracker::new());
        Self { clock, fake, keys, tenant }
    }

    async fn new_study(&self) -> Result<Arc<SealingKey>, KeysError> {
        self.keys.sealing_key(self.tenant, None).await
    }

    async fn sealing_key(&self, study: StudyRef) -> Result<Arc<SealingKey>, KeysError> {
        self.keys.sealing_key(self.tenant, Some(study)).await
    }

    async fn open(&self, ids: &[KeyId]) -> Result<crate::OpenOutcome, KeysError> {
        self.keys.open(self.tenant, ids, Purpose::Care, ACTOR, ENTRY).await
    }
}
