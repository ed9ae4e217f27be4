//! ZIP archives: one entry at a time, streamed, nothing unpacked to a disk, no path of an entry ever used.
//!
//! What an archive may do to us is bounded before it is read: entries and bytes of its directory, entries that share
//! bytes, and how far an entry and all together may grow. A ZIP inside a ZIP is not opened.
//!
//! Source: APPNOTE.TXT 6.3.10 §4.3.16 (end of central directory), §4.3.14 and §4.3.15 (ZIP64).

use super::{Found, Passed, is_hidden};
use crate::import::{
    item::{Item, Origin, Pieces, SourceError, Stamp, copy_pieces, open_file, pump},
    ledger::{ItemKey, Namer},
};
use leadglass_model::Phi;
use std::{
    fs::File,
    io::{BufReader, Read, Seek, SeekFrom},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use zip::{ZipArchive, result::ZipError};

/// An archive whose directory was read.
pub struct Archive {
    path: Phi<PathBuf>,
    stamp: Stamp,
    /// Cloned for each reader: the directory is shared, the place in the file is not.
    directory: ZipArchive<Reader>,
    /// Entries behind another of the same name: the directory's reader drops them.
    hidden_by_name: u64,
    /// What came out so far.
    unpacked: Arc<AtomicU64>,
    /// What may come out.
    may_unpack: u64,
}

impl std::fmt::Debug for Archive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Archive").field("entries", &self.directory.len()).finish_non_exhaustive()
    }
}

/// Why a file is no archive that is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// No end of a central directory, or one that does not fit the file.
    #[error("it is no whole ZIP archive")]
    Broken,
    /// More than an archive of images has.
    #[error("it has more than {MAX_ENTRIES} entries, or a directory of more than {MAX_DIRECTORY_BYTES} bytes")]
    TooMany,
    /// Entries share bytes: a few kilobytes could become terabytes.
    #[error("its entries lie over each other, as in archives that are made to do harm")]
    Overlapping,
    /// It cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
}

impl Archive {
    /// Reads the directory of the archive at `path`.
    pub fn open(path: &Path) -> Result<Self, ArchiveError> {
        let stamp = Stamp::of(path)?;
        let mut file = open_file(path).map_err(|e| SourceError::of(&e))?;
        let entries = check_end(&mut file, stamp.bytes)?;
        let mut directory =
            ZipArchive::new(Reader::new(path).map_err(|e| SourceError::of(&e))?).map_err(|error| match error {
                ZipError::Io(error) => ArchiveError::Source(SourceError::of(&error)),
                _ => ArchiveError::Broken,
            })?;
        if directory.len() as u64 > entries.min(MAX_ENTRIES) {
            return Err(ArchiveError::TooMany);
        }
        match directory.has_overlapping_entries() {
            Ok(false) => {}
            Ok(true) => return Err(ArchiveError::Overlapping),
            Err(_) => return Err(ArchiveError::Broken),
        }
        let may_unpack = stamp.bytes.saturating_mul(MAX_RATIO).saturating_add(FREE_BYTES);
        let hidden_by_name = entries.saturating_sub(directory.len() as u64);
        let path = Phi::new(path.to_owned());
        Ok(Self { path, stamp, directory, hidden_by_name, unpacked: Arc::default(), may_unpack })
    }

    /// Where it lies.
    pub const fn path(&self) -> &Phi<PathBuf> {
        &self.path
    }

    /// The key of an entry: of the archive, its place in it, and what the directory says of its content.
    pub fn entry_key(&self, namer: &Namer, index: usize) -> ItemKey {
        let (crc, bytes) = self.directory.by_index_data(index).map_or((0, 0), |entry| (entry.crc32(), entry.size()));
        namer.name(&[
            b"zip",
            self.path.expose().as_os_str().as_bytes(),
            &self.stamp.bytes.to_le_bytes(),
            &self.stamp.mtime.to_le_bytes(),
            &(index as u64).to_le_bytes(),
            &crc.to_le_bytes(),
            &bytes.to_le_bytes(),
        ])
    }

    /// An entry's name without folders, when it is text.
    pub fn entry_name(&self, index: usize) -> Option<Phi<String>> {
        let entry = self.directory.by_index_data(index).ok()?;
        let name = entry.name().ok()?;
        name.rsplit(['/', '\\']).next().map(|base| Phi::new(base.to_owned()))
    }

