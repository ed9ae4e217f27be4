#![doc = include_str!("../FORMAT.md")]
#![forbid(unsafe_code)]

mod derive;
mod digest;
mod error;
mod escrow;
mod footer;
mod header;
mod key;
mod object;
mod opener;
mod out;
mod range;
mod records;
mod row;
mod sealer;
mod stream;
mod suite;
mod tail;
mod waiting;
mod wrap;

#[cfg(test)]
mod tests;

pub use error::{Corruption, OpenError, RangeError, SealError};
pub use escrow::{EscrowError, EscrowFile, MAX_ESCROW_LEN};
pub use footer::{DigestKind, FOOTER_LEN, Footer};
pub use header::{HEADER_LEN, Header, HeaderField, SealedName};
pub use key::{EpochKey, IndexKey, MetaKey, ObjectRoot, RowKey, Secret, StudyKey, WrappingKey};
pub use object::{ContentStart, MAX_BODY_LEN, ObjectSealer, Sealed};
pub use opener::{Opener, PlainRun};
pub use out::Out;
pub use range::{ChunkSize, Geometry, RangePlan};
pub use records::{
    FrameSpan, Frames, Layout, Lineage, MAX_FRAMES, MAX_INDEX_LEN, MAX_MEDIA_TYPE_LEN, ObjectKind, ObjectRecords,
    OpenedRecords, Provenance,
};
pub use row::{
    ROW_OVERHEAD, RowBinding, RowError, RowHeader, open_row, open_row_on, row_header, seal_row, seal_row_on,
};
pub use sealer::{MAX_PLAIN_LEN, SealOptions, SealedStream, Sealer};
pub use stream::{StreamOpener, open_object};
pub use suite::{Backend, Suite};
pub use tail::{Tail, TailStep};
pub use wrap::{UnwrapError, WRAP_LEN, WrapBinding, WrapHeader, WrapPurpose, unwrap, unwrap_on, wrap, wrap_on};
