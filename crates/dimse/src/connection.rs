//! A byte stream with deadlines: frames in, PDUs out.

use crate::{
    Ended, Limits,
    framing::{Decoder, Frame, encode_control},
};
use dicom_ul::pdu::{AbortRQSource, Pdu};
use std::{sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::{Instant, sleep, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;

/// One peer's stream.
pub(crate) struct Connection<S> {
    stream: S,
    decoder: Decoder,
    limits: Arc<Limits>,
    /// When all has to be over.
    deadline: Instant,
    cancel: CancellationToken,
}

/// How long to wait for the next frame.
#[derive(Debug)]
pub(crate) enum Patience<'a> {
    /// For the association request, until then.
    Negotiation(Instant),
    /// Between messages, until then; a drain ends it at once.
    Message(Instant),
    /// Inside a data set: as long as enough comes.
    Data(&'a mut RateFloor),
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Connection<S> {
    pub(crate) fn new(stream: S, limits: Arc<Limits>, deadline: Instant, cancel: CancellationToken) -> Self {
        Self { stream, decoder: Decoder::default(), limits, deadline, cancel }
    }

    pub(crate) fn set_deadline(&mut self, deadline: Instant) {
        self.deadline = deadline;
    }

    /// The next frame.
    ///
    /// Cancel safety: bytes that were read stay in the decoder.
    pub(crate) async fn frame(&mut self, mut patience: Patience<'_>) -> Result<Frame, Ended> {
        loop {
            if let Some(frame) = self.decoder.next()? {
                return Ok(frame);
            }
            let began = Instant::now();
            let until = patience.until(began).min(self.deadline);
            let drain = !matches!(patience, Patience::Data(_));
            let read = tokio::select! {
                biased;
                () = self.cancel.cancelled(), if drain => return Err(Ended::Draining),
                read = timeout_at(until, self.stream.read_buf(self.decoder.room())) => read,
            };
            let received = match read {
                Ok(Ok(0)) => return Err(Ended::Closed),
                Ok(Ok(received)) => received,
                Ok(Err(error)) => return Err(Ended::Broken(error)),
                Err(_) => 0,
            };
            let now = Instant::now();
            // Asked after every read: a peer that always has bytes ready never lets the timer fire.
            if now >= self.deadline {
                return Err(patience.overdue());
            }
            patience.spend(now, now.saturating_duration_since(began), received)?;
        }
    }

    /// Sends bytes, all of them.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> Result<(), Ended> {
        let sending = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        match timeout(self.limits.write_timeout, sending).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Ended::Broken(error)),
            Err(_) => Err(Ended::WriteTimeout),
        }
    }

    /// Sends a PDU other than P-DATA-TF.
    pub(crate) async fn write_control(&mut self, pdu: &Pdu) -> Result<(), Ended> {
        self.write(&encode_control(pdu).ok_or(Ended::Unwritable)?).await
    }

    /// Says what has to be said at the end, then waits for the peer to close, at most `patience` (ARTIM).
    pub(crate) async fn part(mut self, ended: &Ended, patience: Duration) {
        if let Some(reason) = ended.abort_reason() {
            let abort = Pdu::AbortRQ { source: AbortRQSource::ServiceProvider(reason) };
            if self.write_control(&abort).await.is_err() {
                return;
            }
        } else if !matches!(ended, Ended::Released | Ended::Rejected(_)) {
            return;
        }
        if !matches!(timeout(self.limits.write_timeout, self.stream.shutdown()).await, Ok(Ok(()))) {
            return;
        }
        // What still comes is read away: closing over unread bytes would reset the connection, and the peer might never see
        // what we said.
        let closing = async {
            let mut scratch = vec![0; SCRATCH_BYTES];
            while self.stream.read(&mut scratch).await.is_ok_and(|received| received > 0) {}
        };
        let drained = async {
            self.cancel.cancelled().await;
            sleep(DRAIN_PATIENCE).await;
        };
        tokio::select! {
            _ = timeout(patience, closing) => {}
            () = drained => {}
        }
    }
}

impl Patience<'_> {
    fn until(&self, now: Instant) -> Instant {
        match self {
            Self::Negotiation(until) | Self::Message(until) => *until,
            Self::Data(floor) => now + floor.rest(),
        }
    }

    fn overdue(&self) -> Ended {
        match self {
            Self::Negotiation(_) => Ended::NegotiationTimeout,
            _ => Ended::Overdue,
        }
    }

    fn spend(&mut self, now: Instant, waited: Duration, received: usize) -> Result<(), Ended> {
        match self {
            Self::Negotiation(until) if now >= *until => Err(Ended::NegotiationTimeout),
            Self::Message(until) if now >= *until => Err(Ended::Idle),
            Self::Negotiation(_) | Self::Message(_) => Ok(()),
            Self::Data(floor) => floor.spend(waited, received),
        }
    }
}

/// Measures how fast a data set comes. Time in which we were busy ourselves does not count against the peer.
#[derive(Debug)]
pub(crate) struct RateFloor {
    window: Duration,
    least: u64,
    waited: Duration,
    received: u64,
}

impl RateFloor {
    pub(crate) fn new(limits: &Limits) -> Self {
        let millis = u64::try_from(limits.rate_window.as_millis()).unwrap_or(u64::MAX);
        let least = limits.min_bytes_per_second.saturating_mul(millis) / 1000;
        Self { window: limits.rate_window, least, waited: Duration::ZERO, received: 0 }
    }

    fn rest(&self) -> Duration {
        self.window.saturating_sub(self.waited)
    }

    fn spend(&mut self, waited: Duration, received: usize) -> Result<(), Ended> {
        self.waited = self.waited.saturating_add(waited);
        self.received = self.received.saturating_add(received as u64);
        if self.waited < self.window {
            return Ok(());
        }
        if self.received < self.least {
            return Err(Ended::TooSlow);
        }
        (self.waited, self.received) = (Duration::ZERO, 0);
        Ok(())
    }
}

const SCRATCH_BYTES: usize = 16 * 1024;

/// A node that stops waits no longer than this for a peer to close.
const DRAIN_PATIENCE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_window_below_the_floor_is_too_slow() {
        let limits = Limits { rate_window: Duration::from_secs(30), min_bytes_per_second: 8192, ..Limits::default() };
        let mut floor = RateFloor::new(&limits);
        for _ in 0..3 {
            floor.spend(Duration::from_secs(29), 10).unwrap();
            floor.spend(Duration::from_secs(1), 30 * 8192).unwrap();
        }
        floor.spend(Duration::from_secs(29), 30 * 8192 - 2).unwrap();
        assert!(matches!(floor.spend(Duration::from_secs(1), 1), Err(Ended::TooSlow)));
    }
}