    /// An entry's bytes. It ends with an error where they do not fit their checksum, or grow too far.
    pub fn pieces(self: &Arc<Self>, index: usize) -> Pieces {
        let me = self.clone();
        let open = move || {
            let directory = ZipArchive::clone(&me.directory);
            Ok((me, directory))
        };
        pump(open, move |(me, mut directory), tx| {
            let data = me.directory.by_index_data(index).map_err(|e| refusal(&e))?;
            if data.encrypted() {
                return Err(SourceError::Encrypted);
            }
            let may = may_grow(data.compressed_size());
            if data.size() > may {
                return Err(SourceError::Bomb);
            }
            let entry = directory.by_index(index).map_err(|e| refusal(&e))?;
            let mut bounded =
                Bounded { inner: entry, left: may, all: me.unpacked.clone(), of: me.may_unpack, hit: false };
            let copied = copy_pieces(&mut bounded, tx);
            if bounded.hit { Err(SourceError::Bomb) } else { copied }
        })
    }
}

/// Tells the entries of an archive.
pub fn list(archive: &Arc<Archive>, mut tell: impl FnMut(Found) -> bool) -> Result<(), SourceError> {
    for _ in 0..archive.hidden_by_name {
        let place = archive.path.clone().map(|path| path.display().to_string());
        if !tell(Found::Unreadable("zip-same-name", place)) {
            return Ok(());
        }
    }
    for index in 0..archive.directory.len() {
        let Ok(entry) = archive.directory.by_index_data(index) else {
            let place = Item { origin: Origin::Entry(archive.clone(), index), bytes: 0 }.place();
            if !tell(Found::Unreadable(SourceError::Packed.code(), place)) {
                break;
            }
            continue;
        };
        if entry.is_dir() {
            continue;
        }
        let hidden = entry
            .name()
            .is_ok_and(|name| name.split(['/', '\\']).any(|part| !matches!(part, "." | "..") && is_hidden(part)));
        let found = if entry.is_symlink() {
            Found::Passed(Passed::Link)
        } else if hidden {
            Found::Passed(Passed::Hidden)
        } else {
            Found::Item(Item { origin: Origin::Entry(archive.clone(), index), bytes: entry.size() })
        };
        if !tell(found) {
            break;
        }
    }
    Ok(())
}

/// How far an entry may grow. Small ones may be anything: an empty image packs well.
const fn may_grow(packed: u64) -> u64 {
    let by_ratio = packed.saturating_mul(MAX_RATIO);
    let least = if by_ratio < FREE_BYTES { FREE_BYTES } else { by_ratio };
    if least < MAX_ENTRY_BYTES { least } else { MAX_ENTRY_BYTES }
}

fn refusal(error: &ZipError) -> SourceError {
    match error {
        ZipError::Io(error) => SourceError::of(error),
        _ => SourceError::Packed,
    }
}

/// Counts what comes out and stops at a bound, whatever the directory promised.
struct Bounded<R> {
    inner: R,
    left: u64,
    all: Arc<AtomicU64>,
    of: u64,
    hit: bool,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let n = self.inner.read(out)?;
        let all = self.all.fetch_add(n as u64, Ordering::Relaxed).saturating_add(n as u64);
        match self.left.checked_sub(n as u64) {
            Some(left) if all <= self.of => self.left = left,
            _ => {
                self.hit = true;
                return Err(std::io::ErrorKind::InvalidData.into());
            }
        }
        Ok(n)
    }
}

/// A buffered file that can be cloned: a clone opens the file again.
#[derive(Debug)]
struct Reader {
    path: PathBuf,
    file: std::io::Result<BufReader<File>>,
}

impl Reader {
    fn new(path: &Path) -> std::io::Result<Self> {
        Ok(Self { path: path.to_owned(), file: Ok(BufReader::with_capacity(READ_BYTES, open_file(path)?)) })
    }

    fn file(&mut self) -> std::io::Result<&mut BufReader<File>> {
        self.file.as_mut().map_err(|error| error.kind().into())
    }
}

impl Clone for Reader {
    fn clone(&self) -> Self {
        let file = open_file(&self.path).map(|file| BufReader::with_capacity(READ_BYTES, file));
        Self { path: self.path.clone(), file }
    }
}

