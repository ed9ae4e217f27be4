//! The folder that backups lie in.
//!
//! ```text
//!  o/hh/…         sealed objects, bit for bit as they lie in the store
//!  objects.list   which of them are whole, with digests: an object counts once it stands here
//!  p/hh/…         sealed pieces: index rows, log, records, configuration
//!  sets/TIME.set  what a backup holds; written last
//! ```
//!
//! Dead at any step: objects that are not in the list are copied again, pieces are whole or under another name, and a
//! backup without its set is none. The next run goes on with what is there.

use super::set::Copied;
use anyhow::{Context, bail};
use leadglass_model::ObjectId;
use std::{
    collections::HashSet,
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

/// An open folder of backups.
#[derive(Debug)]
pub struct Shelf {
    root: PathBuf,
    /// One writer at a time.
    _lock: Option<File>,
}

impl Shelf {
    /// For writing; makes the folder. Another backup into it at the same time is refused.
    pub fn open_or_make(root: &Path) -> anyhow::Result<Self> {
        let cannot = || format!("cannot make the backup folder {}", root.display());
        let strange = root.is_dir() && !root.join(MARKER).exists() && fs::read_dir(root)?.next().is_some();
        if strange {
            bail!("{} is not empty and holds no backups: give a folder of its own", root.display());
        }
        crate::files::make_dir(root)?;
        fs::write(root.join(MARKER), MARKER_TEXT).with_context(cannot)?;
        for folder in ["o", "p"] {
            for first in 0..=u8::MAX {
                fs::create_dir_all(root.join(folder).join(format!("{first:02x}"))).with_context(cannot)?;
            }
        }
        fs::create_dir_all(root.join("sets")).with_context(cannot)?;
        let lock = File::create(root.join("lock")).with_context(cannot)?;
        if lock.try_lock().is_err() {
            bail!("another backup is being written into {}", root.display());
        }
        let shelf = Self { root: root.to_owned(), _lock: Some(lock) };
        shelf.sync()?;
        Ok(shelf)
    }

    /// For reading.
    pub fn open(root: &Path) -> anyhow::Result<Self> {
        if !root.join(MARKER).exists() {
            bail!("{} holds no backups", root.display());
        }
        Ok(Self { root: root.to_owned(), _lock: None })
    }

    /// Makes everything durable that was written until now.
    pub fn sync(&self) -> anyhow::Result<()> {
        let folder = File::open(&self.root)?;
        nix::unistd::syncfs(&folder).with_context(|| format!("cannot sync {}", self.root.display()))
    }

    /// The file of an object.
    pub fn object(&self, id: ObjectId) -> PathBuf {
        self.at("o", id)
    }

    fn at(&self, folder: &str, id: ObjectId) -> PathBuf {
        let name = id.to_string();
        self.root.join(folder).join(&name[..2]).join(name)
    }

    /// Objects that are whole.
    pub fn objects(&self) -> anyhow::Result<Vec<Copied>> {
        match fs::read(self.root.join(LIST)) {
            Ok(bytes) => Ok(Copied::read_all(&bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error).context("cannot read the list of objects"),
        }
    }

    /// Adds objects, which must be durable, to the list.
    pub fn add_objects(&self, more: &[Copied]) -> anyhow::Result<()> {
        let path = self.root.join(LIST);
        let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
        // Half a record at the end goes: whoever wrote it died.
        let len = file.metadata()?.len();
        file.set_len(len - len % Copied::LEN as u64)?;
        let bytes: Vec<u8> = more.iter().flat_map(|one| one.to_bytes()).collect();
        file.write_all(&bytes).and_then(|()| file.sync_all()).context("cannot write the list of objects")
    }

    /// Puts a list without some objects in the place of the old one, then removes them.
    pub fn forget_objects(&self, kept: &[Copied], gone: &[ObjectId]) -> anyhow::Result<()> {
        let bytes: Vec<u8> = kept.iter().flat_map(|one| one.to_bytes()).collect();
        replace(&self.root.join(LIST), &bytes)?;
        for object in gone {
            remove(&self.object(*object))?;
        }
        self.sync()
    }

    /// Whether a piece is there, whole: it gets its name after its content.
    pub fn has_piece(&self, name: ObjectId) -> bool {
        self.at("p", name).exists()
    }

    /// Writes a piece; durable after [`Shelf::sync`].
    pub fn put_piece(&self, name: ObjectId, sealed: &[u8]) -> anyhow::Result<()> {
        let path = self.at("p", name);
        let half = path.with_extension("new");
        let mut file = File::create(&half)?;
        file.write_all(sealed).and_then(|()| file.sync_data())?;
        Ok(fs::rename(&half, &path)?)
    }

    /// Reads a piece, bounded by what a piece may be.
    pub fn piece(&self, name: ObjectId) -> anyhow::Result<Vec<u8>> {
        read_bounded(&self.at("p", name), MAX_PIECE_BYTES)
    }

    /// Backups, newest first, by the time at which they were taken, milliseconds since 1970.
    pub fn sets(&self) -> anyhow::Result<Vec<u64>> {
        let mut sets = Vec::new();
        for entry in fs::read_dir(self.root.join("sets"))? {
            let name = entry?.file_name();
            sets.extend(name.to_str().and_then(|name| name.strip_suffix(".set")?.parse::<u64>().ok()));
        }
        sets.sort_unstable_by(|a, b| b.cmp(a));
        Ok(sets)
    }

    /// Writes a set: from here on the backup counts.
    pub fn put_set(&self, taken_ms: u64, sealed: &[u8]) -> anyhow::Result<()> {
        replace(&self.set_file(taken_ms), sealed)
    }

    /// Reads a set.
    pub fn set(&self, taken_ms: u64) -> anyhow::Result<Vec<u8>> {
        read_bounded(&self.set_file(taken_ms), MAX_SET_BYTES)
    }

    fn set_file(&self, taken_ms: u64) -> PathBuf {
        self.root.join("sets").join(format!("{taken_ms:015}.set"))
    }

    /// Removes a set; its pieces go with [`Shelf::sweep_pieces`].
    pub fn remove_set(&self, taken_ms: u64) -> anyhow::Result<()> {
        remove(&self.set_file(taken_ms))
    }

    /// Removes pieces that no set names. Answers how many.
    pub fn sweep_pieces(&self, wanted: &HashSet<ObjectId>) -> anyhow::Result<u64> {
        let mut removed = 0;
        for folder in fs::read_dir(self.root.join("p"))? {
            for entry in fs::read_dir(folder?.path())? {
                let path = entry?.path();
                let name = path.file_name().and_then(|name| name.to_str()?.parse::<ObjectId>().ok());
                if !name.is_some_and(|name| wanted.contains(&name)) {
                    remove(&path)?;
                    removed += 1;
                }
            }
        }
        Ok(removed)
    }
}

/// Writes a file under another name, syncs it and puts it in its place.
pub fn replace(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let half = path.with_extension("new");
    let cannot = || format!("cannot write {}", path.display());
    let mut file = File::create(&half).with_context(cannot)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).with_context(cannot)?;
    fs::rename(&half, path).with_context(cannot)?;
    let parent = path.parent().context("a file lies in a folder")?;
    File::open(parent).and_then(|dir| dir.sync_all()).with_context(cannot)
}

fn remove(path: &Path) -> anyhow::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

fn read_bounded(path: &Path, most: u64) -> anyhow::Result<Vec<u8>> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes).with_context(|| format!("cannot read {}", path.display()))?;
    if bytes.len() as u64 > most {
        bail!("{} is longer than anything that a backup writes", path.display());
    }
    Ok(bytes)
}

const MARKER: &str = "LEADGLASS-BACKUPS";
const MARKER_TEXT: &str =
    "Backups of a Leadglass vault, sealed. `leadglass restore` and `leadglass drill` read them.\n";
const LIST: &str = "objects.list";
/// A piece and what sealing adds.
const MAX_PIECE_BYTES: u64 = (super::vessel::PIECE_BYTES + (1 << 20)) as u64;
/// Some million files.
const MAX_SET_BYTES: u64 = 1 << 30;
