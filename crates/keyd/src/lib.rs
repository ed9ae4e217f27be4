//! The key service: holds the keys of the vault and nothing else.
//!
//! KEYS.md is the design; this crate is its program. It keeps a data directory of its own, on a host of its own, and speaks
//! to vaults over mutual TLS. It never sees an image, a patient's name or a bucket credential: random references only.
//!
//! **Invariant:** no key stands on the disk in clear. What lies there is wrapped under a key that is wrapped under a key
//! that a person, a key file or a device outside the data directory holds. (`tests/stolen.rs`)
//!
//! A library only so that its own tests can stand beside it: nothing imports it.

#![forbid(unsafe_code)]

pub mod approval;
pub mod backup;
pub mod budget;
pub mod ca;
pub mod capsule;
pub mod cli;
pub mod config;
pub mod control;
pub mod disk;
pub mod doctor;
pub mod erased;
pub mod hygiene;
pub mod keyring;
pub mod layout;
pub mod passkey;
pub mod provider;
pub mod refusal;
pub mod restore;
pub mod server;
pub mod service;
pub mod setup;
pub mod store;
pub mod wrapping;
