//! One instance on its way in as a PS3.10 file: an upload, a STOW-RS part, a file of an archive.
//!
//! The head (preamble and file meta) is held until it is whole, because it says what follows; from then on the instance is
//! a [`Transfer`] like any other, whose preface is the head as received. So the stored body is the file bit for bit, and
//! the digest by which copies are known covers the data set only, as for C-STORE.
//!
//! File meta without SOP class or instance occurs in archives: then both are taken from the data set's first elements,
//! which are held as well. A file that does not name its transfer syntax is refused, since nobody could read it later.

use super::{Announced, Destination, IngestError, Source, Transfer};
use crate::{Engine, Shared};
use bytes::Bytes;
use leadglass_model::{Acknowledged, SeriesUid, SopClassUid, SopInstanceUid, StudyUid, TransferSyntaxUid};
use leadglass_tap::{
    InstanceHeader, Limits, Tap,
    part10::{FileMeta, Head, HeadReader, HeadStep, Part10Error},
};
use std::sync::Arc;

/// A PS3.10 file whose bytes are arriving. Dropping it abandons the instance: nothing of it becomes visible.
#[derive(Debug)]
pub struct FileTransfer {
    shared: Arc<Shared>,
    source: Arc<Source>,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// In front of the data set. The reader refuses a head of more than `part10::MAX_META`, so `taken` is no longer than
    /// that and one piece.
    Head { reader: Box<HeadReader>, taken: Vec<u8> },
    /// The head is whole and does not name the instance; the data set's first elements will.
    Unnamed(Box<Unnamed>),
    /// In the data set.
    Flowing { announced: Announced, transfer: Box<Transfer> },
    /// An error was told; it is final.
    Failed,
}

#[derive(Debug)]
struct Unnamed {
    preface: Bytes,
    meta: FileMeta,
    transfer_syntax: TransferSyntaxUid,
    tap: Tap,
    held: Vec<Bytes>,
    bytes: usize,
}

impl Engine {
    /// Begins one instance that arrives as a PS3.10 file.
    pub fn begin_file(&self, source: Arc<Source>) -> Result<FileTransfer, IngestError> {
        if self.shared.stop.is_cancelled() {
            return Err(IngestError::Stopping);
        }
        let stage = Stage::Head { reader: Box::new(HeadReader::new()), taken: Vec::new() };
        Ok(FileTransfer { shared: self.shared.clone(), source, stage })
    }
}

impl FileTransfer {
    /// Takes the next bytes of the file, cut anywhere. Waits while the store is behind. An error is final.
    ///
    /// Cancel safety: none; a dropped future means that the transfer is to be dropped as well.
    pub async fn write(&mut self, piece: Bytes) -> Result<(), IngestError> {
        match &mut self.stage {
            Stage::Flowing { transfer, .. } => transfer.write(piece).await,
            Stage::Failed => Err(IngestError::Head(Part10Error::NotDicom)),
            Stage::Head { .. } | Stage::Unnamed(_) => {
                let begun = self.begin(piece).await;
                if begun.is_err() && !matches!(self.stage, Stage::Flowing { .. }) {
                    self.stage = Stage::Failed;
                }
                begun
            }
        }
    }

    /// What the file says it is, as soon as it does: its file meta, else its data set.
    pub fn announced(&self) -> Option<&Announced> {
        match &self.stage {
            Stage::Flowing { announced, .. } => Some(announced),
            Stage::Head { .. } | Stage::Unnamed(_) | Stage::Failed => None,
        }
    }

    /// Study Instance UID, as soon as it came by. `None` after the last byte means that the data set has none.
    pub fn study(&self) -> Option<&StudyUid> {
        self.so_far()?.study_uid.as_ref()
    }

    /// Series Instance UID, as soon as it came by.
    pub fn series(&self) -> Option<&SeriesUid> {
        self.so_far()?.series_uid.as_ref()
    }

    /// The file is complete.
    ///
    /// Cancel safety: dropping the future leaves the commit running; the instance may become visible.
    pub async fn finish(mut self) -> Result<Acknowledged, IngestError> {
        match std::mem::replace(&mut self.stage, Stage::Failed) {
            Stage::Flowing { transfer, .. } => transfer.finish().await,
            Stage::Failed => Err(IngestError::Head(Part10Error::NotDicom)),
            // The data set ended before it named itself.
            Stage::Unnamed(_) => Err(IngestError::NoUid { attribute: "SOPInstanceUID" }),
            Stage::Head { reader, taken } => {
                // A file that is only a head, or shorter than one; a whole data set is never read here.
                let head = reader.finish().map_err(IngestError::Head)?;
                self.enter(head, taken)?;
                match std::mem::replace(&mut self.stage, Stage::Failed) {
                    Stage::Flowing { transfer, .. } => transfer.finish().await,
                    Stage::Head { .. } | Stage::Unnamed(_) | Stage::Failed => {
                        Err(IngestError::NoUid { attribute: "SOPInstanceUID" })
                    }
                }
            }
        }
    }

