//! People from their invitation to their leaving, over real records and a key service in memory.

#![allow(clippy::unwrap_used, reason = "the helpers of a test end where they fail, as the test does")]

use async_trait::async_trait;
use leadglass_identity::{
    Accepted, Act, Arrival, Chronicle, Deed, Finding, IdentityError, NewPerson, Owner, PasskeyRules, People, Ports,
    Proof, Roll, SignedIn, State, Unrecorded, Vouched,
};
use leadglass_keys::{FakeKeyService, FakeMode};
use leadglass_model::{ActorRef, Clock, ManagePeople, MockClock, Permit, Role, SystemEntropy, TenantId, UnixMillis};
use leadglass_policy::Principal;
use leadglass_records::{Expected, RecordKey, Records, Sessions, Table, TenantRecords, Use};
use std::{
    net::IpAddr,
    path::Path,
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};
use tokio_util::task::TaskTracker;
use zeroize::Zeroizing;

#[derive(Default)]
struct Book {
    acts: Mutex<Vec<Act>>,
    ended: Mutex<Vec<[u8; 16]>>,
    stopped: Mutex<Vec<ActorRef>>,
    full: AtomicBool,
    /// Whoever holds it keeps everybody waiting who wants to write an entry; so many have come.
    gate: tokio::sync::Mutex<()>,
    came: AtomicUsize,
}

#[async_trait]
impl Chronicle for Book {
    async fn record(&self, act: Act) -> Result<(), Unrecorded> {
        if self.full.load(Ordering::Relaxed) {
            return Err(Unrecorded);
        }
        self.came.fetch_add(1, Ordering::Relaxed);
        drop(self.gate.lock().await);
        self.acts.lock().unwrap().push(act);
        Ok(())
    }

    fn end_session(&self, session: [u8; 16]) {
        self.ended.lock().unwrap().push(session);
    }

    fn end_actor(&self, actor: ActorRef) {
        self.stopped.lock().unwrap().push(actor);
    }
}

struct House {
    people: People,
    sessions: Sessions,
    records: TenantRecords,
    book: Arc<Book>,
    keys: Arc<FakeKeyService>,
    clock: Arc<MockClock>,
    tenant: TenantId,
    other: TenantId,
}

impl House {
    async fn at(path: &Path, clock: Arc<MockClock>, keys: Arc<FakeKeyService>, tenants: [TenantId; 2]) -> Self {
        let records = Records::open(path, clock.clone(), Arc::new(SystemEntropy)).unwrap();
        let own: Vec<_> = tenants.iter().map(|id| records.tenant(*id, RecordKey::from_bytes([3; 32]))).collect();
        let roll = Arc::new(Roll::load(&own).await.unwrap());
        let sessions = records.sessions_of(roll.clone()).unwrap();
        let book = Arc::new(Book::default());
        let people = People::new(Ports {
            records: own.clone(),
            roll,
            sessions: sessions.clone(),
            chronicle: book.clone(),
            keys: keys.clone(),
            passkeys: PasskeyRules::among(&[]),
            clock: clock.clone(),
            entropy: Arc::new(SystemEntropy),
            tasks: TaskTracker::new(),
        });
        Self { people, sessions, records: own[0].clone(), book, keys, clock, tenant: tenants[0], other: tenants[1] }
    }

    async fn new(dir: &Path) -> Self {
        let clock = Arc::new(MockClock::at(UnixMillis(1_790_000_000_000)));
        let keys = FakeKeyService::new(clock.clone(), Arc::new(SystemEntropy));
        let tenants = [keys.add_tenant("one"), keys.add_tenant("two")];
        Self::at(&dir.join("records.redb"), clock, keys, tenants).await
    }

    fn permit(&self, tenant: TenantId) -> Permit<ManagePeople> {
        Principal { tenant, actor: ActorRef([9; 16]), role: Role::Admin }.manage_people().unwrap()
    }

    fn admin(&self) -> Permit<ManagePeople> {
        self.permit(self.tenant)
    }

