//! Sessions of browsers: a token, shown once, or a person's sign-in is exchanged for a reference that lives in a cookie.
//!
//! A reference is 32 random bytes in base64url. The file holds SHA-256("leadglass session v1" ‖ 0 ‖ bytes), the hash of the
//! token or the pseudonym of the person that began it, and times. A session never says whom it speaks for: the token's row
//! or the roll of people does, each time, so a token that is revoked or has expired ends its sessions at once, and so does
//! a person's leaving; another role holds at once.
//!
//! A session that is not used for its idle time ends, if a token began it; a person's is locked first ([`Sessions::unlock`]).
//!
//! All sessions are held in memory; beginnings and ends are durable, the last use is written by [`Sessions::settle`] only. A
//! session that ended stays ended though the clock be set back: it leaves the memory when its end is seen.

use crate::{
    PersonRoll, Seat, SessionGrant, SessionInfo, TokenError, TokenGrant, Tokens, Use,
    database::{SESSIONS, Store},
    holder::{Holder, Row},
    live::{Live, Standing},
    tokens,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use leadglass_model::{Clock, Entropy, SessionTimes, UnixMillis};
use parking_lot::{Mutex, RwLock};
use redb::ReadableTable;
use sha2::{Digest, Sha256};
use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, OnceLock, atomic::Ordering},
};
use zeroize::Zeroizing;

