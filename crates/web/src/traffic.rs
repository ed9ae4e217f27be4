//! Whether the peer of a connection gets on: one that takes nothing of what it asked for, or asks for nothing, is let go.
//!
//! HTTP/1.1 and HTTP/2 stall in different places. A socket that takes no more is seen where it is written. A stream of HTTP/2
//! that takes no more leaves its socket free: it is seen by its body not being asked for the next piece, so bodies are
//! counted while they wait for that, and long pieces are cut, for a piece that was handed over is out of our hands.

mod answers;
mod socket;
#[cfg(test)]
mod tests;

pub(crate) use answers::Counted;
pub(crate) use socket::Watched;

use parking_lot::Mutex;
use std::{io, sync::Arc, task::Poll, time::Duration};
use tokio::time::Instant;

/// What goes on on one connection. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Traffic(Arc<Mutex<Counts>>);

#[derive(Debug)]
struct Counts {
    /// Requests whose answers are not over.
    requests: usize,
    /// Answers of which the peer has to take the next piece.
    waiting: usize,
    /// Those of HTTP/2, which get on or do not each by itself.
    streams: Vec<Stream>,
    next_stream: u64,
    /// The socket takes no more.
    blocked: bool,
    /// Bytes that were written since `since`.
    written: usize,
    /// Bytes that were ever written.
    total: u64,
    /// When the peer last got on, or began not to.
    since: Instant,
}

/// A stream of HTTP/2 of which the peer has to take the next piece.
#[derive(Debug, Clone, Copy)]
struct Stream {
    number: u64,
    /// Since when.
    since: Instant,
    /// Bytes that its connection had ever written then.
    total: u64,
}

impl Counts {
    /// Whether a stream was passed over for long: its connection carried the share of all that wait, twice, and it took no piece
    /// of it. A line that is slow to all of them alike passes over none.
    fn is_passed_over(&self, stream: &Stream) -> bool {
        let waited = stream.since.elapsed();
        let shares = 2 * PIECE_BYTES as u64 * self.streams.len() as u64;
        (waited >= STREAM_TIME && self.total.saturating_sub(stream.total) >= shares) || waited >= LONGEST_STREAM_TIME
    }

    const fn is_pressing(&self) -> bool {
        self.waiting > 0 || self.blocked
    }

    fn restart(&mut self) {
        (self.written, self.since) = (0, Instant::now());
    }

    /// Changes something, and begins to count where that makes us wait, or not wait any more.
    fn change(&mut self, change: impl FnOnce(&mut Self)) {
        let was = (self.is_pressing(), self.requests > 0);
        change(self);
        if was != (self.is_pressing(), self.requests > 0) {
            self.restart();
        }
    }
}

impl Traffic {
    pub(crate) fn new() -> Self {
        let since = Instant::now();
        Self(Arc::new(Mutex::new(Counts {
            requests: 0,
            waiting: 0,
            streams: Vec::new(),
            next_stream: 0,
            blocked: false,
            written: 0,
            total: 0,
            since,
        })))
    }

    fn change(&self, change: impl FnOnce(&mut Counts)) {
        self.0.lock().change(change);
    }

    fn wrote(&self, outcome: &Poll<io::Result<usize>>) {
        let mut counts = self.0.lock();
        match outcome {
            Poll::Pending => counts.change(|counts| counts.blocked = true),
            Poll::Ready(Ok(bytes)) => {
                counts.written += bytes;
                counts.total += *bytes as u64;
                if counts.written >= PROGRESS_BYTES {
                    counts.restart();
                    counts.blocked = false;
                }
            }
            Poll::Ready(Err(_)) => {}
        }
    }

    /// Nothing is left to be written.
    fn flushed(&self) {
        self.change(|counts| counts.blocked = false);
    }

    /// Whether it is over.
    fn is_over(&self) -> bool {
        let counts = self.0.lock();
        let quiet = counts.since.elapsed();
        if counts.streams.iter().any(|stream| counts.is_passed_over(stream)) {
            return true;
        }
        if counts.is_pressing() { quiet >= STALL_TIME } else { counts.requests == 0 && quiet >= IDLE_TIME }
    }
}

/// So long a peer may take nothing of what it asked for. The standard tools wait as long.
const STALL_TIME: Duration = Duration::from_secs(30);
/// So long a stream of HTTP/2 may take nothing while others of its connection get on; its connection ends with it, for
/// nothing else reaches a stream whose peer gives it no room.
const STREAM_TIME: Duration = Duration::from_secs(120);
/// So long it may take nothing on however slow a line: 64 streams get a piece each at 4.7 KB/s.
const LONGEST_STREAM_TIME: Duration = Duration::from_secs(15 * 60);
/// What counts as getting on within that; answers to pings are less.
const PROGRESS_BYTES: usize = 4 * 1024;
/// So long a connection is kept on which nothing is asked for. A browser opens another without its user noticing.
const IDLE_TIME: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Bytes that a stream of HTTP/2 is given at a time.
const PIECE_BYTES: usize = 64 * 1024;