impl Read for Reader {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        self.file()?.read(out)
    }
}

impl Seek for Reader {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        self.file()?.seek(to)
    }
}

/// Finds the end of the central directory and says how many entries it claims, before anybody allocates for them.
fn check_end(file: &mut (impl Read + Seek), length: u64) -> Result<u64, ArchiveError> {
    let window = length.min(END_BYTES + 65_535);
    let mut tail = Vec::new();
    let read = |file: &mut dyn ReadSeek, from: u64, bytes: u64, out: &mut Vec<u8>| -> std::io::Result<()> {
        file.seek(SeekFrom::Start(from))?;
        file.take(bytes).read_to_end(out)?;
        Ok(())
    };
    let start = length - window;
    read(file, start, window, &mut tail).map_err(|e| SourceError::of(&e))?;
    let at = tail.windows(4).rposition(|w| w == b"PK\x05\x06").ok_or(ArchiveError::Broken)?;
    let end = tail.get(at..).filter(|end| end.len() as u64 >= END_BYTES).ok_or(ArchiveError::Broken)?;
    let (mut entries, mut bytes) = (u64::from(le16(end, 10)), u64::from(le32(end, 12)));
    if entries == 0xFFFF || bytes == 0xFFFF_FFFF {
        // A ZIP64 locator of 20 bytes stands in front.
        let locator = at.checked_sub(20).and_then(|from| tail.get(from..)).filter(|l| l.starts_with(b"PK\x06\x07"));
        if let Some(locator) = locator {
            let mut end64 = Vec::new();
            read(file, le64(locator, 8), 56, &mut end64).map_err(|e| SourceError::of(&e))?;
            if end64.len() < 56 || !end64.starts_with(b"PK\x06\x06") {
                return Err(ArchiveError::Broken);
            }
            (entries, bytes) = (le64(&end64, 32), le64(&end64, 40));
        }
    }
    if entries > MAX_ENTRIES || bytes > MAX_DIRECTORY_BYTES {
        return Err(ArchiveError::TooMany);
    }
    Ok(entries)
}

trait ReadSeek: Read + Seek {}
impl<T: Read + Seek> ReadSeek for T {}

fn le16(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).and_then(|b| b.try_into().ok()).map_or(0, u16::from_le_bytes)
}

fn le32(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes)
}

fn le64(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes)
}

