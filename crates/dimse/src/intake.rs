//! Where instances go: the two traits the engine implements for us.

use crate::{AeTitle, DeviceDecision};
use async_trait::async_trait;
use bytes::Bytes;
use leadglass_model::{Acknowledged, Fault, SopClassUid, SopInstanceUid, TransferSyntaxUid};
use std::net::SocketAddr;

/// What the command set of a C-STORE-RQ and its association say about the instance that follows.
#[derive(Debug, Clone)]
pub struct StoreRequest {
    /// The enrolled device that sends it, and its tenant.
    pub device: DeviceDecision,
    /// Names this request in logs and in the answer's Error Comment; it says nothing about the patient.
    pub request_id: String,
    /// Affected SOP Class UID, the same as the presentation context's.
    pub sop_class: SopClassUid,
    /// Affected SOP Instance UID. The data set must agree; whoever reads it checks.
    pub sop_instance: SopInstanceUid,
    /// Transfer syntax of the message's presentation context.
    pub transfer_syntax: TransferSyntaxUid,
    /// The title the peer called itself.
    pub calling_ae: AeTitle,
    /// The title it called us.
    pub called_ae: AeTitle,
    /// Where it connected from.
    pub peer: SocketAddr,
    /// Set when the sender does so on behalf of a C-MOVE of somebody else.
    pub move_originator: Option<MoveOriginator>,
}

/// Who asked for a C-MOVE that leads to this C-STORE (PS3.7 §9.1.1.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MoveOriginator {
    /// Move Originator Application Entity Title (0000,1030).
    pub ae: AeTitle,
    /// Move Originator Message ID (0000,1031).
    pub message_id: u16,
}

/// Takes instances in.
#[async_trait]
pub trait Intake: Send + Sync + 'static {
    /// Starts one instance. Dropping the future starts nothing.
    async fn begin(&self, request: StoreRequest) -> Result<Box<dyn Incoming>, IntakeRefusal>;
}

/// One instance on its way in. Dropping it abandons the instance: nothing of it may become visible.
#[async_trait]
pub trait Incoming: Send {
    /// The next piece of the data set, never empty. It waits while the store is behind: that is the back-pressure on
    /// the peer. Pieces shorter than [`SMALL_PIECE_BYTES`] are joined before they come here.
    async fn write(&mut self, piece: Bytes) -> Result<(), IntakeRefusal>;

    /// The data set is complete. The receipt is what allows the answer "stored".
    async fn finish(self: Box<Self>) -> Result<Acknowledged, IntakeRefusal>;
}

/// Pieces below this length are joined to [`JOINED_PIECE_BYTES`] before they reach an [`Incoming`], so that a sender of
/// tiny fragments costs no more than others.
pub const SMALL_PIECE_BYTES: usize = 4 * 1024;

/// Up to this length small pieces are joined.
pub const JOINED_PIECE_BYTES: usize = 64 * 1024;

/// Why an instance is not taken. Both texts are constants, so that no value of a patient can be in them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{sentence}")]
pub struct IntakeRefusal {
    /// The kind, which decides the DIMSE status ([`Status::of_store_fault`](crate::Status::of_store_fault)).
    pub fault: Fault,
    /// Stable code for machines and manuals, such as `journal-full`; at most 40 characters reach the sender.
    pub code: &'static str,
    /// One sentence for people.
    pub sentence: &'static str,
}

impl IntakeRefusal {
    /// A refusal.
    pub const fn new(fault: Fault, code: &'static str, sentence: &'static str) -> Self {
        Self { fault, code, sentence }
    }

    /// The kind of the failure.
    pub const fn fault(&self) -> Fault {
        self.fault
    }
}
