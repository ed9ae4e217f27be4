//! People: who they are, how they prove it, at which devices, and how they come and go.
//!
//! A person is one sealed record of a tenant. He is invited by a link that works once, chooses a passkey, or a password
//! with one-time codes, and signs in as himself; his role is asked at every request. Whoever fails to is answered in one
//! way, whatever was wrong, and has to wait longer each time; nobody is locked out.
//!
//! **Invariant:** no answer and no amount of work tells whether somebody has a login; a one-time code, a recovery code, an
//! invitation and a challenge are each good once; nothing about a person changes without an entry before it.

#![forbid(unsafe_code)]

mod account;
mod ceremony;
mod chronicle;
mod delay;
mod desk;
mod device;
mod error;
mod finding;
mod invitation;
mod keyhost;
mod passkey;
mod password;
mod pepper;
mod person;
mod prove;
mod recovery;
mod roll;
mod secret;
mod sign_in;
mod staff;
mod token;
mod totp;
mod view;
mod vouched;

pub use account::Owner;
pub use chronicle::{Act, Chronicle, Deed, Unrecorded};
pub use desk::{People, Ports};
pub use device::DeviceId;
pub use error::IdentityError;
pub use finding::Finding;
pub use invitation::{Accepted, Invited, Offer, Proof};
pub use keyhost::PublicPasskey;
pub use passkey::{Challenge, PasskeyRules};
pub use person::State;
pub use prove::Again;
pub use roll::Roll;
pub use sign_in::{Arrival, SignedIn};
pub use staff::NewPerson;
pub use token::TokenView;
pub use view::{AccountView, DeviceView, PasskeyView, PersonView};
pub use vouched::Vouched;
