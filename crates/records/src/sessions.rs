//! Sessions of browsers: a token, shown once, is exchanged for a reference that lives in a cookie.
//!
//! A reference is 32 random bytes in base64url. The file holds SHA-256("leadglass session v1" ‖ 0 ‖ bytes), the hash of the
//! token that began it, and times. A session never says whom it speaks for: the token's row does, each time, so a token that
//! is revoked or has expired ends its sessions at once.
//!
//! All sessions are held in memory; beginnings and ends are durable, the last use is written by [`Sessions::settle`] only. A
//! session that ended stays ended though the clock be set back: it leaves the memory when its end is seen.

use crate::{
    TokenError, TokenGrant, Tokens,
    database::{SESSIONS, Store},
    tokens,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use leadglass_model::{Clock, Entropy, UnixMillis};
use parking_lot::{Mutex, RwLock};
use redb::ReadableTable;
use sha2::{Digest, Sha256};
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use zeroize::Zeroizing;

/// The sessions of all tenants. Clones share them; a node has one of these.
#[derive(Clone)]
pub struct Sessions(Arc<Inner>);

struct Inner {
    store: Arc<Store>,
    tokens: Tokens,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    live: RwLock<HashMap<Hash, Live>>,
    /// Whoever changes the file holds it, so that nothing that ended is written again.
    writing: Mutex<()>,
}

/// How long a session lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionTimes {
    /// Without use.
    pub idle: Duration,
    /// In any case.
    pub absolute: Duration,
}

/// A session's reference: shown once, to the browser that began it, then wiped.
pub struct SessionReference(Zeroizing<String>);

impl SessionReference {
    /// The text. Each caller answers for where it goes.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for SessionReference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SessionReference(‹secret›)")
    }
}

/// A session that goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionGrant {
    /// Whom it speaks for.
    pub grant: TokenGrant,
    /// Its name in accesses; says nothing about its reference.
    pub session: [u8; 16],
    /// When it ends in any case.
    pub ends: UnixMillis,
    /// When it ends without further use.
    pub idle_ends: UnixMillis,
}

/// Whether a look counts as use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// The session goes on for its idle time from now.
    Counts,
    /// Somebody only asks how long it lasts.
    Peek,
}

type Hash = [u8; 32];

/// A session in memory.
struct Live {
    row: Row,
    seen: AtomicU64,
}

/// A session as it lies on disk.
#[derive(Clone, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
struct Row {
    /// Hash of the token that began it.
    #[cbor(n(0), with = "minicbor::bytes")]
    token: Hash,
    #[cbor(n(1), with = "minicbor::bytes")]
    session: [u8; 16],
    #[n(2)]
    begun: u64,
    #[n(3)]
    ends: u64,
    #[n(4)]
    idle_ms: u64,
    /// Last use, as far as it was written.
    #[n(5)]
    seen: u64,
}

