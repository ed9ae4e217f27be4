//! Storage: C-STORE (PS3.4 Annex B, PS3.7 §9.1.1).
//!
//! Pieces of the data set go to the [`Intake`] as they arrive; the answer is sent once it gave its receipt. A refused
//! instance is read to its end before the status goes out, so that the association can go on with the next one. When the
//! association ends in the middle, the [`Incoming`] is dropped and nothing is visible.

use crate::{
    AeTitle, CommandSet, Ended, Exchange, Incoming, Intake, IntakeRefusal, JOINED_PIECE_BYTES, MoveOriginator, Request,
    SMALL_PIECE_BYTES, Service, Status, StoragePolicy, StoreRequest,
    command::{field, operation},
    status,
};
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use leadglass_model::{Acknowledged, TransferSyntaxUid};
use std::sync::Arc;
use tokio::time::{Instant, timeout_at};

/// The Storage service as SCP.
pub struct Storage {
    policy: StoragePolicy,
    intake: Arc<dyn Intake>,
}

impl Storage {
    /// Stores what `policy` takes into `intake`.
    pub fn new(policy: StoragePolicy, intake: Arc<dyn Intake>) -> Self {
        Self { policy, intake }
    }
}

impl std::fmt::Debug for Storage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Storage").field("policy", &self.policy).finish_non_exhaustive()
    }
}

/// Why one instance is not stored.
struct Refused {
    status: Status,
    code: &'static str,
}

/// Either the instance is refused, or the association is over.
enum Failure {
    Refused(Refused),
    Ended(Ended),
}

impl From<Ended> for Failure {
    fn from(ended: Ended) -> Self {
        Self::Ended(ended)
    }
}

impl From<IntakeRefusal> for Failure {
    fn from(refusal: IntakeRefusal) -> Self {
        Self::Refused(Refused { status: Status::of_store_fault(refusal.fault), code: refusal.code })
    }
}

#[async_trait]
impl Service for Storage {
    fn serves(&self, abstract_syntax: &str) -> bool {
        self.policy.takes_class(abstract_syntax)
    }

    fn accepts_transfer_syntax(&self, transfer_syntax: &str) -> bool {
        self.policy.takes_transfer_syntax(transfer_syntax)
    }

    fn commands(&self) -> &[u16] {
        &[operation::C_STORE_RQ]
    }

    /// PS3.4 §B.3.1: level 2 (every attribute is kept), signature level 3 (bit-preserving), nothing is coerced.
    fn extended(&self, _abstract_syntax: &str, _asked: &[u8]) -> Option<Vec<u8>> {
        Some(vec![2, 0, 3, 0, 0, 0])
    }

    async fn serve(&self, request: &Request, exchange: &mut dyn Exchange) -> Result<(), Ended> {
        let began = Instant::now();
        let outcome = match self.receive(request, exchange).await {
            Ok(_) => Ok(()),
            Err(Failure::Refused(refused)) => Err(refused),
            Err(Failure::Ended(ended)) => {
                metrics::counter!("leadglass_dimse_stores_total", "status" => "cut").increment(1);
                return Err(ended);
            }
        };
        let status = outcome.as_ref().err().map_or(Status::SUCCESS, |refused| refused.status);
        metrics::counter!("leadglass_dimse_stores_total", "status" => status.to_string()).increment(1);
        metrics::histogram!("leadglass_dimse_store_seconds").record(began.elapsed().as_secs_f64());
        let mut response = status::response(&request.command, status);
        if let Some(uid) = request.command.affected_sop_instance() {
            response = response.with_uid(field::AFFECTED_SOP_INSTANCE_UID, uid.expose());
        }
        if let Err(refused) = outcome {
            let (device, request_id, code) = (&*request.peer.device.label, &request.request_id, refused.code);
            tracing::warn!(device, request_id, %status, code, "Refused an instance from {device} with {status}: {code}");
            exchange.drain().await?;
            response = response.with_text(field::ERROR_COMMENT, &comment(code, request_id));
        }
        exchange.send(&response, None).await
    }
}

