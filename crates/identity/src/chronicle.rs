//! What happens to people is written down before it happens: the port behind which the audit log stands.

use async_trait::async_trait;
use leadglass_model::{ActorRef, Role, TenantId};
use std::net::IpAddr;

/// Something that is about to be done to a person's account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Act {
    /// In which tenant.
    pub tenant: TenantId,
    /// Who does it; for a newcomer, he himself.
    pub by: ActorRef,
    /// In which role.
    pub role: Role,
    /// To whom.
    pub person: ActorRef,
    /// What.
    pub deed: Deed,
    /// Where the one who does it sits.
    pub address: Option<IpAddr>,
}

/// What can be done to an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// He was given an invitation.
    Invited,
    /// He took it and chose how to sign in.
    Joined,
    /// He has another role.
    RoleChanged,
    /// He left.
    Left,
    /// He has one more passkey.
    PasskeyAdded,
    /// He has one less.
    PasskeyRemoved,
    /// He has fresh recovery codes.
    CodesRenewed,
    /// A device of his is lost, or all of them.
    DeviceLost,
    /// His practice's identity provider vouches for him: he may sign in from now on.
    Vouched,
    /// It vouches for no role of his any more.
    Unvouched,
    /// He made a token for a program.
    TokenIssued,
    /// He ended one.
    TokenRevoked,
}

impl Deed {
    /// The word in the entry.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Invited => "person-invited",
            Self::Joined => "person-joined",
            Self::RoleChanged => "person-role-changed",
            Self::Left => "person-left",
            Self::PasskeyAdded => "passkey-added",
            Self::PasskeyRemoved => "passkey-removed",
            Self::CodesRenewed => "recovery-codes-renewed",
            Self::DeviceLost => "device-lost",
            Self::Vouched => "person-vouched-for",
            Self::Unvouched => "person-not-vouched-for",
            Self::TokenIssued => "token-issued",
            Self::TokenRevoked => "token-revoked",
        }
    }
}

/// The entry could not be made durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the entry could not be written")]
pub struct Unrecorded;

/// Where deeds are written down, and who must hear that a session is over.
#[async_trait]
pub trait Chronicle: Send + Sync + 'static {
    /// Writes an entry; durable when it answers.
    async fn record(&self, act: Act) -> Result<(), Unrecorded>;

    /// A session is over: what is being given out in it stops.
    fn end_session(&self, session: [u8; 16]);

    /// Somebody may do less than before: what is being given out to him stops, in whatever session.
    fn end_actor(&self, actor: ActorRef);
}
