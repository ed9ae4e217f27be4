//! Bearer tokens of devices and programs.
//!
//! A token is `lg_` and 32 random bytes in base64url. The file holds SHA-256("leadglass token v1" ‖ 0 ‖ bytes): 256 random
//! bits need no slow hash. A token is found by that hash, so how long a look-up takes tells nothing that helps to guess one.

use crate::{
    PersonRoll, Seat, TokenError,
    database::{Store, TOKENS},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use leadglass_model::{ActorRef, Clock, Entropy, Role, TenantId, UnixMillis};
use redb::{ReadableTable, ReadableTableMetadata};
use sha2::{Digest, Sha256};
use std::{
    collections::HashSet,
    sync::{Arc, OnceLock},
};
use zeroize::Zeroizing;

/// The tokens of all tenants. Clones share them.
#[derive(Clone)]
pub struct Tokens {
    store: Arc<Store>,
    pub(crate) clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    /// Who is asked about tokens that a person made for himself; until it is set, they speak for nobody.
    people: Arc<OnceLock<Arc<dyn PersonRoll>>>,
}

/// A token to be issued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewToken {
    /// Where it is good for.
    pub tenant: TenantId,
    /// What for.
    pub role: Role,
    /// What an operator calls it, in 1 to 64 printable characters. It stands on disk as it is: a device, never a patient.
    pub label: String,
    /// When it ends; `None`: when it is revoked.
    pub expires: Option<UnixMillis>,
}

/// A token's text: shown once, to whoever asked for it, then wiped.
pub struct Token(Zeroizing<String>);

impl Token {
    /// The text. Each caller answers for where it goes.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(‹secret›)")
    }
}

/// Whom a token speaks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenGrant {
    /// The token's pseudonym in audit entries.
    pub actor: ActorRef,
    /// Its tenant.
    pub tenant: TenantId,
    /// Its role.
    pub role: Role,
    /// What an operator calls it.
    pub label: String,
}

impl TokenGrant {
    fn called(self, label: String) -> Self {
        Self { label, ..self }
    }
}

/// A token without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenInfo {
    /// Whom it speaks for.
    pub grant: TokenGrant,
    /// When it was issued.
    pub issued: UnixMillis,
    /// When it ends.
    pub expires: Option<UnixMillis>,
    /// When it was revoked.
    pub revoked: Option<UnixMillis>,
    /// The person who made it for himself, and at which device; `None`: an operator issued it.
    pub seat: Option<Seat>,
}

/// Whoever bears a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bearer {
    /// Whom it speaks for: itself, or the person who made it, in the role that he has now.
    pub grant: TokenGrant,
    /// The token's own pseudonym: what its accesses are counted by.
    pub session: [u8; 16],
}

impl Tokens {
    pub(crate) fn new(
        store: Arc<Store>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        people: Arc<OnceLock<Arc<dyn PersonRoll>>>,
    ) -> Self {
        Self { store, clock, entropy, people }
    }

    /// Issues a token; it is durable when this answers, and its text is nowhere but in the answer.
    ///
    /// Cancel safety: a dropped call may have issued a token that nobody knows; it stands in the list.
    pub async fn issue(&self, new: NewToken) -> Result<(Token, TokenInfo), TokenError> {
        let this = self.clone();
        tokio::task::spawn_blocking(move || this.noticing(this.issue_now(new, None))).await?
    }

    /// Whom a text speaks for: nobody if it is no token of ours, expired or revoked. Answers from memory or one page of the
    /// file, so it may be called where waiting is not wanted.
    pub fn resolve(&self, text: &str) -> Result<Option<TokenGrant>, TokenError> {
        Ok(self.bearer(text)?.map(|bearer| bearer.grant))
    }

    /// As [`Tokens::resolve`], with the token's own name.
    pub fn bearer(&self, text: &str) -> Result<Option<Bearer>, TokenError> {
        let Some(hash) = hash_of(text) else { return Ok(None) };
        let Some(info) = self.living(&hash)? else { return Ok(None) };
        let session = info.grant.actor.0;
        let grant = match info.seat {
            None => Some(info.grant),
            // The label is the token's: whoever looks at who is in wants to know which one.
            Some(seat) => {
                self.people.get().and_then(|people| people.bearer(&seat)).map(|who| who.called(info.grant.label))
            }
        };
        Ok(grant.map(|grant| Bearer { grant, session }))
    }

