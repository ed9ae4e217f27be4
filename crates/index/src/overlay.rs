//! Rows that the journal holds and the engine does not: visible at once, dropped when the engine has them.

use crate::{RowKey, Table};
use bytes::Bytes;
use leadglass_model::{KeyGen, KeyId, StudyRef, TenantId};
use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub(crate) struct Overlay {
    rows: BTreeMap<(TenantId, RowKey), Staged>,
    positions: BTreeMap<u64, Position>,
}

/// The newest staged form of a row.
#[derive(Debug, Clone)]
struct Staged {
    position: u64,
    version: u64,
    bytes: Bytes,
}

/// What one journal record brought.
#[derive(Debug, Clone, Default)]
pub(crate) struct Position {
    pub(crate) rows: Vec<StagedRow>,
    /// Instances that were not there before.
    pub(crate) counted: Vec<Counted>,
}

#[derive(Debug, Clone)]
pub(crate) struct StagedRow {
    pub(crate) tenant: TenantId,
    pub(crate) key: RowKey,
    pub(crate) version: u64,
    pub(crate) bytes: Bytes,
}

/// A new instance of a series, and the key that its row is under.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counted {
    pub(crate) tenant: TenantId,
    pub(crate) series: (StudyRef, [u8; 16]),
    pub(crate) key: (KeyId, KeyGen),
}

impl Overlay {
    pub(crate) fn holds(&self, position: u64) -> bool {
        self.positions.contains_key(&position)
    }

    pub(crate) fn stage(&mut self, position: u64, content: Position) {
        for row in &content.rows {
            let staged = Staged { position, version: row.version, bytes: row.bytes.clone() };
            match self.rows.get(&(row.tenant, row.key)) {
                Some(newer) if newer.version > row.version => {}
                _ => {
                    self.rows.insert((row.tenant, row.key), staged);
                }
            }
        }
        self.positions.insert(position, content);
    }

    pub(crate) fn row(&self, tenant: TenantId, key: RowKey) -> Option<Bytes> {
        self.rows.get(&(tenant, key)).map(|staged| staged.bytes.clone())
    }

    pub(crate) fn rows_of(&self, tenant: TenantId, table: Table, study_ref: StudyRef) -> Vec<(RowKey, Bytes)> {
        let key = |uid_mac| (tenant, RowKey { table, study_ref, uid_mac });
        let rows = self.rows.range(key([0; 16])..=key([0xff; 16]));
        rows.map(|((_, key), staged)| (*key, staged.bytes.clone())).collect()
    }

    /// Everything up to a position, oldest first.
    pub(crate) fn upto(&self, position: u64) -> impl Iterator<Item = &Position> {
        self.positions.range(..=position).map(|(_, content)| content)
    }

    pub(crate) fn drop_upto(&mut self, position: u64) {
        let later = self.positions.split_off(&position.saturating_add(1));
        for content in std::mem::replace(&mut self.positions, later).into_values() {
            for row in content.rows {
                if self.rows.get(&(row.tenant, row.key)).is_some_and(|staged| staged.position <= position) {
                    self.rows.remove(&(row.tenant, row.key));
                }
            }
        }
    }

    /// Takes out what belongs to a study, so that a drain does not bring it back.
    pub(crate) fn forget(&mut self, tenant: TenantId, study_ref: StudyRef) {
        self.rows.retain(|(of, key), _| *of != tenant || key.study_ref != study_ref);
        for content in self.positions.values_mut() {
            content.rows.retain(|row| row.tenant != tenant || row.key.study_ref != study_ref);
            content.counted.retain(|c| c.tenant != tenant || c.series.0 != study_ref);
        }
    }
}
