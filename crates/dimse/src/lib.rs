//! DICOM over the wire: the Upper Layer (PS3.8), DIMSE messages (PS3.7), and the services that answer them (PS3.4).
//!
//! [`Listener`] takes connections, negotiates associations of its own, and hands messages to [`Service`]s: [`Echo`] and
//! [`Storage`] here, others may join. [`Storage`] streams what modalities send into an [`Intake`]; memory stays flat
//! however large an instance is. [`send`] is the other side: a C-STORE and C-ECHO requestor.
//!
//! **Invariant:** nothing a peer says decides how much memory is taken: a length is checked against a limit before its
//! bytes are waited for, counts before anything is allocated for them, and time has deadlines and a rate floor.
//! **Invariant:** "stored" is said only on the receipt [`leadglass_model::Acknowledged`].
//! **Invariant:** no value of a peer stands in a log, an error or an answer. PDUs are never printed.

#![forbid(unsafe_code)]

mod acceptor;
mod ae;
mod association;
pub mod command;
mod connection;
mod devices;
mod echo;
mod ended;
mod framing;
mod handshake;
mod intake;
pub mod limits;
mod message;
mod negotiate;
mod places;
pub mod send;
mod service;
mod sop;
mod status;
mod store;

pub use acceptor::{Listener, Origin, Transport};
pub use ae::{AeTitle, AeTitleError};
pub use command::{CommandError, CommandSet};
pub use devices::{AddressRule, AddressRuleError, Allowed, Caller, DeviceDecision, DeviceRefusal, Devices};
pub use echo::Echo;
pub use ended::Ended;
pub use framing::FrameError;
pub use handshake::HandshakeFailure;
pub use intake::{
    Incoming, Intake, IntakeRefusal, JOINED_PIECE_BYTES, MoveOriginator, SMALL_PIECE_BYTES, StoreRequest,
};
pub use limits::Limits;
pub use message::MessageError;
pub use negotiate::{Rejection, RequestError};
pub use service::{Exchange, Peer, Request, Roles, Service};
pub use sop::{IMPLICIT_VR_LITTLE_ENDIAN, StoragePolicy, UidRule, UidRuleError, VERIFICATION};
pub use status::Status;
pub use store::Storage;
