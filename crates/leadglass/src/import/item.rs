//! One thing of a source, and how its bytes are read: in pieces, never whole unless it is small.

use super::{
    ledger::{ItemKey, Namer},
    source::{archive::Archive, orthanc::Orthanc},
};
use bytes::{Bytes, BytesMut};
use futures::{StreamExt, stream::BoxStream};
use leadglass_model::Phi;
use nix::fcntl::OFlag;
use std::{
    ffi::OsStr,
    fs::{File, Metadata, OpenOptions},
    io::{ErrorKind, Read},
    os::unix::{
        ffi::OsStrExt,
        fs::{MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::sync::mpsc;

/// Where it lies.
#[derive(Debug, Clone)]
pub enum Origin {
    /// A file of its own.
    File(Phi<PathBuf>),
    /// An entry of an archive, by its place in the directory.
    Entry(Arc<Archive>, usize),
    /// An instance of an Orthanc.
    Instance(Arc<Orthanc>, OrthancInstance),
}

/// An instance as an Orthanc lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrthancInstance {
    /// Its id: a hash, letters and digits.
    pub id: String,
    /// Names the stored file: another one when the instance was overwritten.
    pub file_uuid: String,
}

/// One thing that may be imported.
#[derive(Debug, Clone)]
pub struct Item {
    /// Where it lies.
    pub origin: Origin,
    /// Its length, as far as the source says.
    pub bytes: u64,
}

/// Why a thing could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// Gone since it was listed.
    #[error("it is not there any more")]
    Gone,
    /// Not allowed.
    #[error("reading it is not allowed")]
    Denied,
    /// It changed while it was read.
    #[error("it changed while it was read")]
    Changed,
    /// The disk or the network failed.
    #[error("it cannot be read")]
    Io,
    /// More comes out of an archive than is believed.
    #[error("it grows past what an archive may hold")]
    Bomb,
    /// The entry is encrypted.
    #[error("it is encrypted")]
    Encrypted,
    /// A compression that is not read, or a broken entry.
    #[error("the archive is broken or packed in a way that is not read")]
    Packed,
    /// The server the source lies on does not answer.
    #[error("the source does not answer")]
    Away,
}

impl SourceError {
    /// For reports.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::Denied => "not-readable",
            Self::Changed => "changed-while-read",
            Self::Io => "read-error",
            Self::Bomb => "zip-bomb",
            Self::Encrypted => "zip-encrypted",
            Self::Packed => "zip-broken",
            Self::Away => "source-away",
        }
    }

    /// Of an error of the operating system; its words may hold a path.
    pub fn of(error: &std::io::Error) -> Self {
        match error.kind() {
            ErrorKind::NotFound => Self::Gone,
            ErrorKind::PermissionDenied => Self::Denied,
            ErrorKind::InvalidData | ErrorKind::InvalidInput | ErrorKind::Unsupported => Self::Packed,
            _ => Self::Io,
        }
    }
}

/// The bytes of a thing.
pub type Pieces = BoxStream<'static, Result<Bytes, SourceError>>;

impl Item {
    /// Begins to read.
    ///
    /// Cancel safety: safe; dropping the pieces ends the reading.
    pub async fn open(&self) -> Result<Pieces, SourceError> {
        match &self.origin {
            Origin::File(path) => {
                let path = path.clone();
                Ok(pump(move || open_file(path.expose()).map_err(|e| SourceError::of(&e)), copy_pieces))
            }
            Origin::Entry(archive, index) => Ok(archive.pieces(*index)),
            Origin::Instance(server, instance) => server.pieces(&instance.id).await,
        }
    }

    /// Its key in the ledger, where the source's listing is enough to make it.
    pub fn early_key(&self, namer: &Namer) -> Option<ItemKey> {
        match &self.origin {
            Origin::File(_) => None,
            Origin::Entry(archive, index) => Some(archive.entry_key(namer, *index)),
            Origin::Instance(server, i) => {
                Some(namer.name(&[b"orthanc", server.base().as_bytes(), i.id.as_bytes(), i.file_uuid.as_bytes()]))
            }
        }
    }

    /// Its key in the ledger, of its first piece too: on media without clocks two files may agree in path, size and time.
    pub fn key(&self, namer: &Namer, first: &[u8]) -> Result<ItemKey, SourceError> {
        match &self.origin {
            Origin::File(path) => {
                let stamp = Stamp::of(path.expose())?;
                let first = blake3::hash(first);
                let (length, time) = (stamp.bytes.to_le_bytes(), stamp.mtime.to_le_bytes());
                let path = path.expose().as_os_str().as_bytes();
                Ok(namer.name(&[b"file", path, &length, &time, first.as_bytes()]))
            }
            _ => self.early_key(namer).ok_or(SourceError::Io),
        }
    }

    /// Length and time, of a file.
    pub fn stamp(&self) -> Option<Stamp> {
        match &self.origin {
            Origin::File(path) => Stamp::of(path.expose()).ok(),
            _ => None,
        }
    }

    /// Its name without folders, as far as it has one.
    pub fn name(&self) -> Option<Phi<String>> {
        match &self.origin {
            Origin::File(path) => path.expose().file_name().and_then(OsStr::to_str).map(|n| Phi::new(n.to_owned())),
            Origin::Entry(archive, index) => archive.entry_name(*index),
            Origin::Instance(..) => None,
        }
    }

