//! The witness: signs what it has seen to grow, refuses a fork (C2SP tlog-cosignature, tlog-witness).
//!
//! The witness keeps one [`TreeHead`] a log, the newest that it cosigned, durably and *before* it hands out the line.

use crate::{
    Hash, LogKey, NoteError, PublicKey,
    log::TreeHead,
    note::{signature_line, signatures, split},
    verify::{self, VerifyError},
};
use leadglass_model::Fault;

/// A witness's key.
#[derive(Debug)]
pub struct Cosigner {
    key: LogKey,
}

/// What the witness gives back, and what it must keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cosigned {
    /// The head to keep: the next checkpoint must extend it.
    pub head: TreeHead,
    /// The signature line, to be put under the checkpoint.
    pub line: String,
}

/// Why the witness does not sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CosignError {
    /// Not a checkpoint of the log.
    #[error("the checkpoint was refused")]
    Note(#[source] NoteError),
    /// The checkpoint is older than what was seen: the log was rolled back, or the caller is behind.
    #[error("the log shows {size} entries, the witness has seen {seen}")]
    Behind {
        /// Size in the checkpoint.
        size: u64,
        /// Size seen before.
        seen: u64,
    },
    /// The checkpoint does not extend what was seen. An alarm goes with it.
    #[error("the log with {size} entries does not extend the one with {seen} that the witness has seen")]
    Fork {
        /// Size in the checkpoint.
        size: u64,
        /// Size seen before.
        seen: u64,
        /// How the proof failed.
        #[source]
        source: VerifyError,
    },
}

impl CosignError {
    /// The kind of failure.
    pub const fn fault(&self) -> Fault {
        match self {
            Self::Note(source) => source.fault(),
            Self::Behind { .. } | Self::Fork { .. } => Fault::Conflict,
        }
    }
}

impl Cosigner {
    /// A witness with this name and seed.
    pub fn from_seed(name: &str, seed: &[u8]) -> Result<Self, NoteError> {
        Ok(Self { key: LogKey::from_seed(name, seed)? })
    }

    /// The public half; give it to those who verify.
    pub fn public(&self) -> PublicKey {
        self.key.public()
    }

    /// Cosigns `checkpoint` of `log` if it extends `seen` by `proof`. `seen` is `None` for a log never seen before.
    pub fn cosign(
        &self,
        log: &PublicKey,
        seen: Option<&TreeHead>,
        checkpoint: &str,
        proof: &[Hash],
        unix_secs: u64,
    ) -> Result<Cosigned, CosignError> {
        let head = log.verify_checkpoint(checkpoint).map_err(CosignError::Note)?.head;
        if let Some(seen) = seen {
            if head.size < seen.size {
                return Err(CosignError::Behind { size: head.size, seen: seen.size });
            }
            verify::consistency(seen.size, &seen.root, head.size, &head.root, proof)
                .map_err(|source| CosignError::Fork { size: head.size, seen: seen.size, source })?;
        }
        let (text, _) = split(checkpoint).map_err(CosignError::Note)?;
        let signature = self.key.sign(&message(text, unix_secs));
        let mut timed = unix_secs.to_be_bytes().to_vec();
        timed.extend_from_slice(&signature);
        let public = self.public();
        Ok(Cosigned { head, line: signature_line(public.name(), public.id(COSIGNATURE_TYPE), &timed) })
    }
}

/// When `witness` cosigned the checkpoint, in seconds since 1970; `None` without a valid cosignature.
pub(crate) fn cosigned_at(witness: &PublicKey, checkpoint: &str) -> Option<u64> {
    let (text, lines) = split(checkpoint).ok()?;
    signatures(lines, witness.name(), witness.id(COSIGNATURE_TYPE)).find_map(|timed| {
        let (secs, signature) = timed.split_first_chunk::<8>()?;
        let secs = u64::from_be_bytes(*secs);
        witness.verify(&message(text, secs), signature).then_some(secs)
    })
}

impl PublicKey {
    /// When this witness cosigned the checkpoint, in seconds since 1970; `None` without its valid cosignature.
    pub fn cosigned_at(&self, checkpoint: &str) -> Option<u64> {
        cosigned_at(self, checkpoint)
    }
}

fn message(text: &str, unix_secs: u64) -> Vec<u8> {
    format!("cosignature/v1\ntime {unix_secs}\n{text}").into_bytes()
}

/// Signature type of a witness (tlog-cosignature, Ed25519).
const COSIGNATURE_TYPE: u8 = 0x04;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::leaf_hash;

    struct Small(Vec<Hash>);
    impl crate::Nodes for Small {
        type Error = std::convert::Infallible;
        fn node(&self, height: u32, index: u64) -> Result<Hash, Self::Error> {
            let low = usize::try_from(index << height).unwrap();
            Ok(crate::edge::list_root(&self.0[low..low + (1 << height)]))
        }
    }

    fn tree(words: &[&str]) -> (Small, TreeHead) {
        let nodes = Small(words.iter().map(|w| leaf_hash(w.as_bytes())).collect());
        let size = words.len() as u64;
        let root = crate::tree_root(&nodes, size).unwrap();
        (nodes, TreeHead { size, root })
    }

    #[test]
    fn growth_is_cosigned_and_a_fork_and_a_rollback_are_refused() {
        let log = LogKey::from_seed("log", &[1; 32]).unwrap();
        let witness = Cosigner::from_seed("witness", &[2; 32]).unwrap();
        let (_, three) = tree(&["a", "b", "c"]);
        let first = witness.cosign(&log.public(), None, &log.sign_checkpoint(&three), &[], 100).unwrap();
        assert_eq!(first.head, three);

        let (nodes, five) = tree(&["a", "b", "c", "d", "e"]);
        let proof = crate::consistency_proof(&nodes, 3, 5).unwrap();
        let note = log.sign_checkpoint(&five);
        let next = witness.cosign(&log.public(), Some(&three), &note, &proof, 200).unwrap();
        let whole = format!("{note}{}", next.line);
        assert_eq!(witness.public().cosigned_at(&whole), Some(200));
        assert_eq!(witness.public().cosigned_at(&note), None);
        assert!(log.public().verify_checkpoint(&whole).is_ok());

        let (nodes, fork) = tree(&["a", "X", "c", "d", "e", "f"]);
        let proof = crate::consistency_proof(&nodes, 5, 6).unwrap();
        let refused = witness.cosign(&log.public(), Some(&five), &log.sign_checkpoint(&fork), &proof, 300);
        assert!(matches!(refused, Err(CosignError::Fork { size: 6, seen: 5, .. })), "{refused:?}");

        let refused = witness.cosign(&log.public(), Some(&five), &log.sign_checkpoint(&three), &[], 300);
        assert_eq!(refused, Err(CosignError::Behind { size: 3, seen: 5 }));
    }
}
