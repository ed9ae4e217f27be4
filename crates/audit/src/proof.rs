//! Roots and proofs over a tree whose complete subtrees can be looked up (RFC 6962 §2.1.1, §2.1.2).

use crate::{Hash, node_hash};

/// Where the hashes of complete subtrees come from.
pub trait Nodes {
    /// Why a hash could not be had.
    type Error;
    /// The root of the complete subtree over leaves `index << height .. (index + 1) << height`.
    fn node(&self, height: u32, index: u64) -> Result<Hash, Self::Error>;
}

/// The root of the tree over the first `size` leaves.
pub fn tree_root<N: Nodes>(nodes: &N, size: u64) -> Result<Hash, N::Error> {
    if size == 0 { Ok(Hash::empty_root()) } else { range_root(nodes, 0, size) }
}

/// The audit path of leaf `seq` in the tree of `size` leaves, nearest sibling first. `seq < size`.
pub fn inclusion_proof<N: Nodes>(nodes: &N, seq: u64, size: u64) -> Result<Vec<Hash>, N::Error> {
    let (mut low, mut high) = (0, size);
    let mut path = Vec::new();
    while high - low > 1 {
        let middle = low + split(high - low);
        if seq < middle {
            path.push(range_root(nodes, middle, high)?);
            high = middle;
        } else {
            path.push(range_root(nodes, low, middle)?);
            low = middle;
        }
    }
    path.reverse();
    Ok(path)
}

/// The proof that the tree of `new` leaves extends the tree of `old` leaves. Empty when `old` is 0 or `new`.
pub fn consistency_proof<N: Nodes>(nodes: &N, old: u64, new: u64) -> Result<Vec<Hash>, N::Error> {
    let mut path = Vec::new();
    if old == 0 || old >= new {
        return Ok(path);
    }
    let (mut low, mut high) = (0, new);
    // SUBPROOF of RFC 6962 §2.1.2: walk to the border of the old tree; `whole` says that the old tree fills what is left.
    let mut whole = true;
    while old != high {
        let middle = low + split(high - low);
        if old <= middle {
            path.push(range_root(nodes, middle, high)?);
            high = middle;
        } else {
            path.push(range_root(nodes, low, middle)?);
            low = middle;
            whole = false;
        }
    }
    if !whole {
        path.push(range_root(nodes, low, high)?);
    }
    path.reverse();
    Ok(path)
}

/// The root over leaves `low..high`, `low < high`, where `low` is a multiple of the largest power of two in the range.
fn range_root<N: Nodes>(nodes: &N, low: u64, high: u64) -> Result<Hash, N::Error> {
    let count = high - low;
    if count.is_power_of_two() {
        let height = count.trailing_zeros();
        return nodes.node(height, low >> height);
    }
    let middle = low + split(count);
    Ok(node_hash(&range_root(nodes, low, middle)?, &range_root(nodes, middle, high)?))
}

/// The largest power of two below `count`, `count > 1`.
const fn split(count: u64) -> u64 {
    1 << (63 - (count - 1).leading_zeros())
}