    /// Whom the token with this hash speaks for now, if it signs browsers in: one that a person made for a program does not.
    pub(crate) fn grant_of(&self, hash: &[u8; 32]) -> Result<Option<TokenGrant>, TokenError> {
        Ok(self.living(hash)?.filter(|info| info.seat.is_none()).map(|info| info.grant))
    }

    /// The token with this hash, if it is neither revoked nor over.
    fn living(&self, hash: &[u8; 32]) -> Result<Option<TokenInfo>, TokenError> {
        let Some(row) = self.noticing(self.find(hash).map_err(TokenError::from))? else { return Ok(None) };
        let info = Row::decode(&row)?;
        let over = |at: Option<UnixMillis>| at.is_some_and(|at| at <= self.clock.now());
        // The moment of a revocation does not matter: a clock set back must not bring a token back.
        if info.revoked.is_some() || over(info.expires) {
            return Ok(None);
        }
        Ok(Some(info))
    }

    /// Those of `actors` whose token was revoked or has expired. Who has no token here is not among them.
    pub async fn over(&self, actors: HashSet<ActorRef>) -> Result<Vec<ActorRef>, TokenError> {
        let found = self.list(None).await?.into_iter();
        let now = self.clock.now();
        let is_over = |info: &TokenInfo| info.revoked.is_some() || info.expires.is_some_and(|at| at <= now);
        Ok(found.filter(is_over).map(|info| info.grant.actor).filter(|actor| actors.contains(actor)).collect())
    }

    /// Every token, those of one tenant if one is given; expired and revoked ones too, oldest first.
    pub async fn list(&self, tenant: Option<TenantId>) -> Result<Vec<TokenInfo>, TokenError> {
        let this = self.clone();
        let mut found = tokio::task::spawn_blocking(move || this.noticing(this.list_now())).await??;
        found.retain(|info| tenant.is_none_or(|tenant| info.grant.tenant == tenant));
        found.sort_by_key(|info| (info.issued, info.grant.actor));
        Ok(found)
    }

    /// Ends a token of a tenant, named by its actor; durable when it answers. Ending it twice is fine.
    ///
    /// Cancel safety: a dropped call may or may not have revoked; revoking again is harmless.
    pub async fn revoke(&self, tenant: TenantId, actor: ActorRef) -> Result<(), TokenError> {
        let this = self.clone();
        tokio::task::spawn_blocking(move || this.noticing(this.revoke_now(tenant, actor))).await?
    }

    /// A failure in the file makes the next operation open it anew.
    pub(crate) fn noticing<T>(&self, outcome: Result<T, TokenError>) -> Result<T, TokenError> {
        if let Err(TokenError::Io { .. }) = &outcome {
            self.store.suspect();
        }
        outcome
    }

    pub(crate) fn issue_now(&self, new: NewToken, seat: Option<Seat>) -> Result<(Token, TokenInfo), TokenError> {
        let issued = self.clock.now();
        let chars = new.label.chars().count();
        if chars == 0 || chars > MAX_LABEL_CHARS || new.label.chars().any(char::is_control) {
            return Err(TokenError::Label);
        }
        if new.expires.is_some_and(|expires| expires <= issued) {
            return Err(TokenError::Expired);
        }
        let (mut secret, mut actor) = (Zeroizing::new([0; SECRET_BYTES]), [0; 16]);
        self.entropy.fill(&mut secret[..]);
        self.entropy.fill(&mut actor);
        let mut text = Zeroizing::new(String::with_capacity(TEXT_LEN));
        text.push_str(PREFIX);
        URL_SAFE_NO_PAD.encode_string(&secret[..], &mut text);
        let grant = TokenGrant { actor: ActorRef(actor), tenant: new.tenant, role: new.role, label: new.label };
        let info = TokenInfo { grant, issued, expires: new.expires, revoked: None, seat };
        self.insert_new(&hash(&secret), &Row::encode(&info))?;
        Ok((Token(text), info))
    }

    fn insert_new(&self, hash: &[u8; 32], row: &[u8]) -> Result<(), TokenError> {
        let write = self.store.begin_write()?;
        {
            let mut rows = write.open_table(TOKENS).map_err(redb::Error::from)?;
            if rows.len().map_err(redb::Error::from)? >= MAX_TOKENS {
                return Err(TokenError::TooMany);
            }
            rows.insert(hash, row).map_err(redb::Error::from)?;
        }
        Ok(write.commit().map_err(redb::Error::from)?)
    }

    fn find(&self, hash: &[u8; 32]) -> Result<Option<Vec<u8>>, redb::Error> {
        let read = self.store.begin_read()?;
        let rows = read.open_table(TOKENS)?;
        Ok(rows.get(hash)?.map(|row| row.value().to_vec()))
    }

