//! Studies that began in this process: what was never put into one of them is not in the engine either.
//!
//! Every new instance asks whether it is known. For a study that this process saw begin, memory answers; for others, and
//! for what had to be forgotten, the engine is asked. A remembered instance may be gone; a forgotten study costs a look.

use leadglass_model::{StudyRef, TenantId};
use std::collections::{HashMap, HashSet, VecDeque};

#[derive(Debug, Default)]
pub(crate) struct Newborns {
    studies: HashMap<(TenantId, StudyRef), HashSet<u64>>,
    /// Oldest first.
    ages: VecDeque<(TenantId, StudyRef)>,
    instances: usize,
    /// Studies that may have rows in the engine which memory does not know.
    strangers: HashSet<(TenantId, StudyRef)>,
}

impl Newborns {
    /// A study whose first row comes now, and of which nothing was known.
    pub(crate) fn begin(&mut self, tenant: TenantId, study_ref: StudyRef) {
        if self.strangers.contains(&(tenant, study_ref)) || self.studies.contains_key(&(tenant, study_ref)) {
            return;
        }
        self.studies.insert((tenant, study_ref), HashSet::new());
        self.ages.push_back((tenant, study_ref));
        self.bound();
    }

    /// An instance row is on its way to the engine.
    pub(crate) fn put(&mut self, tenant: TenantId, study_ref: StudyRef, uid_mac: &[u8; 16]) {
        if let Some(known) = self.studies.get_mut(&(tenant, study_ref)) {
            self.instances += usize::from(known.insert(start(uid_mac)));
            self.bound();
        }
    }

    /// From now on the engine is asked about this study.
    pub(crate) fn doubt(&mut self, tenant: TenantId, study_ref: StudyRef) {
        self.strangers.insert((tenant, study_ref));
        if let Some(known) = self.studies.remove(&(tenant, study_ref)) {
            self.instances -= known.len();
            self.ages.retain(|held| *held != (tenant, study_ref));
        }
    }

    /// Whether the engine has certainly no such instance.
    pub(crate) fn lacks(&self, tenant: TenantId, study_ref: StudyRef, uid_mac: &[u8; 16]) -> bool {
        self.studies.get(&(tenant, study_ref)).is_some_and(|known| !known.contains(&start(uid_mac)))
    }

    fn bound(&mut self) {
        while self.instances > MAX_INSTANCES || self.studies.len() > MAX_STUDIES {
            let Some(oldest) = self.ages.pop_front() else { return };
            self.instances -= self.studies.remove(&oldest).map_or(0, |known| known.len());
        }
    }
}

/// Of a random token, so one in 2^64 is taken for another, which costs a look.
fn start(uid_mac: &[u8; 16]) -> u64 {
    let mut first = [0; 8];
    first.copy_from_slice(&uid_mac[..8]);
    u64::from_le_bytes(first)
}

/// About 4 MiB.
const MAX_INSTANCES: usize = 262_144;
const MAX_STUDIES: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    const TENANT: TenantId = TenantId::from_bytes([1; 16]);

    fn study(n: u16) -> StudyRef {
        StudyRef::from_bytes([&n.to_le_bytes()[..], &[0; 14]].concat().try_into().unwrap())
    }

    #[test]
    fn only_a_study_that_began_here_is_answered_for() {
        let mut newborns = Newborns::default();
        newborns.put(TENANT, study(1), &[1; 16]);
        assert!(!newborns.lacks(TENANT, study(1), &[2; 16]));
        newborns.begin(TENANT, study(1));
        newborns.put(TENANT, study(1), &[1; 16]);
        assert!(newborns.lacks(TENANT, study(1), &[2; 16]));
        assert!(!newborns.lacks(TENANT, study(1), &[1; 16]));
        assert!(!newborns.lacks(TenantId::from_bytes([2; 16]), study(1), &[2; 16]));
        newborns.doubt(TENANT, study(1));
        newborns.begin(TENANT, study(1));
        assert!(!newborns.lacks(TENANT, study(1), &[2; 16]));
    }

    #[test]
    fn the_oldest_studies_are_forgotten_first() {
        let mut newborns = Newborns::default();
        for n in 0..5000 {
            newborns.begin(TENANT, study(n));
        }
        assert!(!newborns.lacks(TENANT, study(0), &[1; 16]));
        assert!(newborns.lacks(TENANT, study(4999), &[1; 16]));
        assert_eq!(newborns.ages.len(), newborns.studies.len());
    }
}
