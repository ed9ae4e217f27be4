//! Why instances of one request were not taken: counted, and told to the log once for each reason.
//!
//! A body of ten thousand empty parts would otherwise write as many lines.

use super::outcome::Failure;
use leadglass_engine::IngestError;
use parking_lot::Mutex;
use std::collections::BTreeMap;

/// The reasons so far. Its end is what writes them, however the request ends.
#[derive(Debug, Default)]
pub(super) struct Unstored(Mutex<BTreeMap<&'static str, (u64, String)>>);

impl Unstored {
    /// Notes one.
    pub(super) fn note(&self, error: &IngestError) -> Failure {
        metrics::counter!("leadglass_instances_total", "outcome" => error.code()).increment(1);
        self.count(error.code(), || {
            let mut chain = error.to_string();
            let mut source = std::error::Error::source(error);
            while let Some(inner) = source {
                chain = format!("{chain}: {inner}");
                source = inner.source();
            }
            chain
        });
        Failure::from(error)
    }

    /// Metadata of which no instance could be made.
    pub(super) fn not_understood(&self, error: &dyn std::fmt::Display) {
        self.count("not-understood", || error.to_string());
    }

    fn count(&self, code: &'static str, first: impl FnOnce() -> String) {
        self.0.lock().entry(code).or_insert_with(|| (0, first())).0 += 1;
    }
}

impl Drop for Unstored {
    fn drop(&mut self) {
        for (code, (count, first)) in std::mem::take(self.0.get_mut()) {
            tracing::warn!(code, count, error = %first, "{count} instances of a request were not taken: {code}");
        }
    }
}
