//! The people of a node: what is shared by everything that can be done with them.

use crate::{
    Act, Challenge, Chronicle, Deed, IdentityError, PasskeyRules, Roll,
    ceremony::{Ceremonies, Ceremony},
    delay::Delays,
    pepper::Hasher,
    person::Person,
    roll::Entry,
};
use leadglass_keys::KeyService;
use leadglass_model::{ActorRef, Clock, Entropy, Role};
use leadglass_records::{Expected, Seat, SessionInfo, Sessions, Table, TenantRecords, TokenInfo};
use parking_lot::Mutex;
use serde_json::Value;
use std::{net::IpAddr, sync::Arc};
use tokio_util::task::TaskTracker;
use zeroize::Zeroizing;

/// What people need of the rest of the house.
pub struct Ports {
    /// Where people are written down, tenant by tenant.
    pub records: Vec<TenantRecords>,
    /// Everybody, as [`Roll::load`] read them from there.
    pub roll: Arc<Roll>,
    /// Browsers that are signed in, asking the same roll.
    pub sessions: Sessions,
    /// Where deeds are recorded.
    pub chronicle: Arc<dyn Chronicle>,
    /// Who keeps the pepper.
    pub keys: Arc<dyn KeyService>,
    /// Where passkeys are good.
    pub passkeys: PasskeyRules,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// A change that was begun is finished in here, whether its caller still listens or not.
    pub tasks: TaskTracker,
}

impl std::fmt::Debug for Ports {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ports")
    }
}

/// The people of a node. Clones share them.
#[derive(Clone)]
pub struct People(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) records: Vec<TenantRecords>,
    pub(crate) roll: Arc<Roll>,
    pub(crate) sessions: Sessions,
    chronicle: Arc<dyn Chronicle>,
    pub(crate) hasher: Hasher,
    pub(crate) passkeys: PasskeyRules,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    tasks: TaskTracker,
    pub(crate) delays: Mutex<Delays>,
    pub(crate) ceremonies: Ceremonies,
    /// One change at a time.
    pub(crate) turn: tokio::sync::Mutex<()>,
    /// What seeds of invitations are derived from.
    pub(crate) seeds: Zeroizing<[u8; 32]>,
    /// The salt for whoever is not there.
    pub(crate) nobodys_salt: [u8; 16],
}

impl People {
    /// The people behind these ports. A node has one of these.
    pub fn new(ports: Ports) -> Self {
        let (mut seeds, mut nobodys_salt) = (Zeroizing::new([0; 32]), [0; 16]);
        ports.entropy.fill(&mut seeds[..]);
        ports.entropy.fill(&mut nobodys_salt);
        Self(Arc::new(Inner {
            records: ports.records,
            roll: ports.roll,
            sessions: ports.sessions,
            chronicle: ports.chronicle,
            hasher: Hasher::new(ports.keys),
            passkeys: ports.passkeys,
            clock: ports.clock,
            entropy: ports.entropy,
            tasks: ports.tasks,
            delays: Mutex::default(),
            ceremonies: Ceremonies::default(),
            turn: tokio::sync::Mutex::default(),
            seeds,
            nobodys_salt,
        }))
    }

    /// Passwords hashed so far: the work that sign-ins cost.
    pub fn passwords_hashed(&self) -> usize {
        self.0.hasher.done()
    }

    /// Runs a change to its end, also when its caller is gone.
    pub(crate) async fn finished<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, IdentityError>> + Send + 'static,
    ) -> Result<T, IdentityError> {
        self.0.tasks.spawn(work).await.map_err(|_| IdentityError::Broken)?
    }

    pub(crate) fn entry(&self, id: ActorRef) -> Result<Entry, IdentityError> {
        self.0.roll.get(id).ok_or(IdentityError::Missing)
    }

    pub(crate) fn challenge(&self, options: Value, ceremony: Ceremony) -> Challenge {
        let challenge = self.0.ceremonies.keep(ceremony, self.0.clock.now(), &*self.0.entropy);
        Challenge { challenge, options }
    }

    /// The entry before the deed.
    pub(crate) async fn record(
        &self,
        entry: &Entry,
        deed: Deed,
        (by, role): (ActorRef, Role),
        address: Option<IpAddr>,
    ) -> Result<(), IdentityError> {
        let act = Act { tenant: entry.tenant, by, role, person: entry.id, deed, address };
        self.0.chronicle.record(act).await.map_err(|_| IdentityError::Unrecorded)
    }

    /// Writes a person's record, then shows him so. To be called in turn.
    pub(crate) async fn write(
        &self,
        entry: &Entry,
        person: Person,
        expected: Expected,
    ) -> Result<Entry, IdentityError> {
        let records = self.0.records.iter().find(|records| records.tenant() == entry.tenant);
        let records = records.ok_or(IdentityError::Missing)?;
        let written = records.put(Table::People, &entry.id.0, person.encode(), expected).await;
        let version = match written {
            Ok(version) => version,
            Err(error) => {
                // What failed may stand on the disk all the same, and then nothing would ever fit what is held here.
                self.look_again(records, entry).await;
                return Err(error.into());
            }
        };
        let entry = Entry { person: Arc::new(person), version, ..entry.clone() };
        self.0.roll.put(entry.clone());
        Ok(entry)
    }

    /// Shows a person as his record stands; if it cannot be read, as he was shown before.
    async fn look_again(&self, records: &TenantRecords, entry: &Entry) {
        let found = records.get(Table::People, &entry.id.0).await;
        let Ok(Some(record)) = found.inspect_err(|error| tracing::warn!(%error, "a person's record cannot be read"))
        else {
            return;
        };
        match Person::decode(record.value.expose()) {
            Ok(person) => {
                self.0.roll.put(Entry { person: Arc::new(person), version: record.version, ..entry.clone() });
            }
            Err(error) => tracing::error!(%error, "a person's record"),
        }
    }

    /// Changes a person's record. To be called in turn.
    pub(crate) async fn change(&self, entry: &Entry, change: impl FnOnce(&mut Person)) -> Result<Entry, IdentityError> {
        let mut person = (*entry.person).clone();
        change(&mut person);
        self.write(entry, person, Expected::Version(entry.version)).await
    }

    /// Ends sessions of a person, and what is being given out in them. How many.
    pub(crate) async fn end_sessions(
        &self,
        id: ActorRef,
        which: impl Fn(&SessionInfo) -> bool + Send,
    ) -> Result<usize, IdentityError> {
        let ended = self.0.sessions.end_where(|info| info.seat.person == id && which(info)).await;
        // They speak for nobody any more, whether or not that could be written down.
        let ended = ended.inspect_err(|_| self.stop(id))?;
        for session in &ended {
            self.0.chronicle.end_session(*session);
        }
        Ok(ended.len())
    }

    /// Ends tokens that a person made, and what is being given out on them.
    pub(crate) async fn end_tokens(
        &self,
        id: ActorRef,
        which: impl Fn(&TokenInfo, &Seat) -> bool + Send + 'static,
    ) -> Result<usize, IdentityError> {
        let is = move |info: &TokenInfo, seat: &Seat| seat.person == id && which(info, seat);
        let ended = self.0.sessions.tokens().end_of_people(is).await?;
        for token in &ended {
            self.0.chronicle.end_session(token.grant.actor.0);
        }
        Ok(ended.len())
    }

    /// What is being given out to a person stops, in whatever session.
    pub(crate) fn stop(&self, id: ActorRef) {
        self.0.chronicle.end_actor(id);
    }
}

impl std::fmt::Debug for People {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("People")
    }
}
