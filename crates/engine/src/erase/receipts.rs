//! The receipts that this node keeps with its orders, shown to the key service.
//!
//! A key service that was restored from a backup knows nothing of what was erased since, and opens nothing before it was told.
//! Every receipt is shown at each start, before an index key is asked for, and whenever the service came back: it signed them
//! itself, and carries out again what it finds undone.

use super::order::{Order, PREFIX};
use crate::Shared;
use leadglass_keys::{
    Keys, KeysError,
    wire::{Few, MAX_BATCH, MAX_RECEIPTS_BYTES, PresentReceipts, SignedStatement},
};
use leadglass_model::TenantId;
use leadglass_records::{RecordError, TenantRecords};

/// The key service's receipts in a tenant's orders.
pub async fn kept_receipts(records: &TenantRecords) -> Result<Vec<SignedStatement>, RecordError> {
    let orders = super::tombstone::scan(records, PREFIX).await?;
    let read = |(_, value): &(_, zeroize::Zeroizing<Vec<u8>>)| {
        serde_json::from_slice::<Order>(value).map_err(|_| RecordError::NotAuthentic)
    };
    let orders: Vec<Order> = orders.iter().map(read).collect::<Result<_, _>>()?;
    Ok(orders.into_iter().filter_map(|order| order.receipt).collect())
}

/// Shows them, a request's worth at a time. Afterwards the service opens what it still has.
///
/// Cancel safety: showing them again changes nothing.
pub async fn show_receipts(keys: &Keys, tenant: TenantId, receipts: &[SignedStatement]) -> Result<(), KeysError> {
    let mut rest = receipts;
    loop {
        let mut bytes = 0;
        let fits = |receipt: &&SignedStatement| {
            // Quotes inside the statement are escaped on the way.
            bytes += 2 * receipt.statement.len() + ENVELOPE_BYTES;
            bytes <= MAX_RECEIPTS_BYTES
        };
        // One alone always fits: a receipt of 4,096 keys has about 150 KiB.
        let count = rest.iter().take(MAX_BATCH).take_while(fits).count().max(1).min(rest.len());
        let (now, later) = rest.split_at(count);
        let request =
            PresentReceipts { tenant, receipts: Few::new(now.to_vec()).unwrap_or_default(), last: later.is_empty() };
        let seen = keys.service().present_receipts(&request).await?;
        if seen.destroyed > 0 {
            tracing::warn!(%tenant, keys = seen.destroyed, "the key service destroyed again what was erased before its restore");
        }
        if seen.foreign > 0 {
            tracing::warn!(%tenant, receipts = seen.foreign, "receipts of another key service are kept here");
        }
        if later.is_empty() {
            return Ok(());
        }
        rest = later;
    }
}

impl Shared {
    /// The key service came back, perhaps from a backup.
    pub(crate) async fn show_receipts_again(&self, tenant: TenantId) -> Result<(), KeysError> {
        let Some(records) = self.records(tenant) else { return Ok(()) };
        match kept_receipts(records).await {
            Ok(receipts) => show_receipts(&self.keys, tenant, &receipts).await,
            Err(error) => {
                tracing::error!(%tenant, %error, "receipts of erasures cannot be read, so none are shown");
                Ok(())
            }
        }
    }
}

/// Signer, signature and names around a statement.
const ENVELOPE_BYTES: usize = 512;
