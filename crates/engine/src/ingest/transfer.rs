//! One instance on its way in.
//!
//! Up to [`INLINE_BYTES`] it is held in memory and sealed when it is whole; what is longer flows: tap, seal, store, part
//! by part, as it arrives. Memory is bounded by the part size whatever the instance's length.
//!
//! What survives if we die:
//! - before `journal.commit` answered: nothing is visible. A flowing upload stands in the store's list of begun uploads
//!   and is swept at the next start. The sender was told nothing and sends again.
//! - after it: object, rows and entry are durable together; the drain or the replay brings them to their places.

use super::{Announced, Destination, IngestError, Received, Source, place::Seat};
use crate::{Shared, unbroken::Unbroken};
use bytes::Bytes;
use leadglass_model::{Acknowledged, ObjectId};
use leadglass_seal::{ContentStart, ObjectSealer, SealOptions, SealedName};
use leadglass_store::Upload;
use leadglass_tap::{InstanceHeader, Tap};
use std::{mem, sync::Arc};

/// An instance whose bytes are arriving. Dropping it abandons the instance: nothing of it becomes visible.
#[derive(Debug)]
pub struct Transfer {
    shared: Arc<Shared>,
    source: Arc<Source>,
    announced: Announced,
    destination: Destination,
    tap: Tap,
    /// Preamble and file meta, ours or as received: BODY in front of the data set.
    preface: Bytes,
    dataset_len: u64,
    state: State,
}

#[derive(Debug)]
enum State {
    Held {
        pieces: Vec<Bytes>,
        bytes: usize,
    },
    Flowing(Box<Flow>),
    /// A piece was refused or could not be stored: nothing comes of it any more.
    Failed,
}

/// An instance that is sealed while it arrives.
#[derive(Debug)]
pub(super) struct Flow {
    pub(super) object: ObjectId,
    seat: Seat,
    sealer: ObjectSealer,
    upload: Upload,
    sealed: Vec<u8>,
}

/// What arrived, before it is decided where it belongs.
#[derive(Debug)]
pub(super) enum Body {
    /// All of it, in memory: the data set without the preface.
    Whole(Vec<Bytes>),
    /// Sealed and handed to the store, but for the last part.
    Flowing(Box<Flow>),
}

impl Transfer {
    pub(super) fn new(
        shared: Arc<Shared>,
        source: Arc<Source>,
        announced: Announced,
        destination: Destination,
        preface: Bytes,
    ) -> Self {
        let tap = Tap::new(&announced.transfer_syntax, leadglass_tap::Limits::default());
        let state = State::Held { pieces: Vec::new(), bytes: 0 };
        Self { shared, source, announced, destination, tap, preface, dataset_len: 0, state }
    }

    /// What the data set said of itself so far.
    pub(super) const fn so_far(&self) -> &InstanceHeader {
        self.tap.so_far()
    }

    /// Takes the next piece of the data set. Waits while the store is behind: that is the back-pressure on the sender.
    ///
    /// After an error it takes nothing more. Cancel safety: none; what was not taken whole is never finished.
    pub async fn write(&mut self, piece: Bytes) -> Result<(), IngestError> {
        let mut state = mem::replace(&mut self.state, State::Failed);
        self.take(&mut state, piece).await?;
        self.state = state;
        Ok(())
    }

    async fn take(&mut self, state: &mut State, piece: Bytes) -> Result<(), IngestError> {
        self.dataset_len += piece.len() as u64;
        let limit = self.shared.limits.instance_bytes;
        if self.dataset_len > limit {
            return Err(IngestError::TooLong { limit });
        }
        self.tap.feed(&piece).map_err(IngestError::NotDicom)?;
        match state {
            State::Held { pieces, bytes } => {
                *bytes += piece.len();
                pieces.push(piece);
                if self.preface.len() + *bytes > INLINE_BYTES {
                    let flow = self.flow(mem::take(pieces)).await?;
                    *state = State::Flowing(flow);
                }
                Ok(())
            }
            State::Flowing(flow) => flow.push(&piece).await,
            State::Failed => Err(IngestError::GivenUp),
        }
    }

    /// The data set is complete. The work from here to the journal is finished whatever happens: a sender that hangs up
    /// now does not tear it.
    ///
    /// Cancel safety: dropping the future leaves the commit running; the instance may become visible. It is to be polled
    /// until it is ready, or dropped: in a task of its own where its owner waits for anything else meanwhile.
    pub async fn finish(self) -> Result<Acknowledged, IngestError> {
        let Self { shared, source, announced, destination, tap, preface, state, .. } = self;
        let tapped = tap.finish().map_err(IngestError::NotDicom)?;
        let body = match state {
            State::Held { pieces, .. } => Body::Whole(pieces),
            State::Flowing(flow) => Body::Flowing(flow),
            State::Failed => return Err(IngestError::GivenUp),
        };
        let received = Received::new(source, announced, tapped, preface, destination)?;
        let work = super::settle::settle(shared.clone(), received, body);
        Unbroken::new(&shared.tasks, work).await
    }

    /// Too long to be held: a key is chosen, the upload begins, and what was held goes through the sealer.
    async fn flow(&mut self, held: Vec<Bytes>) -> Result<Box<Flow>, IngestError> {
        let shared = &self.shared;
        let seat = super::place::seat_early(shared, &self.source, &self.announced, self.tap.so_far(), self.destination)
            .await?;
        let key = seat.key.clone();
        let object = ObjectId::random(&*shared.entropy);
        let name =
            SealedName { tenant: self.source.tenant, object_id: object, key_id: key.key_id(), key_gen: key.key_gen() };
        let upload = shared.objects.begin(object).await.map_err(IngestError::Store)?;
        let mut sealed = Vec::with_capacity(PART_BYTES + SLACK_BYTES);
        let content = ContentStart::At(self.preface.len() as u64);
        let sealer =
            ObjectSealer::begin(key.study_key(), &name, SealOptions::default(), content, &*shared.entropy, &mut sealed);
        let mut flow = Box::new(Flow { object, seat, sealer, upload, sealed });
        flow.push(&self.preface).await?;
        for piece in held {
            flow.push(&piece).await?;
        }
        Ok(flow)
    }
}

impl Flow {
    async fn push(&mut self, bytes: &[u8]) -> Result<(), IngestError> {
        for piece in bytes.chunks(PART_BYTES) {
            self.sealer.body(piece, &mut self.sealed).map_err(IngestError::Seal)?;
            if self.sealed.len() >= PART_BYTES {
                let part = mem::replace(&mut self.sealed, Vec::with_capacity(PART_BYTES + SLACK_BYTES));
                self.upload.write(part.into()).await.map_err(IngestError::Store)?;
            }
        }
        Ok(())
    }

    /// What is left for the last part, and the pieces to finish with.
    pub(super) fn into_parts(self) -> (Seat, ObjectSealer, Upload, Vec<u8>) {
        (self.seat, self.sealer, self.upload, self.sealed)
    }
}

/// Up to this length an instance is held, sealed at once and travels inside the journal's record.
pub const INLINE_BYTES: usize = 1 << 20;

/// Sealed bytes handed to the store at a time. Eight large transfers at once hold eight times this, twice, beside what
/// the store has in flight.
const PART_BYTES: usize = 256 << 10;

/// A part grows past its size by what one slice can add: itself, its tags, one chunk.
const SLACK_BYTES: usize = PART_BYTES + (128 << 10);