    /// What a person needs to find it again; only for a list that was asked for.
    pub fn place(&self) -> Phi<String> {
        match &self.origin {
            Origin::File(path) => path.clone().map(|path| path.display().to_string()),
            Origin::Entry(archive, index) => {
                let name = archive.entry_name(*index).map(Phi::into_exposed).unwrap_or_default();
                Phi::new(format!("{}: {name}", archive.path().expose().display()))
            }
            Origin::Instance(server, instance) => Phi::new(format!("{}/instances/{}", server.base(), instance.id)),
        }
    }
}

/// By which it is seen that a file changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Stamp {
    /// Length.
    pub bytes: u64,
    /// Nanoseconds since 1970.
    pub mtime: i128,
}

impl Stamp {
    /// Of a regular file; a link is not followed.
    pub fn of(path: &Path) -> Result<Self, SourceError> {
        let meta = std::fs::symlink_metadata(path).map_err(|e| SourceError::of(&e))?;
        if meta.is_file() { Ok(Self::from(&meta)) } else { Err(SourceError::Gone) }
    }
}

impl From<&Metadata> for Stamp {
    fn from(meta: &Metadata) -> Self {
        Self { bytes: meta.len(), mtime: i128::from(meta.mtime()) * 1_000_000_000 + i128::from(meta.mtime_nsec()) }
    }
}

/// Opens a regular file and never a link, a pipe or a device.
pub fn open_file(path: &Path) -> std::io::Result<File> {
    let flags = (OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(ErrorKind::NotFound.into()) }
}

/// Reads on a thread for blocking work and hands the pieces over; it waits while nobody takes them.
pub fn pump<R: 'static>(
    open: impl FnOnce() -> Result<R, SourceError> + Send + 'static,
    read: impl FnOnce(R, &mpsc::Sender<Result<Bytes, SourceError>>) -> Result<(), SourceError> + Send + 'static,
) -> Pieces {
    let (tx, rx) = mpsc::channel(PIECES_AHEAD);
    tokio::task::spawn_blocking(move || {
        if let Err(error) = open().and_then(|reader| read(reader, &tx)) {
            // Nobody may be listening any more.
            let _ = tx.blocking_send(Err(error));
        }
    });
    receiver(rx)
}

/// Hands a reader's bytes over, the first piece short, so that little is read of what is not wanted.
pub fn copy_pieces(mut reader: impl Read, tx: &mpsc::Sender<Result<Bytes, SourceError>>) -> Result<(), SourceError> {
    let mut want = super::kind::SNIFF_BYTES;
    loop {
        let mut piece = BytesMut::zeroed(want);
        let mut filled = 0;
        while filled < want {
            match reader.read(&mut piece[filled..]) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(SourceError::of(&error)),
            }
        }
        piece.truncate(filled);
        let over = filled < want;
        if (filled > 0 && tx.blocking_send(Ok(piece.freeze())).is_err()) || over {
            return Ok(());
        }
        want = PIECE_BYTES;
    }
}

/// A channel as a stream.
fn receiver<T: Send + 'static>(rx: mpsc::Receiver<T>) -> BoxStream<'static, T> {
    futures::stream::unfold(rx, |mut rx| async move { rx.recv().await.map(|item| (item, rx)) }).boxed()
}

/// Bytes of one piece, and pieces read ahead: 1 MiB for each thing in flight.
const PIECE_BYTES: usize = 256 * 1024;
const PIECES_AHEAD: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use futures::TryStreamExt;

    fn item(path: &Path) -> Item {
        Item { origin: Origin::File(Phi::new(path.to_owned())), bytes: 0 }
    }

    #[tokio::test]
    async fn a_file_comes_in_pieces_and_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        for length in [0, 1, 65_536, 65_537, 700_000] {
            let bytes: Vec<u8> = (0..length).map(|n: u32| n.to_le_bytes()[n as usize % 4]).collect();
            std::fs::write(&path, &bytes).unwrap();
            let pieces: Vec<Bytes> = item(&path).open().await.unwrap().try_collect().await.unwrap();
            assert_eq!(pieces.concat(), bytes);
            assert!(pieces.first().is_none_or(|p| p.len() <= 65_536));
        }
    }

    #[tokio::test]
    async fn links_pipes_and_folders_are_not_read() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("real"), "x").unwrap();
        std::os::unix::fs::symlink(dir.path().join("real"), dir.path().join("link")).unwrap();
        nix::unistd::mkfifo(&dir.path().join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        for name in ["link", "pipe", "", "missing"] {
            let read: Result<Vec<Bytes>, _> = item(&dir.path().join(name)).open().await.unwrap().try_collect().await;
            assert!(read.is_err(), "{name}");
        }
    }

    #[test]
    fn a_key_tells_files_apart_that_agree_in_all_but_their_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        std::fs::write(&path, "abc").unwrap();
        let namer = Namer::fleeting(&leadglass_model::SystemEntropy);
        let item = item(&path);
        assert_eq!(item.key(&namer, b"abc").unwrap(), item.key(&namer, b"abc").unwrap());
        assert_ne!(item.key(&namer, b"abc").unwrap(), item.key(&namer, b"abd").unwrap());
    }
}
