//! The requesting side: C-ECHO and C-STORE as SCU.
//!
//! [`Requestor`] works over any stream, so that the caller brings TCP or TLS; [`send_files`] is the whole way for a list
//! of files. Data sets are streamed; one buffer of one PDU is all that is held.

mod file;
mod requestor;

pub use file::{FileError, Outgoing};
pub use requestor::{Proposal, Requestor, SendConfig, SendError, StoreAnswer};

use leadglass_model::Fault;
use std::{io, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, ToSocketAddrs},
    time::timeout,
};

/// What came of one file.
#[derive(Debug)]
#[non_exhaustive]
pub enum Outcome {
    /// The peer answered.
    Answered(StoreAnswer),
    /// The peer does not take this SOP class in this transfer syntax; nothing was sent.
    NotAccepted,
    /// The file could not be read; nothing was sent, or the association was aborted in the middle of it.
    Unreadable(io::Error),
    /// The association ended before the answer: the peer may or may not have it.
    Unknown,
}

impl Outcome {
    /// Whether the peer has it.
    pub fn is_stored(&self) -> bool {
        matches!(self, Self::Answered(answer) if answer.status.is_done())
    }
}

/// What [`send_files`] tells on its way.
#[derive(Debug)]
#[non_exhaustive]
pub enum Progress<'a> {
    /// So many more bytes of a data set are on the wire.
    Sent {
        /// Which file, by its place in the list.
        file: usize,
        /// How many bytes.
        bytes: u64,
    },
    /// A file is done.
    Done {
        /// Which file, by its place in the list.
        file: usize,
        /// What came of it.
        outcome: &'a Outcome,
    },
}

/// Connects to a peer, ready for DIMSE.
///
/// Cancel safety: safe.
pub async fn connect(peer: impl ToSocketAddrs, patience: Duration) -> Result<TcpStream, SendError> {
    let stream = match timeout(patience, TcpStream::connect(peer)).await {
        Ok(connected) => connected.map_err(SendError::Connection)?,
        Err(_) => return Err(SendError::Timeout),
    };
    stream.set_nodelay(true).map_err(SendError::Connection)?;
    Ok(stream)
}

/// Sends files over one association, one after the other, and returns an outcome for each, in order. An error stands for
/// an association that could not be opened; one that breaks later shows in the outcomes as [`Outcome::Unknown`].
///
/// Cancel safety: dropping it cuts the connection; the file under way is not stored.
pub async fn send_files<S>(
    stream: S,
    config: &SendConfig,
    files: &[Outgoing],
    mut progress: impl FnMut(Progress<'_>) + Send,
) -> Result<Vec<Outcome>, SendError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let mut requestor = Some(Requestor::open(stream, config, &Proposal::for_files(files)).await?);
    let mut outcomes = Vec::with_capacity(files.len());
    for (index, file) in files.iter().enumerate() {
        let outcome = match requestor.take() {
            None => Outcome::Unknown,
            Some(mut open) => {
                let (outcome, go_on) = send_one(&mut open, file, |bytes| {
                    progress(Progress::Sent { file: index, bytes });
                })
                .await;
                if go_on {
                    requestor = Some(open);
                } else {
                    open.abort().await;
                }
                outcome
            }
        };
        progress(Progress::Done { file: index, outcome: &outcome });
        outcomes.push(outcome);
    }
    if let Some(open) = requestor {
        // Every answer is here; a peer that botches the release takes nothing away.
        let _released = open.release().await;
    }
    Ok(outcomes)
}

async fn send_one<S>(requestor: &mut Requestor<S>, file: &Outgoing, mut sent: impl FnMut(u64) + Send) -> (Outcome, bool)
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    if !requestor.accepts(&file.sop_class, &file.transfer_syntax) {
        return (Outcome::NotAccepted, true);
    }
    let data = match file.data_set().await {
        Ok(data) => data,
        Err(error) => return (Outcome::Unreadable(error), true),
    };
    let stored = requestor
        .store(&file.sop_class, &file.sop_instance, &file.transfer_syntax, data, file.data_set_bytes, &mut sent)
        .await;
    match stored {
        Ok(answer) => (Outcome::Answered(answer), true),
        Err(SendError::Source(error)) => (Outcome::Unreadable(error), false),
        Err(error) => {
            tracing::warn!(fault = ?error.fault(), "An association ended before the answer: {error}");
            (Outcome::Unknown, false)
        }
    }
}

impl SendError {
    /// The kind of the failure.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Connection(_) | Self::Timeout | Self::Closed => Fault::Busy,
            Self::Rejected { transient: true, .. } => Fault::Busy,
            Self::Rejected { .. } => Fault::Denied,
            Self::Source(_) => Fault::Broken,
            _ => Fault::BadInput,
        }
    }
}
