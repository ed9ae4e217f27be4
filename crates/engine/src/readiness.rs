//! How the node is, for `/readyz`, `status` and metrics. States and numbers, no names.

use crate::Shared;
use leadglass_keys::Contact;
use leadglass_model::UnixMillis;
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
    /// Entries in the audit log.
    pub audit_entries: u64,
    /// Entries under the witness's newest cosignature.
    pub cosigned_entries: u64,
    /// Seconds since that was made; `None`: none was made since the node started.
    pub cosignature_age_s: Option<u64>,
    /// The witness refuses this log: it is not the one that it has signed.
    pub witness_refuses: bool,
    /// Entries of the key service's log that were seen from here.
    pub key_log_entries: u64,
    /// Seconds since it was last looked at.
    pub key_log_age_s: Option<u64>,
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
        let now = self.clock.now();
        let age = |at_ms: u64| (at_ms > 0).then(|| now.millis_since(UnixMillis(at_ms)) / 1000);
        let ((cosigned_entries, cosigned_at), (key_log_entries, key_log_at)) =
            (self.witness.newest(), self.key_log.seen());
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
            audit_entries: self.log.head().size,
            cosigned_entries,
            cosignature_age_s: age(cosigned_at),
            witness_refuses: self.witness.is_refused(),
            key_log_entries,
            key_log_age_s: age(key_log_at),
        }
    }

    fn studies(&self) -> usize {
        self.tenants.iter().map(|tenant| self.catalog.studies(*tenant)).sum()
    }

    pub(crate) fn publish_gauges(&self) {
        let keys = self.keys.state();
        let now = self.readiness();
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
            ("leadglass_audit_cosigned_entries", now.cosigned_entries as f64),
            ("leadglass_audit_cosignature_age_seconds", now.cosignature_age_s.map_or(f64::NAN, |s| s as f64)),
            ("leadglass_audit_witness_refuses", f64::from(u8::from(now.witness_refuses))),
            ("leadglass_key_log_entries", now.key_log_entries as f64),
            ("leadglass_key_log_age_seconds", now.key_log_age_s.map_or(f64::NAN, |s| s as f64)),
        ] {
            metrics::gauge!(name).set(value);
        }
    }
}