    fn so_far(&self) -> Option<&InstanceHeader> {
        match &self.stage {
            Stage::Flowing { transfer, .. } => Some(transfer.so_far()),
            Stage::Head { .. } | Stage::Unnamed(_) | Stage::Failed => None,
        }
    }

    /// A piece in front of the first byte that a [`Transfer`] takes.
    async fn begin(&mut self, piece: Bytes) -> Result<(), IngestError> {
        let Stage::Head { reader, taken } = &mut self.stage else { return self.name(piece).await };
        let before = taken.len() as u64;
        let HeadStep::Done { head, .. } = reader.feed(&piece).map_err(IngestError::Head)? else {
            taken.extend_from_slice(&piece);
            return Ok(());
        };
        let mut taken = std::mem::take(taken);
        // The data set begins inside of this piece, or a few bytes before it: the reader looks ahead.
        let of_piece = head.dataset_start.checked_sub(before).and_then(|n| usize::try_from(n).ok());
        let (early, rest) = match of_piece {
            Some(n) => {
                let n = n.min(piece.len());
                taken.extend_from_slice(&piece[..n]);
                (Bytes::new(), piece.slice(n..))
            }
            None => {
                let start = usize::try_from(head.dataset_start).unwrap_or(usize::MAX).min(taken.len());
                (taken.split_off(start).into(), piece)
            }
        };
        self.enter(*head, taken)?;
        for bytes in [early, rest] {
            if !bytes.is_empty() {
                self.data_set(bytes).await?;
            }
        }
        Ok(())
    }

    /// The head is whole; `preface` is what of the file stands in front of the data set.
    fn enter(&mut self, head: Head, preface: Vec<u8>) -> Result<(), IngestError> {
        let Some(transfer_syntax) = head.meta.transfer_syntax.clone() else {
            return Err(IngestError::NoTransferSyntax);
        };
        let preface = Bytes::from(preface);
        match (&head.meta.sop_class, &head.meta.sop_instance_uid) {
            (Some(sop_class), Some(sop_instance)) => {
                let announced =
                    Announced { sop_class: sop_class.clone(), sop_instance: sop_instance.clone(), transfer_syntax };
                self.flow(announced, preface)
            }
            _ => {
                let tap = Tap::new(&transfer_syntax, Limits::default());
                let unnamed = Unnamed { preface, meta: head.meta, transfer_syntax, tap, held: Vec::new(), bytes: 0 };
                self.stage = Stage::Unnamed(Box::new(unnamed));
                Ok(())
            }
        }
    }

    async fn data_set(&mut self, bytes: Bytes) -> Result<(), IngestError> {
        match &mut self.stage {
            Stage::Flowing { transfer, .. } => transfer.write(bytes).await,
            _ => self.name(bytes).await,
        }
    }

    /// Holds the data set until it names itself. Its elements ascend, so that happens within its first hundred bytes.
    async fn name(&mut self, bytes: Bytes) -> Result<(), IngestError> {
        let Stage::Unnamed(unnamed) = &mut self.stage else {
            return Err(IngestError::Head(Part10Error::NotDicom));
        };
        unnamed.tap.feed(&bytes).map_err(IngestError::NotDicom)?;
        unnamed.bytes += bytes.len();
        unnamed.held.push(bytes);
        let so_far = unnamed.tap.so_far();
        let class: Option<SopClassUid> = unnamed.meta.sop_class.clone().or_else(|| so_far.sop_class.clone());
        let instance: Option<SopInstanceUid> =
            unnamed.meta.sop_instance_uid.clone().or_else(|| so_far.sop_instance_uid.clone());
        let (Some(sop_class), Some(sop_instance)) = (class, instance) else {
            let absent = || IngestError::NoUid { attribute: "SOPInstanceUID" };
            return if unnamed.bytes > MAX_UNNAMED_BYTES { Err(absent()) } else { Ok(()) };
        };
        let announced = Announced { sop_class, sop_instance, transfer_syntax: unnamed.transfer_syntax.clone() };
        let (preface, held) = (unnamed.preface.clone(), std::mem::take(&mut unnamed.held));
        self.flow(announced, preface)?;
        for bytes in held {
            if let Stage::Flowing { transfer, .. } = &mut self.stage {
                transfer.write(bytes).await?;
            }
        }
        Ok(())
    }

    fn flow(&mut self, announced: Announced, preface: Bytes) -> Result<(), IngestError> {
        let transfer =
            self.shared.begin_after(preface, self.source.clone(), announced.clone(), Destination::AsNamed)?;
        self.stage = Stage::Flowing { announced, transfer: Box::new(transfer) };
        Ok(())
    }
}

/// Bytes of a data set that are held while it has not named its SOP class and instance.
const MAX_UNNAMED_BYTES: usize = 256 << 10;
