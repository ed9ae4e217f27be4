//! The tamper-evident log: entries, RFC 6962 tree, C2SP tiles, signed checkpoints, proofs, verifier.
//!
//! `AUDIT.md` beside this crate gives the bytes. Both programs keep such a log: the vault for accesses and changes, the
//! key service for every call.
//!
//! **Invariant:** no patient data. An entry holds pseudonyms, random references and counts; what names anybody is
//! sealed before it comes here, and the tree commits to the hash of the ciphertext.
//!
//! Everything here blocks: call [`Log`] from `spawn_blocking` or from a thread of your own.

#![forbid(unsafe_code)]

mod detail;
mod disk;
mod edge;
mod entry;
mod error;
mod event;
mod follow;
mod form;
mod frame;
mod hash;
mod line;
mod log;
mod nodes;
mod note;
mod offline;
mod proof;
mod read;
mod state;
mod tile;
mod walk;
mod witness;

pub mod report;
pub mod verify;

pub use detail::{DetailError, DetailMaster, SubjectKey};
pub use disk::{Disk, LocalDisk, MemoryDisk, ReadOnlyDisk};
pub use entry::{
    ClientRef, CodeWord, Counts, Entry, EntryError, LeaseId, MAX_DETAIL_BYTES, NewEntry, Outcome, SubjectToken,
};
pub use error::{AppendError, OpenError, ReadError};
pub use event::Event;
pub use follow::{FollowError, Followed, Follower};
pub use hash::{Hash, leaf_hash, node_hash};
pub use line::EntryLine;
pub use log::{Log, LogOptions, TreeHead};
pub use note::{LogKey, NoteError, PublicKey, SignedHead};
pub use offline::{Flaw, KnownKeys, Verdict, verify_offline};
pub use proof::{Nodes, consistency_proof, inclusion_proof, tree_root};
pub use read::{Proved, SubjectLog};
pub use witness::{CosignError, Cosigned, Cosigner};
