//! An association that we opened.

use super::Outgoing;
use crate::{
    AeTitle, CommandError, CommandSet, FrameError, MessageError, Status, VERIFICATION,
    command::{NO_DATA_SET, WITH_DATA_SET, field, operation},
    framing::{Decoder, Frame, Part, encode_control, encode_values, put_value_header, value_bytes},
    limits::{ADVERTISED_PDU_BYTES, MAX_CONTEXTS},
    message::{Assembly, Step},
    negotiate::{APPLICATION_CONTEXT, MIN_PEER_PDU_BYTES, max_length},
    sop::IMPLICIT_VR_LITTLE_ENDIAN,
};
use bytes::{Bytes, BytesMut};
use dicom_ul::pdu::{
    AbortRQSource, AssociationRJResult, AssociationRJSource, AssociationRQ, Pdu, PresentationContextProposed,
    PresentationContextResultReason, UserVariableItem,
};
use leadglass_model::{SopClassUid, SopInstanceUid, TransferSyntaxUid};
use leadglass_tap::part10::{IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME};
use std::{collections::BTreeMap, io, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::timeout,
};

/// How to open an association, and how long to wait.
#[derive(Debug, Clone)]
pub struct SendConfig {
    /// Who we say we are.
    pub calling_ae: AeTitle,
    /// Whom we call.
    pub called_ae: AeTitle,
    /// For the answer to the association request, to a release, and for each write.
    pub timeout: Duration,
    /// For the answer to a message: a peer may store slowly.
    pub answer_timeout: Duration,
}

impl SendConfig {
    /// The usual patience: 30 s, and 5 min for an answer.
    pub fn new(calling_ae: AeTitle, called_ae: AeTitle) -> Self {
        Self { calling_ae, called_ae, timeout: Duration::from_secs(30), answer_timeout: Duration::from_secs(300) }
    }
}

/// A presentation context to ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// Abstract syntax: the SOP class.
    pub abstract_syntax: String,
    /// Transfer syntaxes, dearest first.
    pub transfer_syntaxes: Vec<String>,
}

impl Proposal {
    /// The Verification context, for [`Requestor::echo`].
    pub fn verification() -> Self {
        Self { abstract_syntax: VERIFICATION.to_owned(), transfer_syntaxes: vec![IMPLICIT_VR_LITTLE_ENDIAN.to_owned()] }
    }

    /// One context for each pair of SOP class and transfer syntax among `files`, so that nothing has to be re-encoded.
    pub fn for_files(files: &[Outgoing]) -> Vec<Self> {
        let mut proposals: Vec<Self> = Vec::new();
        for file in files {
            let proposal = Self {
                abstract_syntax: file.sop_class.as_str().to_owned(),
                transfer_syntaxes: vec![file.transfer_syntax.as_str().to_owned()],
            };
            if !proposals.contains(&proposal) {
                proposals.push(proposal);
            }
        }
        proposals
    }
}

/// A peer's answer to a C-STORE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreAnswer {
    /// Its status.
    pub status: Status,
    /// Its Error Comment: a text of the peer, not to be logged.
    pub comment: Option<String>,
}

