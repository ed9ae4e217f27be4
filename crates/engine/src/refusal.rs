//! Who was turned away, and whose enrolment was changed: entries of the audit log.
//!
//! Whoever can reach a port can be refused as often as it likes, so refusals are counted together: the first of an address
//! and reason is an entry at once, those of the minute after it are one more. Their number stands in the code, `.x17`,
//! where it is part of the tree; address and title stand in the sealed details.

use crate::{AccessError, Engine, Shared, subject::Detail};
use leadglass_audit::{ClientRef, CodeWord, Event, NewEntry, Outcome};
use leadglass_model::{ActorRef, Administer, EntryId, Permit, Phi, ReceiverId, TenantId, UnixMillis};
use parking_lot::Mutex;
use std::{collections::HashMap, net::IpAddr, sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

/// Somebody who was turned away.
#[derive(Debug, Clone)]
pub struct Refused {
    /// Whom it meant; unknown when it did not come so far, and then the only tenant of a node that has one.
    pub tenant: Option<TenantId>,
    /// Who it is, when that is known and not enough: a revoked device, a person without the right.
    pub actor: Option<ActorRef>,
    /// Where it came from.
    pub address: IpAddr,
    /// What it called itself, an AE title for example.
    pub calling: Phi<String>,
    /// Why, in a stable word of at most 40 characters in lower case: `ae-unknown`, `certificate-expired`.
    pub reason: &'static str,
}

/// What was changed about a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EnrolmentChange {
    /// It was enrolled.
    Added,
    /// It got a certificate, or another one.
    Certified,
    /// How much it may send was changed, or is learnt anew.
    Bounded,
    /// Its enrolment ended.
    Revoked,
}

impl EnrolmentChange {
    /// The word in the entry.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Added => "device-added",
            Self::Certified => "device-certified",
            Self::Bounded => "device-bounded",
            Self::Revoked => "device-revoked",
        }
    }
}

/// Refusals on their way into the log. Clones share it.
#[derive(Debug, Clone)]
pub struct Refusals {
    shared: Arc<Shared>,
    windows: Arc<Mutex<Windows>>,
}

/// Whose refusals are counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    tenant: Option<TenantId>,
    /// `None`: one of too many addresses.
    address: Option<IpAddr>,
    reason: &'static str,
}

#[derive(Debug, Default)]
struct Windows(HashMap<Key, Window>);

#[derive(Debug)]
struct Window {
    began: UnixMillis,
    /// Refusals since the last entry, and one of them.
    unsaid: u64,
    last: Refused,
}

impl Windows {
    /// Takes a refusal; answers it back with a number when an entry is due.
    fn take(&mut self, refused: Refused, now: UnixMillis) -> Option<(Refused, u64)> {
        let Refused { tenant, reason, .. } = refused;
        let mut key = Key { tenant, address: Some(household(refused.address)), reason };
        if self.0.len() >= MAX_WINDOWS && !self.0.contains_key(&key) {
            key.address = None;
        }
        let fresh = |last| Window { began: now, unsaid: 0, last };
        let Some(window) = self.0.get_mut(&key) else {
            self.0.insert(key, fresh(refused.clone()));
            return Some((refused, 1));
        };
        window.unsaid += 1;
        if now.millis_since(window.began) < WINDOW_MILLIS {
            window.last = refused;
            return None;
        }
        let number = window.unsaid;
        *window = fresh(refused.clone());
        Some((refused, number))
    }

    /// What is over and was not said yet; all of it when the node stops.
    fn over(&mut self, now: UnixMillis, all: bool) -> Vec<(Refused, u64)> {
        let mut said = Vec::new();
        self.0.retain(|_, window| {
            let over = all || now.millis_since(window.began) >= WINDOW_MILLIS;
            if over && window.unsaid > 0 {
                said.push((window.last.clone(), window.unsaid));
            }
            !over
        });
        said
    }
}

impl Engine {
    /// The one place where refusals are counted. `stop` is the node's: what was not said until then is said at once.
    pub fn refusals(&self, stop: CancellationToken) -> Refusals {
        let refusals = Refusals { shared: self.shared.clone(), windows: Arc::default() };
        self.shared.tasks.spawn(refusals.clone().say_what_is_over(stop));
        refusals
    }

    /// Records a change of a device's enrolment, before it is made. When this answers, the entry is durable.
    ///
    /// Cancel safety: dropping the future may leave a change recorded that was not made.
    pub async fn record_enrolment(
        &self,
        permit: &Permit<Administer>,
        device: ReceiverId,
        name: &str,
        change: EnrolmentChange,
    ) -> Result<EntryId, AccessError> {
        let shared = &self.shared;
        let id = EntryId::random(&*shared.entropy);
        let mut entry = NewEntry::new(id, shared.clock.now(), Event::EnrolmentChange, Outcome::Success);
        entry.tenant = Some(permit.tenant());
        entry.actor = Some(permit.actor());
        entry.role = Some(permit.role());
        entry.client = Some(ClientRef(*device.as_bytes()));
        entry.code = CodeWord::parse(change.as_str());
        entry.subject = shared.site_token(permit.tenant());
        let detail = Detail { calling: name, ..Detail::default() };
        let detail = shared.detail(permit.tenant(), entry.subject, id, &detail).await?;
        entry.detail = detail.bytes;
        shared.commit_entry(entry, detail.wrap).await?;
        Ok(id)
    }
}

