//! The growing right edge of the tree: one unfinished tile a level.

use crate::{Hash, node_hash, tile::WIDTH};

/// A tile that has just become full.
#[derive(Debug, Clone)]
pub(crate) struct FullTile {
    pub(crate) level: u32,
    pub(crate) index: u64,
    pub(crate) hashes: Vec<Hash>,
}

/// What is needed of a tree to grow it: at most 255 hashes a level, at most eight levels.
#[derive(Debug, Clone, Default)]
pub(crate) struct Edge {
    size: u64,
    levels: Vec<Vec<Hash>>,
}

impl Edge {
    pub(crate) const fn size(&self) -> u64 {
        self.size
    }

    /// The unfinished tile at `level`; empty when there is none.
    pub(crate) fn partial(&self, level: u32) -> &[Hash] {
        self.levels.get(level as usize).map_or(&[], Vec::as_slice)
    }

    /// How many levels have had a hash.
    pub(crate) fn levels(&self) -> u32 {
        u32::try_from(self.levels.len()).expect("a tree of 2^64 leaves has eight levels")
    }

    /// Adds a leaf's hash; gives back the tiles that became full, lowest first.
    pub(crate) fn push(&mut self, leaf: Hash) -> Vec<FullTile> {
        let mut full = Vec::new();
        let mut carry = leaf;
        let mut hashes_at_level = self.size;
        self.size += 1;
        for level in 0.. {
            if self.levels.len() == level {
                self.levels.push(Vec::new());
            }
            let tile = &mut self.levels[level];
            tile.push(carry);
            if (tile.len() as u64) < WIDTH {
                break;
            }
            let hashes = std::mem::take(tile);
            carry = list_root(&hashes);
            let index = hashes_at_level / WIDTH;
            full.push(FullTile { level: u32::try_from(level).expect("at most eight levels"), index, hashes });
            hashes_at_level = index;
        }
        full
    }

    /// The tree's root. A level's unfinished tile, followed by the root of everything right of it, is itself a tree of
    /// RFC 6962's shape: both split at the largest power of two of full subtrees.
    pub(crate) fn root(&self) -> Hash {
        let mut right: Option<Hash> = None;
        for tile in &self.levels {
            let mut list = tile.clone();
            list.extend(right);
            if !list.is_empty() {
                right = Some(list_root(&list));
            }
        }
        right.unwrap_or_else(Hash::empty_root)
    }
}

/// The root over a list of hashes, not empty.
pub(crate) fn list_root(hashes: &[Hash]) -> Hash {
    match hashes {
        [] => Hash::empty_root(),
        [one] => *one,
        many => {
            let k = many.len().next_power_of_two() / 2;
            node_hash(&list_root(&many[..k]), &list_root(&many[k..]))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::leaf_hash;

    #[test]
    fn the_root_is_that_of_the_plain_tree_at_every_size() {
        let mut edge = Edge::default();
        let mut leaves = Vec::new();
        assert_eq!(edge.root(), Hash::empty_root());
        for n in 0..66_200u32 {
            let leaf = leaf_hash(&n.to_be_bytes());
            leaves.push(leaf);
            edge.push(leaf);
            // Every size near the borders of tiles, and some between.
            if n < 600 || (65_500..65_600).contains(&n) || n % 9_973 == 0 {
                assert_eq!(edge.root(), list_root(&leaves), "{} leaves", n + 1);
            }
        }
    }
}
