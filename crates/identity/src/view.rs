//! People as people see them.

use crate::{Finding, People, State, device::DeviceId, finding, roll::Entry};
use leadglass_model::Role;
use leadglass_records::SessionInfo;
use serde::Serialize;

/// A person in the list.
#[derive(Debug, Clone, Serialize)]
pub struct PersonView {
    /// Pseudonym, as it stands in the log.
    pub id: String,
    /// Sign-in name.
    pub login: String,
    /// Name for people.
    pub name: String,
    /// Role.
    pub role: Role,
    /// Where he stands.
    pub state: State,
    /// When he was first invited.
    pub created_ms: u64,
    /// When he last signed in.
    pub last_ms: Option<u64>,
    /// When an invitation that waits ends.
    pub invited_until_ms: Option<u64>,
    /// Whether an identity provider of the practice's vouches for him.
    pub vouched: bool,
    /// Whether he may sign in with a password.
    pub password: bool,
    /// How many passkeys he has.
    pub passkeys: usize,
    /// How many sessions go on.
    pub sessions: usize,
    /// What to look at.
    pub findings: Vec<Finding>,
}

/// One's own account, or that of somebody one looks after.
#[derive(Debug, Clone, Serialize)]
pub struct AccountView {
    /// As in the list.
    #[serde(flatten)]
    pub person: PersonView,
    /// Recovery codes that are left.
    pub codes: usize,
    /// Browsers and phones.
    pub devices: Vec<DeviceView>,
    /// Passkeys.
    pub own_passkeys: Vec<PasskeyView>,
}

/// A browser or phone.
#[derive(Debug, Clone, Serialize)]
pub struct DeviceView {
    /// Its random name.
    pub id: String,
    /// "Firefox on Android".
    pub label: String,
    /// When it was first used.
    pub first_ms: u64,
    /// When somebody last did something there.
    pub last_ms: u64,
    /// How many sessions go on there.
    pub sessions: usize,
    /// Passkeys that were made there.
    pub passkeys: usize,
    /// The one that asks.
    pub this: bool,
}

/// A passkey.
#[derive(Debug, Clone, Serialize)]
pub struct PasskeyView {
    /// What its authenticator calls it.
    pub id: String,
    /// Where it was made.
    pub device: String,
    /// When.
    pub created_ms: u64,
    /// When it was last used.
    pub last_ms: Option<u64>,
}

impl People {
    /// `tokens`: whether one that he made is still good.
    pub(crate) fn view(&self, entry: &Entry, tokens: bool) -> PersonView {
        let (person, now) = (&entry.person, self.0.clock.now());
        let sessions = self.0.sessions.of_people(|info| info.seat.person == entry.id);
        let findings = finding::of(person, &sessions, tokens, now.0);
        PersonView {
            id: entry.id.to_string(),
            login: person.login.expose().clone(),
            name: person.name.expose().clone(),
            role: person.role(),
            state: person.state,
            created_ms: person.created,
            last_ms: (person.last > 0).then_some(person.last),
            invited_until_ms: person.invitation.as_ref().map(|i| i.ends).filter(|ends| now.0 < *ends),
            vouched: person.vouched.is_some(),
            password: person.password.is_some(),
            passkeys: person.passkeys.len(),
            sessions: sessions.len(),
            findings,
        }
    }

    pub(crate) fn account_view(&self, entry: &Entry, this: Option<DeviceId>, tokens: bool) -> AccountView {
        let person = &entry.person;
        let sessions = self.0.sessions.of_people(|info| info.seat.person == entry.id);
        let label = |id: DeviceId| {
            let known = person.devices.iter().find(|device| device.id == id);
            known.map_or_else(|| "a device that is gone".to_owned(), |device| device.label.clone())
        };
        let mut devices: Vec<DeviceView> = person
            .devices
            .iter()
            .map(|device| {
                let there: Vec<&SessionInfo> = sessions.iter().filter(|info| info.seat.device == device.id).collect();
                DeviceView {
                    id: hex::encode(device.id),
                    label: device.label.clone(),
                    first_ms: device.first,
                    last_ms: there.iter().map(|info| info.seen.0).fold(device.last, u64::max),
                    sessions: there.len(),
                    passkeys: person.passkeys.iter().filter(|passkey| passkey.device == device.id).count(),
                    this: this == Some(device.id),
                }
            })
            .collect();
        devices.sort_by_key(|device| std::cmp::Reverse((device.this, device.last_ms)));
        let own_passkeys = person.passkeys.iter().map(|passkey| PasskeyView {
            id: hex::encode(&passkey.id),
            device: label(passkey.device),
            created_ms: passkey.created,
            last_ms: (passkey.last > 0).then_some(passkey.last),
        });
        AccountView {
            person: self.view(entry, tokens),
            codes: person.recovery.len(),
            devices,
            own_passkeys: own_passkeys.collect(),
        }
    }
}
