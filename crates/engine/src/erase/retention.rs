//! May it be erased now, and if not, why? Retention rules, holds and open cases answer here.

use leadglass_index::StudyEntry;
use leadglass_model::{TenantId, UnixMillis};

/// Why something has to be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The rule or hold, in words that may stand in a letter.
    pub why: String,
    /// Until when; `None` while nobody lifts the hold.
    pub until: Option<UnixMillis>,
}

/// Whoever knows what has to be kept. It is asked when an erasure is ordered and again when it begins.
pub trait Retention: Send + Sync + 'static {
    /// Why this study may not be erased now.
    fn keeps(&self, tenant: TenantId, study: &StudyEntry, now: UnixMillis) -> Option<Kept>;
}

/// A house without rules: whoever orders an erasure answers for it.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoRetention;

impl Retention for NoRetention {
    fn keeps(&self, _: TenantId, _: &StudyEntry, _: UnixMillis) -> Option<Kept> {
        None
    }
}
