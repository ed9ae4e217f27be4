//! Tokens that a person makes for programs of his own, at one of his devices.

use crate::{Deed, IdentityError, Owner, People, invitation::bad};
use leadglass_records::{MAX_LABEL_CHARS, Token, TokenInfo};
use serde::Serialize;

/// A token without its secret.
#[derive(Debug, Clone, Serialize)]
pub struct TokenView {
    /// Its pseudonym.
    pub id: String,
    /// What its owner calls it.
    pub label: String,
    /// The device at which it was made, and with which it ends.
    pub device: String,
    /// When it was made.
    pub issued_ms: u64,
    /// When it ends.
    pub ends_ms: Option<u64>,
}

impl People {
    /// The tokens that somebody made and that are still good.
    pub async fn tokens(&self, owner: &Owner) -> Result<Vec<TokenView>, IdentityError> {
        let id = owner.seat.person;
        let all = self.0.sessions.tokens().of_people(|seat| seat.person == id).await?;
        Ok(all.iter().map(view).collect())
    }

    /// Makes a token that speaks for its owner for so many days. Its text is in the answer and nowhere else.
    ///
    /// # Errors
    /// [`IdentityError::StepUp`] if the last sign-in is more than ten minutes ago; a conflict for whoever decides about others,
    /// because no program shows a passkey.
    ///
    /// Cancel safety: a dropped call may have made a token that nobody knows; it stands in the list.
    pub async fn issue_token(
        &self,
        owner: &Owner,
        label: String,
        days: u64,
    ) -> Result<(Token, TokenView), IdentityError> {
        self.is_recent(owner)?;
        let fits = (1..=MAX_LABEL_CHARS).contains(&label.chars().count()) && !label.chars().any(char::is_control);
        if !fits {
            return Err(bad("label", "Call it something: 1 to 64 printable characters."));
        }
        if !(1..=MOST_DAYS).contains(&days) {
            return Err(bad("days", "A token ends after 1 to 365 days."));
        }
        let (this, owner) = (self.clone(), *owner);
        self.finished(async move {
            let _turn = this.0.turn.lock().await;
            let entry = this.entry(owner.seat.person)?;
            let (person, id) = (&entry.person, entry.id);
            if person.principal(entry.tenant, id).needs_passkey() {
                let sentence = "Whoever decides about others does so with a passkey, and no program can.";
                return Err(IdentityError::Conflict { code: "passkey-needed", sentence });
            }
            // Lost a moment ago: what would be made now would not end with it.
            if !person.devices.iter().any(|device| device.id == owner.seat.device) {
                return Err(IdentityError::Missing);
            }
            let tokens = this.0.sessions.tokens();
            if tokens.of_people(|seat| seat.person == id).await?.len() >= MOST {
                let sentence = "There are 16 tokens already; end one first.";
                return Err(IdentityError::Conflict { code: "too-many", sentence });
            }
            this.record(&entry, Deed::TokenIssued, (id, person.role()), owner.address).await?;
            let ends = this.0.clock.now().plus_secs(days * 24 * 60 * 60);
            let (token, info) = tokens.issue_to(owner.seat, person.role(), label, ends).await?;
            Ok((token, view(&info)))
        })
        .await
    }

    /// Ends a token of one's own; what is being given on it stops.
    ///
    /// Cancel safety: it is finished in any case.
    pub async fn revoke_token(&self, owner: &Owner, token: &str) -> Result<(), IdentityError> {
        let mut name = [0; 16];
        hex::decode_to_slice(token, &mut name).map_err(|_| IdentityError::Missing)?;
        let (this, owner) = (self.clone(), *owner);
        self.finished(async move {
            let _turn = this.0.turn.lock().await;
            let entry = this.entry(owner.seat.person)?;
            let own = this.0.sessions.tokens().of_people(|seat| seat.person == entry.id).await?;
            if !own.iter().any(|info| info.grant.actor.0 == name) {
                return Err(IdentityError::Missing);
            }
            this.record(&entry, Deed::TokenRevoked, (entry.id, entry.person.role()), owner.address).await?;
            this.end_tokens(entry.id, move |info, _| info.grant.actor.0 == name).await.map(drop)
        })
        .await
    }
}

fn view(info: &TokenInfo) -> TokenView {
    TokenView {
        id: info.grant.actor.to_string(),
        label: info.grant.label.clone(),
        device: info.seat.map_or_else(String::new, |seat| hex::encode(seat.device)),
        issued_ms: info.issued.0,
        ends_ms: info.expires.map(|at| at.0),
    }
}

const MOST_DAYS: u64 = 365;
/// Tokens of one person at a time.
const MOST: usize = 16;
