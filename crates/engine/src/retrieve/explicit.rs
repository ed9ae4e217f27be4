//! An instance as a PS3.10 file in Explicit VR Little Endian, whatever it is stored in: rewritten while it is read.
//!
//! Compressed pixel data are decoded elsewhere: the stream says where they stand. It reads over them, so that what lies
//! behind them comes too; a piece is held at a time, whatever the instance's size.

use super::{
    Instance, RetrieveError,
    inflate::{Short, inflated},
    reader::Reader,
};
use crate::access::Given;
use bytes::Bytes;
use futures::{Stream, TryStreamExt, stream};
use leadglass_model::TransferSyntaxUid;
use leadglass_seal::{Corruption, OpenError};
use leadglass_tap::{Limits, Part, Replaced, RewriteError, Rewriter, Syntax, part10};
use std::{collections::VecDeque, pin::Pin};

/// A part of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Explicit {
    /// Its bytes.
    Bytes(Bytes),
    /// Here stands the element of the compressed pixel data, once in a file.
    Pixels,
}

impl Instance {
    /// The instance as a file in Explicit VR Little Endian, of which these attributes read otherwise. An error ends the
    /// stream: what was given out until then is right, and not the whole file.
    ///
    /// Cancel safety: reads only.
    pub fn explicit(
        self,
        replaced: Vec<Replaced>,
    ) -> impl Stream<Item = Result<Explicit, RetrieveError>> + Send + 'static {
        let Self { access, row, reader } = self;
        let clock = reader.shared.clock.clone();
        access.count(clock.now(), Given { instances: 1, ..Given::default() });
        let syntax = Syntax::of(&row.transfer_syntax);
        let body = row.dataset_start..row.body_len;
        let pieces: Pieces = if syntax.deflated {
            Box::pin(inflated(reader.clone(), body, 0..Limits::default().inflated_bytes, Short::Ends))
        } else {
            Box::pin(reader.plain(body))
        };
        let explicit = TransferSyntaxUid::parse(EXPLICIT_LE).expect("it is one");
        let head = part10::write_head(&row.sop_class, &row.sop_uid, &explicit, None);
        let rewriter = Rewriter::new(syntax, replaced);
        let state = State { pieces, rewriter, reader, out: VecDeque::from([Part::Bytes(head)]), over: false };
        let parts = stream::try_unfold(state, |mut state| async move {
            let next = state.next().await?;
            Ok(next.map(|part| (part, state)))
        });
        parts
            .map_ok(|part| match part {
                Part::Bytes(bytes) => Explicit::Bytes(bytes.into()),
                Part::Pixels => Explicit::Pixels,
            })
            .inspect_ok(move |part| {
                if let Explicit::Bytes(piece) = part {
                    access.count(clock.now(), Given { bytes: piece.len() as u64, ..Given::default() });
                }
            })
    }
}

type Pieces = Pin<Box<dyn Stream<Item = Result<Bytes, RetrieveError>> + Send>>;

struct State {
    pieces: Pieces,
    rewriter: Rewriter,
    reader: Reader,
    out: VecDeque<Part>,
    over: bool,
}

impl State {
    async fn next(&mut self) -> Result<Option<Part>, RetrieveError> {
        while self.out.is_empty() && !self.over {
            let mut parts = Vec::new();
            let rewritten = match self.pieces.try_next().await? {
                Some(piece) => self.rewriter.feed(&piece, &mut parts),
                None => {
                    self.over = true;
                    self.rewriter.finish(&mut parts)
                }
            };
            rewritten.map_err(|error| match error {
                // It was walked to its end when it was stored.
                RewriteError::Walk(_) => self.reader.damaged(OpenError::Corrupt { what: Corruption::ContentDigest }),
                _ => RetrieveError::Inexpressible,
            })?;
            self.out.extend(parts);
            // Many pieces of pixel data may pass without a wait.
            tokio::task::consume_budget().await;
        }
        Ok(self.out.pop_front())
    }
}

/// PS3.5 §A.2.
const EXPLICIT_LE: &str = "1.2.840.10008.1.2.1";
