//! A scripted incident: what happened is written down beside it, and the answer has to be that and nothing else.

use super::*;
use leadglass_audit::NewEntry;

const TENANT: TenantId = TenantId::from_bytes([1; 16]);
const NODE: ClientRef = ClientRef([0xA1; 16]);
const OTHER_NODE: ClientRef = ClientRef([0xA2; 16]);
const ANNA: ActorRef = ActorRef([11; 16]);
const BERT: ActorRef = ActorRef([12; 16]);
const CAMERA: ClientRef = ClientRef([13; 16]);
const SPAN: (u64, u64) = (1_000, 2_000);

/// The two logs while somebody writes them.
#[derive(Default)]
struct Script {
    own: Vec<Entry>,
    keys: Vec<Entry>,
    ids: u8,
}

fn study(n: u8) -> StudyRef {
    StudyRef::from_bytes([n; 16])
}

/// Each study has one key of its own number.
fn key(n: u8) -> KeyId {
    KeyId::from_bytes([n; 16])
}

fn subject(n: u8) -> SubjectToken {
    SubjectToken([n; 16])
}

impl Script {
    fn entry(&mut self, at: u64, event: Event) -> NewEntry {
        self.ids += 1;
        let mut entry = NewEntry::new(EntryId::from_bytes([self.ids; 16]), UnixMillis(at), event, Outcome::Success);
        entry.tenant = Some(TENANT);
        entry
    }

    fn own(&mut self, report: NewEntry) {
        let seq = self.own.len() as u64;
        self.own.push(Entry { seq, report, subject_seq: 0, subject_prev: None, detail_hash: None });
    }

    fn key(&mut self, report: NewEntry) {
        let seq = self.keys.len() as u64;
        self.keys.push(Entry { seq, report, subject_seq: 0, subject_prev: None, detail_hash: None });
    }

    /// A study of a patient comes in.
    fn comes(&mut self, at: u64, n: u8, patient: u8) {
        let entry = self.entry(at, Event::InstancesTransferred);
        let (subject, study, key) = (Some(subject(patient)), Some(study(n)), Some(key(n)));
        self.own(NewEntry { subject, study, key, purpose: Some(Purpose::Ingest), ..entry });
    }

    /// Somebody opens a study, and its key is given out under that access.
    fn opens(&mut self, at: u64, who: ActorRef, through: Option<ClientRef>, n: u8, patient: u8) -> EntryId {
        let entry = self.entry(at, Event::InstancesAccessed);
        let access = entry.entry_id;
        let (subject, study) = (Some(subject(patient)), Some(study(n)));
        let (actor, purpose) = (Some(who), Some(Purpose::Care));
        self.own(NewEntry { subject, study, actor, purpose, client: through, ..entry });
        self.given(at, NODE, who, n, access);
        access
    }

    /// The key service gives a key out.
    fn given(&mut self, at: u64, node: ClientRef, who: ActorRef, n: u8, access: EntryId) {
        let entry = self.entry(at, Event::KeyUnwrapped);
        let (study, key, related) = (Some(study(n)), Some(key(n)), Some(access));
        let (client, actor, purpose) = (Some(node), Some(who), Some(Purpose::Care));
        self.key(NewEntry { study, key, related, client, actor, purpose, ..entry });
    }

    fn scope(&self, by: Selector, here: &[u8]) -> Counted {
        let (from, to) = (UnixMillis(SPAN.0), UnixMillis(SPAN.1));
        let mut tally = Tally::new(Span { tenant: TENANT, by, from, to, me: NODE });
        for entry in &self.keys {
            tally.key_entry(entry).unwrap();
        }
        for entry in &self.own {
            tally.own_entry(entry).unwrap();
        }
        tally.finish(&here.iter().map(|n| (study(*n), UnixMillis(10))).collect())
    }
}

