//! De-identification: studies leave the house without what names a patient (PS3.15 Annex E).
//!
//! ```text
//!  begun     each instance is read once and written anew into nothing: what it is, its new length, whether it may leave
//!  given out each one written anew again under the same key, as often as it is asked for, for an hour
//!  forgotten the key is gone, and with it the way back
//! ```
//!
//! Reading everything first costs a second reading and gains what matters: what breaks off or cannot be made nameless
//! is known before a byte has left, and lengths are too. What may show a name or a face is held back until a person has
//! looked at it. The key of a job lies in memory only: not even this node can link two jobs, or one across a restart.

mod deliver;
mod job;
mod work;

pub(crate) use job::Deidentifications;
pub use job::{Deidentified, DeidentifiedId, HeldBack, NamelessReport, Stays};
pub(crate) use work::Nameless;

use crate::{Delivery, Engine, ExportError, WhatToExport};
use bytes::Bytes;
use futures::Stream;
use leadglass_deidentify::{Preset, Rules};
use leadglass_model::{Permit, Read};
use std::collections::HashSet;

/// What is asked for.
#[derive(Debug)]
pub struct DeidentifyAsked {
    /// Of whom.
    pub what: WhatToExport,
    /// How.
    pub preset: Preset,
    /// Regions of pixels that are blanked.
    pub rules: Rules,
    /// Series and instances, by their UIDs, at which a person has looked: nothing in the pixels names or shows anybody,
    /// once the regions are blanked.
    pub reviewed: HashSet<String>,
}

/// Whoever asks.
#[derive(Debug, Clone)]
pub struct DeidentifyBy {
    /// To open the studies.
    pub permit: Permit<Read>,
    /// In which session.
    pub session: [u8; 16],
}

impl Engine {
    /// Looks through what is to go out. That it was done is an entry, durable before anybody knows the job.
    ///
    /// Cancel safety: a dropped call may leave entries in the log that it was begun.
    pub async fn deidentify(&self, by: &DeidentifyBy, asked: DeidentifyAsked) -> Result<Deidentified, ExportError> {
        self.shared.deidentify(by, asked).await
    }

    /// An instance of a job as a PS3.10 file, and its length. An error ends the stream: what came until then is not the
    /// file.
    ///
    /// Cancel safety: dropping the stream ends the reading.
    pub async fn deidentified_instance(
        &self,
        by: &DeidentifyBy,
        id: DeidentifiedId,
        number: usize,
    ) -> Result<(u64, impl Stream<Item = Result<Bytes, ExportError>> + Send + 'static), ExportError> {
        self.shared.nameless(by, id)?.file(number).await
    }

    /// Brings a job's instances to a peer. It goes on until it is over or nobody listens any more.
    ///
    /// Cancel safety: dropping the future may leave the entry that it was begun; dropping the receiver calls it off.
    pub async fn deliver_deidentified(
        &self,
        by: &DeidentifyBy,
        id: DeidentifiedId,
        peer: &str,
    ) -> Result<tokio::sync::mpsc::Receiver<Delivery>, ExportError> {
        self.shared.deliver_nameless(by, id, peer).await
    }

    /// Forgets a job and its key. What went out stays with whoever has it, and nobody finds the way back.
    pub fn forget_deidentified(&self, by: &DeidentifyBy, id: DeidentifiedId) -> Result<(), ExportError> {
        self.shared.forget_nameless(by, id)
    }
}

/// Instances of one job.
pub const MAX_NAMELESS: usize = 20_000;
