//! How the node is, for `/readyz`, `status` and metrics. States and numbers, no names.

use crate::Shared;
use leadglass_keys::Contact;
use serde::Serialize;
use std::sync::atomic::Ordering;

/// What the node can do right now.
#[derive(Debug, Clone, Serialize)]
pub struct Readiness {
    /// New instances are taken.
    pub stores: bool,
    /// Studies can be opened.
    pub opens: bool,
    /// The key service: `up`, `sealed`, `away`, `unknown`.
    pub key_service: &'static str,
    /// Unused keys at hand: so many new studies can come while the key service is away.
    pub reserve_keys: usize,
    /// Durable records that wait for their places.
    pub journal_records: u64,
    /// Bytes of the journal in use.
    pub journal_bytes: u64,
    /// Studies in the index.
    pub studies: usize,
}

impl Readiness {
    /// Both ways work.
    pub const fn is_ready(&self) -> bool {
        self.stores && self.opens
    }
}

impl Shared {
    pub(crate) fn readiness(&self) -> Readiness {
        let keys = self.keys.state();
        let reserve_keys = keys.reserves.iter().map(|(_, n)| n).sum();
        let up = keys.contact == Contact::Up;
        let running = !self.stop.is_cancelled();
        Readiness {
            // What cannot be drained can be taken for a while only.
            stores: running
                && (up || reserve_keys > 0)
                && !self.backlog.stuck.load(Ordering::Relaxed)
                && self.journal.used_bytes() < self.limits.journal_bytes,
            opens: running && up,
            key_service: match keys.contact {
                Contact::Up => "up",
                Contact::Sealed => "sealed",
                Contact::Away => "away",
                Contact::Unknown => "unknown",
            },
            reserve_keys,
            journal_records: self.journal.pending(),
            journal_bytes: self.journal.used_bytes(),
            studies: self.studies(),
        }
    }

    fn studies(&self) -> usize {
        self.tenants.iter().map(|tenant| self.catalog.studies(*tenant)).sum()
    }

    pub(crate) fn publish_gauges(&self) {
        let keys = self.keys.state();
        let (objects, bytes) = self.backlog.pending();
        #[allow(clippy::cast_precision_loss, reason = "gauges are read by people")]
        for (name, value) in [
            ("leadglass_key_reserve", keys.reserves.iter().map(|(_, n)| *n).sum::<usize>() as f64),
            ("leadglass_key_leases", keys.leases as f64),
            ("leadglass_key_service_up", f64::from(u8::from(keys.contact == Contact::Up))),
            ("leadglass_journal_records", self.journal.pending() as f64),
            ("leadglass_journal_bytes", self.journal.used_bytes() as f64),
            ("leadglass_backlog_objects", objects as f64),
            ("leadglass_backlog_bytes", bytes as f64),
            ("leadglass_studies", self.studies() as f64),
            ("leadglass_audit_entries", self.log.head().size as f64),
        ] {
            metrics::gauge!(name).set(value);
        }
    }
}