/// Studies 1 to 9 of patients 101 to 105. Study 6 was erased before the span, 5 after it was opened.
fn incident() -> Script {
    let mut script = Script::default();
    for (n, patient) in [(1, 101), (2, 101), (3, 102), (4, 103), (5, 104), (6, 105), (7, 105)] {
        script.comes(100 + u64::from(n), n, patient);
    }
    let gone = script.entry(500, Event::KeyDestroyed);
    script.key(NewEntry { key: Some(key(6)), ..gone });
    // Before the span, at its last moment, behind it.
    script.opens(999, ANNA, None, 4, 103);
    script.opens(1_000, ANNA, None, 1, 101);
    let again = script.opens(1_100, ANNA, Some(CAMERA), 5, 104);
    script.given(1_150, NODE, ANNA, 5, again);
    script.opens(1_999, BERT, Some(CAMERA), 3, 102);
    script.opens(2_000, ANNA, None, 2, 101);
    // Past the log: under an access that does not exist, and in Anna's name under Bert's access.
    script.given(1_300, NODE, BERT, 7, EntryId::from_bytes([250; 16]));
    let berts = script.opens(1_400, BERT, None, 3, 102);
    script.given(1_450, NODE, ANNA, 3, berts);
    // What was refused opened nothing; another tenant's is none of ours; another node's is accounted for elsewhere.
    let refused = script.entry(1_500, Event::KeyUnwrapped);
    script.key(NewEntry {
        outcome: Outcome::Refused,
        study: Some(study(4)),
        actor: Some(ANNA),
        client: Some(NODE),
        ..refused
    });
    let foreign = script.entry(1_500, Event::KeyUnwrapped);
    let tenant = Some(TenantId::from_bytes([2; 16]));
    script.key(NewEntry {
        tenant,
        study: Some(study(90)),
        key: Some(key(90)),
        actor: Some(ANNA),
        client: Some(NODE),
        ..foreign
    });
    script.given(1_600, OTHER_NODE, BERT, 4, EntryId::from_bytes([251; 16]));
    // One comes in while the thief is there, one afterwards.
    script.comes(1_700, 8, 103);
    script.comes(2_500, 9, 103);
    let gone = script.entry(1_900, Event::KeyDestroyed);
    script.key(NewEntry { key: Some(key(5)), ..gone });
    script
}

/// Which studies were opened, how often, how often unaccounted for.
fn told(counted: &Counted) -> Vec<(u8, u64, u64)> {
    let told = |(study, opened): (&StudyRef, &Opened)| (study.as_bytes()[0], opened.unwraps, opened.unaccounted);
    counted.opened.iter().map(told).collect()
}

fn sealed(counted: &Counted) -> Vec<u8> {
    counted.sealed.iter().map(|study| study.as_bytes()[0]).collect()
}

fn why(counted: &Counted) -> Vec<&str> {
    counted.unaccounted.iter().map(|unmatched| unmatched.why.as_str()).collect()
}

const HERE: [u8; 6] = [1, 2, 3, 4, 7, 8];

#[test]
fn a_persons_scope_is_what_was_opened_by_her_and_in_her_name() {
    let scope = incident().scope(Selector::Actor(ANNA), &HERE);
    assert_eq!(told(&scope), [(1, 1, 0), (3, 1, 1), (5, 2, 0)]);
    assert_eq!((sealed(&scope), why(&scope)), (vec![], vec!["other-actor"]));
    assert_eq!(scope.unaccounted_elsewhere, 2, "7 in Bert's name, 4 by another node");
    let subjects: Vec<u8> = scope.subjects.values().map(|subject| subject.0[0]).collect();
    assert_eq!(subjects, [101, 102, 104]);
    let five = &scope.opened[&study(5)];
    assert_eq!((five.first, five.last, five.taken_in), (UnixMillis(1_100), UnixMillis(1_150), false));

    let scope = incident().scope(Selector::Actor(BERT), &HERE);
    assert_eq!(told(&scope), [(3, 3, 1), (4, 1, 1), (7, 1, 1)], "what was opened under his access is his, too");
    assert_eq!(scope.unaccounted_elsewhere, 0);
}

#[test]
fn a_devices_scope_is_what_its_accesses_opened_and_all_that_no_access_accounts_for() {
    let scope = incident().scope(Selector::Device(CAMERA), &HERE);
    assert_eq!(told(&scope), [(3, 2, 1), (4, 1, 1), (5, 2, 0), (7, 1, 1)]);
    assert_eq!((sealed(&scope), scope.unaccounted.len()), (vec![], 3));
}

