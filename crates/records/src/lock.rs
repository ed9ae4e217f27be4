//! A person's session that was not used for too long is locked: it speaks for nobody until he shows who he is, and goes on then
//! under another reference. Its absolute end stays where it was; whoever stays away for longer signs in anew.

use crate::{
    SessionGrant, SessionReference, Sessions, TokenError, TokenGrant,
    holder::{Holder, Row},
    live::{Live, Standing},
    sessions::{Hash, hash_of},
};
use leadglass_model::UnixMillis;
use std::sync::atomic::Ordering;

impl Sessions {
    /// Whose session this is, if it is locked; `ends` says until when he may come back.
    pub fn locked(&self, reference: &str) -> Result<Option<SessionGrant>, TokenError> {
        let Some(hash) = hash_of(reference) else { return Ok(None) };
        let now = self.0.clock.now().0;
        let Some((row, holder)) = self.at(&hash, now, Standing::Locked) else { return Ok(None) };
        let Some(grant) = self.noticing(self.grant_of(&holder))? else {
            self.0.live.write().remove(&hash);
            return Ok(None);
        };
        let ends = UnixMillis(row.over(row.seen));
        Ok(Some(SessionGrant { ends, ..granted(grant, &holder, &row) }))
    }

    /// Locks a person's session now, because he asked for it; durable when it answers. `false`: there is none that could be unlocked
    /// again.
    ///
    /// Cancel safety: a dropped call has locked it until the next start at least.
    pub async fn lock(&self, reference: &str) -> Result<bool, TokenError> {
        let Some(hash) = hash_of(reference) else { return Ok(false) };
        let this = self.clone();
        tokio::task::spawn_blocking(move || this.noticing(this.lock_now(hash))).await?
    }

    /// Opens a session that is locked, under a fresh reference: the one before it is good no more. To be called once its person has
    /// shown who he is. Nothing opens that is over, or was opened meanwhile. Durable when it answers.
    ///
    /// Cancel safety: a dropped call may have opened it under a reference that nobody knows; it is locked again by itself.
    pub async fn unlock(&self, reference: &str) -> Result<Option<(SessionReference, SessionGrant)>, TokenError> {
        let Some(hash) = hash_of(reference) else { return Ok(None) };
        let this = self.clone();
        tokio::task::spawn_blocking(move || this.noticing(this.unlock_now(hash))).await?
    }

    fn lock_now(&self, hash: Hash) -> Result<bool, TokenError> {
        let _turn = self.0.writing.lock();
        let now = self.0.clock.now().0;
        let row = {
            let mut live = self.0.live.write();
            let Some(session) = live.get_mut(&hash) else { return Ok(false) };
            if !matches!(session.holder, Holder::Person(_)) || session.standing(now) == Standing::Over {
                return Ok(false);
            }
            session.locked.store(true, Ordering::Relaxed);
            session.row = session.row.clone().locked_at(now);
            session.row.clone()
        };
        self.write(&[(hash, row)], &[])?;
        Ok(true)
    }

    fn unlock_now(&self, hash: Hash) -> Result<Option<(SessionReference, SessionGrant)>, TokenError> {
        let _turn = self.0.writing.lock();
        let now = self.0.clock.now().0;
        let Some((row, holder)) = self.at(&hash, now, Standing::Locked) else { return Ok(None) };
        let Some(grant) = self.grant_of(&holder)? else { return Ok(None) };
        let row = row.opened_at(now);
        let (reference, fresh) = self.fresh_reference();
        self.write(&[(fresh, row.clone())], &[hash])?;
        let mut live = self.0.live.write();
        // Whoever ended it meanwhile means the session, under whatever reference.
        let Some(before) = live.remove(&hash) else { return Ok(None) };
        live.insert(fresh, Live::of(row.clone(), holder, before.from));
        Ok(Some((reference, granted(grant, &holder, &row))))
    }

    /// A session, if it stands as that. One that is over is forgotten, so that it stays so though the clock be set back.
    fn at(&self, hash: &Hash, now: u64, wanted: Standing) -> Option<(Row, Holder)> {
        let (standing, row, holder) = {
            let live = self.0.live.read();
            let session = live.get(hash)?;
            let seen = session.seen.load(Ordering::Relaxed);
            (session.standing(now), session.row.clone().seen_at(seen), session.holder)
        };
        if standing == Standing::Over {
            self.0.live.write().remove(hash);
        }
        (standing == wanted).then_some((row, holder))
    }
}

fn granted(grant: TokenGrant, holder: &Holder, row: &Row) -> SessionGrant {
    let seat = if let Holder::Person(seat) = holder { Some(*seat) } else { None };
    let (begun, ends, idle_ends) = (UnixMillis(row.begun), UnixMillis(row.ends), UnixMillis(row.idle_ends(row.seen)));
    SessionGrant { grant, session: row.session, seat, begun, ends, idle_ends }
}