    async fn invite(&self, login: &str, role: Role) -> (ActorRef, String) {
        let new = NewPerson { login: login.to_owned(), name: "Erika Muster".to_owned(), role };
        let invited = self.people.invite(&self.admin(), new, None).await.unwrap();
        (invited.id, invited.secret.to_string())
    }

    async fn take(&self, invitation: &str) -> Result<(Accepted, Phone), IdentityError> {
        let phone = Phone(self.people.offer(invitation)?.totp_secret);
        let proof = Proof::Password { password: password(), code: phone.code(&self.clock) };
        Ok((self.people.accept(invitation, proof, arrival()).await?, phone))
    }

    /// Somebody who may sign in, and his authenticator.
    async fn person(&self, login: &str) -> (ActorRef, Phone, Accepted) {
        let (id, invitation) = self.invite(login, Role::Clinician).await;
        let (accepted, phone) = self.take(&invitation).await.unwrap();
        self.clock.advance_secs(30);
        (id, phone, accepted)
    }

    async fn sign_in(&self, login: &str, word: &str, code: &str) -> Result<SignedIn, IdentityError> {
        self.people.sign_in(login, Zeroizing::new(word.to_owned()), code, arrival()).await
    }

    fn is_in(&self, signed_in: &SignedIn) -> Option<Role> {
        self.sessions.resolve(signed_in.reference.reveal(), Use::Counts).unwrap().map(|session| session.grant.role)
    }

    fn deeds(&self) -> Vec<Deed> {
        self.book.acts.lock().unwrap().iter().map(|act| act.deed).collect()
    }
}

/// An authenticator of somebody else's making.
struct Phone(String);

impl Phone {
    fn code(&self, clock: &MockClock) -> String {
        let script = "import sys,hmac,base64,struct\nk=base64.b32decode(sys.argv[1])\nh=hmac.new(k,struct.pack('>Q',int(sys.argv[2])//30000),'sha1').digest()\no=h[-1]&15\nprint('%06d'%((struct.unpack('>I',h[o:o+4])[0]&0x7fffffff)%1000000))";
        let out = Command::new("python3").args(["-c", script, &self.0, &clock.now().0.to_string()]).output().unwrap();
        String::from_utf8(out.stdout).unwrap().trim().to_owned()
    }
}

const PASSWORD: &str = "kiefer-tasse-wolke-nagel";

fn password() -> Zeroizing<String> {
    Zeroizing::new(PASSWORD.to_owned())
}

fn arrival() -> Arrival {
    Arrival { address: Some(IpAddr::from([127, 0, 0, 1])), device: None, agent: "Firefox Linux".to_owned() }
}

const fn is_refused<T>(result: &Result<T, IdentityError>) -> bool {
    matches!(result, Err(IdentityError::Refused))
}

#[tokio::test]
async fn an_invitation_is_good_once_and_for_a_week_and_a_person_comes_back_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let house = House::new(dir.path()).await;
    let (id, invitation) = house.invite(" Erika@Praxis.example ", Role::Clinician).await;
    assert!(is_refused(&house.sign_in("erika@praxis.example", PASSWORD, "123456").await));
    assert_eq!(house.people.offer(&invitation).unwrap().login, "erika@praxis.example");
    let proof = |password: &str, code: &str| Proof::Password {
        password: Zeroizing::new(password.to_owned()),
        code: code.to_owned(),
    };
    for (password, code, why) in [("Sommer2024!!", "000000", "password"), (PASSWORD, "000000", "code")] {
        let error = house.people.accept(&invitation, proof(password, code), arrival()).await.unwrap_err();
        assert_eq!(error.code(), why);
    }
    let (accepted, phone) = house.take(&invitation).await.unwrap();
    assert_eq!((house.is_in(&accepted.signed_in), accepted.codes.len()), (Some(Role::Clinician), 10));
    assert!(matches!(house.take(&invitation).await, Err(IdentityError::Invitation)), "it was taken");
    assert_eq!(house.deeds(), [Deed::Invited, Deed::Joined]);

    let (_, late) = house.invite("late", Role::Clinician).await;
    house.clock.advance_secs(7 * 24 * 3600 + 1);
    assert!(matches!(house.people.offer(&late), Err(IdentityError::Invitation)), "it is over");
    assert!(matches!(house.people.offer("nonsense"), Err(IdentityError::Invitation)));

    let (clock, keys, tenants) = (house.clock.clone(), house.keys.clone(), [house.tenant, house.other]);
    drop((house, accepted));
    let house = House::at(&dir.path().join("records.redb"), clock, keys, tenants).await;
    let signed_in = house.sign_in("ERIKA@praxis.example", PASSWORD, &phone.code(&house.clock)).await.unwrap();
    assert_eq!(signed_in.session.grant.actor, id);
    let file = std::fs::read(dir.path().join("records.redb")).unwrap();
    for word in [&b"erika"[..], b"Muster"] {
        assert!(!file.windows(word.len()).any(|piece| piece == word), "a name stands in the file");
    }
}