    pub(crate) fn list_now(&self) -> Result<Vec<TokenInfo>, TokenError> {
        let read = self.store.begin_read()?;
        let rows = read.open_table(TOKENS).map_err(redb::Error::from)?;
        let mut found = Vec::new();
        for entry in rows.iter().map_err(redb::Error::from)? {
            found.push(Row::decode(entry.map_err(redb::Error::from)?.1.value())?);
        }
        Ok(found)
    }

    fn revoke_now(&self, tenant: TenantId, actor: ActorRef) -> Result<(), TokenError> {
        let found = self.revoke_all_now(|info| info.grant.actor == actor && info.grant.tenant == tenant)?;
        if found.is_empty() { Err(TokenError::Missing) } else { Ok(()) }
    }

    /// Revokes tokens, and answers which they are: those that were revoked before, too.
    pub(crate) fn revoke_all_now(&self, which: impl Fn(&TokenInfo) -> bool) -> Result<Vec<TokenInfo>, TokenError> {
        let write = self.store.begin_write()?;
        let mut found = Vec::new();
        {
            let mut rows = write.open_table(TOKENS).map_err(redb::Error::from)?;
            for entry in rows.iter().map_err(redb::Error::from)? {
                let (hash, row) = entry.map_err(redb::Error::from)?;
                let info = Row::decode(row.value())?;
                if which(&info) {
                    found.push((*hash.value(), info));
                }
            }
            for (hash, info) in &mut found {
                info.revoked.get_or_insert_with(|| self.clock.now());
                rows.insert(&*hash, Row::encode(info).as_slice()).map_err(redb::Error::from)?;
            }
        }
        write.commit().map_err(redb::Error::from)?;
        Ok(found.into_iter().map(|(_, info)| info).collect())
    }
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tokens")
    }
}

/// A token as it lies on disk.
#[derive(minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
struct Row {
    #[n(0)]
    tenant: TenantId,
    #[cbor(n(1), with = "minicbor::bytes")]
    actor: [u8; 16],
    #[n(2)]
    role: String,
    #[n(3)]
    label: String,
    #[n(4)]
    issued: u64,
    #[n(5)]
    expires: Option<u64>,
    #[n(6)]
    revoked: Option<u64>,
    /// The person who made it for himself.
    #[n(7)]
    seat: Option<Seat>,
}

impl Row {
    fn encode(info: &TokenInfo) -> Vec<u8> {
        let row = Self {
            tenant: info.grant.tenant,
            actor: info.grant.actor.0,
            role: info.grant.role.as_str().to_owned(),
            label: info.grant.label.clone(),
            issued: info.issued.0,
            expires: info.expires.map(|at| at.0),
            revoked: info.revoked.map(|at| at.0),
            seat: info.seat,
        };
        minicbor::to_vec(row).expect("writing to memory does not fail")
    }

    fn decode(bytes: &[u8]) -> Result<TokenInfo, TokenError> {
        let row: Self = minicbor::decode(bytes).map_err(|_| TokenError::Damaged)?;
        let role = row.role.parse().map_err(|_| TokenError::Damaged)?;
        let grant = TokenGrant { actor: ActorRef(row.actor), tenant: row.tenant, role, label: row.label };
        let (expires, revoked) = (row.expires.map(UnixMillis), row.revoked.map(UnixMillis));
        Ok(TokenInfo { grant, issued: UnixMillis(row.issued), expires, revoked, seat: row.seat })
    }
}

/// The hash of what a caller sent; nothing if it cannot be a token.
pub(crate) fn hash_of(text: &str) -> Option<[u8; 32]> {
    if text.len() != TEXT_LEN {
        return None;
    }
    let mut secret = Zeroizing::new([0; SECRET_BYTES]);
    let written = URL_SAFE_NO_PAD.decode_slice(text.strip_prefix(PREFIX)?, &mut secret[..]).ok()?;
    (written == SECRET_BYTES).then(|| hash(&secret))
}

fn hash(secret: &[u8; SECRET_BYTES]) -> [u8; 32] {
    Sha256::new().chain_update(b"leadglass token v1\0").chain_update(secret).finalize().into()
}

const PREFIX: &str = "lg_";
const SECRET_BYTES: usize = 32;
/// `lg_` and 32 bytes in base64 without padding.
const TEXT_LEN: usize = 46;
/// The longest label, in characters.
pub const MAX_LABEL_CHARS: usize = 64;
/// The most tokens of one vault, revoked ones included.
const MAX_TOKENS: u64 = 100_000;
