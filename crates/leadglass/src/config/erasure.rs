//! What has to be so before something is erased.

use leadglass_engine::ErasureRules;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Erasure orders.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Erasure {
    /// How long an order can be taken back before it may begin.
    #[serde(with = "humantime_serde")]
    pub cooling_off: Duration,
    /// How many people besides the one who ordered it have to approve. The key host's approval comes on top.
    pub approvals: usize,
}

impl Default for Erasure {
    fn default() -> Self {
        let rules = ErasureRules::default();
        Self { cooling_off: Duration::from_secs(rules.cooling_off_s), approvals: rules.approvals }
    }
}

impl From<&Erasure> for ErasureRules {
    fn from(erasure: &Erasure) -> Self {
        Self { cooling_off_s: erasure.cooling_off.as_secs(), approvals: erasure.approvals }
    }
}
