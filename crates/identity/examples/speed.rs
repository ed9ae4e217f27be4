//! What signing in costs, and whether its time tells who is there. `cargo run --release -p leadglass-identity --example speed
//! -- DIR`; figures stand in benches/README.md.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement ends where it fails, and prints")]

use argon2::{Algorithm, Argon2, Params, Version};
use async_trait::async_trait;
use leadglass_identity::{
    Act, Arrival, Chronicle, IdentityError, NewPerson, PasskeyRules, People, Ports, Proof, Roll, Unrecorded,
};
use leadglass_keys::FakeKeyService;
use leadglass_model::{ActorRef, Clock, ManagePeople, MockClock, Permit, Role, SystemEntropy, TenantId, UnixMillis};
use leadglass_policy::Principal;
use leadglass_records::{RecordKey, Records, Sessions, Use};
use std::{
    path::PathBuf,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio_util::task::TaskTracker;
use zeroize::Zeroizing;

/// Writes down nothing: what an entry costs stands with the log.
struct Nowhere;

#[async_trait]
impl Chronicle for Nowhere {
    async fn record(&self, _: Act) -> Result<(), Unrecorded> {
        Ok(())
    }

    fn end_session(&self, _: [u8; 16]) {}

    fn end_actor(&self, _: ActorRef) {}
}

struct House {
    people: People,
    sessions: Sessions,
    clock: Arc<MockClock>,
    admin: Permit<ManagePeople>,
}

impl House {
    async fn new(dir: PathBuf) -> Self {
        let clock = Arc::new(MockClock::at(UnixMillis(1_790_000_000_000)));
        let keys = FakeKeyService::new(clock.clone(), Arc::new(SystemEntropy));
        let tenant: TenantId = keys.add_tenant("one");
        let records = Records::open(&dir.join("records.redb"), clock.clone(), Arc::new(SystemEntropy)).unwrap();
        let own = vec![records.tenant(tenant, RecordKey::from_bytes([3; 32]))];
        let roll = Arc::new(Roll::load(&own).await.unwrap());
        let sessions = records.sessions_of(roll.clone()).unwrap();
        let people = People::new(Ports {
            records: own,
            roll,
            sessions: sessions.clone(),
            chronicle: Arc::new(Nowhere),
            keys,
            passkeys: PasskeyRules::among(&[]),
            clock: clock.clone(),
            entropy: Arc::new(SystemEntropy),
            tasks: TaskTracker::new(),
        });
        let admin = Principal { tenant, actor: ActorRef([9; 16]), role: Role::Admin }.manage_people().unwrap();
        Self { people, sessions, clock, admin }
    }

    async fn invited(&self, login: &str, role: Role) -> (ActorRef, String) {
        let new = NewPerson { login: login.to_owned(), name: "Erika Muster".to_owned(), role };
        let invited = self.people.invite(&self.admin, new, None).await.unwrap();
        (invited.id, invited.secret.to_string())
    }

    /// Somebody who may sign in, and the seed of his authenticator.
    async fn joined(&self, login: &str) -> (ActorRef, String) {
        let (id, invitation) = self.invited(login, Role::Clinician).await;
        let seed = self.people.offer(&invitation).unwrap().totp_secret;
        let proof = Proof::Password { password: word(PASSWORD), code: self.code(&seed) };
        self.people.accept(&invitation, proof, Arrival::default()).await.unwrap();
        (id, seed)
    }

    fn code(&self, seed: &str) -> String {
        let out = Command::new("python3").args(["-c", TOTP, seed, &self.clock.now().0.to_string()]).output().unwrap();
        String::from_utf8(out.stdout).unwrap().trim().to_owned()
    }
}

/// RFC 6238.
const TOTP: &str = "import sys,hmac,base64,struct\n\
    k=base64.b32decode(sys.argv[1])\n\
    h=hmac.new(k,struct.pack('>Q',int(sys.argv[2])//30000),'sha1').digest()\n\
    o=h[-1]&15\n\
    print('%06d'%((struct.unpack('>I',h[o:o+4])[0]&0x7fffffff)%1000000))";
const PASSWORD: &str = "kiefer-tasse-wolke-nagel";
const ROUNDS: usize = 40;

fn word(text: &str) -> Zeroizing<String> {
    Zeroizing::new(text.to_owned())
}

/// A tenth, the median, nine tenths, in milliseconds.
fn told(name: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |tenth: usize| times[(times.len() * tenth / 10).min(times.len() - 1)].as_secs_f64() * 1_000.0;
    println!("| {name} | {:.2} | {:.2} | {:.2} |", at(1), at(5), at(9));
}

#[tokio::main]
async fn main() {
    let dir = PathBuf::from(std::env::args().nth(1).expect("a folder to write to"));
    let house = House::new(dir).await;
    let (_, seed) = house.joined("erika").await;
    let (gone, _) = house.joined("gone").await;
    house.people.leave(&house.admin, gone, None).await.unwrap();
    house.invited("boss", Role::Admin).await;
    let cases = [
        ("nobody of that name", "nobody", PASSWORD, "000000"),
        ("another password", "erika", "another", "000000"),
        ("the password, another code", "erika", PASSWORD, "000000"),
        ("somebody who left", "gone", PASSWORD, "000000"),
        ("invited, and has not come yet", "boss", PASSWORD, "000000"),
        ("no name at all", "", "", ""),
    ];
    let mut times: Vec<Vec<Duration>> = vec![Vec::new(); cases.len() + 2];
    let mut last = None;
    // In turn, and each round begins with another, so that place and what else happens on the machine meet all of them alike.
    for round in 0..ROUNDS {
        for n in 0..cases.len() {
            let n = (n + round) % cases.len();
            let (_, login, password, code) = &cases[n];
            let (password, begun) = (word(password), Instant::now());
            let refused = house.people.sign_in(login, password, code, Arrival::default()).await;
            times[n].push(begun.elapsed());
            assert!(matches!(refused, Err(IdentityError::Refused)), "{login}");
        }
        // Nobody has to wait who did not fail just now.
        house.clock.advance_secs(24 * 3_600);
        let code = house.code(&seed);
        let begun = Instant::now();
        let signed_in = house.people.sign_in("erika", word(PASSWORD), &code, Arrival::default()).await;
        times[cases.len()].push(begun.elapsed());
        last = Some(signed_in.unwrap());
        let begun = Instant::now();
        let params = Params::new(19_456, 2, 1, Some(32)).unwrap();
        let mut out = [0; 32];
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        argon2.hash_password_into(PASSWORD.as_bytes(), &[7; 16], &mut out).unwrap();
        times[cases.len() + 1].push(begun.elapsed());
    }
    println!("| ms | a tenth below | median | a tenth above |\n|---|---|---|---|");
    let names = cases.iter().map(|case| case.0).chain(["somebody is signed in", "Argon2id alone"]);
    for (name, times) in names.zip(times) {
        told(name, times);
    }
    let reference = last.unwrap().reference;
    let asked = 200_000;
    let begun = Instant::now();
    for _ in 0..asked {
        assert!(house.sessions.resolve(reference.reveal(), Use::Counts).unwrap().is_some());
    }
    let each = begun.elapsed().as_secs_f64() * 1e6 / f64::from(asked);
    println!("\na session is checked in {each:.2} µs");
}
