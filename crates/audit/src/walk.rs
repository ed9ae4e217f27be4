//! Reading the whole log back: every leaf, every tile, every subject's chain.

use crate::{
    Disk, Entry, Hash, OpenError, SubjectToken, TreeHead,
    edge::{Edge, FullTile},
    leaf_hash,
    tile::{self, WIDTH},
};
use std::collections::HashMap;

/// A subject's newest entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LastOfSubject {
    pub(crate) seq: u64,
    pub(crate) hash: Hash,
}

/// The tree while it is read back.
#[derive(Debug, Default)]
pub(crate) struct Walk {
    pub(crate) edge: Edge,
    pub(crate) subjects: HashMap<SubjectToken, LastOfSubject>,
}

impl Walk {
    /// Takes the next leaf: it must be an entry in canonical form, in its place, and follow its subject's last.
    pub(crate) fn leaf(&mut self, bytes: &[u8]) -> Result<Vec<FullTile>, OpenError> {
        let seq = self.edge.size();
        let entry = Entry::decode(bytes).map_err(|_| OpenError::Entry { seq })?;
        let hash = leaf_hash(bytes);
        if entry.seq != seq {
            return Err(OpenError::Entry { seq });
        }
        if let Some(subject) = entry.report.subject {
            let last = self.subjects.get(&subject);
            let expected = (last.map_or(0, |l| l.seq + 1), last.map(|l| l.hash));
            if (entry.subject_seq, entry.subject_prev) != expected {
                return Err(OpenError::Chain { seq });
            }
            self.subjects.insert(subject, LastOfSubject { seq: entry.subject_seq, hash });
        }
        Ok(self.edge.push(hash))
    }

    /// Reads all that was published: bundles, tiles, and the signed root over them. Gives back the leaves of the last,
    /// unfinished bundle.
    pub(crate) fn published(disk: &dyn Disk, head: &TreeHead) -> Result<(Self, Vec<Vec<u8>>), OpenError> {
        let mut walk = Self::default();
        let (full, width) = tile::tiles_at(0, head.size);
        for bundle in 0..full {
            for leaf in read_bundle(disk, bundle, WIDTH)? {
                for made in walk.leaf(&leaf)? {
                    let stored = read_tile(disk, made.level, made.index, WIDTH)?;
                    if stored != made.hashes {
                        return Err(OpenError::Tile { level: made.level, index: made.index });
                    }
                }
            }
        }
        let last = if width == 0 { Vec::new() } else { read_bundle(disk, full, width)? };
        for leaf in &last {
            walk.leaf(leaf)?;
        }
        for level in 0..walk.edge.levels() {
            let (index, width) = tile::tiles_at(level, head.size);
            if width > 0 && read_tile(disk, level, index, width)? != walk.edge.partial(level) {
                return Err(OpenError::Tile { level, index });
            }
        }
        if walk.edge.root() == head.root { Ok((walk, last)) } else { Err(OpenError::Root { size: head.size }) }
    }
}

/// A bundle's leaves.
pub(crate) fn read_bundle(disk: &dyn Disk, index: u64, width: u64) -> Result<Vec<Vec<u8>>, OpenError> {
    let bytes = disk.read(&tile::bundle_path(index, width)).map_err(OpenError::disk)?;
    bytes.and_then(|b| tile::parse_bundle(&b, width)).ok_or(OpenError::Bundle { index })
}

/// A tile's hashes.
pub(crate) fn read_tile(disk: &dyn Disk, level: u32, index: u64, width: u64) -> Result<Vec<Hash>, OpenError> {
    let bytes = disk.read(&tile::hash_tile_path(level, index, width)).map_err(OpenError::disk)?;
    bytes.and_then(|b| tile::parse_hash_tile(&b, width)).ok_or(OpenError::Tile { level, index })
}
