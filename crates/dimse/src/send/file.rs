//! What has to be known of a DICOM file to send it: its file meta information (PS3.10 §7.1), and where its data set begins.
//!
//! Group 0002 is explicit VR little endian. Only three of its elements are read; the rest is stepped over, within a cap.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use bytes::{Buf, Bytes, BytesMut};
use leadglass_model::{Fault, SopClassUid, SopInstanceUid, TransferSyntaxUid};
use std::{
    io,
    path::{Path, PathBuf},
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncSeekExt};

/// A file to send.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// SOP class of its instance.
    pub sop_class: SopClassUid,
    /// Its instance.
    pub sop_instance: SopInstanceUid,
    /// How its data set is encoded.
    pub transfer_syntax: TransferSyntaxUid,
    /// Bytes before the data set.
    pub data_set_offset: u64,
    /// Bytes of the data set.
    pub data_set_bytes: u64,
    /// Where it lies.
    pub path: PathBuf,
}

/// Why a file cannot be sent. The path is the caller's; no value of the file is repeated.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// It cannot be read.
    #[error("the file cannot be read")]
    Read(#[source] io::Error),
    /// No preamble with the prefix DICM.
    #[error("not a DICOM file: the prefix DICM is missing")]
    NotPart10,
    /// The file meta information cannot be walked.
    #[error("the file meta information is malformed at byte {offset}")]
    Malformed {
        /// Where in the file.
        offset: u64,
    },
    /// The file meta information lacks an element that sending needs, or it is not a UID.
    #[error("the file meta information lacks a valid {0}")]
    Lacks(&'static str),
}

impl FileError {
    /// The kind of the failure.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Read(error) if error.kind() == io::ErrorKind::NotFound => Fault::Missing,
            Self::Read(_) => Fault::Broken,
            _ => Fault::BadInput,
        }
    }
}

impl Outgoing {
    /// Reads the head of a file.
    ///
    /// Cancel safety: safe, it only reads.
    pub async fn open(path: &Path) -> Result<Self, FileError> {
        let file = tokio::fs::File::open(path).await.map_err(FileError::Read)?;
        let len = file.metadata().await.map_err(FileError::Read)?.len();
        let mut head = BytesMut::new();
        let mut source = file.take(MAX_HEAD_BYTES);
        while source.read_buf(&mut head).await.map_err(FileError::Read)? > 0 {}
        let meta = Meta::read(head.freeze())?;
        let data_set_bytes = len.checked_sub(meta.end).ok_or(FileError::Malformed { offset: len })?;
        Ok(Self {
            sop_class: meta
                .sop_class
                .and_then(|uid| SopClassUid::parse(&uid).ok())
                .ok_or(FileError::Lacks("Media Storage SOP Class UID"))?,
            sop_instance: meta
                .sop_instance
                .and_then(|uid| SopInstanceUid::parse(&uid).ok())
                .ok_or(FileError::Lacks("Media Storage SOP Instance UID"))?,
            transfer_syntax: meta
                .transfer_syntax
                .and_then(|uid| TransferSyntaxUid::parse(&uid).ok())
                .ok_or(FileError::Lacks("Transfer Syntax UID"))?,
            data_set_offset: meta.end,
            data_set_bytes,
            path: path.to_owned(),
        })
    }

    /// The data set, from its first byte to the length seen before.
    pub(crate) async fn data_set(&self) -> io::Result<impl AsyncRead + Unpin + Send + use<>> {
        let mut file = tokio::fs::File::open(&self.path).await?;
        file.seek(io::SeekFrom::Start(self.data_set_offset)).await?;
        Ok(file.take(self.data_set_bytes))
    }
}

#[derive(Debug, Default)]
struct Meta {
    sop_class: Option<String>,
    sop_instance: Option<String>,
    transfer_syntax: Option<String>,
    end: u64,
}

impl Meta {
    fn read(mut head: Bytes) -> Result<Self, FileError> {
        let all = head.len();
        if head.get(128..132) != Some(b"DICM") {
            return Err(FileError::NotPart10);
        }
        head.advance(132);
        let mut meta = Self::default();
        loop {
            let offset = all.saturating_sub(head.remaining()) as u64;
            let malformed = FileError::Malformed { offset };
            // The meta information ends where its group does: a group length may be wrong or absent.
            if head.remaining() < 8 || head.get(..2) != Some(&[2, 0]) {
                meta.end = offset;
                return if offset >= MAX_HEAD_BYTES { Err(malformed) } else { Ok(meta) };
            }
            head.advance(2);
            let element = head.get_u16_le();
            let vr = [head.get_u8(), head.get_u8()];
            let len = if matches!(&vr, b"OB" | b"OW" | b"UN" | b"SQ" | b"UT") {
                if head.remaining() < 6 {
                    return Err(malformed);
                }
                head.advance(2);
                head.get_u32_le() as usize
            } else {
                usize::from(head.get_u16_le())
            };
            if len > head.remaining() {
                return Err(malformed);
            }
            let value = head.split_to(len);
            let text = || String::from_utf8(value.to_vec()).ok();
            match element {
                0x0002 => meta.sop_class = text(),
                0x0003 => meta.sop_instance = text(),
                0x0010 => meta.transfer_syntax = text(),
                _ => {}
            }
        }
    }
}

/// File meta information has a few hundred bytes; private information may make it longer.
const MAX_HEAD_BYTES: u64 = 256 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BufMut;

    fn head(elements: &[(u16, &[u8; 2], &[u8])]) -> BytesMut {
        let mut out = BytesMut::zeroed(128);
        out.extend_from_slice(b"DICM");
        for (element, vr, value) in elements {
            out.put_u16_le(2);
            out.put_u16_le(*element);
            out.extend_from_slice(*vr);
            if *vr == b"OB" {
                out.put_u16_le(0);
                out.put_u32_le(value.len().try_into().unwrap());
            } else {
                out.put_u16_le(value.len().try_into().unwrap());
            }
            out.extend_from_slice(value);
        }
        out
    }

    #[test]
    fn the_three_names_are_found_and_the_end_is_where_the_group_ends() {
        let mut bytes = head(&[
            (0x0001, b"OB", &[0, 1]),
            (0x0002, b"UI", b"1.2.840.10008.5.1.4.1.1.2\0"),
            (0x0003, b"UI", b"1.2.3\0"),
            (0x0010, b"UI", b"1.2.840.10008.1.2.1\0"),
        ]);
        let end = bytes.len() as u64;
        bytes.extend_from_slice(&[8, 0, 5, 0, b'C', b'S', 0, 0]);
        let meta = Meta::read(bytes.freeze()).unwrap();
        assert_eq!(meta.end, end);
        assert_eq!(meta.sop_instance.as_deref(), Some("1.2.3\0"));
        assert_eq!(meta.transfer_syntax.as_deref(), Some("1.2.840.10008.1.2.1\0"));
    }

    #[test]
    fn what_is_no_file_is_refused() {
        assert!(matches!(Meta::read(Bytes::from_static(b"short")), Err(FileError::NotPart10)));
        let mut cut = head(&[(0x0002, b"UI", b"1.2.840.10008.5.1.4.1.1.2\0")]);
        cut.truncate(cut.len() - 3);
        assert!(matches!(Meta::read(cut.freeze()), Err(FileError::Malformed { offset: 132 })));
    }
}
