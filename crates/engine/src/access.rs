//! Accesses: one opening of a study by one session for one purpose.
//!
//! The entry that opens an access is durable before the first byte leaves; a second entry at its end counts what went
//! out. Reads inside an access add no entry. An access that cannot be audited is not served.

use crate::{Record, Shared, SubjectWrap, subject::Detail};
use leadglass_audit::{Counts, Event, LeaseId, NewEntry, Outcome};
use leadglass_index::StudyEntry;
use leadglass_journal::CommitError;
use leadglass_model::{
    Access as Accessible, ActorRef, EntryId, Fault, Permit, Purpose, StudyRef, TenantId, UnixMillis,
};
use leadglass_records::RecordError;
use parking_lot::Mutex;
use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

/// Who opens what, for which purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    tenant: TenantId,
    session: [u8; 16],
    study: StudyRef,
    purpose: Purpose,
}

/// An access that is open.
#[derive(Debug)]
pub(crate) struct Access {
    /// The opening entry; the key service's log carries it too.
    pub(crate) entry: EntryId,
    /// What for.
    pub(crate) purpose: Purpose,
    pub(crate) session: [u8; 16],
    /// Set when its session ends before it does: what is being given out stops.
    pub(crate) over: Arc<AtomicBool>,
    opened: UnixMillis,
    closing: NewEntry,
    last_used: AtomicU64,
    instances: AtomicU64,
    frames: AtomicU64,
    bytes: AtomicU64,
}

/// What goes out by one request, or a piece of it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Given {
    /// Whole instances begun.
    pub(crate) instances: u64,
    /// Frames begun.
    pub(crate) frames: u64,
    /// Bytes of plaintext.
    pub(crate) bytes: u64,
}

/// Why an access could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// The entry could not be made durable.
    #[error("the entry could not be made durable")]
    Commit(#[from] CommitError),
    /// What names people in it could not be sealed.
    #[error("the entry could not be sealed")]
    Records(#[from] RecordError),
}

impl AccessError {
    /// The kind of failure.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Commit(error) => error.fault(),
            Self::Records(error) => error.fault(),
        }
    }
}

/// All accesses of a node.
#[derive(Debug, Default)]
pub(crate) struct Accesses {
    open: Mutex<HashMap<Key, Arc<OnceCell<Arc<Access>>>>>,
    /// Over for new requests, while something is still being given out: counted to its last byte.
    ending: Mutex<Vec<Arc<Access>>>,
    /// What ended a short while ago, for accesses whose entry was on its way to the disk then.
    ended: Mutex<Vec<(Ended, UnixMillis)>>,
}

/// Whose accesses ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    Session([u8; 16]),
    Actor(ActorRef),
}

impl Ended {
    fn is(self, access: &Access) -> bool {
        match self {
            Self::Session(session) => access.session == session,
            Self::Actor(actor) => access.closing.actor == Some(actor),
        }
    }
}

impl Access {
    /// Counts what goes out.
    pub(crate) fn count(&self, now: UnixMillis, given: Given) {
        self.last_used.store(now.0, Ordering::Relaxed);
        self.instances.fetch_add(given.instances, Ordering::Relaxed);
        self.frames.fetch_add(given.frames, Ordering::Relaxed);
        self.bytes.fetch_add(given.bytes, Ordering::Relaxed);
    }

    fn is_over(&self, now: UnixMillis) -> bool {
        let idle = now.millis_since(UnixMillis(self.last_used.load(Ordering::Relaxed)));
        idle > IDLE_MILLIS || now.millis_since(self.opened) > ABSOLUTE_MILLIS
    }

    fn closing_entry(&self, shared: &Shared) -> NewEntry {
        let counts = Counts {
            studies: 1,
            instances: self.instances.load(Ordering::Relaxed),
            frames: self.frames.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            ..Counts::default()
        };
        NewEntry {
            entry_id: EntryId::random(&*shared.entropy),
            time: shared.clock.now(),
            counts,
            ..self.closing.clone()
        }
    }
}