const END_BYTES: u64 = 22;
/// Entries of one archive.
pub const MAX_ENTRIES: u64 = 1_000_000;
/// Bytes of its directory.
pub const MAX_DIRECTORY_BYTES: u64 = 256 << 20;
/// What comes out, for each byte that goes in. Lossless images pack 2:1 to 10:1.
const MAX_RATIO: u64 = 200;
/// Each entry, and all together, may have so much whatever the ratio.
const FREE_BYTES: u64 = 64 << 20;
/// One entry.
const MAX_ENTRY_BYTES: u64 = 64 << 30;
const READ_BYTES: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use futures::TryStreamExt;
    use std::io::Write;
    use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

    fn packed() -> SimpleFileOptions {
        SimpleFileOptions::default().compression_method(CompressionMethod::Deflated)
    }

    fn archive(dir: &Path, entries: &[(&str, &[u8])]) -> PathBuf {
        let path = dir.join("a.zip");
        let mut writer = ZipWriter::new(File::create(&path).unwrap());
        for (name, content) in entries {
            writer.start_file(*name, packed()).unwrap();
            writer.write_all(content).unwrap();
        }
        writer.finish().unwrap();
        path
    }

    async fn content(archive: &Arc<Archive>, index: usize) -> Result<Vec<u8>, SourceError> {
        Ok(archive.pieces(index).try_collect::<Vec<Bytes>>().await?.concat())
    }

    #[tokio::test]
    async fn entries_come_out_as_they_went_in_whatever_their_names() {
        let dir = tempfile::tempdir().unwrap();
        let long: Vec<u8> = (0..900_000_u32).map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect();
        let path = archive(
            dir.path(),
            &[("../../DOE^JANE.dcm", b"one"), ("x/long", &long), ("__MACOSX/y", b""), ("/abs", b"")],
        );
        let archive = Arc::new(Archive::open(&path).unwrap());
        let mut found = Vec::new();
        list(&archive, |f| {
            found.push(matches!(f, Found::Item(_)));
            true
        })
        .unwrap();
        assert_eq!(found, [true, true, false, true]);
        assert_eq!(archive.entry_name(0).unwrap().expose(), "DOE^JANE.dcm");
        assert_eq!(content(&archive, 0).await.unwrap(), b"one");
        assert!(content(&archive, 1).await.unwrap() == long);
        assert!(content(&archive, 9).await.is_err());
    }

    #[tokio::test]
    async fn a_bomb_is_refused_by_what_it_claims_and_by_what_comes_out() {
        let dir = tempfile::tempdir().unwrap();
        let zeros = vec![0; 80 << 20];
        let path = archive(dir.path(), &[("bomb", &zeros), ("fine", b"x")]);
        let honest = Arc::new(Archive::open(&path).unwrap());
        assert_eq!(content(&honest, 0).await, Err(SourceError::Bomb));
        assert_eq!(content(&honest, 1).await.unwrap(), b"x");
        // The same with a directory that claims 1000 bytes.
        let mut bytes = std::fs::read(&path).unwrap();
        let claim = u32::try_from(zeros.len()).unwrap().to_le_bytes();
        let places: Vec<usize> = (0..bytes.len() - 4).filter(|at| bytes[*at..*at + 4] == claim).collect();
        assert!(!places.is_empty());
        for at in places {
            bytes[at..at + 4].copy_from_slice(&1000_u32.to_le_bytes());
        }
        std::fs::write(&path, bytes).unwrap();
        let lying = Arc::new(Archive::open(&path).unwrap());
        assert!(matches!(content(&lying, 0).await, Err(SourceError::Bomb | SourceError::Packed)));
    }

    #[tokio::test]
    async fn many_entries_below_the_bound_may_not_grow_together_past_it() {
        let dir = tempfile::tempdir().unwrap();
        let zeros = vec![0; 30 << 20];
        let path = archive(dir.path(), &[("1", &zeros), ("2", &zeros), ("3", &zeros), ("4", &zeros)]);
        let archive = Arc::new(Archive::open(&path).unwrap());
        let mut outcomes = Vec::new();
        for index in 0..4 {
            outcomes.push(content(&archive, index).await.map(|c| c.len()));
        }
        assert_eq!(outcomes[0], Ok(zeros.len()));
        assert_eq!(outcomes[3], Err(SourceError::Bomb), "{outcomes:?}");
    }

    #[tokio::test]
    async fn a_flip_in_an_entry_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.zip");
        let mut writer = ZipWriter::new(File::create(&path).unwrap());
        writer.start_file("x", SimpleFileOptions::default().compression_method(CompressionMethod::Stored)).unwrap();
        writer.write_all(b"CONTENT").unwrap();
        writer.finish().unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        let at = bytes.windows(7).position(|w| w == b"CONTENT").unwrap();
        bytes[at] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        assert!(content(&Arc::new(Archive::open(&path).unwrap()), 0).await.is_err());
    }

    #[test]
    fn a_directory_that_claims_too_much_is_refused_before_it_is_read() {
        let end = |entries: u16, bytes: u32| {
            let mut end = b"PK\x05\x06\0\0\0\0".to_vec();
            end.extend(entries.to_le_bytes());
            end.extend(entries.to_le_bytes());
            end.extend(bytes.to_le_bytes());
            end.extend([0; 6]);
            end
        };
        let check = |bytes: Vec<u8>| {
            let length = bytes.len() as u64;
            check_end(&mut std::io::Cursor::new(bytes), length)
        };
        assert_eq!(check(end(3, 100)), Ok(3));
        assert_eq!(check(end(3, 0x2000_0000)), Err(ArchiveError::TooMany));
        assert_eq!(check(b"nothing of that kind".to_vec()), Err(ArchiveError::Broken));
        let mut big = b"PK\x06\x06".to_vec();
        big.extend([0; 28]);
        big.extend(2_000_000_u64.to_le_bytes());
        big.extend([0; 16]);
        big.extend(b"PK\x06\x07\0\0\0\0");
        big.extend(0_u64.to_le_bytes());
        big.extend([0; 4]);
        big.extend(end(0xFFFF, 0xFFFF_FFFF));
        assert_eq!(check(big), Err(ArchiveError::TooMany));
    }
}
