//! How associations end.

use crate::{CommandError, FrameError, MessageError, Rejection, RequestError};
use dicom_ul::pdu::AbortRQServiceProviderReason as AbortReason;
use leadglass_model::Fault;
use std::io;

/// Why an association is over. None of it repeats what the peer sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Ended {
    /// The peer released it: all is well.
    #[error("released by the peer")]
    Released,
    /// The peer sent an A-ABORT.
    #[error("aborted by the peer")]
    Aborted,
    /// The peer closed the connection without a release.
    #[error("the connection was closed without a release")]
    Closed,
    /// The connection broke.
    #[error("the connection broke")]
    Broken(#[source] io::Error),
    /// The TLS handshake failed.
    #[error("the TLS handshake failed")]
    Handshake(#[source] io::Error),
    /// The request was answered with an A-ASSOCIATE-RJ.
    #[error("the association was rejected")]
    Rejected(#[source] Rejection),
    /// No association within the negotiation deadline.
    #[error("no association was negotiated in time")]
    NegotiationTimeout,
    /// No message within the idle time.
    #[error("no message came in time")]
    Idle,
    /// A data set came slower than the rate floor.
    #[error("a data set came too slowly")]
    TooSlow,
    /// The association reached its longest duration.
    #[error("the association lasted too long")]
    Overdue,
    /// The peer did not take an answer in time.
    #[error("the peer did not take an answer in time")]
    WriteTimeout,
    /// This node is stopping.
    #[error("this node is stopping")]
    Draining,
    /// The device was revoked meanwhile.
    #[error("the device's enrolment ended")]
    Revoked,
    /// A PDU is not one.
    #[error("a PDU breaks PS3.8")]
    Frame(#[from] FrameError),
    /// A PDU that may not come now.
    #[error("an unexpected PDU came")]
    UnexpectedPdu,
    /// An association request that breaks the rules.
    #[error("the association request breaks PS3.8")]
    Request(#[from] RequestError),
    /// A value on a presentation context that was not accepted.
    #[error("a message came on a context that was not accepted")]
    UnknownContext,
    /// Values that do not make a message.
    #[error("a message breaks PS3.7")]
    Message(#[from] MessageError),
    /// A command set that cannot be read.
    #[error("a command set is malformed")]
    Command(#[from] CommandError),
    /// A command set without a command field or message number, or a response nobody asked for.
    #[error("a command set lacks what every request has")]
    IncompleteCommand,
    /// A defect on our side.
    #[error("an answer could not be written")]
    Unwritable,
}

impl Ended {
    /// The kind of the failure; `None` when the association ended as it should.
    pub fn fault(&self) -> Option<Fault> {
        match self {
            Self::Released => None,
            Self::Draining | Self::WriteTimeout => Some(Fault::Busy),
            Self::Rejected(Rejection::CalledAe | Rejection::CallingAe) | Self::Revoked => Some(Fault::Denied),
            Self::Rejected(Rejection::LocalLimit | Rejection::Congestion) => Some(Fault::Busy),
            Self::Unwritable => Some(Fault::Broken),
            _ => Some(Fault::BadInput),
        }
    }

    /// The reason for the A-ABORT we send; `None` where none is due.
    pub(crate) fn abort_reason(&self) -> Option<AbortReason> {
        match self {
            Self::Released
            | Self::Aborted
            | Self::Closed
            | Self::Broken(_)
            | Self::Handshake(_)
            | Self::Rejected(_)
            | Self::WriteTimeout => None,
            Self::Frame(error) => Some(error.reason()),
            Self::UnexpectedPdu | Self::Message(_) => Some(AbortReason::UnexpectedPdu),
            Self::Request(_) | Self::UnknownContext | Self::Command(_) | Self::IncompleteCommand => {
                Some(AbortReason::InvalidPduParameter)
            }
            Self::NegotiationTimeout
            | Self::Idle
            | Self::TooSlow
            | Self::Overdue
            | Self::Draining
            | Self::Revoked
            | Self::Unwritable => Some(AbortReason::ReasonNotSpecified),
        }
    }

    /// The word in metrics and logs.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Released => "released",
            Self::Aborted => "aborted",
            Self::Closed => "closed",
            Self::Broken(_) => "broken",
            Self::Handshake(_) => "handshake",
            Self::Rejected(rejection) => rejection.word(),
            Self::NegotiationTimeout => "negotiation-timeout",
            Self::Idle => "idle",
            Self::TooSlow => "too-slow",
            Self::Overdue => "overdue",
            Self::WriteTimeout => "write-timeout",
            Self::Draining => "draining",
            Self::Revoked => "revoked",
            Self::Frame(_) => "bad-pdu",
            Self::UnexpectedPdu => "unexpected-pdu",
            Self::Request(_) => "bad-request",
            Self::UnknownContext => "unknown-context",
            Self::Message(_) => "bad-message",
            Self::Command(_) | Self::IncompleteCommand => "bad-command",
            Self::Unwritable => "defect",
        }
    }
}
