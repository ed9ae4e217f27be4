//! `POST /v1/keys/index`: a tenant's index keys, page by page, for the projection that a node builds at start.

use super::{Caller, Service, unwrap};
use crate::{
    keyring::ClientRole,
    refusal::Refusal,
    store::{KeyRow, KeyState, Table, by_tenant},
};
use leadglass_audit::{Counts, Event, NewEntry, Outcome};
use leadglass_keys::wire::{IndexKeyRecord, IndexPage, IndexRequest, KeyBytes, MAX_INDEX_PAGE, ProblemCode};
use leadglass_model::KeyId;
use std::sync::Arc;

impl Service {
    /// One page. The derivation happens here: no study key leaves.
    pub async fn index_keys(self: &Arc<Self>, caller: &Caller, ask: IndexRequest) -> Result<IndexPage, Refusal> {
        caller.needs(ClientRole::Vault)?;
        self.tenant_of(caller, ask.tenant)?;
        if !(1..=MAX_INDEX_PAGE).contains(&usize::from(ask.limit)) {
            return Err(Refusal::new(ProblemCode::BadRequest, "limit is 1 to 4096"));
        }
        let entry =
            NewEntry { tenant: Some(ask.tenant), ..self.entry_by(caller, Event::IndexKeysRead, Outcome::Success) };
        if let Some(refusal) = self.awaiting(ask.tenant) {
            return self.refuse(entry, "receipts-awaited", refusal).await;
        }
        let service = Arc::clone(self);
        // A full page is about 80 ms of derivations.
        let page = tokio::task::spawn_blocking(move || service.index_page(&ask)).await.map_err(Refusal::broken)??;
        let counts = Counts { studies: page.keys.len() as u64, ..Counts::default() };
        self.report(vec![NewEntry { counts, ..entry }]).await?;
        Ok(page)
    }

    fn index_page(&self, ask: &IndexRequest) -> Result<IndexPage, Refusal> {
        let keyring = self.keyring();
        let snapshot = self.store.snapshot()?;
        let limit = usize::from(ask.limit);
        let mut page = IndexPage { keys: Vec::with_capacity(limit), more: false };
        let mut after = ask.after.map(|key| by_tenant(ask.tenant, key));
        loop {
            let from = after.as_ref().map(<[u8; 32]>::as_slice);
            let names = snapshot.scan(Table::ByTenant, ask.tenant.as_bytes(), from, limit)?;
            if names.is_empty() {
                return Ok(page);
            }
            for (name, _) in names {
                if page.keys.len() == limit {
                    page.more = true;
                    return Ok(page);
                }
                let name: [u8; 32] = name.try_into().map_err(|_| damaged())?;
                after = Some(name);
                let mut id = [0; 16];
                id.copy_from_slice(&name[16..]);
                let key_id = KeyId::from_bytes(id);
                let row: KeyRow = snapshot.row(Table::Keys, &id)?.ok_or_else(damaged)?;
                if row.state != KeyState::Live {
                    continue;
                }
                let Ok(key) = unwrap::study_key(&keyring, key_id, &row) else {
                    tracing::error!(alarm = "integrity", key = %key_id, "A wrapped key is not what was written");
                    let alarm = self.entry(Event::IntegrityAlarm, Outcome::Failed);
                    self.report_blocking(vec![NewEntry { key: Some(key_id), ..alarm }])?;
                    continue;
                };
                let index_key = KeyBytes::copy_of(key.index_key(&row.tenant, &key_id, row.generation).reveal());
                page.keys.push(IndexKeyRecord { key_id, key_gen: row.generation, study_ref: row.study_ref, index_key });
            }
        }
    }
}

fn damaged() -> Refusal {
    Refusal::from(crate::store::StoreError::Damaged { table: Table::ByTenant })
}
