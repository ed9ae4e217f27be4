//! Verifiers that need no log: for auditors, patients and the witness.
//!
//! Source: RFC 9162 §2.1.3.2 and §2.1.4.2 (the algorithms for RFC 6962 proofs).

use crate::{Entry, Hash, leaf_hash, node_hash};
use leadglass_model::Fault;

/// Why a proof proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The leaf is not in a tree of that size, or the sizes run backwards.
    #[error("the proof speaks of leaves that the tree does not have")]
    OutOfRange,
    /// Too many or too few hashes.
    #[error("the proof is not as long as it must be")]
    Length,
    /// The hashes lead to another root.
    #[error("the proof does not lead to the root")]
    Root,
    /// Two entries of one subject do not follow each other.
    #[error("entry {seq} does not follow the subject's previous entry")]
    Chain {
        /// Place of the entry that does not fit.
        seq: u64,
    },
}

impl VerifyError {
    /// The kind of failure.
    pub const fn fault(&self) -> Fault {
        Fault::Corrupt
    }
}

/// Checks that `leaf` is entry `seq` of the tree with `size` leaves and this root.
pub fn inclusion(leaf: &Hash, seq: u64, size: u64, proof: &[Hash], root: &Hash) -> Result<(), VerifyError> {
    if seq >= size {
        return Err(VerifyError::OutOfRange);
    }
    let (mut node, mut last, mut hash) = (seq, size - 1, *leaf);
    for sibling in proof {
        if last == 0 {
            return Err(VerifyError::Length);
        }
        if node & 1 == 1 || node == last {
            hash = node_hash(sibling, &hash);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    if last != 0 {
        return Err(VerifyError::Length);
    }
    if hash == *root { Ok(()) } else { Err(VerifyError::Root) }
}

/// Checks that the tree (`new`, `new_root`) extends the tree (`old`, `old_root`).
pub fn consistency(old: u64, old_root: &Hash, new: u64, new_root: &Hash, proof: &[Hash]) -> Result<(), VerifyError> {
    if old > new {
        return Err(VerifyError::OutOfRange);
    }
    if old == 0 || old == new {
        let root_holds = if old == 0 { *old_root == Hash::empty_root() } else { old_root == new_root };
        let new_holds = new != 0 || *new_root == Hash::empty_root();
        return match (proof.is_empty(), root_holds && new_holds) {
            (false, _) => Err(VerifyError::Length),
            (true, false) => Err(VerifyError::Root),
            (true, true) => Ok(()),
        };
    }
    let (mut node, mut last) = (old - 1, new - 1);
    while node & 1 == 1 {
        node >>= 1;
        last >>= 1;
    }
    // When the old tree is one complete subtree its root is not in the proof: it is the start.
    let mut rest = proof.iter();
    let first = if old.is_power_of_two() { *old_root } else { *rest.next().ok_or(VerifyError::Length)? };
    let (mut old_hash, mut new_hash) = (first, first);
    for sibling in rest {
        if last == 0 {
            return Err(VerifyError::Length);
        }
        if node & 1 == 1 || node == last {
            old_hash = node_hash(sibling, &old_hash);
            new_hash = node_hash(sibling, &new_hash);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            new_hash = node_hash(&new_hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    if last != 0 {
        return Err(VerifyError::Length);
    }
    if old_hash == *old_root && new_hash == *new_root { Ok(()) } else { Err(VerifyError::Root) }
}

/// Checks that the entries are one subject's, in order, with none missing in between.
///
/// A report whose first entry has `subject_seq` 0 is whole from the start; its newest end is bounded by the checkpoint.
pub fn subject_chain<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Result<(), VerifyError> {
    let mut previous: Option<&Entry> = None;
    for entry in entries {
        let follows = match previous {
            None => entry.report.subject.is_some() && (entry.subject_seq == 0) == entry.subject_prev.is_none(),
            Some(before) => {
                entry.report.subject == before.report.subject
                    && entry.seq > before.seq
                    && Some(entry.subject_seq) == before.subject_seq.checked_add(1)
                    && entry.subject_prev == Some(leaf_hash(&before.encode()))
            }
        };
        if !follows {
            return Err(VerifyError::Chain { seq: entry.seq });
        }
        previous = Some(entry);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Nodes, consistency_proof, inclusion_proof, tree_root};
    use proptest::prelude::*;
    use std::convert::Infallible;

    /// The tree of RFC 6962 §2.1 by its definition, slow and plain.
    fn naive(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => Hash::empty_root(),
            [one] => *one,
            many => {
                let mut k = 1;
                while k * 2 < many.len() {
                    k *= 2;
                }
                node_hash(&naive(&many[..k]), &naive(&many[k..]))
            }
        }
    }

    struct Plain<'a>(&'a [Hash]);
    impl Nodes for Plain<'_> {
        type Error = Infallible;
        fn node(&self, height: u32, index: u64) -> Result<Hash, Infallible> {
            let low = usize::try_from(index << height).unwrap();
            Ok(naive(&self.0[low..low + (1 << height)]))
        }
    }

    fn hex_hash(text: &str) -> Hash {
        let mut out = [0; 32];
        hex::decode_to_slice(text, &mut out).unwrap();
        Hash(out)
    }

    /// The reference leaves and roots of the certificate-transparency project's merkle_tree_test.
    #[test]
    fn reference_leaves_give_the_reference_roots() {
        let leaves: Vec<Hash> =
            ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
                .iter()
                .map(|h| leaf_hash(&hex::decode(h).unwrap()))
                .collect();
        let roots = [
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
            "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
            "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
        ];
        for (size, root) in roots.iter().enumerate() {
            assert_eq!(tree_root(&Plain(&leaves), size as u64).unwrap(), hex_hash(root), "{size} leaves");
        }
    }

    /// PATH and PROOF of the seven-leaf example in RFC 6962 §2.1.3, by the names of its figure.
    #[test]
    fn the_proofs_of_the_rfc_example_hold_the_named_nodes() {
        let leaves: Vec<Hash> = (0..7u8).map(|n| leaf_hash(&[n])).collect();
        let [a, b, c, d, e, f, j]: [Hash; 7] = leaves.clone().try_into().unwrap();
        let (g, h, i) = (node_hash(&a, &b), node_hash(&c, &d), node_hash(&e, &f));
        let k = node_hash(&g, &h);
        let l = node_hash(&i, &j);
        let nodes = Plain(&leaves);
        assert_eq!(inclusion_proof(&nodes, 0, 7).unwrap(), [b, h, l]);
        assert_eq!(inclusion_proof(&nodes, 3, 7).unwrap(), [c, g, l]);
        assert_eq!(inclusion_proof(&nodes, 4, 7).unwrap(), [f, j, k]);
        assert_eq!(inclusion_proof(&nodes, 6, 7).unwrap(), [i, k]);
        assert_eq!(consistency_proof(&nodes, 3, 7).unwrap(), [c, d, g, l]);
        assert_eq!(consistency_proof(&nodes, 4, 7).unwrap(), [l]);
        assert_eq!(consistency_proof(&nodes, 6, 7).unwrap(), [i, j, k]);
    }

    fn leaves(count: usize) -> Vec<Hash> {
        (0..count).map(|n| leaf_hash(&n.to_be_bytes())).collect()
    }

    proptest! {
        #[test]
        fn every_inclusion_proof_holds_and_no_changed_one(size in 1usize..200, pick: prop::sample::Index, flip: prop::sample::Index) {
            let all = leaves(size);
            let seq = pick.index(size);
            let root = naive(&all);
            let mut proof = inclusion_proof(&Plain(&all), seq as u64, size as u64).unwrap();
            prop_assert_eq!(inclusion(&all[seq], seq as u64, size as u64, &proof, &root), Ok(()));
            for other in 0..size {
                if other != seq {
                    prop_assert!(inclusion(&all[seq], other as u64, size as u64, &proof, &root).is_err());
                }
            }
            let mut longer = proof.clone();
            longer.push(root);
            prop_assert!(inclusion(&all[seq], seq as u64, size as u64, &longer, &root).is_err());
            if !proof.is_empty() {
                prop_assert!(inclusion(&all[seq], seq as u64, size as u64, &proof[1..], &root).is_err());
                let at = flip.index(proof.len());
                proof[at].0[flip.index(32)] ^= 1;
                prop_assert!(inclusion(&all[seq], seq as u64, size as u64, &proof, &root).is_err());
            }
        }

        #[test]
        fn every_consistency_proof_holds_and_no_changed_one(size in 1usize..200, pick: prop::sample::Index, flip: prop::sample::Index) {
            let all = leaves(size);
            let old = pick.index(size + 1);
            let (old_root, root) = (naive(&all[..old]), naive(&all));
            let mut proof = consistency_proof(&Plain(&all), old as u64, size as u64).unwrap();
            prop_assert_eq!(consistency(old as u64, &old_root, size as u64, &root, &proof), Ok(()));
            let mut wrong = old_root;
            wrong.0[0] ^= 1;
            prop_assert!(consistency(old as u64, &wrong, size as u64, &root, &proof).is_err());
            let mut longer = proof.clone();
            longer.push(root);
            prop_assert!(consistency(old as u64, &old_root, size as u64, &root, &longer).is_err());
            if !proof.is_empty() {
                let at = flip.index(proof.len());
                proof[at].0[flip.index(32)] ^= 1;
                prop_assert!(consistency(old as u64, &old_root, size as u64, &root, &proof).is_err());
            }
        }
    }
}
