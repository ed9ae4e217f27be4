//! Ranges and streams of an object.
//!
//! Files of this machine are read with `pread` into a buffer of the right size that is never zeroed first.

use crate::{Objects, StoreError, local, name};
use bytes::{Bytes, BytesMut};
use futures::{StreamExt, TryStreamExt, stream::BoxStream};
use leadglass_model::ObjectId;
use object_store::{GetOptions, GetRange, GetResult, GetResultPayload};
use std::{fs::File, io, ops::Range, os::unix::fs::FileExt as _};

/// An object's bytes as they are read.
pub type ObjectStream = BoxStream<'static, Result<Bytes, StoreError>>;

impl Objects {
    /// Whether every read is a request over a network. A folder of this node's own is not far: what was read lately lies in
    /// the page cache, sealed.
    pub fn is_far(&self) -> bool {
        self.shared.backing.own_folder().is_none()
    }

    /// The bytes of `range`, all of them, and the object's whole length: compare it with what the index knows.
    /// A range that reaches beyond the end is [`StoreError::TooShort`].
    ///
    /// Cancel safety: nothing but reading happens, here and in [`Objects::stream`].
    pub async fn range(&self, id: ObjectId, range: Range<u64>) -> Result<(Bytes, u64), StoreError> {
        if range.is_empty() {
            return Ok((Bytes::new(), self.len(id).await?));
        }
        let wanted = usize::try_from(range.end - range.start).map_err(|_| StoreError::TooShort { len: 0 })?;
        let found = self.get(id, Some(GetRange::Bounded(range.clone())), range.end).await?;
        let len = found.meta.size;
        let bytes = match found.payload {
            GetResultPayload::File(file, _) => {
                tokio::task::spawn_blocking(move || read_exactly(&file, range.start, wanted)).await??
            }
            GetResultPayload::Stream(stream) => {
                let mut pieces = counted(stream.map_err(StoreError::from).boxed(), wanted as u64, len);
                let first = pieces.try_next().await?.unwrap_or_default();
                let Some(mut next) = pieces.try_next().await? else { return Ok((first, len)) };
                let mut all = BytesMut::with_capacity(wanted);
                all.extend_from_slice(&first);
                loop {
                    all.extend_from_slice(&next);
                    match pieces.try_next().await? {
                        Some(piece) => next = piece,
                        None => break,
                    }
                }
                all.freeze()
            }
        };
        if bytes.len() == wanted { Ok((bytes, len)) } else { Err(StoreError::TooShort { len }) }
    }

    /// The bytes of `range` in pieces as they come, asked for once, and the object's whole length. A stream that ends without
    /// an error brought all of them. Nothing is read ahead but what the connection holds; a range that reaches beyond the end
    /// is [`StoreError::TooShort`].
    ///
    /// Cancel safety: reads only. A dropped stream ends the answer.
    pub async fn range_stream(&self, id: ObjectId, range: Range<u64>) -> Result<(ObjectStream, u64), StoreError> {
        if range.is_empty() {
            return Ok((futures::stream::empty().boxed(), self.len(id).await?));
        }
        let found = self.get(id, Some(GetRange::Bounded(range.clone())), range.end).await?;
        let len = found.meta.size;
        let stream = match found.payload {
            GetResultPayload::File(file, _) => file_stream(file, range.start, range.end),
            GetResultPayload::Stream(stream) => {
                counted(stream.map_err(StoreError::from).boxed(), range.end - range.start, len)
            }
        };
        Ok((stream, len))
    }

