//! Devices: who may send, how sure we are of it, and how that is changed while the vault runs.
//!
//! - [`enrolment`]: one device. [`roll`]: all of them, in memory. [`book`]: changes, recorded and kept.
//! - [`gate`]: the decision about each association. [`authority`], [`tls`], [`x509`]: certificates.
//! - [`habits`]: how much each sends, usually and at most.
//! - [`doors`]: ports that devices have of their own.
//!
//! **Invariant:** a device only brings instances in. Nothing here gives it anything to read.

mod authority;
mod book;
mod doors;
mod enrolment;
mod gate;
mod habits;
mod roll;
mod tls;
mod x509;

pub use book::{Book, SOON_DAYS};
pub use doors::Doors;
pub use enrolment::parse_fingerprint;
pub use gate::{Gate, Rules};
pub use habits::{Habits, Turn};
pub use tls::acceptor;
pub use x509::shown_pem;

use enrolment::BoundKey;
