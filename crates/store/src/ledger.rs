//! The node's list of uploads that were begun and have not ended.
//!
//! An entry is durable before the upload touches the store; its end is not waited for, because an upload that ended and
//! still stands in the list is only looked at once more. Object ids are random names: the file tells nothing about anybody.
//!
//! Bytes: magic `LGULED01`, then slots of 24 bytes: object id (16), kind (1: begun, 2: ended), first 7 bytes of BLAKE3 over
//! the 17 before. A slot that does not check is a torn write and is skipped. Opening writes the list anew.

use leadglass_model::ObjectId;
use std::{
    collections::BTreeSet,
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

pub(crate) struct Ledger {
    path: PathBuf,
    file: File,
    open: BTreeSet<ObjectId>,
    bytes: u64,
    /// A write failed: what the file holds is unknown until it is written anew.
    unsure: bool,
}

impl Ledger {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let mut bytes = Vec::new();
        match File::open(path) {
            Ok(file) => {
                file.take(READ_MAX).read_to_end(&mut bytes)?;
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
        let mut open = BTreeSet::new();
        for slot in bytes.get(MAGIC.len()..).unwrap_or_default().chunks_exact(SLOT) {
            match decode(slot) {
                Some((id, BEGUN)) => drop(open.insert(id)),
                Some((id, _)) => drop(open.remove(&id)),
                None => {}
            }
        }
        let (file, bytes) = write_anew(path, &open)?;
        Ok(Self { path: path.to_owned(), file, open, bytes, unsure: false })
    }

    /// Durable when it returns.
    pub(crate) fn begin(&mut self, id: ObjectId) -> io::Result<()> {
        if self.unsure || self.bytes > COMPACT_BYTES {
            self.compact()?;
        }
        self.append(id, BEGUN)?;
        self.unsure = true;
        self.file.sync_data()?;
        self.unsure = false;
        self.open.insert(id);
        Ok(())
    }

    pub(crate) fn end(&mut self, id: ObjectId) -> io::Result<()> {
        if !self.open.remove(&id) {
            return Ok(());
        }
        if self.unsure { self.compact() } else { self.append(id, ENDED) }
    }

    pub(crate) fn begun(&self) -> Vec<ObjectId> {
        self.open.iter().copied().collect()
    }

    pub(crate) fn is_open(&self, id: ObjectId) -> bool {
        self.open.contains(&id)
    }

    fn append(&mut self, id: ObjectId, kind: u8) -> io::Result<()> {
        self.unsure = true;
        self.file.write_all(&encode(id, kind))?;
        self.unsure = false;
        self.bytes += SLOT as u64;
        Ok(())
    }

    fn compact(&mut self) -> io::Result<()> {
        (self.file, self.bytes) = write_anew(&self.path, &self.open)?;
        self.unsure = false;
        Ok(())
    }
}

fn write_anew(path: &Path, open: &BTreeSet<ObjectId>) -> io::Result<(File, u64)> {
    let new = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(&new)?;
    let mut bytes = MAGIC.to_vec();
    for id in open {
        bytes.extend(encode(*id, BEGUN));
    }
    file.write_all(&bytes)?;
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    if let Some(dir) = path.parent() {
        File::open(dir)?.sync_all()?;
    }
    Ok((file, bytes.len() as u64))
}

fn encode(id: ObjectId, kind: u8) -> [u8; SLOT] {
    let mut slot = [0; SLOT];
    slot[..16].copy_from_slice(id.as_bytes());
    slot[16] = kind;
    let digest = blake3::hash(&slot[..17]);
    slot[17..].copy_from_slice(&digest.as_bytes()[..7]);
    slot
}

fn decode(slot: &[u8]) -> Option<(ObjectId, u8)> {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(slot.get(..16)?);
    let (id, kind) = (ObjectId::from_bytes(bytes), *slot.get(16)?);
    (encode(id, kind) == slot).then_some((id, kind))
}

const MAGIC: &[u8; 8] = b"LGULED01";
const SLOT: usize = 24;
const BEGUN: u8 = 1;
const ENDED: u8 = 2;
/// Written anew beyond this length: 40 000 uploads.
const COMPACT_BYTES: u64 = 1 << 20;
/// Never read more than this; a ledger is compacted long before.
const READ_MAX: u64 = 64 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u8) -> ObjectId {
        ObjectId::from_bytes([n; 16])
    }

    #[test]
    fn what_was_begun_and_not_ended_is_there_after_opening() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("uploads.lgl");
        let mut ledger = Ledger::open(&path).unwrap();
        for n in 1..=4 {
            ledger.begin(id(n)).unwrap();
        }
        ledger.end(id(2)).unwrap();
        ledger.end(id(9)).unwrap();
        assert_eq!(Ledger::open(&path).unwrap().begun(), [id(1), id(3), id(4)]);
    }

    #[test]
    fn a_torn_slot_is_skipped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("uploads.lgl");
        let mut ledger = Ledger::open(&path).unwrap();
        for n in 1..=3 {
            ledger.begin(id(n)).unwrap();
        }
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[8 + SLOT + 3] ^= 1;
        bytes.truncate(bytes.len() - 1);
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(Ledger::open(&path).unwrap().begun(), [id(1)]);
    }

    #[test]
    fn a_long_ledger_is_written_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("uploads.lgl");
        let mut ledger = Ledger::open(&path).unwrap();
        ledger.begin(id(1)).unwrap();
        ledger.bytes = COMPACT_BYTES + 1;
        ledger.begin(id(2)).unwrap();
        assert_eq!(ledger.bytes, (MAGIC.len() + 2 * SLOT) as u64);
        assert_eq!(Ledger::open(&path).unwrap().begun(), [id(1), id(2)]);
    }
}
