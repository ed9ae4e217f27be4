//! Study keys as the vault sees them: the key service's words, its client, leases and the reserve.
//!
//! **Invariant:** no key touches a disk here, and none outlives its lease in memory.

#![forbid(unsafe_code)]

pub mod wire;
