//! What has to be known of a DICOM file to send it: its file meta information, and where its data set begins (PS3.10 §7.1).

use bytes::BytesMut;
use leadglass_model::{Fault, SopClassUid, SopInstanceUid, TransferSyntaxUid};
use leadglass_tap::part10::{Head, HeadReader, HeadStep, Part10Error};
use std::{
    io,
    path::{Path, PathBuf},
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncSeekExt};

/// A file to send. `Debug` leaves the path out: people name files after patients.
#[derive(Clone)]
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
    /// Its head is not that of a DICOM file.
    #[error("the head of the file cannot be understood")]
    Head(#[from] Part10Error),
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
            Self::Head(error) => error.fault(),
            Self::Lacks(_) => Fault::BadInput,
        }
    }
}

impl std::fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outgoing")
            .field("sop_class", &self.sop_class)
            .field("transfer_syntax", &self.transfer_syntax)
            .field("data_set_bytes", &self.data_set_bytes)
            .finish_non_exhaustive()
    }
}

impl Outgoing {
    /// Reads the head of a file. File meta information is needed: it says what to propose to the peer.
    ///
    /// Cancel safety: safe, it only reads.
    pub async fn open(path: &Path) -> Result<Self, FileError> {
        let mut file = tokio::fs::File::open(path).await.map_err(FileError::Read)?;
        let len = file.metadata().await.map_err(FileError::Read)?.len();
        let Head { meta, dataset_start, .. } = read_head(&mut file).await?;
        Ok(Self {
            sop_class: meta.sop_class.ok_or(FileError::Lacks("Media Storage SOP Class UID"))?,
            sop_instance: meta.sop_instance_uid.ok_or(FileError::Lacks("Media Storage SOP Instance UID"))?,
            transfer_syntax: meta.transfer_syntax.ok_or(FileError::Lacks("Transfer Syntax UID"))?,
            data_set_offset: dataset_start,
            data_set_bytes: len.saturating_sub(dataset_start),
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

async fn read_head(source: &mut (impl AsyncRead + Unpin)) -> Result<Head, FileError> {
    let mut reader = HeadReader::new();
    let mut piece = BytesMut::with_capacity(PIECE_BYTES);
    loop {
        piece.clear();
        if source.read_buf(&mut piece).await.map_err(FileError::Read)? == 0 {
            return Ok(reader.finish()?);
        }
        if let HeadStep::Done { head, .. } = reader.feed(&piece)? {
            return Ok(*head);
        }
    }
}

/// A head seldom has more.
const PIECE_BYTES: usize = 4 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use leadglass_tap::part10::write_head;

    #[tokio::test]
    async fn a_file_is_known_by_its_meta_information() {
        let class = SopClassUid::parse("1.2.840.10008.5.1.4.1.1.2").unwrap();
        let instance = SopInstanceUid::parse("1.2.3").unwrap();
        let syntax = TransferSyntaxUid::parse("1.2.840.10008.1.2.1").unwrap();
        let mut bytes = write_head(&class, &instance, &syntax, None);
        let start = bytes.len() as u64;
        bytes.extend_from_slice(&[8, 0, 0x16, 0, b'U', b'I', 0, 0]);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &bytes).unwrap();
        let outgoing = Outgoing::open(file.path()).await.unwrap();
        assert_eq!((outgoing.sop_class, outgoing.sop_instance), (class, instance));
        assert_eq!((outgoing.data_set_offset, outgoing.data_set_bytes), (start, 8));
        assert_eq!(outgoing.transfer_syntax, syntax);
    }

    #[tokio::test]
    async fn what_is_no_file_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), b"no DICOM at all").unwrap();
        let error = Outgoing::open(file.path()).await.unwrap_err();
        assert_eq!(error.fault(), Fault::BadInput);
        let gone = Outgoing::open(Path::new("does-not-exist.dcm")).await.unwrap_err();
        assert_eq!(gone.fault(), Fault::Missing);
    }
}
