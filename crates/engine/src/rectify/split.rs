//! A part of a study that belongs to another one.
//!
//! Its instances become new ones: a study, series and SOP instances of their own (PS3.3 forbids one UID in two studies), the
//! UIDs they had standing in Original Attributes Sequence. Each new UID follows from the order and the old one, so that doing
//! it twice makes the same instance. What refers to an old UID, in whatever instance, is left as it is.

use super::RectificationId;
use leadglass_imaging::derived_uid;
use leadglass_index::InstanceRow;
use leadglass_model::{Phi, SopInstanceUid};
use leadglass_tap::{CoerceError, Coerced, Tag};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Which part, and what it becomes.
#[derive(Debug, Clone)]
pub(super) struct Split {
    id: RectificationId,
    /// Study Instance UID of the new study.
    pub(super) study: Phi<String>,
    series: Phi<BTreeSet<String>>,
    instances: Phi<BTreeSet<String>>,
}

/// The same as it is written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenSplit {
    study: String,
    series: BTreeSet<String>,
    instances: BTreeSet<String>,
}

impl Split {
    pub(super) fn new(id: RectificationId, series: BTreeSet<String>, instances: BTreeSet<String>) -> Self {
        let study = Phi::new(uid(id, "study"));
        Self { id, study, series: Phi::new(series), instances: Phi::new(instances) }
    }

    /// What is left to say when it is done: the part stands in the new study.
    pub(super) fn done(self) -> Self {
        Self { series: Phi::new(BTreeSet::new()), instances: Phi::new(BTreeSet::new()), ..self }
    }

    /// Whether an instance is of the part.
    pub(super) fn holds(&self, row: &InstanceRow) -> bool {
        self.series.expose().contains(row.series_uid.expose()) || self.instances.expose().contains(row.sop_uid.expose())
    }

    /// The UID that an instance gets.
    pub(super) fn instance(&self, row: &InstanceRow) -> Option<SopInstanceUid> {
        SopInstanceUid::parse(&uid(self.id, row.sop_uid.expose())).ok()
    }

    /// What an instance is to say of where it belongs.
    pub(super) fn coerced(&self, row: &InstanceRow) -> Result<[Coerced; 3], CoerceError> {
        let new = |tag, text: String| Coerced::new(tag, Phi::new(text));
        Ok([
            new(Tag(0x0008, 0x0018), uid(self.id, row.sop_uid.expose()))?,
            new(Tag(0x0020, 0x000D), self.study.expose().clone())?,
            new(Tag(0x0020, 0x000E), uid(self.id, row.series_uid.expose()))?,
        ])
    }

    pub(super) fn write(&self) -> WrittenSplit {
        WrittenSplit {
            study: self.study.expose().clone(),
            series: self.series.expose().clone(),
            instances: self.instances.expose().clone(),
        }
    }

    pub(super) fn read(id: RectificationId, written: WrittenSplit) -> Self {
        let WrittenSplit { study, series, instances } = written;
        Self { id, study: Phi::new(study), series: Phi::new(series), instances: Phi::new(instances) }
    }
}

/// The UID that follows from an order and an old one.
fn uid(id: RectificationId, old: &str) -> String {
    derived_uid(&[b"rectification", &id.0, old.as_bytes()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_uid_follows_from_order_and_old_one() {
        let of = |order: u8, old: &str| uid(RectificationId([order; 16]), old);
        assert_eq!(of(1, "1.2"), of(1, "1.2"));
        assert_ne!(of(1, "1.2"), of(2, "1.2"));
        assert_ne!(of(1, "1.2"), of(1, "1.3"));
        assert!(SopInstanceUid::parse(&of(1, "1.2")).is_ok());
    }
}
