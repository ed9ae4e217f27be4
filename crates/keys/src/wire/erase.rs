//! `restrict`, `unrestrict`, `destroy`: what a data protection officer orders.

use super::{ApprovalId, Few, MAX_BATCH, SignedStatement, Word};
use leadglass_model::{KeyId, StudyRef, TenantId, UnixMillis};
use serde::{Deserialize, Serialize};

/// Name of the order in the vault's records; it is in both logs and in receipts.
pub type OrderId = Word;

/// Restricts studies or lifts the restriction. It holds for keys that are bound later too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RestrictRequest {
    /// Whose studies.
    pub tenant: TenantId,
    /// Which.
    pub study_refs: Few<StudyRef, MAX_BATCH>,
    /// By which order.
    pub order_id: OrderId,
}

/// The restriction stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestrictAnswer {
    /// Studies whose state changed; repeating a call changes none.
    pub changed: u32,
}

/// Destroys keys: all keys of the named studies, and the named keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DestroyRequest {
    /// Whose keys.
    pub tenant: TenantId,
    /// Studies that lose all their keys.
    #[serde(default)]
    pub study_refs: Few<StudyRef, MAX_BATCH>,
    /// Single keys.
    #[serde(default)]
    pub key_ids: Few<KeyId, MAX_BATCH>,
    /// By which order.
    pub order_id: OrderId,
    /// The approval that names them.
    pub approval: ApprovalId,
}

/// What the receipt of a destruction says; its JSON text is what the service signs ([`super::SignedStatement`]).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DestroyStatement {
    /// Whose keys.
    pub tenant: TenantId,
    /// By which order.
    pub order_id: OrderId,
    /// Under which approval.
    pub approval: ApprovalId,
    /// Keys that are gone.
    pub key_ids: Vec<KeyId>,
    /// Since when no running component can open them.
    pub live_erased_at: UnixMillis,
    /// The epoch that still could, from a backup; it ends with the next epoch.
    pub epoch: u32,
}

/// Shows the service receipts that it signed itself, so that after a restore it destroys again what they name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PresentReceipts {
    /// Whose keys.
    pub tenant: TenantId,
    /// Receipts of destructions, as the service gave them.
    pub receipts: Few<SignedStatement, MAX_BATCH>,
    /// These were the last ones: the node has shown all it has.
    pub last: bool,
}

/// What the receipts came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiptsSeen {
    /// Keys that were there and are destroyed again.
    pub destroyed: u32,
    /// Receipts that this service did not sign, or not like this. They change nothing.
    pub foreign: u32,
    /// Whether the service goes on waiting for receipts and opens nothing of this tenant.
    pub awaited: bool,
}