#[test]
fn a_keys_scope_is_its_study_opened_or_else_sealed() {
    let script = incident();
    let opened = script.scope(Selector::Key(key(5)), &HERE);
    assert_eq!((told(&opened), sealed(&opened)), (vec![(5, 2, 0)], vec![]));
    let unopened = script.scope(Selector::Key(key(2)), &HERE);
    assert_eq!((told(&unopened), sealed(&unopened)), (vec![], vec![2]));
    assert_eq!(script.scope(Selector::Key(key(77)), &HERE), Counted::default());
}

#[test]
fn a_nodes_scope_is_what_it_was_given_what_came_in_and_sealed_what_lay_there() {
    let mut script = incident();
    let read = script.entry(1_010, Event::IndexKeysRead);
    script.key(NewEntry { client: Some(NODE), ..read });
    let scope = script.scope(Selector::Node(NODE), &HERE);
    assert_eq!(told(&scope), [(1, 1, 0), (3, 3, 1), (5, 2, 0), (7, 1, 1), (8, 0, 0)]);
    assert!(scope.opened[&study(8)].taken_in);
    // 6 was erased before, 9 came afterwards.
    assert_eq!((sealed(&scope), scope.index_keys), (vec![2, 4], 1));

    let scope = script.scope(Selector::Node(OTHER_NODE), &HERE);
    assert_eq!((told(&scope), sealed(&scope)), (vec![(4, 1, 1)], vec![]), "nothing of ours lies there");
}

/// Leases are shared by whoever may read: the second reader needs no key of his own, and the key service never hears of him.
#[test]
fn an_access_under_somebody_elses_lease_counts_as_opened() {
    let mut script = incident();
    let entry = script.entry(1_800, Event::InstancesAccessed);
    let (subject, actor) = (Some(subject(101)), Some(ANNA));
    script.own(NewEntry { subject, actor, study: Some(study(2)), purpose: Some(Purpose::Care), ..entry });
    let scope = script.scope(Selector::Actor(ANNA), &HERE);
    assert_eq!(told(&scope), [(1, 1, 0), (2, 0, 0), (3, 1, 1), (5, 2, 0)]);
    assert_eq!(scope.opened[&study(2)].accesses, 1);
    assert_eq!(told(&script.scope(Selector::Key(key(2)), &HERE)), [(2, 0, 0)]);
    assert_eq!(sealed(&script.scope(Selector::Node(NODE), &HERE)), [4]);
}

#[test]
fn an_erased_study_lay_there_sealed_until_its_key_went() {
    let mut script = Script::default();
    script.comes(100, 1, 101);
    script.comes(100, 2, 102);
    for (at, n) in [(1_500, 1), (900, 2)] {
        let gone = script.entry(at, Event::KeyDestroyed);
        script.key(NewEntry { key: Some(key(n)), ..gone });
    }
    let scope = script.scope(Selector::Node(NODE), &[]);
    assert_eq!((told(&scope), sealed(&scope)), (vec![], vec![1]));
    assert_eq!(scope.subjects[&study(1)], subject(101));
}

#[test]
fn more_than_can_be_held_is_refused_and_not_cut() {
    let (from, to) = (UnixMillis(SPAN.0), UnixMillis(SPAN.1));
    let by = Selector::Node(NODE);
    let mut tally = Tally::new(Span { tenant: TENANT, by, from, to, me: NODE });
    let mut script = Script::default();
    let entry = script.entry(1_000, Event::KeyUnwrapped);
    let mut give = |n: usize| {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&(n as u64).to_be_bytes());
        let report = NewEntry { related: Some(EntryId::from_bytes(id)), client: Some(NODE), ..entry.clone() };
        tally.key_entry(&Entry { seq: n as u64, report, subject_seq: 0, subject_prev: None, detail_hash: None })
    };
    for n in 0..MAX_OPENINGS {
        give(n).unwrap();
    }
    assert_eq!(give(MAX_OPENINGS), Err(TooMuch));
    give(0).unwrap();
}