/// Who has no login, who has left, who is wrong: one answer, and the same work: one slow hash and one question to the key service.
#[tokio::test]
async fn whatever_is_wrong_the_answer_and_the_work_are_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let house = House::new(dir.path()).await;
    let (_, phone, _) = house.person("erika").await;
    let (gone, ..) = house.person("gone").await;
    house.people.leave(&house.admin(), gone, None).await.unwrap();
    house.invite("boss", Role::Admin).await;
    let new = NewPerson { login: "elsewhere".to_owned(), name: "Erika Muster".to_owned(), role: Role::Clinician };
    let invited = house.people.invite(&house.permit(house.other), new, None).await.unwrap();
    house.take(&invited.secret).await.unwrap();
    let code = phone.code(&house.clock);
    for (login, word, code) in [
        ("elsewhere", "wrong", "000000"),
        (" ERIKA ", "wrong", "000000"),
        ("nobody", PASSWORD, "000000"),
        ("erika", "wrong", code.as_str()),
        ("erika", PASSWORD, "000000"),
        ("gone", PASSWORD, "000000"),
        ("boss", PASSWORD, "000000"),
        ("", "", ""),
    ] {
        let before = (house.people.passwords_hashed(), house.keys.calls().mac);
        let outcome = house.sign_in(login, word, code).await;
        assert!(is_refused(&outcome), "{login} {outcome:?}");
        let after = (house.people.passwords_hashed(), house.keys.calls().mac);
        assert_eq!(after, (before.0 + 1, before.1 + 1), "{login}");
    }
    // So does the delay: who is not there waits as long as who is.
    let wait = async |login: &str| {
        let mut waits = Vec::new();
        for _ in 0..6 {
            waits.push(match house.sign_in(login, "wrong", "").await.unwrap_err() {
                IdentityError::TooSoon { seconds } => seconds,
                _ => 0,
            });
        }
        waits
    };
    assert_eq!(wait("somebody").await, [0, 0, 0, 0, 1, 1]);
    house.clock.advance_secs(4000);
    assert_eq!(wait("erika").await, [0, 0, 0, 0, 1, 1]);
    house.clock.advance_secs(1);
    house.sign_in("erika", PASSWORD, &phone.code(&house.clock)).await.unwrap();
    house.keys.set_mode(FakeMode::Gone);
    house.clock.advance_secs(30);
    let away = house.sign_in("erika", PASSWORD, &phone.code(&house.clock)).await;
    assert!(matches!(away, Err(IdentityError::Pepper { .. })), "without the pepper nobody is let in");
}

#[tokio::test]
async fn a_code_is_good_once_and_so_is_a_recovery_code() {
    let dir = tempfile::tempdir().unwrap();
    let house = House::new(dir.path()).await;
    let (_, phone, accepted) = house.person("erika").await;
    let code = phone.code(&house.clock);
    let both = tokio::join!(house.sign_in("erika", PASSWORD, &code), house.sign_in("erika", PASSWORD, &code));
    assert_eq!([both.0.is_ok(), both.1.is_ok()].iter().filter(|in_| **in_).count(), 1, "of two at once one gets in");
    assert!(is_refused(&house.sign_in("erika", PASSWORD, &code).await), "replayed");
    let codes = &accepted.codes;
    assert!(house.sign_in("erika", PASSWORD, &codes[3]).await.is_ok());
    assert!(is_refused(&house.sign_in("erika", PASSWORD, &codes[3]).await));
    assert!(is_refused(&house.sign_in("erika", "wrong", &codes[4]).await));
    assert!(house.sign_in("erika", PASSWORD, &codes[4].to_lowercase()).await.is_ok(), "a failure uses no code up");
}

