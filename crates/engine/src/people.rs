//! What was done to a person's account, as entries of the audit log: before it is done.

use crate::{AccessError, Engine, Person, subject::Detail};
use leadglass_audit::{ClientRef, CodeWord, Event, NewEntry, Outcome};
use leadglass_model::{ActorRef, EntryId};

impl Engine {
    /// Records that `by` did something to the account of `person`: `deed` is a stable word such as `person-invited`. When this
    /// answers, the entry is durable.
    ///
    /// Cancel safety: dropping the future may leave a deed recorded that was not done.
    pub async fn record_deed(&self, by: &Person, person: ActorRef, deed: &str) -> Result<EntryId, AccessError> {
        let (shared, tenant) = (&self.shared, by.tenant);
        let id = EntryId::random(&*shared.entropy);
        let mut entry = NewEntry::new(id, shared.clock.now(), Event::GrantChange, Outcome::Success);
        entry.tenant = Some(tenant);
        entry.actor = Some(by.actor);
        entry.role = Some(by.role);
        entry.client = Some(ClientRef(person.0));
        entry.code = CodeWord::parse(deed);
        entry.subject = shared.site_token(tenant);
        let address = by.address.map_or_else(String::new, |address| address.to_string());
        let detail = Detail { address: &address, ..Detail::default() };
        let detail = shared.detail(tenant, entry.subject, id, &detail).await?;
        entry.detail = detail.bytes;
        shared.commit_entry(entry, detail.wrap).await?;
        Ok(id)
    }
}
