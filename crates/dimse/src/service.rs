//! What a presentation context is good for: services, and the exchange in which one answers a message.
//!
//! An association finds the service by the context's abstract syntax and the command field, hands it the request and an
//! [`Exchange`], and reads away whatever data the service left unread, so that the next message starts clean. C-FIND,
//! C-MOVE and storage commitment join by implementing [`Service`].

use crate::{AeTitle, CommandSet, DeviceDecision, Ended};
use async_trait::async_trait;
use bytes::Bytes;
use std::{net::SocketAddr, sync::Arc};
use tokio::time::Instant;

/// The peer of an association, once it is let in.
#[derive(Debug)]
pub struct Peer {
    /// Random name of the association; request ids start with it.
    pub association: String,
    /// Where it connected from.
    pub address: SocketAddr,
    /// The title it called itself.
    pub calling_ae: AeTitle,
    /// The title it called us.
    pub called_ae: AeTitle,
    /// What the program decided about it.
    pub device: DeviceDecision,
}

/// One command set, and what it came with.
#[derive(Debug, Clone)]
pub struct Request {
    /// Who sends it.
    pub peer: Arc<Peer>,
    /// Names this request in logs and answers.
    pub request_id: String,
    /// Abstract syntax of the presentation context.
    pub abstract_syntax: Arc<str>,
    /// Transfer syntax of the presentation context.
    pub transfer_syntax: Arc<str>,
    /// The command set; its command field is one of [`Service::commands`].
    pub command: CommandSet,
    /// When the association has to end. Work that waits for others ends here, too.
    pub deadline: Instant,
}

/// The two roles of PS3.7 §D.3.3.4, seen from the requestor of the association.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Roles {
    /// It sends requests.
    pub scu: bool,
    /// It answers requests.
    pub scp: bool,
}

/// A DIMSE service on our side.
#[async_trait]
pub trait Service: Send + Sync + 'static {
    /// Whether contexts with this abstract syntax are accepted and served here.
    fn serves(&self, abstract_syntax: &str) -> bool;

    /// Whether a context may use this transfer syntax. The first one the requestor lists and this accepts is chosen.
    fn accepts_transfer_syntax(&self, transfer_syntax: &str) -> bool;

    /// Request command fields (see [`operation`](crate::command::operation)) that are answered; others get status 0211.
    fn commands(&self) -> &[u16];

    /// What of the roles a requestor asks for is granted.
    fn roles(&self, _abstract_syntax: &str, asked: Roles) -> Roles {
        Roles { scu: asked.scu, scp: false }
    }

    /// Answer to SOP class extended negotiation (PS3.7 §D.3.3.5); `None` leaves it unanswered: the default holds.
    fn extended(&self, _abstract_syntax: &str, _asked: &[u8]) -> Option<Vec<u8>> {
        None
    }

    /// Answers one request. An error ends the association and is passed through from the exchange; a request that is
    /// refused is answered with a status instead.
    ///
    /// Cancel safety: the future may be dropped at any await when the association ends; nothing may be half-visible then.
    async fn serve(&self, request: &Request, exchange: &mut dyn Exchange) -> Result<(), Ended>;
}

/// A service's hold on the association while it answers one message.
#[async_trait]
pub trait Exchange: Send {
    /// The next piece of the request's data set, never empty; `None` once it is complete or when there is none.
    /// It waits for the peer, within the rate floor and the association's deadline.
    ///
    /// Cancel safety: no byte is lost.
    async fn next_data(&mut self) -> Result<Option<Bytes>, Ended>;

    /// Sends a command set, then `data_set` when there is one, on the request's context.
    ///
    /// Cancel safety: none; a dropped send leaves the stream torn, so the association has to end.
    async fn send(&mut self, command: &CommandSet, data_set: Option<&[u8]>) -> Result<(), Ended>;

    /// Reads the rest of the request's data set and forgets it. An answer that comes before the end of the data meets
    /// senders that do not listen yet.
    async fn drain(&mut self) -> Result<(), Ended> {
        while self.next_data().await?.is_some() {}
        Ok(())
    }
}