#[tokio::test]
async fn a_role_holds_at_once_and_whoever_leaves_is_out_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let house = House::new(dir.path()).await;
    let (id, _, accepted) = house.person("erika").await;
    let signed_in = &accepted.signed_in;
    assert_eq!(house.is_in(signed_in), Some(Role::Clinician));
    house.people.change_role(&house.admin(), id, Role::Reception, None).await.unwrap();
    assert_eq!(house.is_in(signed_in), Some(Role::Reception));
    assert_eq!(*house.book.stopped.lock().unwrap(), [id], "what he was being given stops");
    let error = house.people.change_role(&house.admin(), id, Role::Dpo, None).await.unwrap_err();
    assert_eq!(error.code(), "passkey-needed");
    for tenant in [house.other] {
        let foreign = house.permit(tenant);
        assert!(matches!(house.people.leave(&foreign, id, None).await, Err(IdentityError::Missing)));
        assert!(house.people.list(&foreign).await.unwrap().is_empty());
    }
    house.book.full.store(true, Ordering::Relaxed);
    assert!(matches!(house.people.leave(&house.admin(), id, None).await, Err(IdentityError::Unrecorded)));
    assert_eq!(house.is_in(signed_in), Some(Role::Reception), "no entry, no change");
    house.book.full.store(false, Ordering::Relaxed);
    house.people.leave(&house.admin(), id, None).await.unwrap();
    assert_eq!(house.is_in(signed_in), None);
    assert_eq!(*house.book.ended.lock().unwrap(), [signed_in.session.session]);
    assert_eq!(house.people.list(&house.admin()).await.unwrap()[0].state, State::Left);
    assert_eq!(house.deeds().last(), Some(&Deed::Left));
}

#[tokio::test]
async fn a_lost_phone_is_out_and_the_other_device_stays_in() {
    let dir = tempfile::tempdir().unwrap();
    let house = House::new(dir.path()).await;
    let (id, phone, accepted) = house.person("erika").await;
    let desk = house.sign_in("erika", PASSWORD, &phone.code(&house.clock)).await.unwrap();
    house.clock.advance_secs(30);
    // The same browser comes back: it is the same device, under another reference.
    let cookie = desk.device.as_ref().map(|cookie| cookie.to_string());
    let again = Arrival { device: cookie, ..arrival() };
    let code = phone.code(&house.clock);
    let again = house.people.sign_in("erika", password(), &code, again).await.unwrap();
    assert!(again.device.is_none() && again.reference.reveal() != desk.reference.reveal());
    let owner = |session: &leadglass_records::SessionGrant| Owner {
        seat: session.seat.unwrap(),
        begun: session.begun,
        address: None,
    };
    let own = owner(&desk.session);
    let account = house.people.account(&own).unwrap();
    assert_eq!(account.devices.len(), 2);
    assert!(account.devices[0].this && account.devices[0].sessions == 2);
    let lost = accepted.signed_in.session.seat.unwrap().device;
    assert_eq!(house.people.lost(&own, Some(lost)).await.unwrap(), 1);
    assert_eq!((house.is_in(&accepted.signed_in), house.is_in(&desk)), (None, Some(Role::Clinician)));
    assert!(matches!(house.people.lost(&own, Some(lost)).await, Err(IdentityError::Missing)));
    assert_eq!(house.people.lost_by(&house.admin(), id, None, None).await.unwrap(), 2, "all of them");
    assert_eq!((house.is_in(&desk), house.is_in(&again)), (None, None));
    let mut ended = house.book.ended.lock().unwrap().clone();
    let mut all = [&accepted.signed_in, &desk, &again].map(|signed_in| signed_in.session.session);
    ended.sort_unstable();
    all.sort_unstable();
    assert_eq!(ended, all, "open streams are told");
}

