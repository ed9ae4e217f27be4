//! `POST /v1/keys/restrict` and `/unrestrict` (GDPR Art. 18).

use super::{Caller, RevocationRow, Service};
use crate::{
    keyring::ClientRole,
    refusal::Refusal,
    store::{Restriction, Table, study_name},
};
use leadglass_audit::{Counts, Event, NewEntry, Outcome};
use leadglass_keys::wire::{ProblemCode, RestrictAnswer, RestrictRequest, RevocationKind};
use std::sync::Arc;

impl Service {
    /// Restricts studies. It holds for keys that are bound later too, since it stands with the study and not with a key.
    pub async fn restrict(self: &Arc<Self>, caller: &Caller, ask: RestrictRequest) -> Result<RestrictAnswer, Refusal> {
        self.change_restriction(caller, ask, RevocationKind::Restricted).await
    }

    /// Lifts a restriction.
    pub async fn unrestrict(
        self: &Arc<Self>,
        caller: &Caller,
        ask: RestrictRequest,
    ) -> Result<RestrictAnswer, Refusal> {
        self.change_restriction(caller, ask, RevocationKind::Unrestricted).await
    }

    async fn change_restriction(
        self: &Arc<Self>,
        caller: &Caller,
        ask: RestrictRequest,
        kind: RevocationKind,
    ) -> Result<RestrictAnswer, Refusal> {
        caller.needs(ClientRole::Vault)?;
        self.tenant_of(caller, ask.tenant)?;
        if ask.study_refs.is_empty() {
            return Err(Refusal::new(ProblemCode::BadRequest, "no study is named"));
        }
        let restricts = kind == RevocationKind::Restricted;
        let event = if restricts { Event::KeyRestricted } else { Event::KeyUnrestricted };
        let entries = ask.study_refs.iter().map(|study| NewEntry {
            tenant: Some(ask.tenant),
            study: Some(*study),
            counts: Counts { studies: 1, ..Counts::default() },
            ..self.entry_by(caller, event, Outcome::Success)
        });
        let entries: Vec<NewEntry> = entries.collect();
        let at_ms = self.clock.now().0;
        let (changed, seq) = self
            .store
            .write::<_, Refusal, _>(move |tx| {
                let mut studies = Vec::new();
                for study in ask.study_refs.iter() {
                    let name = study_name(ask.tenant, *study);
                    if tx.read(Table::Restricted, &name)?.is_some() != restricts && !studies.contains(study) {
                        studies.push(*study);
                    }
                }
                if studies.is_empty() {
                    return Ok((0, None));
                }
                let row = Restriction { order: ask.order_id.as_str().to_owned(), at_ms };
                for study in &studies {
                    let name = study_name(ask.tenant, *study);
                    if restricts {
                        tx.put_row(Table::Restricted, &name, &row)?;
                    } else {
                        tx.delete(Table::Restricted, &name)?;
                    }
                }
                let changed = studies.len();
                let seq = RevocationRow::new(kind, ask.tenant, studies, Vec::new()).put(tx)?;
                Ok((changed, Some(seq)))
            })
            .await?;
        if let Some(seq) = seq {
            self.push(seq);
        }
        self.report(entries).await?;
        Ok(RestrictAnswer { changed: u32::try_from(changed).expect("at most 256 studies in a call") })
    }
}