/// Why an association could not be opened, or ended before an answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The network.
    #[error("the connection failed")]
    Connection(#[source] io::Error),
    /// No answer in time.
    #[error("the peer did not answer in time")]
    Timeout,
    /// The peer closed the connection.
    #[error("the peer closed the connection")]
    Closed,
    /// The peer turned the association down (A-ASSOCIATE-RJ).
    #[error("the peer rejected the association: {reason}")]
    Rejected {
        /// Whether trying again later may help.
        transient: bool,
        /// The reason, in the words of PS3.8 §9.3.4.
        reason: String,
    },
    /// The peer aborted it (A-ABORT).
    #[error("the peer aborted the association")]
    Aborted,
    /// More contexts than fit one association, or none.
    #[error("{0} presentation contexts were asked for, 1 to 128 fit")]
    Contexts(usize),
    /// The peer does not take this SOP class in this transfer syntax.
    #[error("the peer did not accept the presentation context")]
    NotAccepted,
    /// What the peer sends is not DICOM.
    #[error("the peer breaks PS3.8")]
    Frame(#[from] FrameError),
    /// What the peer sends is no message.
    #[error("the peer breaks PS3.7")]
    Message(#[from] MessageError),
    /// A command set that cannot be read.
    #[error("the peer's answer is malformed")]
    Command(#[from] CommandError),
    /// Something that does not answer what was asked.
    #[error("the peer's answer is not to the request")]
    UnexpectedAnswer,
    /// A title or UID that does not fit the request.
    #[error("the association request cannot be written")]
    Unwritable,
    /// The data set to send cannot be read, or is shorter than announced.
    #[error("the data set cannot be read")]
    Source(#[source] io::Error),
}

/// An open association.
pub struct Requestor<S> {
    stream: S,
    decoder: Decoder,
    assembly: Assembly,
    config: SendConfig,
    contexts: BTreeMap<u8, (String, String)>,
    peer_pdu_bytes: u32,
    messages: u16,
}

impl<S> std::fmt::Debug for Requestor<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Requestor").field("contexts", &self.contexts.len()).finish_non_exhaustive()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Requestor<S> {
    /// Negotiates an association over `stream`.
    ///
    /// Cancel safety: dropping it closes the stream.
    pub async fn open(stream: S, config: &SendConfig, proposals: &[Proposal]) -> Result<Self, SendError> {
        if proposals.is_empty() || proposals.len() > MAX_CONTEXTS {
            return Err(SendError::Contexts(proposals.len()));
        }
        let numbered = || (1u8..=255).step_by(2).zip(proposals);
        let request = AssociationRQ {
            protocol_version: 1,
            calling_ae_title: config.calling_ae.as_str().to_owned(),
            called_ae_title: config.called_ae.as_str().to_owned(),
            application_context_name: APPLICATION_CONTEXT.to_owned(),
            presentation_contexts: numbered()
                .map(|(id, proposal)| PresentationContextProposed {
                    id,
                    abstract_syntax: proposal.abstract_syntax.clone(),
                    transfer_syntaxes: proposal.transfer_syntaxes.clone(),
                })
                .collect(),
            user_variables: vec![
                UserVariableItem::MaxLength(ADVERTISED_PDU_BYTES),
                UserVariableItem::ImplementationClassUID(IMPLEMENTATION_CLASS_UID.to_owned()),
                UserVariableItem::ImplementationVersionName(IMPLEMENTATION_VERSION_NAME.to_owned()),
            ],
        };
        let mut this = Self {
            stream,
            decoder: Decoder::default(),
            assembly: Assembly::new(),
            config: config.clone(),
            contexts: BTreeMap::new(),
            peer_pdu_bytes: ADVERTISED_PDU_BYTES,
            messages: 0,
        };
        this.write_control(&Pdu::AssociationRQ(request)).await?;
        let answer = match this.frame(config.timeout).await? {
            Frame::Control(Pdu::AssociationAC(answer)) => answer,
            Frame::Control(Pdu::AssociationRJ(rejection)) => {
                let transient = rejection.result == AssociationRJResult::Transient;
                return Err(SendError::Rejected { transient, reason: reason(&rejection.source) });
            }
            Frame::Control(Pdu::AbortRQ { .. }) => return Err(SendError::Aborted),
            _ => return Err(SendError::UnexpectedAnswer),
        };
        this.peer_pdu_bytes = match max_length(&answer.user_variables) {
            0 => ADVERTISED_PDU_BYTES,
            length if length < MIN_PEER_PDU_BYTES => return Err(SendError::UnexpectedAnswer),
            length => length.min(ADVERTISED_PDU_BYTES),
        };
        let proposed: BTreeMap<u8, &Proposal> = numbered().collect();
        for result in answer.presentation_contexts {
            let transfer_syntax = result.transfer_syntax.trim_matches([' ', '\0']);
            if let Some(proposal) = proposed.get(&result.id)
                && result.reason == PresentationContextResultReason::Acceptance
                && proposal.transfer_syntaxes.iter().any(|uid| uid == transfer_syntax)
            {
                this.contexts.insert(result.id, (proposal.abstract_syntax.clone(), transfer_syntax.to_owned()));
            }
        }
        Ok(this)
    }

    /// Whether the peer takes this SOP class in this transfer syntax.
    pub fn accepts(&self, sop_class: &SopClassUid, transfer_syntax: &TransferSyntaxUid) -> bool {
        self.context(sop_class.as_str(), Some(transfer_syntax.as_str())).is_some()
    }

    fn context(&self, abstract_syntax: &str, transfer_syntax: Option<&str>) -> Option<u8> {
        self.contexts
            .iter()
            .find(|(_, (a, t))| a == abstract_syntax && transfer_syntax.is_none_or(|wanted| wanted == t))
            .map(|(id, _)| *id)
    }

    /// C-ECHO.
    ///
    /// Cancel safety: none; a dropped call leaves an answer unread, so drop the association with it.
    pub async fn echo(&mut self) -> Result<Status, SendError> {
        let context = self.context(VERIFICATION, None).ok_or(SendError::NotAccepted)?;
        let message = self.next_message();
        let command = CommandSet::new(operation::C_ECHO_RQ)
            .with_uid(field::AFFECTED_SOP_CLASS_UID, VERIFICATION)
            .with_us(field::MESSAGE_ID, message)
            .with_us(field::DATA_SET_TYPE, NO_DATA_SET);
        self.write_command(context, &command).await?;
        let answer = self.answer(context, operation::C_ECHO_RQ, message).await?;
        answer.us(field::STATUS).map(Status).ok_or(SendError::UnexpectedAnswer)
    }

    /// C-STORE of `len` bytes from `data`; `sent` is told how many went out, piece by piece.
    ///
    /// Cancel safety: none; a dropped call leaves the message torn, so drop the association with it. After any error the
    /// association is of no more use: [`abort`](Self::abort) it.
    pub async fn store(
        &mut self,
        sop_class: &SopClassUid,
        sop_instance: &SopInstanceUid,
        transfer_syntax: &TransferSyntaxUid,
        mut data: impl AsyncRead + Unpin + Send,
        len: u64,
        mut sent: impl FnMut(u64) + Send,
    ) -> Result<StoreAnswer, SendError> {
        let context = self.context(sop_class.as_str(), Some(transfer_syntax.as_str())).ok_or(SendError::NotAccepted)?;
        let message = self.next_message();
        let command = CommandSet::new(operation::C_STORE_RQ)
            .with_uid(field::AFFECTED_SOP_CLASS_UID, sop_class.as_str())
            .with_us(field::MESSAGE_ID, message)
            .with_us(field::PRIORITY, MEDIUM_PRIORITY)
            .with_us(field::DATA_SET_TYPE, WITH_DATA_SET)
            .with_uid(field::AFFECTED_SOP_INSTANCE_UID, sop_instance.expose());
        self.write_command(context, &command).await?;
        let room = value_bytes(self.peer_pdu_bytes) as u64;
        let mut left = len;
        let mut pdu = BytesMut::new();
        loop {
            let now = left.min(room);
            left -= now;
            let now_bytes = usize::try_from(now).map_err(|_| SendError::UnexpectedAnswer)?;
            pdu.clear();
            put_value_header(&mut pdu, context, Part::Data, left == 0, now_bytes);
            let head = pdu.len();
            pdu.resize(head + now_bytes, 0);
            data.read_exact(&mut pdu[head..]).await.map_err(SendError::Source)?;
            self.write(&pdu).await?;
            sent(now);
            if left == 0 {
                break;
            }
        }
        let answer = self.answer(context, operation::C_STORE_RQ, message).await?;
        let status = answer.us(field::STATUS).map(Status).ok_or(SendError::UnexpectedAnswer)?;
        Ok(StoreAnswer { status, comment: answer.text(field::ERROR_COMMENT) })
    }

    /// Releases the association (A-RELEASE).
    ///
    /// Cancel safety: dropping it closes the stream.
    pub async fn release(mut self) -> Result<(), SendError> {
        self.write_control(&Pdu::ReleaseRQ).await?;
        match self.frame(self.config.timeout).await? {
            Frame::Control(Pdu::ReleaseRP) => {}
            Frame::Control(Pdu::AbortRQ { .. }) => return Err(SendError::Aborted),
            _ => return Err(SendError::UnexpectedAnswer),
        }
        // The requestor closes the connection (PS3.8 §9.2, AR-3); TLS says so too.
        let _closed = timeout(self.config.timeout, self.stream.shutdown()).await;
        Ok(())
    }

    /// Aborts the association (A-ABORT). Whatever was under way is void.
    ///
    /// Cancel safety: dropping it closes the stream.
    pub async fn abort(mut self) {
        if self.write_control(&Pdu::AbortRQ { source: AbortRQSource::ServiceUser }).await.is_ok() {
            let _closed = timeout(self.config.timeout, self.stream.shutdown()).await;
        }
    }

    async fn answer(&mut self, context: u8, request: u16, message: u16) -> Result<CommandSet, SendError> {
        let bytes = self.command(context).await?;
        let answer = CommandSet::parse(&bytes)?;
        let fits = answer.command_field() == Some(request | operation::RESPONSE)
            && answer.us(field::MESSAGE_ID_RESPONDED) == Some(message)
            && !answer.has_data_set();
        if fits { Ok(answer) } else { Err(SendError::UnexpectedAnswer) }
    }

    async fn command(&mut self, wanted: u8) -> Result<Bytes, SendError> {
        loop {
            let pdv = match self.frame(self.config.answer_timeout).await? {
                Frame::Value(pdv) => pdv,
                Frame::Control(Pdu::AbortRQ { .. }) => return Err(SendError::Aborted),
                Frame::Control(_) => return Err(SendError::UnexpectedAnswer),
            };
            match self.assembly.take(pdv)? {
                Step::More => {}
                Step::Command { context, bytes } if context == wanted => return Ok(bytes),
                _ => return Err(SendError::UnexpectedAnswer),
            }
        }
    }

    async fn frame(&mut self, patience: Duration) -> Result<Frame, SendError> {
        let reading = async {
            loop {
                if let Some(frame) = self.decoder.next()? {
                    return Ok(frame);
                }
                if self.stream.read_buf(self.decoder.room()).await.map_err(SendError::Connection)? == 0 {
                    return Err(SendError::Closed);
                }
            }
        };
        timeout(patience, reading).await.unwrap_or(Err(SendError::Timeout))
    }

    async fn write_command(&mut self, context: u8, command: &CommandSet) -> Result<(), SendError> {
        let mut out = BytesMut::new();
        encode_values(&mut out, context, Part::Command, &command.encode(), self.peer_pdu_bytes);
        self.write(&out).await
    }

    async fn write_control(&mut self, pdu: &Pdu) -> Result<(), SendError> {
        self.write(&encode_control(pdu).ok_or(SendError::Unwritable)?).await
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), SendError> {
        let writing = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        match timeout(self.config.timeout, writing).await {
            Ok(written) => written.map_err(SendError::Connection),
            Err(_) => Err(SendError::Timeout),
        }
    }

    fn next_message(&mut self) -> u16 {
        self.messages = self.messages.wrapping_add(1);
        self.messages
    }
}

/// Only the fixed words of PS3.8: the source is an enumeration.
fn reason(source: &AssociationRJSource) -> String {
    source.to_string()
}

const MEDIUM_PRIORITY: u16 = 0;
