//! The joint between the DICOM edge and the engine.

use async_trait::async_trait;
use bytes::Bytes;
use leadglass_dimse::{Incoming, Intake, IntakeRefusal, StoreRequest};
use leadglass_engine::{Announced, Engine, IngestError, Source, Transfer};
use leadglass_model::{Acknowledged, ActorRef, Fault, Phi, Role};
use leadglass_policy::Principal;
use std::sync::Arc;

/// Takes what devices store into the engine.
#[derive(Debug)]
pub struct Door(pub Engine);

struct Arriving {
    transfer: Transfer,
    request_id: String,
    device: Arc<str>,
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
        let source =
            Source::new(&permit, device.receiver, calling, Phi::new(peer.ip().to_string())).with_level(device.level);
        let announced = Announced { sop_class, sop_instance, transfer_syntax };
        let transfer =
            self.0.begin(Arc::new(source), announced).map_err(|error| refusal(&error, &request_id, &device.label))?;
        Ok(Box::new(Arriving { transfer, request_id, device: device.label }))
    }
}

#[async_trait]
impl Incoming for Arriving {
    async fn write(&mut self, piece: Bytes) -> Result<(), IntakeRefusal> {
        self.transfer.write(piece).await.map_err(|error| refusal(&error, &self.request_id, &self.device))
    }

    async fn finish(self: Box<Self>) -> Result<Acknowledged, IntakeRefusal> {
        let Self { transfer, request_id, device } = *self;
        transfer.finish().await.map_err(|error| refusal(&error, &request_id, &device))
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
