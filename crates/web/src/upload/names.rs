//! What the instances of a form are called: fresh names, or, of a form with a key, names that the same form gets again.
//!
//! Who heard no answer sends again under the same key. The names then say that it was here before, and the engine sees
//! that it is the same. A key is its sender's own: the same key of somebody else makes other names.

use leadglass_imaging::{Format, derived_uid, fresh_uid};
use leadglass_model::{
    ActorRef, Permit, Phi, SeriesUid, SopInstanceUid, Store, StudyUid, SystemEntropy, TenantId, UnixMillis,
};
use parking_lot::Mutex;
use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

/// A form's idempotency key: 1 to 128 visible ASCII characters that its sender chose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key(Phi<String>);

impl Key {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let fits = (1..=MAX_KEY).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        fits.then(|| Self(Phi::new(text.to_owned())))
    }
}

/// Gives the names of one form.
#[derive(Debug)]
pub(super) enum Names {
    /// Never given before and never again.
    Fresh,
    /// Of a sender's key.
    Keyed { tenant: TenantId, actor: ActorRef, key: Key },
}

impl Names {
    pub(super) fn new(permit: &Permit<Store>, key: Option<Key>) -> Self {
        match key {
            None => Self::Fresh,
            Some(key) => Self::Keyed { tenant: permit.tenant(), actor: permit.actor(), key },
        }
    }

    /// Whether the same form gets the same names.
    pub(super) const fn is_keyed(&self) -> bool {
        matches!(self, Self::Keyed { .. })
    }

    pub(super) fn study(&self) -> StudyUid {
        StudyUid::parse(&self.uid("study", 0)).expect("a UID of our own")
    }

    /// Photos go into one series, documents into another.
    pub(super) fn series(&self, of: Format) -> SeriesUid {
        let word = match of {
            Format::Photo => "photos",
            Format::Document => "documents",
        };
        SeriesUid::parse(&self.uid(word, 0)).expect("a UID of our own")
    }

    /// Of the form's file at this place, from 1.
    pub(super) fn instance(&self, place: u32) -> SopInstanceUid {
        SopInstanceUid::parse(&self.uid("instance", place)).expect("a UID of our own")
    }

    fn uid(&self, word: &str, place: u32) -> String {
        match self {
            Self::Fresh => fresh_uid(&SystemEntropy),
            Self::Keyed { tenant, actor, key } => {
                let key = key.0.expose().as_bytes();
                derived_uid(&[tenant.as_bytes(), &actor.0, word.as_bytes(), key, &place.to_le_bytes()])
            }
        }
    }
}

/// When forms with a key first came. A second try that meets the first on its way must say the same; once the first is
/// stored, its study says it.
#[derive(Debug, Clone, Default)]
pub(super) struct FirstTries(Arc<Mutex<Tries>>);

#[derive(Debug, Default)]
struct Tries {
    came: HashMap<StudyUid, UnixMillis>,
    order: VecDeque<StudyUid>,
}

impl FirstTries {
    /// When this form came first, as far as is remembered: now, if it never did.
    pub(super) fn came(&self, names: &Names, now: UnixMillis) -> UnixMillis {
        if !names.is_keyed() {
            return now;
        }
        let name = names.study();
        let mut tries = self.0.lock();
        if let Some(came) = tries.came.get(&name) {
            return *came;
        }
        if tries.order.len() >= MAX_TRIES
            && let Some(oldest) = tries.order.pop_front()
        {
            tries.came.remove(&oldest);
        }
        tries.order.push_back(name.clone());
        tries.came.insert(name, now);
        now
    }
}

/// Characters of a key.
const MAX_KEY: usize = 128;
/// Forms whose first try is remembered, about 200 bytes each.
const MAX_TRIES: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn names(tenant: u8, actor: u8, key: &str) -> Names {
        Names::Keyed {
            tenant: TenantId::from_bytes([tenant; 16]),
            actor: ActorRef([actor; 16]),
            key: Key::parse(key).unwrap(),
        }
    }

    #[test]
    fn a_key_is_short_and_visible() {
        for fine in ["1", "0123456789abcdef", "~!\"", &"k".repeat(128)] {
            assert!(Key::parse(fine).is_some(), "{fine}");
        }
        for bad in ["", " ", "a b", "ä", "a\n", &"k".repeat(129)] {
            assert!(Key::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn the_same_form_gets_the_same_names_and_every_other_gets_others() {
        let (mine, again) = (names(1, 1, "k"), names(1, 1, "k"));
        assert_eq!(mine.study(), again.study());
        assert_eq!(mine.instance(2), again.instance(2));
        assert_ne!(mine.instance(2), mine.instance(1));
        assert_ne!(mine.series(Format::Photo), mine.series(Format::Document));
        for other in [names(2, 1, "k"), names(1, 2, "k"), names(1, 1, "l"), Names::Fresh] {
            assert_ne!(mine.study(), other.study());
            assert_ne!(mine.instance(1), other.instance(1));
        }
        assert_ne!(Names::Fresh.study(), Names::Fresh.study());
    }

    #[test]
    fn a_first_try_is_remembered_for_a_while_and_no_more_than_so_many_are() {
        let tries = FirstTries::default();
        let first = names(1, 1, "first");
        assert_eq!(tries.came(&first, UnixMillis(1)), UnixMillis(1));
        assert_eq!(tries.came(&first, UnixMillis(2)), UnixMillis(1));
        assert_eq!(tries.came(&Names::Fresh, UnixMillis(3)), UnixMillis(3));
        for n in 0..MAX_TRIES {
            tries.came(&names(1, 1, &n.to_string()), UnixMillis(4));
        }
        assert_eq!(tries.came(&first, UnixMillis(5)), UnixMillis(5), "forgotten");
        let held = tries.0.lock();
        assert_eq!((held.came.len(), held.order.len()), (MAX_TRIES, MAX_TRIES));
    }
}
