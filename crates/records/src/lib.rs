//! What the vault must keep and cannot rebuild from sealed objects: patients, people, devices, holds, jobs, tokens.
//!
//! Every value is sealed under its tenant's record key, which the key service lends; keys of records are random names and
//! say nothing about anybody. A value is bound to its tenant, table, key and version: elsewhere it does not open.
//!
//! Bearer tokens are the exception: who calls must be known while the key service is away, so their rows are plain. They
//! hold a hash, a tenant, a role and a label that an operator chose, never a patient. So are sessions of browsers: a hash,
//! the token's hash or the pseudonyms of a person and a device, and times.
//!
//! **Invariant:** no plaintext value touches the disk; no key does. Whoever can write this file can put back an older
//! version of a record, or add a token of their own: the file is to be readable and writable for the vault alone.

#![forbid(unsafe_code)]

mod copy;
mod database;
mod error;
mod holder;
mod live;
mod lock;
mod personal;
mod records;
mod rewrite;
mod sealed;
mod sessions;
mod table;
mod tokens;

pub use error::{OpenError, RecordError, TokenError};
pub use holder::{Nobody, PersonRoll, Seat, SessionGrant, SessionInfo, Use};
pub use records::{Expected, Fresh, MAX_KEY_BYTES, MAX_SCAN, MAX_VALUE_BYTES, Record, Records, TenantRecords};
pub use sealed::RecordKey;
pub use sessions::{SessionReference, Sessions};
pub use table::Table;
pub use tokens::{Bearer, MAX_LABEL_CHARS, NewToken, Token, TokenGrant, TokenInfo, Tokens};
