//! The words of the house: names, times, faults, receipts.
//!
//! Everything above speaks in these types. No I/O, no cryptography, few dependencies.
//!
//! **Invariant:** a type here that names a patient is wrapped in [`Phi`]; a type that is not may stand in a log.

#![forbid(unsafe_code)]

mod actor;
mod clock;
mod enrolment;
mod entropy;
mod fault;
mod id;
mod permit;
mod phi;
mod receipt;
mod times;
mod uid;

pub use actor::{ActorRef, Purpose, Role};
pub use clock::{Clock, MockClock, SystemClock, UnixMillis};
pub use enrolment::EnrolmentLevel;
pub use entropy::{Entropy, SystemEntropy};
pub use fault::Fault;
pub use id::{EntryId, IdError, KeyGen, KeyId, ObjectId, ReceiverId, StudyRef, TenantId};
pub use permit::{Access, Administer, Audit, Emergency, ManagePeople, Permit, Read, Restrict, Review, Search, Store};
pub use phi::Phi;
pub use receipt::{Acknowledged, Durable, Indexed};
pub use times::SessionTimes;
pub use uid::{SeriesUid, SopClassUid, SopInstanceUid, StudyUid, TransferSyntaxUid, UidError};