impl Shared {
    /// The access of this session to this study: the open one, or a new one whose entry is durable when this answers.
    ///
    /// Cancel safety: dropping the future may leave an access open; it closes by itself.
    pub(crate) async fn access<A: Accessible>(
        self: &Arc<Self>,
        permit: &Permit<A>,
        session: [u8; 16],
        study: &StudyEntry,
    ) -> Result<Arc<Access>, AccessError> {
        let key = Key { tenant: permit.tenant(), session, study: study.study_ref, purpose: permit.purpose() };
        let now = self.clock.now();
        let (cell, over) = {
            let mut open = self.accesses.open.lock();
            let cell = open.entry(key).or_default();
            let over = match cell.get() {
                Some(access) if access.is_over(now) => std::mem::take(cell).get().cloned(),
                _ => None,
            };
            (cell.clone(), over)
        };
        self.accesses.ending.lock().extend(over);
        let begin = || async {
            let mut opening =
                NewEntry::new(EntryId::random(&*self.entropy), now, Event::InstancesAccessed, Outcome::Success);
            let mut lease = [0; 16];
            self.entropy.fill(&mut lease);
            opening.tenant = Some(permit.tenant());
            opening.actor = Some(permit.actor());
            opening.role = Some(permit.role());
            opening.purpose = Some(permit.purpose());
            let patient = crate::patient_key(study);
            let subject = self.subject_token(permit.tenant(), &patient);
            opening.subject = subject;
            opening.study = Some(study.study_ref);
            opening.lease = Some(LeaseId(lease));
            opening.counts.studies = 1;
            let entry = opening.entry_id;
            let closing = NewEntry { event: Event::LeaseEnded, related: Some(entry), ..opening.clone() };
            // Only `benches/null.sh log` builds it so, to measure what the log costs.
            if !cfg!(leadglass_null_log) {
                let detail = self.detail(permit.tenant(), subject, entry, &Detail::of(study)).await?;
                opening.detail = detail.bytes;
                self.commit_entry(opening, detail.wrap).await?;
            }
            self.notice_breadth(permit.tenant(), permit.actor(), subject);
            Ok::<_, AccessError>(Arc::new(Access {
                entry,
                purpose: permit.purpose(),
                session,
                over: Arc::default(),
                opened: now,
                closing,
                last_used: AtomicU64::new(now.0),
                instances: AtomicU64::new(0),
                frames: AtomicU64::new(0),
                bytes: AtomicU64::new(0),
            }))
        };
        let access = cell.get_or_try_init(begin).await.cloned()?;
        let ended = self.accesses.ended.lock();
        if ended.iter().any(|(ended, at)| *at >= access.opened && ended.is(&access)) {
            access.over.store(true, Ordering::Relaxed);
        }
        drop(ended);
        Ok(access)
    }

    /// Makes one entry durable, in a task of its own.
    pub(crate) async fn commit_entry(
        self: &Arc<Self>,
        entry: NewEntry,
        wrap: Option<SubjectWrap>,
    ) -> Result<(), CommitError> {
        let shared = self.clone();
        let subjects = wrap.into_iter().collect();
        let record = Record { entries: vec![entry.encode().into()], subjects, ..Record::default() };
        let work = async move { shared.commit(record).await };
        self.tasks.spawn(work).await.map_err(|_| CommitError::Closed)??;
        Ok(())
    }

    fn close(self: &Arc<Self>, access: &Access) {
        if cfg!(leadglass_null_log) {
            return;
        }
        let entry = access.closing_entry(self);
        let shared = self.clone();
        self.tasks.spawn(async move {
            let record = Record { entries: vec![entry.encode().into()], ..Record::default() };
            if let Err(error) = shared.commit(record).await {
                tracing::warn!(%error, "the end of an access could not be recorded");
            }
        });
    }

    /// As [`Self::commit_entry`], of several that name nobody: all of them or none.
    pub(crate) async fn commit_entries(self: &Arc<Self>, entries: Vec<NewEntry>) -> Result<(), CommitError> {
        let shared = self.clone();
        let entries = entries.into_iter().map(|entry| entry.encode().into()).collect();
        let work = async move { shared.commit(Record { entries, ..Record::default() }).await };
        self.tasks.spawn(work).await.map_err(|_| CommitError::Closed)??;
        Ok(())
    }

    /// Ends the accesses of a session, those too that are over for new requests, and drops what was opened in it.
    pub(crate) fn end_session(&self, session: [u8; 16]) {
        self.end_accesses(Ended::Session(session));
        // Also where no access is left: what was opened lies as long as its lease.
        self.cache.end_session(session);
    }

