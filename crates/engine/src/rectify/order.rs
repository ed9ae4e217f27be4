//! What stands in an order. It lies sealed with the tenant's records, in table `Cases` under `rectification:` and its id;
//! the layout stands in RECTIFICATION.md.

use super::{
    Values,
    attribute::Attribute,
    split::{Split, WrittenSplit},
};
use leadglass_model::{ActorRef, Phi, StudyRef, UnixMillis};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
};

/// Random name of a rectification.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RectificationId(pub(super) [u8; 16]);

impl fmt::Display for RectificationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for RectificationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RectificationId({self})")
    }
}

impl FromStr for RectificationId {
    type Err = hex::FromHexError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut id = [0; 16];
        hex::decode_to_slice(text, &mut id)?;
        Ok(Self(id))
    }
}

/// An order.
#[derive(Debug, Clone)]
pub struct Rectification {
    /// Its name.
    pub id: RectificationId,
    /// Who ordered it.
    pub by: ActorRef,
    /// When. It stands in the corrected instances, so doing one twice gives the same bytes.
    pub at: UnixMillis,
    /// What is right. Empty when it is done: it stands in the studies.
    pub(super) values: Values,
    /// Only a part of the one study, which becomes another one.
    pub(super) split: Option<Split>,
    /// The log's tokens of the patients whose they were and are, hexadecimal.
    pub(crate) patients: BTreeSet<String>,
    /// The studies.
    pub studies: Vec<StudyRef>,
    /// Those that are not done.
    pub left: Vec<StudyRef>,
    /// Instances that were corrected in studies that are done.
    pub instances: u64,
    /// Why it stopped, or was given up, if it did.
    pub why: Option<String>,
    /// When it was done.
    pub done_at: Option<UnixMillis>,
}

/// An order as it is written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    by: String,
    at: UnixMillis,
    values: BTreeMap<Attribute, String>,
    split: Option<WrittenSplit>,
    patients: BTreeSet<String>,
    studies: Vec<StudyRef>,
    left: Vec<StudyRef>,
    instances: u64,
    why: Option<String>,
    done_at: Option<UnixMillis>,
}

impl Rectification {
    /// The study that a part became, by its UID.
    pub fn new_study(&self) -> Option<&Phi<String>> {
        self.split.as_ref().map(|split| &split.study)
    }

    /// At its end: what was right stands in the studies.
    pub(super) fn done(self, now: UnixMillis) -> Self {
        Self { done_at: Some(now), values: Values::new(), split: self.split.map(Split::done), ..self }
    }

    pub(super) fn record_key(id: RectificationId) -> Vec<u8> {
        [PREFIX, &id.0].concat()
    }

    pub(super) fn write(&self) -> Vec<u8> {
        let values = self.values.iter().map(|(attribute, value)| (*attribute, value.expose().clone()));
        let written = Written {
            by: hex::encode(self.by.0),
            at: self.at,
            values: values.collect(),
            split: self.split.as_ref().map(Split::write),
            patients: self.patients.clone(),
            studies: self.studies.clone(),
            left: self.left.clone(),
            instances: self.instances,
            why: self.why.clone(),
            done_at: self.done_at,
        };
        serde_json::to_vec(&written).expect("an order has string keys and plain fields")
    }

    pub(super) fn read(key: &[u8], bytes: &[u8]) -> Option<Self> {
        let id = RectificationId(key.strip_prefix(PREFIX)?.try_into().ok()?);
        let written: Written = serde_json::from_slice(bytes).ok()?;
        Some(Self {
            id,
            by: ActorRef(hex::decode(&written.by).ok()?.try_into().ok()?),
            at: written.at,
            values: written.values.into_iter().map(|(attribute, value)| (attribute, Phi::new(value))).collect(),
            split: written.split.map(|split| Split::read(id, split)),
            patients: written.patients,
            studies: written.studies,
            left: written.left,
            instances: written.instances,
            why: written.why,
            done_at: written.done_at,
        })
    }
}

/// Names of orders in table `Cases` start so.
pub(super) const PREFIX: &[u8] = b"rectification:";

#[cfg(test)]
mod tests {
    use super::*;

    /// As `RECTIFICATION.md` writes it.
    const ROW: &str = r#"{"by":"02020202020202020202020202020202","at":3,"values":{"patient-id":"P-1"},"split":{"study":"2.25.7","series":["1.2.3"],"instances":[]},"patients":["0505"],"studies":["04040404040404040404040404040404"],"left":["04040404040404040404040404040404"],"instances":0,"why":null,"done_at":null}"#;

    #[test]
    fn an_order_is_read_and_written_as_documented() {
        let key = Rectification::record_key(RectificationId([1; 16]));
        let order = Rectification::read(&key, ROW.as_bytes()).unwrap();
        assert_eq!(order.id, RectificationId([1; 16]));
        assert_eq!(order.left, [StudyRef::from_bytes([4; 16])]);
        assert_eq!(String::from_utf8(order.write()).unwrap(), ROW);
        assert!(Rectification::read(&key, ROW.replace("\"why\"", "\"more\"").as_bytes()).is_none());
    }
}