impl Refusals {
    /// Counts a refusal and puts it, or the number of its like, into the log. It does not wait: who was refused is refused
    /// either way.
    pub fn note(&self, refused: Refused) {
        metrics::counter!("leadglass_refusals_total", "reason" => refused.reason).increment(1);
        let due = self.windows.lock().take(refused, self.shared.clock.now());
        if let Some((refused, number)) = due {
            self.say(refused, number);
        }
    }

    fn say(&self, refused: Refused, number: u64) {
        let reason = refused.reason;
        tracing::warn!(address = %refused.address, reason, number, "turned away from {}: {reason}", refused.address);
        let shared = self.shared.clone();
        self.shared.tasks.spawn(async move {
            if let Err(error) = shared.record_refusal(&refused, number).await {
                tracing::error!(%error, reason, "a refusal could not be recorded");
            }
        });
    }

    async fn say_what_is_over(self, stop: CancellationToken) {
        let mut tick = tokio::time::interval(LOOK_EVERY);
        loop {
            let stopping = tokio::select! {
                () = stop.cancelled() => true,
                _ = tick.tick() => false,
            };
            let over = self.windows.lock().over(self.shared.clock.now(), stopping);
            for (refused, number) in over {
                self.say(refused, number);
            }
            if stopping {
                return;
            }
        }
    }
}

impl Shared {
    /// The tenant of a node that has one.
    pub(crate) fn only_tenant(&self) -> Option<TenantId> {
        if let [tenant] = self.tenants.as_slice() { Some(*tenant) } else { None }
    }

    async fn record_refusal(self: &Arc<Self>, refused: &Refused, number: u64) -> Result<(), AccessError> {
        let tenant = refused.tenant.or(self.only_tenant());
        let id = EntryId::random(&*self.entropy);
        let mut entry = NewEntry::new(id, self.clock.now(), Event::UserAuthentication, Outcome::Refused);
        entry.tenant = tenant;
        entry.actor = refused.actor;
        let code = if number == 1 { refused.reason.to_owned() } else { format!("{}.x{number}", refused.reason) };
        entry.code = CodeWord::parse(&code);
        let mut wrap = None;
        if let Some(tenant) = tenant {
            let address = refused.address.to_string();
            entry.subject = self.site_token(tenant);
            let detail = Detail { calling: refused.calling.expose(), address: &address, ..Detail::default() };
            let detail = self.detail(tenant, entry.subject, id, &detail).await?;
            (entry.detail, wrap) = (detail.bytes, detail.wrap);
        }
        Ok(self.commit_entry(entry, wrap).await?)
    }
}

/// An IPv6 host owns its /64 and counts once.
fn household(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) if !v6.is_loopback() => IpAddr::V6((v6.to_bits() >> 64 << 64).into()),
        other => other,
    }
}

/// Refusals of one address and reason within this time are at most two entries.
const WINDOW_MILLIS: u64 = 60_000;
/// Addresses and reasons that are told apart at one time; beyond it, a reason counts as one.
const MAX_WINDOWS: usize = 512;
const LOOK_EVERY: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(address: &str, reason: &'static str) -> Refused {
        let calling = Phi::new("CT1".to_owned());
        Refused { tenant: None, actor: None, address: address.parse().unwrap(), calling, reason }
    }

    const fn at(seconds: u64) -> UnixMillis {
        UnixMillis(1_790_000_000_000 + seconds * 1_000)
    }

    #[test]
    fn a_flood_from_one_address_is_two_entries_a_minute() {
        let mut windows = Windows::default();
        let mut entries = Vec::new();
        for second in 0..120 {
            for _ in 0..50 {
                entries.extend(windows.take(refused("192.0.2.7", "ae-unknown"), at(second)).map(|(_, n)| n));
            }
            entries.extend(windows.over(at(second), false).into_iter().map(|(_, n)| n));
        }
        entries.extend(windows.over(at(120), true).into_iter().map(|(_, n)| n));
        assert!(entries.len() <= 5, "{entries:?}");
        assert_eq!(entries.iter().sum::<u64>(), 120 * 50, "every refusal is counted once");
        assert_eq!(entries[0], 1, "the first one is said at once");
    }

    #[test]
    fn addresses_and_reasons_are_told_apart() {
        let mut windows = Windows::default();
        let mut said = |address, reason| windows.take(refused(address, reason), at(0)).is_some();
        assert!(said("192.0.2.7", "ae-unknown") && said("192.0.2.7", "ae-wrong") && said("192.0.2.8", "ae-unknown"));
        assert!(!said("::ffff:192.0.2.8", "ae-unknown"));
        assert!(said("2001:db8::1", "ae-unknown") && !said("2001:db8::2", "ae-unknown"));
    }

    #[test]
    fn a_flood_from_everywhere_stays_within_bounds() {
        let mut windows = Windows::default();
        let mut entries = 0;
        for n in 0..5_000_u32 {
            let address = IpAddr::from(n.to_be_bytes());
            entries += usize::from(windows.take(Refused { address, ..refused("::", "ae-unknown") }, at(0)).is_some());
        }
        assert_eq!(entries, MAX_WINDOWS + 1);
        assert_eq!(windows.over(at(61), false).iter().map(|(_, n)| n).sum::<u64>(), 5_000 - entries as u64);
        assert!(windows.0.is_empty());
    }

    #[test]
    fn the_number_fits_into_a_code_word() {
        assert!(CodeWord::parse(&format!("{}.x{}", "a".repeat(26), u64::MAX)).is_some());
    }
}
