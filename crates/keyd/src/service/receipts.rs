//! `POST /v1/keys/receipts`: after a restore, what was destroyed since the backup is destroyed again.
//!
//! A backup knows nothing of what came after it. Three places do: the folder beside the capsules (`erased.rs`), whose receipts
//! are carried out at each start before anybody is answered; the vaults, which keep every receipt with its order and show
//! them at each start; and the certificates, which hold them. A receipt counts because the receipt key signed it, and not
//! for who brings it: so it needs no approval, and nothing can be destroyed with it but what was.
//!
//! A service that was restored opens nothing of a tenant until a vault of his has shown all it has. Where no vault is left
//! that could, `leadglass-keyd approve --readmit receipts` on the key host ends the waiting.

use super::{Caller, Service, destroy};
use crate::{
    erased,
    keyring::{ClientRole, Keyring},
    refusal::Refusal,
    store::{Record, Snapshot, StoreError, Table},
};
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use leadglass_audit::{CodeWord, Counts, Event, NewEntry, Outcome};
use leadglass_keys::wire::{DestroyStatement, PresentReceipts, ProblemCode, ReceiptsSeen, SignedStatement, json_from};
use leadglass_model::{TenantId, UnixMillis};
use std::{collections::HashSet, sync::Arc};

impl Service {
    /// Carries out again what the receipts say, and lets the tenant's keys open when they were the last ones.
    ///
    /// Cancel safety: what has begun goes on; showing them again changes nothing.
    pub async fn present_receipts(
        self: &Arc<Self>,
        caller: &Caller,
        ask: PresentReceipts,
    ) -> Result<ReceiptsSeen, Refusal> {
        caller.needs(ClientRole::Vault)?;
        self.tenant_of(caller, ask.tenant)?;
        let entry = NewEntry { tenant: Some(ask.tenant), ..self.entry_by(caller, Event::Restore, Outcome::Success) };
        let service = Arc::clone(self);
        let shown = tokio::task::spawn_blocking(move || service.carry_out(&entry, ask));
        shown.await.map_err(Refusal::broken)?
    }

    fn carry_out(self: &Arc<Self>, entry: &NewEntry, ask: PresentReceipts) -> Result<ReceiptsSeen, Refusal> {
        let mut seen = ReceiptsSeen { destroyed: 0, foreign: 0, awaited: false };
        for receipt in ask.receipts.into_vec() {
            match self.own(&receipt).filter(|said| said.tenant == ask.tenant) {
                None => seen.foreign += 1,
                Some(said) => {
                    let there = destroy::again(self, receipt, said)?;
                    seen.destroyed += u32::try_from(there).unwrap_or(u32::MAX);
                }
            }
        }
        if seen.foreign > 0 {
            tracing::warn!(receipts = seen.foreign, "Receipts were shown that this service did not sign");
        }
        let counts = Counts { instances: u64::from(seen.destroyed), ..Counts::default() };
        if seen.destroyed > 0 {
            tracing::warn!(keys = seen.destroyed, "Keys that were destroyed before a restore are destroyed again");
            self.report_blocking(vec![NewEntry { code: CodeWord::parse("destroyed-again"), counts, ..entry.clone() }])?;
        }
        if ask.last && self.awaited.read().contains(&ask.tenant) {
            // In the log first: that it was let in again may be there and not be so, and never the other way round.
            self.report_blocking(vec![NewEntry { code: CodeWord::parse("receipts-shown"), counts, ..entry.clone() }])?;
            self.stop_awaiting(ask.tenant)?;
        }
        seen.awaited = self.awaited.read().contains(&ask.tenant);
        Ok(seen)
    }

    /// The refusal while a tenant's receipts are awaited.
    pub(super) fn awaiting(&self, tenant: TenantId) -> Option<Refusal> {
        self.awaited.read().contains(&tenant).then(|| {
            Refusal::new(
                ProblemCode::ReceiptsAwaited,
                "restored from a backup: nothing opens until a vault has shown what was erased since",
            )
            .retry_after(AGAIN_S)
        })
    }

