//! `POST /v1/keys/bind`: a reserve key gets the study it is used for.

use super::{Caller, Service};
use crate::{
    keyring::ClientRole,
    refusal::Refusal,
    store::{Binding, KeyRow, KeyState, Table, by_study},
};
use leadglass_audit::{Event, NewEntry, Outcome};
use leadglass_keys::wire::{BindRequest, ProblemCode};
use std::sync::Arc;

impl Service {
    /// Binds a key to a study, once, before its first unwrap. The same binding again is fine: an answer may have been lost.
    pub async fn bind(self: &Arc<Self>, caller: &Caller, ask: BindRequest) -> Result<(), Refusal> {
        caller.needs(ClientRole::Ingest)?;
        self.tenant_of(caller, ask.tenant)?;
        let entry = NewEntry {
            tenant: Some(ask.tenant),
            study: Some(ask.study_ref),
            key: Some(ask.key_id),
            ..self.entry_by(caller, Event::KeyBound, Outcome::Success)
        };
        let bound: Result<(), Refusal> = self
            .store
            .write(move |tx| {
                let row: Option<KeyRow> = tx.row(Table::Keys, ask.key_id.as_bytes())?;
                let Some(mut row) = row.filter(|row| row.tenant == ask.tenant) else {
                    return Err(Refusal::new(ProblemCode::NotFound, "no such key for this client"));
                };
                if row.state != KeyState::Live {
                    return Err(Refusal::new(ProblemCode::Destroyed, "the key is destroyed"));
                }
                match (row.study_ref == ask.study_ref, row.binding) {
                    (true, Binding::Settled) => return Ok(()),
                    (false, Binding::Settled) => {
                        return Err(Refusal::new(ProblemCode::Conflict, "the key is bound to another study"));
                    }
                    (_, Binding::Open) => {}
                }
                tx.delete(Table::ByStudy, &by_study(row.tenant, row.study_ref, ask.key_id))?;
                row.study_ref = ask.study_ref;
                row.binding = Binding::Settled;
                tx.put_row(Table::Keys, ask.key_id.as_bytes(), &row)?;
                Ok(tx.put(Table::ByStudy, &by_study(row.tenant, row.study_ref, ask.key_id), b"")?)
            })
            .await;
        match bound {
            Ok(()) => self.report(vec![entry]).await,
            Err(refusal) => self.refuse(entry, "bind", refusal).await,
        }
    }
}