    /// The same for all sessions of a person or program. How many accesses went on until now.
    pub(crate) fn end_actor(&self, actor: ActorRef) -> usize {
        self.end_accesses(Ended::Actor(actor))
    }

    /// Who has an access that is open, or is being given something out.
    pub(crate) fn readers(&self) -> HashSet<ActorRef> {
        let open = self.accesses.open.lock();
        let mut readers: HashSet<ActorRef> =
            open.values().filter_map(|cell| cell.get()).filter_map(|access| access.closing.actor).collect();
        drop(open);
        let ending = self.accesses.ending.lock();
        let going_on = ending.iter().filter(|access| !access.over.load(Ordering::Relaxed));
        readers.extend(going_on.filter_map(|access| access.closing.actor));
        readers
    }

    /// What is still being given out in an emergency that is over stops.
    fn end_emergencies(&self) {
        let is_over = |access: &Access| {
            let NewEntry { tenant, actor, subject, study, .. } = &access.closing;
            let matter = subject.map(|subject| subject.0).or(study.map(|study| *study.as_bytes()));
            let (Some(tenant), Some(actor), Some(matter)) = (*tenant, *actor, matter) else { return false };
            access.purpose == Purpose::BreakGlass && self.emergency_is_over(tenant, actor, matter)
        };
        let mut over = Vec::new();
        self.accesses.open.lock().retain(|_, cell| match cell.get() {
            Some(access) if is_over(access) => {
                over.push(access.clone());
                false
            }
            _ => true,
        });
        let mut ending = self.accesses.ending.lock();
        ending.extend(over);
        for access in ending.iter().filter(|access| is_over(access)) {
            access.over.store(true, Ordering::Relaxed);
        }
    }

    fn end_accesses(&self, whose: Ended) -> usize {
        let now = self.clock.now();
        {
            let mut ended = self.accesses.ended.lock();
            ended.retain(|(_, at)| now.millis_since(*at) <= ABSOLUTE_MILLIS);
            ended.push((whose, now));
        }
        let ends = |access: &Access| whose.is(access);
        let mut over = Vec::new();
        self.accesses.open.lock().retain(|_, cell| match cell.get() {
            Some(access) if ends(access) => {
                over.push(access.clone());
                false
            }
            _ => true,
        });
        let mut ending = self.accesses.ending.lock();
        ending.extend(over);
        let mut sessions = HashSet::new();
        let mut ended = 0;
        for access in ending.iter().filter(|access| ends(access)) {
            sessions.insert(access.session);
            ended += usize::from(!access.over.swap(true, Ordering::Relaxed));
        }
        drop(ending);
        // Behind the mark: whoever reads it unset has put in by now what goes here.
        for session in sessions {
            self.cache.end_session(session);
        }
        ended
    }

    /// Closes every access that is over, until `stop`; then all of them.
    pub(crate) async fn close_accesses(self: Arc<Self>, stop: CancellationToken) {
        let mut tick = tokio::time::interval(LOOK_EVERY);
        loop {
            let stopping = tokio::select! {
                () = stop.cancelled() => true,
                _ = tick.tick() => false,
            };
            self.cache.sweep();
            self.pool.rest();
            self.end_emergencies();
            let now = self.clock.now();
            let mut over = Vec::new();
            self.accesses.open.lock().retain(|_, cell| match cell.get() {
                Some(access) if stopping || access.is_over(now) => {
                    over.push(access.clone());
                    false
                }
                // A cell that nobody fills any more: its opener was dropped or failed.
                None => Arc::strong_count(cell) > 1,
                Some(_) => true,
            });
            over.extend(std::mem::take(&mut *self.accesses.ending.lock()));
            for access in over {
                // Whoever gives something out holds it.
                if stopping || Arc::strong_count(&access) == 1 {
                    self.close(&access);
                } else {
                    self.accesses.ending.lock().push(access);
                }
            }
            if stopping {
                return;
            }
        }
    }
}

/// A lease is 300 s absolute and 60 s idle (KEYS.md); an access is one lease.
const ABSOLUTE_MILLIS: u64 = 300_000;
const IDLE_MILLIS: u64 = 60_000;
const LOOK_EVERY: Duration = Duration::from_secs(5);
