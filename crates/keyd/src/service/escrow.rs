//! `escrow`: study keys in clear, for `leadglass open --key-file`, under an approval.

use super::{Service, approvals, unwrap};
use crate::{
    approval::ACTION_ESCROW,
    refusal::Refusal,
    store::{KeyRow, KeyState, Table, study_name},
};
use leadglass_audit::{Counts, Event, NewEntry, Outcome};
use leadglass_keys::wire::{ApprovalId, ApprovalState, ProblemCode};
use leadglass_model::{KeyId, StudyRef, TenantId};
use leadglass_seal::EscrowFile;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, path::PathBuf};

/// What an escrow file is to hold.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EscrowAsk {
    /// Whose keys.
    pub tenant: TenantId,
    /// Which studies; empty means all of the tenant.
    pub studies: Vec<StudyRef>,
    /// The approval; its count must cover all studies when none is named.
    pub approval: ApprovalId,
    /// Where the file goes. It must not be there yet.
    pub out: PathBuf,
}

impl Service {
    /// Writes an escrow file and gives the number of its keys. Blocks.
    pub fn escrow(&self, ask: &EscrowAsk) -> Result<u64, Refusal> {
        if let Some(refusal) = self.awaiting(ask.tenant) {
            return Err(refusal);
        }
        let rows = self.rows_of(ask)?;
        let studies: BTreeSet<StudyRef> = rows.iter().map(|(_, row)| row.study_ref).collect();
        if studies.is_empty() {
            return Err(Refusal::new(ProblemCode::NotFound, "no live key of such a study"));
        }
        let now = self.clock.now();
        let (tenant, id) = (ask.tenant, ask.approval.clone());
        self.store.write_blocking::<(), Refusal, _>(move |tx| {
            let mut approval = approvals::read(tx, &id)?
                .filter(|a| a.covers_action(tenant, ACTION_ESCROW, &studies, now))
                .ok_or_else(|| Refusal::new(ProblemCode::ApprovalNeeded, "no approval covers this escrow file"))?;
            approval.state = ApprovalState::Ended;
            approvals::put(tx, &approval)
        })?;
        let keyring = self.keyring();
        let mut file = EscrowFile::new(ask.tenant);
        let mut entries = Vec::with_capacity(rows.len());
        for (key_id, row) in &rows {
            let key = unwrap::study_key(&keyring, *key_id, row).map_err(Refusal::broken)?;
            file.add(*key_id, row.generation, key);
            entries.push(NewEntry {
                tenant: Some(row.tenant),
                study: Some(row.study_ref),
                key: Some(*key_id),
                counts: Counts { studies: 1, ..Counts::default() },
                ..self.entry(Event::KeyEscrowed, Outcome::Success)
            });
        }
        // Logged before it is written: what cannot be logged is not done.
        self.report_blocking(entries)?;
        crate::disk::create(&ask.out, file.to_json().as_bytes())?;
        Ok(rows.len() as u64)
    }

    fn rows_of(&self, ask: &EscrowAsk) -> Result<Vec<(KeyId, KeyRow)>, Refusal> {
        let snapshot = self.store.snapshot()?;
        let ids: Vec<Vec<u8>> = if ask.studies.is_empty() {
            let names = snapshot.scan(Table::ByTenant, ask.tenant.as_bytes(), None, usize::MAX)?;
            names.into_iter().map(|(name, _)| name[16..].to_vec()).collect()
        } else {
            let mut ids = Vec::new();
            for study in &ask.studies {
                let names = snapshot.scan(Table::ByStudy, &study_name(ask.tenant, *study), None, usize::MAX)?;
                ids.extend(names.into_iter().map(|(name, _)| name[32..].to_vec()));
            }
            ids
        };
        let mut rows = Vec::with_capacity(ids.len());
        for id in ids {
            let row: Option<KeyRow> = snapshot.row(Table::Keys, &id)?;
            let id: [u8; 16] =
                id.try_into().map_err(|_| crate::store::StoreError::Damaged { table: Table::ByTenant })?;
            if let Some(row) = row.filter(|r| r.state == KeyState::Live) {
                rows.push((KeyId::from_bytes(id), row));
            }
        }
        Ok(rows)
    }
}