impl Storage {
    async fn receive(&self, request: &Request, exchange: &mut dyn Exchange) -> Result<Acknowledged, Failure> {
        let announced = self.announced(request).map_err(Failure::Refused)?;
        // The intake's own waits are bounded by the association's end as well.
        let Ok(begun) = timeout_at(request.deadline, self.intake.begin(announced)).await else {
            return Err(Failure::Ended(Ended::Overdue));
        };
        let mut incoming = begun?;
        let mut joined = BytesMut::new();
        let mut total = 0u64;
        while let Some(piece) = exchange.next_data().await? {
            total += piece.len() as u64;
            let ready = if piece.len() >= SMALL_PIECE_BYTES && joined.is_empty() {
                Some(piece)
            } else {
                joined.extend_from_slice(&piece);
                (joined.len() >= JOINED_PIECE_BYTES).then(|| joined.split().freeze())
            };
            if let Some(ready) = ready {
                write(incoming.as_mut(), ready, request.deadline).await?;
            }
        }
        if !joined.is_empty() {
            write(incoming.as_mut(), joined.freeze(), request.deadline).await?;
        }
        metrics::counter!("leadglass_dimse_received_bytes_total").increment(total);
        // From here the sender waits for us: the durable step has its own deadlines.
        Ok(incoming.finish().await?)
    }

    fn announced(&self, request: &Request) -> Result<StoreRequest, Refused> {
        let command = &request.command;
        let refused = |status, code| Refused { status, code };
        let sop_class = command.affected_sop_class().ok_or(refused(Status::CLASS_NOT_SUPPORTED, "no-sop-class"))?;
        if !self.policy.takes_class(sop_class.as_str()) {
            return Err(refused(Status::CLASS_NOT_SUPPORTED, "sop-class-not-stored"));
        }
        if sop_class.as_str() != &*request.abstract_syntax {
            return Err(refused(Status::MISMATCH, "sop-class-not-of-context"));
        }
        let sop_instance =
            command.affected_sop_instance().ok_or(refused(Status::INVALID_INSTANCE, "no-valid-sop-instance"))?;
        let transfer_syntax = TransferSyntaxUid::parse(&request.transfer_syntax)
            .map_err(|_| refused(Status::CANNOT_UNDERSTAND, "transfer-syntax"))?;
        if !command.has_data_set() {
            return Err(refused(Status::CANNOT_UNDERSTAND, "no-data-set"));
        }
        let peer = &request.peer;
        Ok(StoreRequest {
            device: peer.device.clone(),
            request_id: request.request_id.clone(),
            sop_class,
            sop_instance,
            transfer_syntax,
            calling_ae: peer.calling_ae.clone(),
            called_ae: peer.called_ae.clone(),
            peer: peer.address,
            move_originator: move_originator(command),
        })
    }
}

async fn write(incoming: &mut dyn Incoming, piece: Bytes, deadline: Instant) -> Result<(), Failure> {
    match timeout_at(deadline, incoming.write(piece)).await {
        Ok(written) => Ok(written?),
        Err(_) => Err(Failure::Ended(Ended::Overdue)),
    }
}

/// A malformed originator is nobody: the instance is not lost over it.
fn move_originator(command: &CommandSet) -> Option<MoveOriginator> {
    Some(MoveOriginator {
        ae: AeTitle::parse(&command.text(field::MOVE_ORIGINATOR)?).ok()?,
        message_id: command.us(field::MOVE_ORIGINATOR_MESSAGE_ID)?,
    })
}

/// Error Comment (0000,0902) is an LO: at most 64 characters. The code is cut first, the request id stays whole.
fn comment(code: &str, request_id: &str) -> String {
    let room = MAX_COMMENT.saturating_sub(request_id.len() + 1);
    let code: String = code.chars().take(room).collect();
    format!("{code} {request_id}")
}

const MAX_COMMENT: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_has_64_characters_at_most_and_keeps_the_request_id() {
        assert_eq!(comment("journal-full", "0a1b2c3d-7"), "journal-full 0a1b2c3d-7");
        let long = comment(&"x".repeat(100), "0a1b2c3d-7");
        assert_eq!(long.len(), 64);
        assert!(long.ends_with(" 0a1b2c3d-7"));
    }
}