#[tokio::test]
async fn who_finds_an_open_browser_makes_no_way_in_and_an_unused_or_shared_login_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let house = House::new(dir.path()).await;
    let (id, phone, accepted) = house.person("erika").await;
    let session = &accepted.signed_in.session;
    let owner = Owner { seat: session.seat.unwrap(), begun: session.begun, address: None };
    assert!(house.people.begin_adding(&owner).is_ok());
    let codes = house.people.renew_codes(&owner).await.unwrap();
    assert!(is_refused(&house.sign_in("erika", PASSWORD, &accepted.codes[0]).await), "the old ones are good no more");
    let elsewhere = Arrival { address: Some(IpAddr::from([192, 0, 2, 7])), ..arrival() };
    house.people.sign_in("erika", password(), &codes[0], elsewhere).await.unwrap();
    assert_eq!(house.people.list(&house.admin()).await.unwrap()[0].findings, [Finding::Shared]);
    assert_eq!(house.people.surely_shared(), [], "a computer and a phone");
    let third = Arrival { address: Some(IpAddr::from([192, 0, 2, 8])), ..arrival() };
    house.people.sign_in("erika", password(), &codes[1], third).await.unwrap();
    assert_eq!(house.people.surely_shared(), [(house.tenant, id)]);
    house.clock.advance_secs(601);
    assert_eq!(house.people.surely_shared(), []);
    assert!(matches!(house.people.begin_adding(&owner), Err(IdentityError::StepUp)));
    assert!(matches!(house.people.renew_codes(&owner).await, Err(IdentityError::StepUp)));
    assert!(house.people.list(&house.admin()).await.unwrap()[0].findings.is_empty(), "one after the other is fine");
    house.clock.advance_secs(91 * 24 * 3600);
    assert_eq!(house.people.list(&house.admin()).await.unwrap()[0].findings, [Finding::Stale]);
    assert!(house.sign_in("erika", PASSWORD, &phone.code(&house.clock)).await.is_ok());
}

#[tokio::test]
async fn an_invitation_that_nobody_took_and_a_token_that_outlived_its_owners_leaving_are_found() {
    let dir = tempfile::tempdir().unwrap();
    let house = House::new(dir.path()).await;
    let (id, _, accepted) = house.person("anna").await;
    let (_, invitation) = house.invite("otto", Role::Clinician).await;
    let found = async || {
        let all = house.people.list(&house.admin()).await.unwrap();
        all.into_iter().map(|person| person.findings).collect::<Vec<_>>()
    };
    assert_eq!(found().await, [vec![], vec![]], "there is time yet");
    house.people.leave(&house.admin(), id, None).await.unwrap();
    // As where the vault ended between two steps of the leaving.
    let (seat, ends) = (accepted.signed_in.session.seat.unwrap(), house.clock.now().plus_secs(365 * 24 * 3600));
    let tokens = house.sessions.tokens();
    let (token, _) = tokens.issue_to(seat, Role::Clinician, "script".to_owned(), ends).await.unwrap();
    house.clock.advance_secs(7 * 24 * 3600);
    assert_eq!(found().await, [vec![Finding::LeftWithTokens], vec![Finding::InvitationUnused]]);
    assert_eq!(house.people.account_of(&house.admin(), id).await.unwrap().person.findings, [Finding::LeftWithTokens]);
    assert!(tokens.resolve(token.reveal()).unwrap().is_none(), "it speaks for nobody");
    assert!(house.take(&invitation).await.is_err());
    // What the findings say to do.
    house.people.invite_again(&house.admin(), id, None).await.unwrap();
    house.people.leave(&house.admin(), id, None).await.unwrap();
    assert_eq!(found().await[0], []);
}

