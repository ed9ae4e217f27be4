//! An intake in memory, enrolled devices, and a peer that sends whatever bytes a test wants.

use async_trait::async_trait;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use dicom_ul::pdu::{AssociationRQ, Pdu, PresentationContextProposed, UserVariableItem, read_pdu, write_pdu};
use leadglass_dimse::{
    AeTitle, Allowed, Caller, CommandSet, DeviceDecision, DeviceRefusal, Devices, Echo, Ended, Incoming, Intake,
    IntakeRefusal, Limits, Listener, Origin, Storage, StoragePolicy, StoreRequest,
    command::{NO_DATA_SET, WITH_DATA_SET, field, operation},
};
use leadglass_model::{Acknowledged, EnrolmentLevel, ReceiverId, SystemEntropy, TenantId};
use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex},
    sync::Semaphore,
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

pub const CT: &str = "1.2.840.10008.5.1.4.1.1.2";
pub const VERIFICATION: &str = "1.2.840.10008.1.1";
pub const IMPLICIT: &str = "1.2.840.10008.1.2";
pub const EXPLICIT: &str = "1.2.840.10008.1.2.1";
pub const INSTANCE: &str = "1.2.826.0.1.3680043.9.7133.77.1";

/// Where an intake fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Begin,
    Write,
    Finish,
}

/// Keeps instances in memory.
#[derive(Default)]
pub struct MemoryIntake {
    stored: Mutex<Vec<(StoreRequest, Vec<u8>)>>,
    abandoned: AtomicUsize,
    begun: AtomicUsize,
    refusal: Mutex<Option<(Step, IntakeRefusal)>>,
    gate: Option<Arc<Semaphore>>,
}

struct Receiving {
    intake: Arc<MemoryIntake>,
    request: StoreRequest,
    bytes: Vec<u8>,
    finished: bool,
}

impl MemoryIntake {
    /// Takes a piece for each permit of `gate`.
    pub fn behind(gate: Arc<Semaphore>) -> Self {
        Self { gate: Some(gate), ..Self::default() }
    }

    pub fn stored(&self) -> Vec<(StoreRequest, Vec<u8>)> {
        self.stored.lock().unwrap().clone()
    }

    pub fn abandoned(&self) -> usize {
        self.abandoned.load(Ordering::SeqCst)
    }

    pub fn begun(&self) -> usize {
        self.begun.load(Ordering::SeqCst)
    }

    pub fn refuse_next(&self, step: Step, refusal: IntakeRefusal) {
        *self.refusal.lock().unwrap() = Some((step, refusal));
    }

    fn refusal(&self, at: Step) -> Result<(), IntakeRefusal> {
        let mut refusal = self.refusal.lock().unwrap();
        match *refusal {
            Some((step, why)) if step == at => {
                *refusal = None;
                Err(why)
            }
            _ => Ok(()),
        }
    }
}

/// The trait is ours, the Arc is not.
pub struct Shared(pub Arc<MemoryIntake>);

#[async_trait]
impl Intake for Shared {
    async fn begin(&self, request: StoreRequest) -> Result<Box<dyn Incoming>, IntakeRefusal> {
        self.0.begun.fetch_add(1, Ordering::SeqCst);
        self.0.refusal(Step::Begin)?;
        Ok(Box::new(Receiving { intake: Arc::clone(&self.0), request, bytes: Vec::new(), finished: false }))
    }
}