    /// Nobody is left who could show receipts: an admin on the key host says so. Blocks.
    pub(super) fn forgo_receipts(&self) -> Result<(), Refusal> {
        let tenants: Vec<TenantId> = self.awaited.read().iter().copied().collect();
        for tenant in &tenants {
            let entry = NewEntry { tenant: Some(*tenant), ..self.entry(Event::Restore, Outcome::Success) };
            self.report_blocking(vec![NewEntry { code: CodeWord::parse("receipts-forgone"), ..entry }])?;
            tracing::error!(alarm = "restore", %tenant, "Opens again without the receipts of a vault");
            self.stop_awaiting(*tenant)?;
        }
        Ok(())
    }

    /// Tenants that open nothing yet.
    pub(crate) fn tenants_awaiting(&self) -> usize {
        self.awaited.read().len()
    }

    fn stop_awaiting(&self, tenant: TenantId) -> Result<(), Refusal> {
        let name = meta_name(tenant);
        self.store.write_blocking::<(), Refusal, _>(move |tx| Ok(tx.delete(Table::Meta, &name)?))?;
        self.awaited.write().remove(&tenant);
        Ok(())
    }

    /// What a receipt says, if this service signed it.
    fn own(&self, receipt: &SignedStatement) -> Option<DestroyStatement> {
        let pair = Ed25519KeyPair::from_seed_unchecked(self.keyring().own.receipt.reveal()).ok()?;
        let key = UnparsedPublicKey::new(&ED25519, pair.public_key().as_ref());
        key.verify(receipt.statement.as_bytes(), &hex::decode(&receipt.signature).ok()?).ok()?;
        json_from(receipt.statement.as_bytes(), receipt.statement.len()).ok()
    }
}

/// At each start: what lies beside the capsules is carried out, and what does not lie there yet is put there.
pub(super) fn replay_known(service: &Arc<Service>) -> Result<(), Refusal> {
    let capsules = service.config.capsules(&service.layout);
    let kept = erased::all(&capsules)?;
    if kept.unreadable > 0 {
        tracing::error!(alarm = "restore", files = kept.unreadable, "Receipts beside the capsules do not read");
    }
    let mut again = 0;
    for receipt in kept.receipts {
        match service.own(&receipt) {
            // Its keys open nothing from here, and the next start goes on.
            Some(said) => match destroy::again(service, receipt, said) {
                Ok(there) => again += there,
                Err(refusal) => {
                    tracing::error!(alarm = "erasure", cause = refusal.causes(), "A destruction could not be repeated");
                }
            },
            None => tracing::error!(alarm = "restore", "A receipt beside the capsules is not from this service"),
        }
    }
    if again > 0 {
        tracing::warn!(keys = again, "Keys that were destroyed before a restore are destroyed again");
        let counts = Counts { instances: again as u64, ..Counts::default() };
        let entry = service.entry(Event::Restore, Outcome::Success);
        service.report_blocking(vec![NewEntry { code: CodeWord::parse("destroyed-again"), counts, ..entry }])?;
    }
    for (_, value) in service.store.snapshot()?.scan(Table::Receipts, b"", None, usize::MAX)? {
        let receipt = serde_json::from_slice(&value).map_err(Refusal::broken)?;
        erased::keep(&capsules, &receipt)?;
    }
    Ok(())
}

/// The tenants whose receipts are awaited.
pub(super) fn awaited(snapshot: &Snapshot) -> Result<HashSet<TenantId>, StoreError> {
    let rows = snapshot.scan(Table::Meta, META_AWAITED, None, usize::MAX)?;
    let tenant = |name: &[u8]| name.get(META_AWAITED.len()..)?.try_into().ok().map(TenantId::from_bytes);
    rows.iter().map(|(name, _)| tenant(name).ok_or(StoreError::Damaged { table: Table::Meta })).collect()
}

/// The rows by which a restored database knows that it waits, for every tenant of the keyring.
pub(crate) fn awaited_records(keyring: &Keyring, now: UnixMillis) -> Vec<Record> {
    let record = |tenant| Record { table: Table::Meta, key: meta_name(tenant), value: now.0.to_be_bytes().to_vec() };
    keyring.tenants.iter().map(|ring| record(ring.tenant)).collect()
}

fn meta_name(tenant: TenantId) -> Vec<u8> {
    [META_AWAITED, tenant.as_bytes().as_slice()].concat()
}

const META_AWAITED: &[u8] = b"receipts-awaited:";
/// When asking again is worth it, in seconds: a vault shows its receipts as soon as it reaches the service.
const AGAIN_S: u32 = 1;