#[tokio::test]
async fn whoever_decides_about_others_needs_a_passkey_and_nobody_changes_himself() {
    let dir = tempfile::tempdir().unwrap();
    let house = House::new(dir.path()).await;
    let (id, invitation) = house.invite("boss", Role::Admin).await;
    assert!(!house.people.offer(&invitation).unwrap().may_password);
    let refused = house.take(&invitation).await.map(drop).unwrap_err();
    assert_eq!(refused.code(), "passkey-needed");
    let own = Principal { tenant: house.tenant, actor: id, role: Role::Admin }.manage_people().unwrap();
    assert_eq!(house.people.change_role(&own, id, Role::Clinician, None).await.unwrap_err().code(), "oneself");
    assert_eq!(house.people.leave(&own, id, None).await.unwrap_err().code(), "oneself");
    for role in [Role::Device, Role::Patient] {
        let new = NewPerson { login: "ct-1".to_owned(), name: "CT".to_owned(), role };
        assert_eq!(house.people.invite(&own, new, None).await.unwrap_err().code(), "role");
    }
    let twice = NewPerson { login: "BOSS".to_owned(), name: "x".to_owned(), role: Role::Clinician };
    assert_eq!(house.people.invite(&own, twice, None).await.unwrap_err().code(), "login-taken");
    // An answer to a challenge that nobody gave out, or to one of another kind.
    let challenge = house.people.begin_joining(&invitation).unwrap().challenge;
    for challenge in ["nonsense", &challenge] {
        let answer = serde_json::json!({});
        assert!(is_refused(&house.people.sign_in_with_passkey(challenge, answer, arrival()).await));
    }
}

/// An invitation was opened as a clinician's, and the role became an administrator's while the password was hashed: he would have
/// come in without a passkey.
#[tokio::test]
async fn a_role_that_changes_while_an_invitation_is_taken_holds() {
    let dir = tempfile::tempdir().unwrap();
    let house = Arc::new(House::new(dir.path()).await);
    let (id, invitation) = house.invite("erika", Role::Clinician).await;
    let gate = house.book.gate.lock().await;
    let (before, hashed) = (house.book.came.load(Ordering::Relaxed), house.keys.calls().mac);
    let admin = house.clone();
    let change = tokio::spawn(async move { admin.people.change_role(&admin.admin(), id, Role::Admin, None).await });
    while house.book.came.load(Ordering::Relaxed) == before {
        tokio::task::yield_now().await;
    }
    // The change has its turn. The password is looked at meanwhile.
    let newcomer = house.clone();
    let take = tokio::spawn(async move { newcomer.take(&invitation).await.map(drop) });
    while house.keys.calls().mac == hashed {
        tokio::task::yield_now().await;
    }
    drop(gate);
    change.await.unwrap().unwrap();
    assert_eq!(take.await.unwrap().unwrap_err().code(), "passkey-needed");
    assert_eq!(house.people.list(&house.admin()).await.unwrap()[0].state, State::Invited);
}

/// A write that was reported failed and stood on the disk all the same left the person unchangeable until the next start.
#[tokio::test]
async fn a_record_that_is_ahead_of_what_is_shown_is_looked_at_again() {
    let dir = tempfile::tempdir().unwrap();
    let house = House::new(dir.path()).await;
    let (id, phone, _) = house.person("erika").await;
    let record = house.records.get(Table::People, &id.0).await.unwrap().unwrap();
    let same = Zeroizing::new(record.value.expose().to_vec());
    house.records.put(Table::People, &id.0, same, Expected::Version(record.version)).await.unwrap();
    let conflict = house.sign_in("erika", PASSWORD, &phone.code(&house.clock)).await.unwrap_err();
    assert!(matches!(conflict, IdentityError::Records { .. }), "{conflict:?}");
    house.clock.advance_secs(30);
    assert!(house.sign_in("erika", PASSWORD, &phone.code(&house.clock)).await.is_ok());
    house.people.leave(&house.admin(), id, None).await.unwrap();
}