#[async_trait]
impl Incoming for Receiving {
    async fn write(&mut self, piece: Bytes) -> Result<(), IntakeRefusal> {
        assert!(!piece.is_empty(), "an empty piece");
        self.intake.refusal(Step::Write)?;
        if let Some(gate) = &self.intake.gate {
            gate.acquire().await.unwrap().forget();
        }
        self.bytes.extend_from_slice(&piece);
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<Acknowledged, IntakeRefusal> {
        self.finished = true;
        self.intake.refusal(Step::Finish)?;
        let bytes = std::mem::take(&mut self.bytes);
        self.intake.stored.lock().unwrap().push((self.request.clone(), bytes));
        Ok(Acknowledged::attest(1))
    }
}

impl Drop for Receiving {
    fn drop(&mut self) {
        if !self.finished {
            self.intake.abandoned.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// Called: `LEADGLASS`, or `OTHER` for a second tenant. Calling: everybody but `STRANGER`; `PINNED` sends explicit CT only.
/// All enrolments end with the token.
#[derive(Default)]
pub struct House(pub CancellationToken);

#[async_trait]
impl Devices for House {
    async fn decide(&self, caller: &Caller) -> Result<DeviceDecision, DeviceRefusal> {
        let tenant = match caller.called_ae.as_str() {
            "LEADGLASS" => 1,
            "OTHER" => 2,
            _ => return Err(DeviceRefusal::CalledUnknown),
        };
        match caller.calling_ae.as_str() {
            "STRANGER" => return Err(DeviceRefusal::CallingUnknown),
            "CONGESTED" => return Err(DeviceRefusal::Unavailable),
            "HANGS" => std::future::pending().await,
            _ => {}
        }
        let mut receiver = [0; 16];
        receiver[..caller.calling_ae.as_str().len()].copy_from_slice(caller.calling_ae.as_str().as_bytes());
        let (tenant, receiver) = (TenantId::from_bytes([tenant; 16]), ReceiverId::from_bytes(receiver));
        let mut decision = DeviceDecision::new(tenant, receiver, "ct-room-1".into(), EnrolmentLevel::Address);
        decision.enrolment = self.0.clone();
        if caller.calling_ae.as_str() == "PINNED" {
            let rules = |uid: &str| vec![uid.parse().unwrap()];
            let allowed = Allowed { sop_classes: rules(CT), transfer_syntaxes: rules(EXPLICIT) };
            decision.allowed = Arc::new(allowed);
        }
        Ok(decision)
    }
}

/// A listener over a memory intake.
pub struct Vault {
    pub intake: Arc<MemoryIntake>,
    pub listener: Arc<Listener>,
    pub cancel: CancellationToken,
    /// Cancelled: every device is revoked.
    pub revoke: CancellationToken,
}

impl Vault {
    pub fn new() -> Self {
        Self::with(Limits::default(), MemoryIntake::default())
    }

    pub fn with(limits: Limits, intake: MemoryIntake) -> Self {
        let intake = Arc::new(intake);
        let policy = StoragePolicy {
            private_sop_classes: vec!["1.2.276.0.7230010.3.1.0.*".parse().unwrap()],
            private_transfer_syntaxes: vec!["1.2.840.113619.5.2".parse().unwrap()],
        };
        let storage = Storage::new(policy, Arc::new(Shared(Arc::clone(&intake))));
        let services: Vec<Arc<dyn leadglass_dimse::Service>> = vec![Arc::new(Echo), Arc::new(storage)];
        let revoke = CancellationToken::new();
        let listener = Listener::new(limits, Arc::new(House(revoke.clone())), services, Arc::new(SystemEntropy));
        Self { intake, listener: Arc::new(listener), cancel: CancellationToken::new(), revoke }
    }

    /// A connection in memory; the handle says how it ended.
    pub fn connect(&self) -> (Wire<DuplexStream>, JoinHandle<Ended>) {
        let (ours, theirs) = duplex(64 * 1024);
        let (listener, cancel) = (Arc::clone(&self.listener), self.cancel.clone());
        let served = tokio::spawn(async move { listener.serve(theirs, origin(), cancel).await });
        (Wire::new(ours), served)
    }

    /// A connection with an association: context 1 for CT, explicit; context 3 for CT, implicit; context 5 for Verification.
    pub async fn associate(&self) -> (Wire<DuplexStream>, JoinHandle<Ended>) {
        let (mut wire, served) = self.connect();
        let answer = wire.request(&request()).await;
        assert!(matches!(answer, Some(Pdu::AssociationAC(_))), "{answer:?}");
        (wire, served)
    }
}

pub fn origin() -> Origin {
    Origin { address: SocketAddr::from(([192, 0, 2, 7], 40_000)), local_port: 11_112, certificate: None }
}

pub fn proposed(id: u8, abstract_syntax: &str, transfer_syntaxes: &[&str]) -> PresentationContextProposed {
    PresentationContextProposed {
        id,
        abstract_syntax: abstract_syntax.to_owned(),
        transfer_syntaxes: transfer_syntaxes.iter().map(|&uid| uid.to_owned()).collect(),
    }
}

pub fn request() -> AssociationRQ {
    AssociationRQ {
        protocol_version: 1,
        calling_ae_title: "CT1".to_owned(),
        called_ae_title: "LEADGLASS".to_owned(),
        application_context_name: "1.2.840.10008.3.1.1.1".to_owned(),
        presentation_contexts: vec![
            proposed(1, CT, &[EXPLICIT]),
            proposed(3, CT, &[IMPLICIT]),
            proposed(5, VERIFICATION, &[IMPLICIT]),
        ],
        user_variables: vec![UserVariableItem::MaxLength(16_384)],
    }
}

/// A peer under a test's control.
pub struct Wire<S> {
    pub stream: S,
    buffer: BytesMut,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    pub fn new(stream: S) -> Self {
        Self { stream, buffer: BytesMut::new() }
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// The next PDU; `None` once the other side has closed.
    pub async fn receive(&mut self) -> Option<Pdu> {
        loop {
            if self.buffer.len() >= 6 {
                let length = (&self.buffer[2..6]).get_u32() as usize + 6;
                if self.buffer.len() >= length {
                    return Some(read_pdu(self.buffer.split_to(length), 1 << 20, true).unwrap().unwrap());
                }
            }
            if self.stream.read_buf(&mut self.buffer).await.unwrap() == 0 {
                assert!(self.buffer.is_empty(), "a torn PDU");
                return None;
            }
        }
    }

    pub async fn request(&mut self, request: &AssociationRQ) -> Option<Pdu> {
        self.send(&bytes_of(&Pdu::AssociationRQ(request.clone()))).await;
        self.receive().await
    }

    /// The next response: its command set.
    pub async fn response(&mut self) -> CommandSet {
        match self.receive().await {
            Some(Pdu::PData { data }) => CommandSet::parse(&data[0].data).unwrap(),
            other => panic!("no response but {other:?}"),
        }
    }

    pub async fn status(&mut self) -> u16 {
        self.response().await.status().unwrap()
    }

    /// Releases, and sees the other side close.
    pub async fn release(mut self) {
        self.send(&bytes_of(&Pdu::ReleaseRQ)).await;
        assert_eq!(self.receive().await, Some(Pdu::ReleaseRP));
        assert_eq!(self.receive().await, None);
    }
}

pub fn bytes_of(pdu: &Pdu) -> Vec<u8> {
    let mut out = Vec::new();
    write_pdu(&mut out, pdu).unwrap();
    out
}

pub const COMMAND: u8 = 1;
pub const DATA: u8 = 0;
pub const LAST: u8 = 2;

/// One value: context, message control header, content.
pub fn value(context: u8, control: u8, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_u32(u32::try_from(content.len() + 2).unwrap());
    out.put_u8(context);
    out.put_u8(control);
    out.extend_from_slice(content);
    out
}

/// A P-DATA-TF of these values.
pub fn pdata(values: &[Vec<u8>]) -> Vec<u8> {
    let body = values.concat();
    let mut out = vec![4, 0];
    out.put_u32(u32::try_from(body.len()).unwrap());
    out.extend_from_slice(&body);
    out
}

pub fn store_command(message: u16) -> CommandSet {
    CommandSet::new(operation::C_STORE_RQ)
        .with_uid(field::AFFECTED_SOP_CLASS_UID, CT)
        .with_us(field::MESSAGE_ID, message)
        .with_us(field::PRIORITY, 0)
        .with_us(field::DATA_SET_TYPE, WITH_DATA_SET)
        .with_uid(field::AFFECTED_SOP_INSTANCE_UID, INSTANCE)
}

pub fn echo_command(message: u16) -> CommandSet {
    CommandSet::new(operation::C_ECHO_RQ)
        .with_uid(field::AFFECTED_SOP_CLASS_UID, VERIFICATION)
        .with_us(field::MESSAGE_ID, message)
        .with_us(field::DATA_SET_TYPE, NO_DATA_SET)
}

/// A command set in one value of its own PDU.
pub fn command_pdu(context: u8, command: &CommandSet) -> Vec<u8> {
    pdata(&[value(context, COMMAND | LAST, &command.encode())])
}

/// Bytes that differ everywhere.
pub fn content(len: usize) -> Vec<u8> {
    (0..len).map(|n| u8::try_from((n * 31 + n / 251) % 251).unwrap()).collect()
}

pub fn ae(title: &str) -> AeTitle {
    title.parse().unwrap()
}
