//! One association, from its request to its end.

use crate::{
    CommandSet, Ended, Exchange, Limits, Peer, Request, Status,
    command::operation,
    connection::{Connection, Patience, RateFloor},
    framing::{Frame, Part, encode_values},
    message::{Assembly, Step},
    negotiate::Context,
    status,
};
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use dicom_ul::pdu::Pdu;
use std::{collections::BTreeMap, sync::Arc};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::Instant,
};

/// An association that was accepted.
pub(crate) struct Association<'a, S> {
    pub(crate) connection: &'a mut Connection<S>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) peer: Arc<Peer>,
    pub(crate) contexts: BTreeMap<u8, Context>,
    pub(crate) peer_pdu_bytes: u32,
    pub(crate) deadline: Instant,
    assembly: Assembly,
    requests: u64,
}

impl<'a, S: AsyncRead + AsyncWrite + Unpin + Send> Association<'a, S> {
    pub(crate) fn new(
        connection: &'a mut Connection<S>,
        limits: Arc<Limits>,
        peer: Arc<Peer>,
        contexts: BTreeMap<u8, Context>,
        peer_pdu_bytes: u32,
    ) -> Self {
        let deadline = Instant::now() + limits.association_timeout;
        connection.set_deadline(deadline);
        Self { connection, limits, peer, contexts, peer_pdu_bytes, deadline, assembly: Assembly::new(), requests: 0 }
    }

    /// Answers messages until the association ends.
    pub(crate) async fn run(mut self) -> Ended {
        loop {
            if let Err(ended) = self.answer_next().await {
                return ended;
            }
        }
    }

    async fn answer_next(&mut self) -> Result<(), Ended> {
        let (number, bytes) = self.next_command().await?;
        let command = CommandSet::parse(&bytes)?;
        let context = self.contexts.get(&number).ok_or(Ended::UnknownContext)?;
        let command_field = command.command_field().ok_or(Ended::IncompleteCommand)?;
        if command_field == operation::C_CANCEL_RQ {
            // It names an operation that was answered already: one message is in flight at a time.
            return Ok(());
        }
        if command_field & operation::RESPONSE != 0 || command.message_id().is_none() {
            return Err(Ended::IncompleteCommand);
        }
        if command.has_data_set() {
            self.assembly.expect_data(number);
        }
        self.requests += 1;
        let service = Arc::clone(&context.service);
        let request = Request {
            peer: Arc::clone(&self.peer),
            request_id: format!("{}-{}", self.peer.association, self.requests),
            abstract_syntax: Arc::clone(&context.abstract_syntax),
            transfer_syntax: Arc::clone(&context.transfer_syntax),
            command,
            deadline: self.deadline,
        };
        let mut exchange = Conversation {
            rate: RateFloor::new(&self.limits),
            connection: self.connection,
            assembly: &mut self.assembly,
            context: number,
            peer_pdu_bytes: self.peer_pdu_bytes,
        };
        if service.commands().contains(&command_field) {
            service.serve(&request, &mut exchange).await?;
            exchange.drain().await
        } else {
            exchange.drain().await?;
            let answer = status::response(&request.command, Status::UNRECOGNISED_OPERATION);
            exchange.send(&answer, None).await
        }
    }

    async fn next_command(&mut self) -> Result<(u8, Bytes), Ended> {
        let until = Instant::now() + self.limits.idle_timeout;
        loop {
            let pdv = match self.connection.frame(Patience::Message(until)).await? {
                Frame::Value(pdv) => pdv,
                Frame::Control(Pdu::ReleaseRQ) if self.assembly.is_idle() => {
                    self.connection.write_control(&Pdu::ReleaseRP).await?;
                    return Err(Ended::Released);
                }
                Frame::Control(pdu) => return Err(unexpected(&pdu)),
            };
            if !self.contexts.contains_key(&pdv.context) {
                return Err(Ended::UnknownContext);
            }
            match self.assembly.take(pdv)? {
                Step::More => {}
                Step::Command { context, bytes } => return Ok((context, bytes)),
                // Each message is read to its end before the next.
                Step::Data { .. } => return Err(Ended::UnexpectedPdu),
            }
        }
    }
}

/// A PDU that may not come inside a message.
fn unexpected(pdu: &Pdu) -> Ended {
    if matches!(pdu, Pdu::AbortRQ { .. }) { Ended::Aborted } else { Ended::UnexpectedPdu }
}

struct Conversation<'a, S> {
    connection: &'a mut Connection<S>,
    assembly: &'a mut Assembly,
    context: u8,
    peer_pdu_bytes: u32,
    rate: RateFloor,
}

#[async_trait]
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Exchange for Conversation<'_, S> {
    async fn next_data(&mut self) -> Result<Option<Bytes>, Ended> {
        while self.assembly.is_in_data() {
            let pdv = match self.connection.frame(Patience::Data(&mut self.rate)).await? {
                Frame::Value(pdv) => pdv,
                Frame::Control(pdu) => return Err(unexpected(&pdu)),
            };
            if let Step::Data { piece, .. } = self.assembly.take(pdv)?
                && !piece.is_empty()
            {
                return Ok(Some(piece));
            }
        }
        Ok(None)
    }

    async fn send(&mut self, command: &CommandSet, data_set: Option<&[u8]>) -> Result<(), Ended> {
        let mut out = BytesMut::new();
        encode_values(&mut out, self.context, Part::Command, &command.encode(), self.peer_pdu_bytes);
        if let Some(data_set) = data_set {
            encode_values(&mut out, self.context, Part::Data, data_set, self.peer_pdu_bytes);
        }
        self.connection.write(&out).await
    }
}