/// Each sign-in by the other one made a new device of a browser that two people use in turn.
#[tokio::test]
async fn a_workstation_that_two_people_share_is_one_device_of_each() {
    let dir = tempfile::tempdir().unwrap();
    let house = House::new(dir.path()).await;
    let (erika, phone_e, _) = house.person("erika").await;
    let (max, phone_m, _) = house.person("max").await;
    let mut cookie: Option<String> = None;
    for turn in 0..6 {
        let (login, phone) = if turn % 2 == 0 { ("erika", &phone_e) } else { ("max", &phone_m) };
        house.clock.advance_secs(30);
        let at_desk = Arrival { device: cookie.clone(), ..arrival() };
        let code = phone.code(&house.clock);
        let signed_in = house.people.sign_in(login, password(), &code, at_desk).await.unwrap();
        assert_eq!(signed_in.device.is_some(), turn == 0, "the browser keeps the cookie of the first time");
        cookie = signed_in.device.map(|cookie| cookie.to_string()).or(cookie);
    }
    // One is from the day they came.
    let devices = async |id| house.people.account_of(&house.admin(), id).await.unwrap().devices;
    let names = async |id| devices(id).await.into_iter().map(|device| device.id).collect::<Vec<_>>();
    assert_eq!((names(erika).await.len(), names(max).await.len()), (2, 2));
    let others = names(max).await;
    assert!(names(erika).await.iter().all(|id| !others.contains(id)), "each loses his own only");
    // A secret that is none of ours is not taken over.
    house.clock.advance_secs(30);
    let planted = Arrival { device: Some("A".repeat(43)), ..arrival() };
    let code = phone_e.code(&house.clock);
    assert!(house.people.sign_in("erika", password(), &code, planted).await.unwrap().device.is_some());
}

/// Beginning costs memory, and anybody may: an address that only begins is slowed down like every other.
#[tokio::test]
async fn who_only_begins_with_passkeys_waits_and_others_do_not() {
    let dir = tempfile::tempdir().unwrap();
    let house = House::new(dir.path()).await;
    let from = |last| Some(IpAddr::from([192, 0, 2, last]));
    let begun = (0..1_000).take_while(|_| house.people.begin_sign_in(from(7)).is_ok()).count();
    assert!((100..1_000).contains(&begun), "{begun}");
    assert!(matches!(house.people.begin_sign_in(from(7)), Err(IdentityError::TooSoon { seconds: 1 })));
    assert!(house.people.begin_sign_in(from(8)).is_ok() && house.people.begin_sign_in(None).is_ok());
}

#[tokio::test]
async fn a_token_that_somebody_made_ends_with_the_phone_on_which_he_made_it() {
    let dir = tempfile::tempdir().unwrap();
    let house = House::new(dir.path()).await;
    let (id, phone, accepted) = house.person("erika").await;
    let desk = house.sign_in("erika", PASSWORD, &phone.code(&house.clock)).await.unwrap();
    let owner = |signed_in: &SignedIn| Owner {
        seat: signed_in.session.seat.unwrap(),
        begun: signed_in.session.begun,
        address: None,
    };
    let (on_phone, at_desk) = (owner(&accepted.signed_in), owner(&desk));
    let made = house.people.issue_token(&on_phone, "sync".to_owned(), 30).await.unwrap();
    let kept = house.people.issue_token(&at_desk, "script".to_owned(), 30).await.unwrap();
    for (label, days, why) in [("", 1, "label"), ("x", 0, "days"), ("x", 366, "days")] {
        let refused = house.people.issue_token(&at_desk, label.to_owned(), days).await.unwrap_err();
        assert_eq!(refused.code(), why);
    }
    let speaks = |token: &str| house.sessions.tokens().bearer(token).unwrap();
    let bearer = speaks(made.0.reveal()).unwrap();
    assert_eq!((bearer.grant.actor, bearer.grant.role), (id, Role::Clinician));
    assert_eq!(house.people.tokens(&at_desk).await.unwrap().len(), 2);

    house.people.lost(&at_desk, Some(on_phone.seat.device)).await.unwrap();
    assert!(speaks(made.0.reveal()).is_none() && speaks(kept.0.reveal()).is_some());
    assert!(house.book.ended.lock().unwrap().contains(&bearer.session), "open streams are told");
    assert!(matches!(house.people.issue_token(&on_phone, "x".to_owned(), 1).await, Err(IdentityError::Missing)));

    let bearer = speaks(kept.0.reveal()).unwrap();
    assert!(matches!(house.people.revoke_token(&at_desk, "00").await, Err(IdentityError::Missing)));
    house.people.revoke_token(&at_desk, &kept.1.id).await.unwrap();
    assert!(speaks(kept.0.reveal()).is_none());
    assert!(house.book.ended.lock().unwrap().contains(&bearer.session));
    let last = house.people.issue_token(&at_desk, "last".to_owned(), 1).await.unwrap();
    house.people.leave(&house.admin(), id, None).await.unwrap();
    assert!(speaks(last.0.reveal()).is_none(), "whoever left has no programs here");
    let wanted =
        [Deed::TokenIssued, Deed::TokenIssued, Deed::DeviceLost, Deed::TokenRevoked, Deed::TokenIssued, Deed::Left];
    assert!(house.deeds().ends_with(&wanted), "{:?}", house.deeds());
    house.clock.advance_secs(601);
    assert!(matches!(house.people.issue_token(&at_desk, "x".to_owned(), 1).await, Err(IdentityError::StepUp)));
}