    /// As [`range`](Self::range), into the front of memory that is given, which is made longer where it is too short; `work`
    /// gets it with the object's whole length. From a folder of this machine all is done on one blocking thread, so that
    /// what is read is worked on while it is in the processor's cache.
    ///
    /// Cancel safety: reads only. What runs on the thread runs to its end.
    pub async fn range_then<T: Send + 'static>(
        &self,
        id: ObjectId,
        range: Range<u64>,
        mut memory: Vec<u8>,
        work: impl FnOnce(Vec<u8>, u64) -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        let wanted = usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(usize::MAX);
        let Some(folder) = self.shared.backing.own_folder() else {
            let (mut pieces, len) = self.range_stream(id, range).await?;
            if memory.len() < wanted {
                memory.resize(wanted, 0);
            }
            let mut filled = 0;
            while let Some(piece) = pieces.try_next().await? {
                let end = filled + piece.len();
                memory[filled..end].copy_from_slice(&piece);
                filled = end;
            }
            return Ok(work(memory, len));
        };
        let path = local::file(folder, id);
        let read = move || {
            let file = File::open(path)?;
            let len = file.metadata()?.len();
            if len < range.end {
                return Err(StoreError::TooShort { len });
            }
            if memory.len() < wanted {
                memory.resize(wanted, 0);
            }
            match file.read_exact_at(&mut memory[..wanted], range.start) {
                Ok(()) => Ok(work(memory, len)),
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Err(StoreError::TooShort { len }),
                Err(e) => Err(e.into()),
            }
        };
        tokio::task::spawn_blocking(read).await?
    }

    /// The bytes from `offset` to the end, in pieces of at most 256 KiB from a local folder, and the object's whole length.
    /// A stream that ends without an error was whole. Nothing is read ahead.
    pub async fn stream(&self, id: ObjectId, offset: u64) -> Result<(ObjectStream, u64), StoreError> {
        // A range also for the whole: the answer then says the object's length twice, and a wrong one shows.
        let found = match self.get(id, Some(GetRange::Offset(offset)), offset).await {
            // Nothing is left behind its last byte; remote stores have no such range.
            Err(StoreError::TooShort { len }) if len == offset => return Ok((futures::stream::empty().boxed(), len)),
            found => found?,
        };
        let len = found.meta.size;
        let stream = match found.payload {
            GetResultPayload::File(file, _) => file_stream(file, offset, len),
            GetResultPayload::Stream(stream) => counted(stream.map_err(StoreError::from).boxed(), len - offset, len),
        };
        Ok((stream, len))
    }

    /// Opens an object that must reach `end`.
    async fn get(&self, id: ObjectId, range: Option<GetRange>, end: u64) -> Result<GetResult, StoreError> {
        let last_needed = match &range {
            Some(GetRange::Bounded(range)) => Some(range.end - 1),
            Some(GetRange::Offset(offset)) => Some(*offset),
            _ => None,
        };
        let options = GetOptions {
            // A file is opened whole and then read where it is needed; a remote store must be told the range.
            range: range.filter(|_| self.shared.backing.folder.is_none()),
            ..GetOptions::default()
        };
        let found = match self.shared.backing.store.get_opts(&name::of(id), options).await {
            Ok(found) => found,
            Err(e) => {
                // Stores have many words for a range that is not there.
                return match StoreError::from(e) {
                    StoreError::Io { source } => match self.len(id).await {
                        Ok(len) if last_needed.is_some_and(|last| len <= last) => Err(StoreError::TooShort { len }),
                        _ => Err(StoreError::Io { source }),
                    },
                    other => Err(other),
                };
            }
        };
        if found.meta.size < end {
            return Err(StoreError::TooShort { len: found.meta.size });
        }
        Ok(found)
    }
}

/// Bytes from `offset` on: `wanted` of them, or fewer if the file ends before.
fn read_exactly(file: &File, offset: u64, wanted: usize) -> io::Result<Bytes> {
    let mut buffer = Vec::with_capacity(wanted);
    while buffer.len() < wanted {
        let at = offset + buffer.len() as u64;
        match rustix::io::pread(file, rustix::buffer::spare_capacity(&mut buffer), at) {
            Ok(0) => break,
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
    // The allocator may have given more than was asked for, and then more was read.
    buffer.truncate(wanted);
    Ok(buffer.into())
}

fn file_stream(file: File, offset: u64, len: u64) -> ObjectStream {
    let pieces = futures::stream::try_unfold((file, offset), move |(file, at)| async move {
        if at >= len {
            return Ok(None);
        }
        let some = usize::try_from(len - at).map_or(PIECE_BYTES, |left| left.min(PIECE_BYTES));
        let (file, piece) = tokio::task::spawn_blocking(move || {
            let piece = read_exactly(&file, at, some);
            (file, piece)
        })
        .await?;
        let piece = piece?;
        if piece.len() < some {
            return Err(StoreError::TooShort { len: at + piece.len() as u64 });
        }
        Ok(Some((piece, (file, at + some as u64))))
    });
    pieces.boxed()
}

/// The same pieces, never more than `expected` bytes; an error at the end if they are fewer.
fn counted(pieces: ObjectStream, expected: u64, len: u64) -> ObjectStream {
    let checked = futures::stream::try_unfold((pieces, expected), move |(mut pieces, left)| async move {
        match pieces.try_next().await? {
            Some(piece) => {
                let left = left.checked_sub(piece.len() as u64).ok_or(StoreError::TooShort { len })?;
                Ok(Some((piece, (pieces, left))))
            }
            None if left == 0 => Ok(None),
            None => Err(StoreError::TooShort { len: len - left }),
        }
    });
    checked.boxed()
}

const PIECE_BYTES: usize = 256 << 10;