/// The sessions of all tenants. Clones share them; a node has one of these.
#[derive(Clone)]
pub struct Sessions(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    store: Arc<Store>,
    tokens: Tokens,
    people: Arc<dyn PersonRoll>,
    pub(crate) clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    pub(crate) live: RwLock<HashMap<Hash, Live>>,
    /// Whoever changes the file holds it, so that nothing that ended is written again.
    pub(crate) writing: Mutex<()>,
    /// No session that begins lasts longer, once somebody said so.
    most: OnceLock<SessionTimes>,
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

pub(crate) type Hash = [u8; 32];

impl Sessions {
    /// Reads what there is; rows that do not parse are dropped, which signs somebody out.
    pub(crate) fn load(
        store: Arc<Store>,
        tokens: Tokens,
        people: Arc<dyn PersonRoll>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, TokenError> {
        let mut live = HashMap::new();
        let read = store.begin_read()?;
        let rows = read.open_table(SESSIONS).map_err(redb::Error::from)?;
        for entry in rows.iter().map_err(redb::Error::from)? {
            let (hash, row) = entry.map_err(redb::Error::from)?;
            if let Ok(row) = minicbor::decode::<Row>(row.value())
                && let Some(holder) = row.holder()
            {
                live.insert(*hash.value(), Live::of(row, holder, None));
            }
        }
        drop((rows, read));
        let (live, writing) = (RwLock::new(live), Mutex::new(()));
        let most = OnceLock::new();
        Ok(Self(Arc::new(Inner { store, tokens, people, clock, entropy, live, writing, most })))
    }

    /// From now on no session begins that lasts longer. To be called once, before the first one begins.
    pub fn shorten(&self, most: SessionTimes) {
        let _ = self.0.most.set(most);
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
        self.begin_of(Holder::Token(hash), grant, times, None).await.map(Some)
    }

    /// Begins a session of a person whose identity was just proven, under a fresh reference; durable when it answers. Nothing
    /// begins for whom the roll does not know.
    ///
    /// Cancel safety: as [`Sessions::begin`].
    pub async fn begin_at(
        &self,
        seat: Seat,
        times: SessionTimes,
        from: Option<IpAddr>,
    ) -> Result<Option<(SessionReference, SessionGrant)>, TokenError> {
        let Some(grant) = self.0.people.grant_of(&seat) else { return Ok(None) };
        self.begin_of(Holder::Person(seat), grant, times, from).await.map(Some)
    }

    async fn begin_of(
        &self,
        holder: Holder,
        grant: TokenGrant,
        times: SessionTimes,
        from: Option<IpAddr>,
    ) -> Result<(SessionReference, SessionGrant), TokenError> {
        let this = self.clone();
        let begin = move || this.noticing(this.begin_now(holder, times, from));
        let (reference, row) = tokio::task::spawn_blocking(begin).await??;
        let grant = SessionGrant {
            grant,
            session: row.session,
            seat: if let Holder::Person(seat) = holder { Some(seat) } else { None },
            begun: UnixMillis(row.begun),
            ends: UnixMillis(row.ends),
            idle_ends: UnixMillis(row.idle_ends(row.seen)),
        };
        Ok((reference, grant))
    }

    /// Sessions of people that go on and meet a condition.
    pub fn of_people(&self, wanted: impl Fn(&SessionInfo) -> bool) -> Vec<SessionInfo> {
        let now = self.0.clock.now().0;
        let live = self.0.live.read();
        let going_on = live.values().filter(|live| live.standing(now) == Standing::Open);
        going_on.filter_map(Live::info).filter(wanted).collect()
    }

    /// Ends the sessions of people that meet a condition, and names them: they speak for nobody once this is called, and
    /// durably so when it answers.
    ///
    /// Cancel safety: as [`Sessions::end`].
    pub async fn end_where(&self, ends: impl Fn(&SessionInfo) -> bool) -> Result<Vec<[u8; 16]>, TokenError> {
        let (mut hashes, mut names) = (Vec::new(), Vec::new());
        self.0.live.write().retain(|hash, live| match live.info().filter(|info| ends(info)) {
            Some(info) => {
                hashes.push(*hash);
                names.push(info.session);
                false
            }
            None => true,
        });
        if !hashes.is_empty() {
            let this = self.clone();
            let end = move || {
                let _turn = this.0.writing.lock();
                this.noticing(this.write(&[], &hashes))
            };
            tokio::task::spawn_blocking(end).await??;
        }
        Ok(names)
    }

    /// The bearer tokens of this node.
    pub fn tokens(&self) -> &Tokens {
        &self.0.tokens
    }

    pub(crate) fn grant_of(&self, holder: &Holder) -> Result<Option<TokenGrant>, TokenError> {
        match holder {
            Holder::Token(hash) => self.0.tokens.grant_of(hash),
            Holder::Person(seat) => Ok(self.0.people.grant_of(seat)),
        }
    }

    /// Whom a reference speaks for now: nobody if there is no such session, if it ended, or if its token did. Answers from
    /// memory and one page of the file, so it may be called where waiting is not wanted.
    pub fn resolve(&self, reference: &str, counts: Use) -> Result<Option<SessionGrant>, TokenError> {
        let Some(hash) = hash_of(reference) else { return Ok(None) };
        let now = self.0.clock.now().0;
        let (row, holder, seen, standing) = {
            let live = self.0.live.read();
            let Some(session) = live.get(&hash) else { return Ok(None) };
            let standing = session.standing(now);
            (session.row.clone(), session.holder, session.seen.load(Ordering::Relaxed), standing)
        };
        let grant = match standing {
            Standing::Open => self.noticing(self.grant_of(&holder))?,
            Standing::Locked => return Ok(None),
            Standing::Over => None,
        };
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
        let (begun, ends, idle_ends) = (UnixMillis(row.begun), UnixMillis(row.ends), UnixMillis(row.idle_ends(last)));
        let seat = if let Holder::Person(seat) = holder { Some(seat) } else { None };
        Ok(Some(SessionGrant { grant, session: row.session, seat, begun, ends, idle_ends }))
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

    fn begin_now(
        &self,
        holder: Holder,
        times: SessionTimes,
        from: Option<IpAddr>,
    ) -> Result<(SessionReference, Row), TokenError> {
        let mut session = [0; 16];
        self.0.entropy.fill(&mut session);
        let now = self.0.clock.now();
        let times = self.0.most.get().map_or(times, |most| times.within(most));
        let row = Row::new(holder, session, now.0, &times);
        let (reference, hash) = self.fresh_reference();
        let _turn = self.0.writing.lock();
        let surplus = self.surplus(&holder)?;
        self.write(&[(hash, row.clone())], &surplus)?;
        let mut live = self.0.live.write();
        for hash in &surplus {
            live.remove(hash);
        }
        live.insert(hash, Live::of(row.clone(), holder, from));
        Ok((reference, row))
    }

    pub(crate) fn fresh_reference(&self) -> (SessionReference, Hash) {
        let mut secret = Zeroizing::new([0; SECRET_BYTES]);
        self.0.entropy.fill(&mut secret[..]);
        let mut text = Zeroizing::new(String::with_capacity(TEXT_LEN));
        URL_SAFE_NO_PAD.encode_string(&secret[..], &mut text);
        (SessionReference(text), hash(&secret))
    }

    /// Sessions of the holder that must go, so that one more finds place: those that were not used for the longest time.
    fn surplus(&self, holder: &Holder) -> Result<Vec<Hash>, TokenError> {
        let live = self.0.live.read();
        let mut own: Vec<(u64, Hash)> = live
            .iter()
            .filter(|(_, session)| session.holder.is_the_same(holder))
            .map(|(hash, session)| (session.seen.load(Ordering::Relaxed), *hash))
            .collect();
        if live.len() >= MAX_SESSIONS && own.is_empty() {
            return Err(TokenError::TooMany);
        }
        own.sort_unstable();
        let over = (own.len() + 1).saturating_sub(MAX_OF_ONE).max(usize::from(live.len() >= MAX_SESSIONS));
        Ok(own.into_iter().take(over).map(|(_, hash)| hash).collect())
    }

    fn settle_now(&self) -> Result<(), TokenError> {
        let _turn = self.0.writing.lock();
        let now = self.0.clock.now().0;
        let mut used = Vec::new();
        let mut over = Vec::new();
        for (hash, session) in &*self.0.live.read() {
            let (seen, standing) = (session.seen.load(Ordering::Relaxed), session.standing(now));
            if standing == Standing::Over || self.grant_of(&session.holder)?.is_none() {
                over.push(*hash);
            } else if standing == Standing::Locked && session.row.locked.is_none() {
                used.push((*hash, session.row.clone().seen_at(seen).locked_at(now)));
            } else if seen != session.row.seen {
                used.push((*hash, session.row.clone().seen_at(seen)));
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
                    session.row = row.clone();
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

    pub(crate) fn write(&self, fresh: &[(Hash, Row)], ended: &[Hash]) -> Result<(), TokenError> {
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
    pub(crate) fn noticing<T>(&self, outcome: Result<T, TokenError>) -> Result<T, TokenError> {
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
pub(crate) fn hash_of(text: &str) -> Option<Hash> {
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
/// Sessions of one token or person at a time; one more ends the one that was not used for the longest time.
const MAX_OF_ONE: usize = 32;
/// Sessions of one vault at a time.
const MAX_SESSIONS: usize = 10_000;