impl Sessions {
    /// Reads what there is; rows that do not parse are dropped, which signs somebody out.
    pub(crate) fn load(
        store: Arc<Store>,
        tokens: Tokens,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, TokenError> {
        let mut live = HashMap::new();
        let read = store.begin_read()?;
        let rows = read.open_table(SESSIONS).map_err(redb::Error::from)?;
        for entry in rows.iter().map_err(redb::Error::from)? {
            let (hash, row) = entry.map_err(redb::Error::from)?;
            if let Ok(row) = minicbor::decode::<Row>(row.value()) {
                live.insert(*hash.value(), Live { seen: AtomicU64::new(row.seen), row });
            }
        }
        drop((rows, read));
        Ok(Self(Arc::new(Inner { store, tokens, clock, entropy, live: RwLock::new(live), writing: Mutex::new(()) })))
    }

    /// Exchanges a token for a session under a fresh reference, whatever the caller had before; durable when it answers.
    /// Nobody's token begins nothing. `times` says how long, knowing whom the token speaks for; `None` refuses.
    ///
    /// Cancel safety: a dropped call may have begun a session that nobody knows; it ends by itself.
    pub async fn begin(
        &self,
        token: &str,
        times: impl FnOnce(&TokenGrant) -> Option<SessionTimes>,
    ) -> Result<Option<(SessionReference, SessionGrant)>, TokenError> {
        let Some(hash) = tokens::hash_of(token) else { return Ok(None) };
        let Some(grant) = self.0.tokens.grant_of(&hash)? else { return Ok(None) };
        let Some(times) = times(&grant) else { return Ok(None) };
        let this = self.clone();
        let begun = tokio::task::spawn_blocking(move || this.noticing(this.begin_now(hash, times))).await??;
        let (reference, row) = begun;
        let grant = SessionGrant {
            grant,
            session: row.session,
            ends: UnixMillis(row.ends),
            idle_ends: UnixMillis(row.seen.saturating_add(row.idle_ms).min(row.ends)),
        };
        Ok(Some((reference, grant)))
    }

    /// Whom a reference speaks for now: nobody if there is no such session, if it ended, or if its token did. Answers from
    /// memory and one page of the file, so it may be called where waiting is not wanted.
    pub fn resolve(&self, reference: &str, counts: Use) -> Result<Option<SessionGrant>, TokenError> {
        let Some(hash) = hash_of(reference) else { return Ok(None) };
        let now = self.0.clock.now().0;
        let (row, seen) = {
            let live = self.0.live.read();
            let Some(session) = live.get(&hash) else { return Ok(None) };
            (session.row.clone(), session.seen.load(Ordering::Relaxed))
        };
        let idle_ends = |seen: u64| seen.saturating_add(row.idle_ms).min(row.ends);
        let grant = if now < idle_ends(seen) { self.noticing(self.0.tokens.grant_of(&row.token))? } else { None };
        let Some(grant) = grant else {
            self.0.live.write().remove(&hash);
            return Ok(None);
        };
        let mut last = seen;
        if counts == Use::Counts {
            let live = self.0.live.read();
            let Some(session) = live.get(&hash) else { return Ok(None) };
            last = session.seen.fetch_max(now, Ordering::Relaxed).max(now);
        }
        let (ends, idle_ends) = (UnixMillis(row.ends), UnixMillis(idle_ends(last)));
        Ok(Some(SessionGrant { grant, session: row.session, ends, idle_ends }))
    }

    /// Ends a session: it speaks for nobody when this is called, and durably so when it answers. Ending it twice is fine.
    ///
    /// Cancel safety: a dropped call has ended it until the next start at least; ending it again is harmless.
    pub async fn end(&self, reference: &str) -> Result<(), TokenError> {
        let Some(hash) = hash_of(reference) else { return Ok(()) };
        if self.0.live.write().remove(&hash).is_none() {
            return Ok(());
        }
        let this = self.clone();
        let end = move || {
            let _turn = this.0.writing.lock();
            this.noticing(this.write(&[], &[hash]))
        };
        tokio::task::spawn_blocking(end).await?
    }

    /// Writes last uses and forgets sessions that ended. To be called now and then, and before the node stops.
    ///
    /// Cancel safety: a dropped call has done all of it or nothing.
    pub async fn settle(&self) -> Result<(), TokenError> {
        let this = self.clone();
        tokio::task::spawn_blocking(move || this.noticing(this.settle_now())).await?
    }

    fn begin_now(&self, token: Hash, times: SessionTimes) -> Result<(SessionReference, Row), TokenError> {
        let mut secret = Zeroizing::new([0; SECRET_BYTES]);
        let mut session = [0; 16];
        self.0.entropy.fill(&mut secret[..]);
        self.0.entropy.fill(&mut session);
        let now = self.0.clock.now();
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let row = Row {
            token,
            session,
            begun: now.0,
            ends: now.0.saturating_add(millis(times.absolute)),
            idle_ms: millis(times.idle),
            seen: now.0,
        };
        let mut text = Zeroizing::new(String::with_capacity(TEXT_LEN));
        URL_SAFE_NO_PAD.encode_string(&secret[..], &mut text);
        let hash = hash(&secret);
        let _turn = self.0.writing.lock();
        let surplus = self.surplus(&token)?;
        self.write(&[(hash, row.clone())], &surplus)?;
        let mut live = self.0.live.write();
        for hash in &surplus {
            live.remove(hash);
        }
        live.insert(hash, Live { seen: AtomicU64::new(row.seen), row: row.clone() });
        Ok((SessionReference(text), row))
    }

    /// Sessions of the token that must go, so that one more finds place: those that were not used for the longest time.
    fn surplus(&self, token: &Hash) -> Result<Vec<Hash>, TokenError> {
        let live = self.0.live.read();
        let mut own: Vec<(u64, Hash)> = live
            .iter()
            .filter(|(_, session)| session.row.token == *token)
            .map(|(hash, session)| (session.seen.load(Ordering::Relaxed), *hash))
            .collect();
        if live.len() >= MAX_SESSIONS && own.is_empty() {
            return Err(TokenError::TooMany);
        }
        own.sort_unstable();
        let over = (own.len() + 1).saturating_sub(MAX_OF_ONE_TOKEN).max(usize::from(live.len() >= MAX_SESSIONS));
        Ok(own.into_iter().take(over).map(|(_, hash)| hash).collect())
    }

    fn settle_now(&self) -> Result<(), TokenError> {
        let _turn = self.0.writing.lock();
        let now = self.0.clock.now().0;
        let mut used = Vec::new();
        let mut over = Vec::new();
        for (hash, session) in &*self.0.live.read() {
            let seen = session.seen.load(Ordering::Relaxed);
            let goes_on = now < seen.saturating_add(session.row.idle_ms).min(session.row.ends);
            if !goes_on || self.0.tokens.grant_of(&session.row.token)?.is_none() {
                over.push(*hash);
            } else if seen != session.row.seen {
                used.push((*hash, Row { seen, ..session.row.clone() }));
            }
        }
        {
            let mut live = self.0.live.write();
            for hash in &over {
                live.remove(hash);
            }
            used.retain(|(hash, _)| live.contains_key(hash));
            for (hash, row) in &used {
                if let Some(session) = live.get_mut(hash) {
                    session.row.seen = row.seen;
                }
            }
        }
        let ended = self.left_over()?;
        if used.is_empty() && ended.is_empty() { Ok(()) } else { self.write(&used, &ended) }
    }

    /// Rows of sessions that ended.
    fn left_over(&self) -> Result<Vec<Hash>, TokenError> {
        let read = self.0.store.begin_read()?;
        let rows = read.open_table(SESSIONS).map_err(redb::Error::from)?;
        let live = self.0.live.read();
        let mut ended = Vec::new();
        for entry in rows.iter().map_err(redb::Error::from)? {
            let hash = *entry.map_err(redb::Error::from)?.0.value();
            if !live.contains_key(&hash) {
                ended.push(hash);
            }
        }
        Ok(ended)
    }

    fn write(&self, fresh: &[(Hash, Row)], ended: &[Hash]) -> Result<(), TokenError> {
        let write = self.0.store.begin_write()?;
        {
            let mut rows = write.open_table(SESSIONS).map_err(redb::Error::from)?;
            for (hash, row) in fresh {
                let row = minicbor::to_vec(row).expect("writing to memory does not fail");
                rows.insert(hash, row.as_slice()).map_err(redb::Error::from)?;
            }
            for hash in ended {
                rows.remove(hash).map_err(redb::Error::from)?;
            }
        }
        Ok(write.commit().map_err(redb::Error::from)?)
    }

    /// A failure in the file makes the next operation open it anew.
    fn noticing<T>(&self, outcome: Result<T, TokenError>) -> Result<T, TokenError> {
        if let Err(TokenError::Io { .. }) = &outcome {
            self.0.store.suspect();
        }
        outcome
    }
}

impl std::fmt::Debug for Sessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sessions")
    }
}

/// The hash of what a browser sent; nothing if it cannot be a reference.
fn hash_of(text: &str) -> Option<Hash> {
    if text.len() != TEXT_LEN {
        return None;
    }
    let mut secret = Zeroizing::new([0; SECRET_BYTES]);
    let written = URL_SAFE_NO_PAD.decode_slice(text, &mut secret[..]).ok()?;
    (written == SECRET_BYTES).then(|| hash(&secret))
}

fn hash(secret: &[u8; SECRET_BYTES]) -> Hash {
    Sha256::new().chain_update(b"leadglass session v1\0").chain_update(secret).finalize().into()
}

const SECRET_BYTES: usize = 32;
/// 32 bytes in base64 without padding.
const TEXT_LEN: usize = 43;
/// Sessions of one token at a time; one more ends the one that was not used for the longest time.
const MAX_OF_ONE_TOKEN: usize = 32;
/// Sessions of one vault at a time.
const MAX_SESSIONS: usize = 10_000;