#[tokio::test]
async fn whom_the_practices_provider_vouches_for_has_the_role_of_his_groups_and_leaves_like_anybody() {
    let dir = tempfile::tempdir().unwrap();
    let house = House::new(dir.path()).await;
    house.person("erika").await;
    let vouched = |subject: &str, role: Option<Role>, strong: bool| Vouched {
        tenant: house.tenant,
        issuer: "https://login.example".to_owned(),
        subject: subject.to_owned(),
        login: Some("erika".to_owned()),
        name: Some("Erika Zweit".to_owned()),
        role,
        strong,
    };
    let come = async |vouched: Vouched| house.people.sign_in_vouched(vouched, arrival()).await;
    assert!(is_refused(&come(vouched("s1", None, true)).await), "no group, no role");
    let first = come(vouched("s1", Some(Role::Clinician), false)).await.unwrap();
    let id = first.session.grant.actor;
    let listed = async |id: ActorRef| {
        let all = house.people.list(&house.admin()).await.unwrap();
        all.into_iter().find(|person| person.id == id.to_string()).unwrap()
    };
    assert!(listed(id).await.login.starts_with("oidc-"), "a sign-in name of somebody else's is not taken over");
    let her = listed(id).await;
    assert_eq!((her.name.as_str(), her.vouched), ("Erika Zweit", true));
    let again = come(vouched("s1", Some(Role::Clinician), false)).await.unwrap();
    assert_eq!(again.session.grant.actor, id);
    let elsewhere =
        Vouched { issuer: "https://other.example".to_owned(), ..vouched("s1", Some(Role::Clinician), false) };
    assert_ne!(come(elsewhere).await.unwrap().session.grant.actor, id, "another provider means another person");

    // Another group is another role, and what went on ends; without what stands for a passkey nobody becomes an administrator.
    assert!(is_refused(&come(vouched("s1", Some(Role::Admin), false)).await));
    assert_eq!(house.is_in(&again), Some(Role::Clinician));
    let boss = come(vouched("s1", Some(Role::Admin), true)).await.unwrap();
    assert_eq!((house.is_in(&again), house.is_in(&boss)), (None, Some(Role::Admin)));
    assert!(is_refused(&come(vouched("s1", None, true)).await));
    assert_eq!(house.is_in(&boss), None, "who has no group any more is out");
    assert!(is_refused(&come(vouched("s1", Some(Role::Device), true)).await), "a device is no person");

    come(vouched("s1", Some(Role::Clinician), false)).await.unwrap();
    house.people.leave(&house.admin(), id, None).await.unwrap();
    assert!(is_refused(&come(vouched("s1", Some(Role::Clinician), false)).await), "whoever left here is out");
    assert_eq!(listed(id).await.state, State::Left);
    let deeds = house.deeds();
    for deed in [Deed::Vouched, Deed::RoleChanged, Deed::Unvouched, Deed::Left] {
        assert!(deeds.contains(&deed), "{deed:?}");
    }
    house.people.invite_again(&house.admin(), id, None).await.unwrap();
    assert!(come(vouched("s1", Some(Role::Clinician), false)).await.is_ok(), "unless he was asked to come back");
}
