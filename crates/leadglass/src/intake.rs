//! The joint between the DICOM edge and the engine.

use crate::devices::{Habits, Turn};
use async_trait::async_trait;
use bytes::Bytes;
use leadglass_dimse::{Incoming, Intake, IntakeRefusal, StoreRequest};
use leadglass_engine::{Announced, Engine, IngestError, Refusals, Refused, Source, Transfer};
use leadglass_model::{Acknowledged, ActorRef, Fault, Phi, Role};
use leadglass_policy::Principal;
use std::sync::Arc;

/// Takes what devices store into the engine.
#[derive(Debug, Clone)]
pub struct Door {
    /// Where it goes.
    pub engine: Engine,
    /// How much each device may send.
    pub habits: Arc<Habits>,
    /// Who hears of a device that sends too much.
    pub refusals: Refusals,
}

struct Arriving {
    transfer: Transfer,
    request_id: String,
    device: Arc<str>,
    turn: Turn,
    /// Bytes so far.
    bytes: u64,
    /// Who is told when they are too many, or unusually many.
    door: Door,
    refused: Refused,
}

#[async_trait]
impl Intake for Door {
    async fn begin(&self, request: StoreRequest) -> Result<Box<dyn Incoming>, IntakeRefusal> {
        let StoreRequest { device, request_id, sop_class, sop_instance, transfer_syntax, calling_ae, peer, .. } =
            request;
        // A device's pseudonym in the log is its receiver id: both are random names of the same thing.
        let actor = ActorRef(*device.receiver.as_bytes());
        let principal = Principal { tenant: device.tenant, actor, role: Role::Device };
        let permit = principal
            .store()
            .map_err(|_| IntakeRefusal::new(Fault::Denied, "not-allowed", "This device may not store here."))?;
        let calling = Phi::new(calling_ae.as_str().to_owned());
        let refused = Refused {
            tenant: Some(device.tenant),
            actor: Some(actor),
            address: peer.ip(),
            calling: calling.clone(),
            reason: TOO_LARGE,
        };
        let Ok(turn) = self.habits.begin(device.tenant, device.receiver) else {
            self.refusals.note(Refused { reason: TOO_MANY, ..refused });
            let sentence = "This device has sent as many instances in this hour as it may.";
            return Err(beyond(&device.label, &request_id, Fault::Busy, TOO_MANY, sentence));
        };
        let source =
            Source::new(&permit, device.receiver, calling, Phi::new(peer.ip().to_string())).with_level(device.level);
        let announced = Announced { sop_class, sop_instance, transfer_syntax };
        let transfer = self
            .engine
            .begin(Arc::new(source), announced)
            .map_err(|error| refusal(&error, &request_id, &device.label))?;
        let (door, device) = (self.clone(), device.label);
        Ok(Box::new(Arriving { transfer, request_id, device, turn, bytes: 0, door, refused }))
    }
}

#[async_trait]
impl Incoming for Arriving {
    async fn write(&mut self, piece: Bytes) -> Result<(), IntakeRefusal> {
        self.bytes += piece.len() as u64;
        if self.bytes > self.turn.most_bytes {
            self.door.refusals.note(self.refused.clone());
            let sentence = "The instance is larger than what this device may send.";
            return Err(beyond(&self.device, &self.request_id, Fault::BadInput, TOO_LARGE, sentence));
        }
        self.transfer.write(piece).await.map_err(|error| refusal(&error, &self.request_id, &self.device))
    }

    async fn finish(self: Box<Self>) -> Result<Acknowledged, IntakeRefusal> {
        let Self { transfer, request_id, device, turn, bytes, door, .. } = *self;
        let source = turn.device();
        let receipt = transfer.finish().await.map_err(|error| refusal(&error, &request_id, &device))?;
        if turn.arrived(bytes) {
            door.engine.alarm_unusual_device(source.0, source.1);
        }
        Ok(receipt)
    }
}

fn refusal(error: &IngestError, request: &str, device: &str) -> IntakeRefusal {
    let mut chain = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        chain = format!("{chain}: {inner}");
        source = inner.source();
    }
    tracing::warn!(request, device, code = error.code(), error = %chain, "an instance was not taken: {}", error.code());
    metrics::counter!("leadglass_instances_total", "outcome" => error.code()).increment(1);
    IntakeRefusal::new(error.fault(), error.code(), error.advice())
}

/// What the bounds of its device refuse.
fn beyond(device: &str, request: &str, fault: Fault, code: &'static str, sentence: &'static str) -> IntakeRefusal {
    tracing::warn!(request, device, code, "an instance was not taken: {code}");
    metrics::counter!("leadglass_instances_total", "outcome" => code).increment(1);
    IntakeRefusal::new(fault, code, sentence)
}

const TOO_MANY: &str = "device-rate";
const TOO_LARGE: &str = "device-size";
