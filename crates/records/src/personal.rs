//! Tokens that people make for programs of their own: each belongs to a person, and to the device at which he made it.
//!
//! Such a token speaks for the person, in the role that he has when it is used, and ends with him; when the device is lost, it ends
//! with the device. It signs no browser in.

use crate::{NewToken, Seat, Token, TokenError, TokenInfo, Tokens};
use leadglass_model::{Role, UnixMillis};

impl Tokens {
    /// Issues a token to a person at his device; as [`Tokens::issue`]. `role` is the one that he has now, for the list.
    ///
    /// Cancel safety: as [`Tokens::issue`].
    pub async fn issue_to(
        &self,
        seat: Seat,
        role: Role,
        label: String,
        expires: UnixMillis,
    ) -> Result<(Token, TokenInfo), TokenError> {
        let new = NewToken { tenant: seat.tenant, role, label, expires: Some(expires) };
        let this = self.clone();
        tokio::task::spawn_blocking(move || this.noticing(this.issue_now(new, Some(seat)))).await?
    }

    /// The tokens of people that are neither revoked nor over and meet a condition, oldest first.
    pub async fn of_people(&self, wanted: impl Fn(&Seat) -> bool) -> Result<Vec<TokenInfo>, TokenError> {
        let now = self.clock.now();
        let mut found = self.list(None).await?;
        found.retain(|info| {
            let lives = info.revoked.is_none() && info.expires.is_none_or(|at| now < at);
            lives && info.seat.is_some_and(|seat| wanted(&seat))
        });
        Ok(found)
    }

    /// Ends the tokens of people that meet a condition; durable when it answers. Ending them twice is fine; those that were revoked
    /// before are named, too, so that what one of them is being given is stopped also after a call that broke off.
    ///
    /// Cancel safety: a dropped call may or may not have revoked; revoking again is harmless.
    pub async fn end_of_people(
        &self,
        ends: impl Fn(&TokenInfo, &Seat) -> bool + Send + 'static,
    ) -> Result<Vec<TokenInfo>, TokenError> {
        let this = self.clone();
        let end = move || {
            let which = |info: &TokenInfo| info.seat.is_some_and(|seat| ends(info, &seat));
            // Most people have none: nothing is written for them.
            if !this.noticing(this.list_now())?.iter().any(which) {
                return Ok(Vec::new());
            }
            this.noticing(this.revoke_all_now(which))
        };
        tokio::task::spawn_blocking(end).await?
    }

    /// The names, in accesses, of people's tokens that ended by themselves since then.
    pub async fn over_since(&self, then: UnixMillis) -> Result<Vec<[u8; 16]>, TokenError> {
        let now = self.clock.now();
        let mut found = self.list(None).await?;
        found.retain(|info| info.seat.is_some() && info.expires.is_some_and(|at| then <= at && at <= now));
        Ok(found.into_iter().map(|info| info.grant.actor.0).collect())
    }
}
