//! Peers that mean harm, or are broken: each gets a clear refusal or a closed door, memory stays flat, and others are served meanwhile.

#![allow(clippy::unwrap_used, reason = "the helpers of a test end where they fail, as the test does")]

use leadglass_tests::fixture::Fixture;
use leadglass_tests::peers::run_python;
use leadglass_tests::process::{forget_peak, peak_bytes, resident_bytes, until};
use leadglass_tests::scu::{
    APPLICATION_CONTEXT, Association, Callers, EXPLICIT_LE, Refused, VERIFICATION, closed, command, connect, item,
    padded, pdata, pdu, pdv, read_pdu, request_pdu, store_request,
};
use leadglass_tests::vault::Vault;
use rand::{RngCore as _, SeedableRng as _};
use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

const CT: &str = "1.2.840.10008.5.1.4.1.1.2";
/// What any one attack may cost, above idle.
const FLAT_MIB: u64 = 48;

/// A vault and what it looked like before the attack.
struct Attacked {
    vault: Vault,
    idle: u64,
}

impl Attacked {
    fn vault() -> Self {
        let vault = Vault::up();
        let f = Fixture::named("dx.dcm");
        vault.store_fixture(&f);
        assert!(vault.data_set_of(&f) == f.data_set());
        forget_peak(vault.up.pids.vault).expect("our own process");
        let idle = resident_bytes(vault.up.pids.vault);
        Self { vault, idle }
    }

    fn association(&self) -> Association {
        self.vault.associate(&[(CT, EXPLICIT_LE), (VERIFICATION, EXPLICIT_LE)]).unwrap().unwrap()
    }

    /// A new sender and a reader are served, nothing died, memory stayed flat.
    fn holds(&self, salt: u64) {
        let (f, data_set) = Fixture::named("ct-1.dcm").renamed(salt);
        assert_eq!(self.vault.store(&f, &data_set).unwrap().status, 0, "an honest sender is served");
        assert!(self.vault.data_set_of(&f) == data_set, "a reader is served");
        assert!(self.vault.never_died(), "a process died");
        let grown = peak_bytes(self.vault.up.pids.vault).saturating_sub(self.idle) >> 20;
        assert!(grown < FLAT_MIB, "the attack cost {grown} MiB");
    }
}

/// Writes until the peer closes or all is written; a reset is the answer we hope for.
fn push(socket: &mut TcpStream, bytes: &[u8]) -> bool {
    match socket.write_all(bytes) {
        Ok(()) => true,
        Err(e) if closed(&e) => false,
        Err(e) => panic!("{e}"),
    }
}

/// The peer says no: A-ABORT, A-ASSOCIATE-RJ, or an end of the connection.
fn ended(socket: &mut TcpStream) {
    loop {
        match read_pdu(socket) {
            Ok((0x07 | 0x03, _)) => return,
            Ok((0x02 | 0x04, _)) => {}
            Ok((kind, _)) => panic!("PDU type {kind:02x}"),
            Err(e) if closed(&e) => return,
            Err(e) => panic!("the door stays open: {e}"),
        }
    }
}

fn explicit(group: u16, number: u16, vr: &[u8; 2], value: &[u8]) -> Vec<u8> {
    let mut out = [group.to_le_bytes(), number.to_le_bytes(), *vr].concat();
    out.extend(u16::try_from(value.len()).unwrap().to_le_bytes());
    out.extend_from_slice(value);
    out
}

/// The elements every CT of these tests opens with.
fn opening(instance: &str) -> Vec<u8> {
    [
        explicit(8, 0x16, b"UI", &padded(CT)),
        explicit(8, 0x18, b"UI", &padded(instance)),
        explicit(0x10, 0x10, b"PN", b"FIXTURE^HOSTILE "),
        explicit(0x10, 0x20, b"LO", b"FX-HOSTILE"),
        explicit(0x20, 0x0D, b"UI", &padded("2.25.4711")),
        explicit(0x20, 0x0E, b"UI", &padded("2.25.4712")),
    ]
    .concat()
}

/// Sends a data set in pieces and gives the status, or nothing when the peer ended the association instead.
fn store_raw(a: &mut Association, instance: &str, data_set: &mut dyn std::io::Read) -> Option<u16> {
    match a.store(CT, instance, EXPLICIT_LE, data_set) {
        Ok(answer) => Some(answer.status),
        Err(e) if closed(&e) => None,
        Err(e) => panic!("{e}"),
    }
}

#[test]
fn a_pdu_that_claims_four_gigabytes_is_refused_at_its_header() {
    let attacked = Attacked::vault();
    for kind in [0x01, 0x04, 0x07, 0x05, 0x99] {
        let mut socket = connect(attacked.vault.dicom()).unwrap();
        push(&mut socket, &[kind, 0, 0xFF, 0xFF, 0xFF, 0xFF]);
        for _ in 0..64 {
            if !push(&mut socket, &[0; 1 << 20]) {
                break;
            }
        }
        ended(&mut socket);

        let mut a = attacked.association();
        push(a.socket(), &[kind, 0, 0xFF, 0xFF, 0xFF, 0xFF]);
        for _ in 0..64 {
            if !push(a.socket(), &[0; 1 << 20]) {
                break;
            }
        }
        ended(a.socket());
    }
    attacked.holds(1);
}

#[test]
fn empty_and_impossible_pdvs_end_the_association() {
    let attacked = Attacked::vault();
    for body in [
        vec![],                                   // a P-DATA-TF without a PDV
        vec![0, 0, 0, 0],                         // a PDV of length 0: no room for its own header
        vec![0, 0, 0, 1, 1],                      // of length 1
        vec![0, 0, 0, 200, 1, 3, 0, 0],           // longer than its PDU
        vec![0xFF, 0xFF, 0xFF, 0xFF, 1, 3, 0, 0], // the longest there is
        vec![0, 0, 0],                            // cut
        pdv(77, true, true, &[0; 8]),             // a context nobody agreed on
        pdv(2, true, true, &[0; 8]),              // an even context
    ] {
        let mut a = attacked.association();
        push(a.socket(), &pdu(0x04, &body));
        // An empty P-DATA-TF may be tolerated; a run of them may not.
        for _ in 0..100_000 {
            if !push(a.socket(), &pdu(0x04, &body)) {
                break;
            }
        }
        ended(a.socket());
    }
    attacked.holds(1);
}

#[test]
fn a_hundred_thousand_empty_fragments_of_a_message_do_not_last() {
    let attacked = Attacked::vault();
    for is_command in [true, false] {
        let mut a = attacked.association();
        a.begin_store(CT, "2.25.4713", EXPLICIT_LE).unwrap();
        let context = a.context(CT, EXPLICIT_LE).unwrap();
        let many = pdata(&vec![pdv(context, is_command, false, &[]); 1000]);
        for _ in 0..100 {
            if !push(a.socket(), &many) {
                break;
            }
        }
        ended(a.socket());
    }
    attacked.holds(1);
}

#[test]
fn ten_thousand_presentation_contexts_are_refused() {
    let attacked = Attacked::vault();
    for count in [129, 1000, 10_000] {
        let wanted = vec![(CT, EXPLICIT_LE); count];
        match Association::open(attacked.vault.dicom(), &attacked.vault.callers(), &wanted) {
            Ok(Err(Refused::Rejected(..) | Refused::Aborted(..) | Refused::Closed)) => {}
            Err(e) if closed(&e) => {}
            Ok(Ok(_)) => panic!("{count} contexts were accepted"),
            Err(e) => panic!("{count} contexts: {e}"),
        }
    }
    attacked.holds(1);
}

#[test]
fn an_association_request_that_is_cut_or_lies_is_refused() {
    let attacked = Attacked::vault();
    let good = request_pdu(&attacked.vault.callers(), &[(CT, EXPLICIT_LE)]);
    let mut bodies: Vec<Vec<u8>> = (0..good.len() - 6).step_by(5).map(|n| good[6..6 + n].to_vec()).collect();
    let mut lying = good[6..].to_vec();
    lying[68 + 2] = 0xFF; // the application context item claims more than there is
    bodies.push(lying);
    let mut nested = good[6..6 + 68].to_vec();
    nested.extend(item(0x10, APPLICATION_CONTEXT.as_bytes()));
    nested.extend(item(0x50, &item(0x58, &[0xFF; 1000]))); // a user identity that is none
    bodies.push(nested);
    for body in bodies {
        let mut socket = connect(attacked.vault.dicom()).unwrap();
        push(&mut socket, &pdu(0x01, &body));
        // A cut that leaves a whole request is a request: then release it.
        push(&mut socket, &[5, 0, 0, 0, 0, 4, 0, 0, 0, 0]);
        loop {
            match read_pdu(&mut socket) {
                Ok((0x02, _)) => {}
                Ok((0x03 | 0x06 | 0x07, _)) => break,
                Ok((kind, _)) => panic!("PDU type {kind:02x}"),
                Err(e) if closed(&e) => break,
                Err(e) => panic!("{e}"),
            }
        }
    }
    attacked.holds(1);
}

#[test]
fn messages_out_of_turn_end_the_association() {
    let attacked = Attacked::vault();
    let rq = store_request(1, CT, "2.25.4714");
    let cases: Vec<(&str, Vec<Vec<u8>>)> = vec![
        ("data before any command", vec![pdv(1, false, false, &[0; 100])]),
        ("data in another context than its command", vec![pdv(1, true, true, &rq), pdv(3, false, true, &[0; 100])]),
        ("a command in another context in between", vec![pdv(1, true, false, &rq[..20]), pdv(3, true, true, &rq)]),
        ("a second command while data is awaited", vec![pdv(1, true, true, &rq), pdv(1, true, true, &rq)]),
        ("a command that is no command", vec![pdv(1, true, true, &[0xFF; 64])]),
        ("a command without its fields", vec![pdv(1, true, true, &command(&[(0x0100, &[1, 0])]))]),
        (
            "a command field nobody knows",
            vec![pdv(1, true, true, &command(&[(0x0100, &[0x99, 0x12]), (0x0110, &[1, 0]), (0x0800, &[1, 1])]))],
        ),
    ];
    for (what, pdvs) in cases {
        let mut a = attacked.association();
        push(a.socket(), &pdata(&pdvs));
        match read_pdu(a.socket()) {
            // A status is as clear as an abort, as long as it is a refusal.
            Ok((0x04, body)) => {
                let status = leadglass_tests::scu::field(&body[6..], 0x0900).map(<[u8]>::to_vec);
                assert_ne!(status.as_deref(), Some(&[0, 0][..]), "{what} was answered with success");
            }
            Ok((0x07, _)) => {}
            Ok((kind, _)) => panic!("{what}: PDU type {kind:02x}"),
            Err(e) if closed(&e) => {}
            Err(e) => panic!("{what}: {e}"),
        }
    }
    attacked.holds(1);
}

#[test]
fn a_command_that_never_ends_is_cut_off() {
    let attacked = Attacked::vault();
    let mut a = attacked.association();
    let piece = pdata(&[pdv(1, true, false, &[0x5A; 16_000])]);
    for _ in 0..4000 {
        if !push(a.socket(), &piece) {
            break;
        }
    }
    ended(a.socket());
    attacked.holds(1);
}

#[test]
fn lengths_no_element_has_are_refused_with_a_status() {
    let attacked = Attacked::vault();
    for (n, vr) in [b"UT", b"UN", b"OW", b"OB", b"SQ", b"UC"].into_iter().enumerate() {
        for len in [0xFFFF_FFFEu32, 0xFFFF_FFF0, 0x7FFF_FFFF] {
            let instance = format!("2.25.4715{n}{len}");
            let mut data_set = opening(&instance);
            data_set.extend([0x28, 0, 0, 0x30]);
            data_set.extend_from_slice(vr);
            data_set.extend([0, 0]);
            data_set.extend(len.to_le_bytes());
            data_set.extend(b"only this");
            let status = store_raw(&mut attacked.association(), &instance, &mut &data_set[..]);
            assert_ne!(status, Some(0), "{} of length {len:08x} was stored", String::from_utf8_lossy(vr));
        }
    }
    attacked.holds(1);
}

#[test]
fn sequences_a_hundred_thousand_deep_neither_crash_nor_cost() {
    let attacked = Attacked::vault();
    let level = b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff";
    for (n, closed_properly) in [false, true].into_iter().enumerate() {
        let instance = format!("2.25.4716{n}");
        let mut data_set = opening(&instance);
        // Group 0008 after group 0020 would be out of order; a private group is not.
        for _ in 0..100_000 {
            let mut l = level.to_vec();
            l[0] = 0x29;
            data_set.extend(l);
        }
        if closed_properly {
            for _ in 0..100_000 {
                data_set.extend(b"\xfe\xff\x0d\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0");
            }
        }
        let status = store_raw(&mut attacked.association(), &instance, &mut &data_set[..]);
        if !closed_properly {
            assert_ne!(status, Some(0), "an object that ends inside 100,000 sequences was stored");
        }
    }
    attacked.holds(1);
}

#[test]
fn an_element_of_undefined_length_that_never_ends_costs_nothing() {
    let attacked = Attacked::vault();
    let instance = "2.25.4717";
    let mut head = opening(instance);
    head.extend(b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\0\0\0\0");
    let fragment = [b"\xfe\xff\x00\xe0\x00\x40\x00\x00".to_vec(), vec![0x11; 0x4000]].concat();
    // Explicit VR little endian has no encapsulated pixel data: refused at once or at the end, never stored.
    let mut endless = std::io::Read::chain(&head[..], Repeat { unit: fragment, at: 0, left: 200 << 20 });
    assert_ne!(store_raw(&mut attacked.association(), instance, &mut endless), Some(0));
    attacked.holds(1);
}

struct Repeat {
    unit: Vec<u8>,
    at: usize,
    left: usize,
}

impl std::io::Read for Repeat {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = buffer.len().min(self.unit.len() - self.at).min(self.left);
        buffer[..n].copy_from_slice(&self.unit[self.at..self.at + n]);
        self.at = (self.at + n) % self.unit.len();
        self.left -= n;
        Ok(n)
    }
}

#[test]
fn names_that_are_no_uids_are_refused() {
    let attacked = Attacked::vault();
    let long = format!("2.25.{}", "1".repeat(70));
    for instance in ["../../evil", "2.25.1/../../x", "", "2.25.1\n2", "2.25.‹›", "%2e%2e", long.as_str()] {
        let data_set = opening(instance);
        let status = store_raw(&mut attacked.association(), instance, &mut &data_set[..]);
        assert_ne!(status, Some(0), "{instance:?} was stored");
    }
    // The command and the data set name different instances (PS3.4 Annex GG: A900, data set does not match SOP class).
    let status = store_raw(&mut attacked.association(), "2.25.4718", &mut &opening("2.25.4719")[..]);
    assert!(status.is_none_or(|s| s & 0xFF00 == 0xA900), "{status:04x?}");
    attacked.holds(1);
}

#[test]
fn garbage_and_other_protocols_are_turned_away() {
    let attacked = Attacked::vault();
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(3);
    for n in 0..40 {
        let mut noise = vec![0; 1 + n * n * 40];
        random.fill_bytes(&mut noise);
        let mut socket = connect(attacked.vault.dicom()).unwrap();
        push(&mut socket, &noise);
        // A short noise may look like the start of a PDU: it ends when we do.
        let _ = socket.shutdown(std::net::Shutdown::Write);
        ended(&mut socket);
    }
    for greeting in [
        &b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..],
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"SSH-2.0-x\r\n",
        &[0; 4096],
    ] {
        let mut socket = connect(attacked.vault.dicom()).unwrap();
        push(&mut socket, greeting);
        let _ = socket.shutdown(std::net::Shutdown::Write);
        ended(&mut socket);
    }
    attacked.holds(1);
}

/// 500 associations from another loopback address that open and then say nothing; a line when all were tried, then it holds them.
const IDLE: &str = r#"
import socket, sys
host, port, request = sys.argv[1], int(sys.argv[2]), bytes.fromhex(sys.argv[3])
held = []
for i in range(500):
    s = socket.create_connection((host, port), timeout=10, source_address=("127.0.0.2", 0))
    try:
        s.sendall(request)
    except OSError:
        continue
    held.append(s)
accepted = refused = 0
for s in held:
    s.settimeout(20)
    try:
        first = s.recv(1)
    except OSError:
        first = b""
    if first == b"\x02":
        accepted += 1
    else:
        refused += 1
print(accepted, refused, flush=True)
"#;

#[test]
fn five_hundred_idle_associations_do_not_keep_others_out() {
    let attacked = Attacked::vault();
    let at = attacked.vault.dicom();
    let idler = Callers { calling: "IDLER".to_owned(), ..attacked.vault.callers() };
    let request: String =
        request_pdu(&idler, &[(VERIFICATION, EXPLICIT_LE)]).iter().map(|b| format!("{b:02x}")).collect();
    let held = std::thread::scope(|s| {
        let idle = s.spawn(|| run_python(IDLE, &[at.ip().to_string(), at.port().to_string(), request]));
        // While they come and stay, an honest sender from its own address gets through.
        let mut served = 0;
        while !idle.is_finished() {
            assert!(until(Duration::from_secs(60), || attacked.vault.echoes()), "others were kept out");
            served += 1;
        }
        assert!(served > 0);
        idle.join().unwrap()
    });
    let said = String::from_utf8_lossy(&held.stdout).into_owned();
    let counts: Vec<u32> = said.split_whitespace().filter_map(|n| n.parse().ok()).collect();
    assert_eq!(counts.len(), 2, "{said}{}", String::from_utf8_lossy(&held.stderr));
    assert!(counts[0] < 100, "{} idle associations were let in", counts[0]);
    assert_eq!(counts[0] + counts[1], 500);
    attacked.holds(1);
}

/// One request over plain HTTP/1.1, as it stands here; the status it was answered with.
fn raw_status(vault: &Vault, head: &str) -> u16 {
    use std::io::Read as _;
    let place = vault.up.http.plain_dicomweb.clone().unwrap();
    let host = place.strip_prefix("http://").unwrap().split_once('/').unwrap().0.to_owned();
    let mut socket = TcpStream::connect(host).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    push(&mut socket, head.as_bytes());
    let mut answer = [0; 12];
    socket.read_exact(&mut answer).unwrap();
    std::str::from_utf8(&answer[9..]).unwrap().parse().unwrap()
}

/// 300 KB were once taken, while HTTP/2 kept to 16 KiB. And whoever wrote another `Host` was believed.
#[test]
fn a_head_is_16_kib_at_most_and_names_a_host_of_ours() {
    let vault = Vault::with_config("[http]\nhosts = [\"localhost\", \"127.0.0.1\"]\n");
    let status = |host: &str, long: usize| {
        let head = format!(
            "GET /dicomweb/studies HTTP/1.1\r\nHost: {host}\r\nX-Long: {}\r\nAuthorization: Bearer {}\r\n\r\n",
            "x".repeat(long),
            vault.up.token
        );
        raw_status(&vault, &head)
    };
    assert_eq!(status("localhost", 15_000), 200);
    for long in [17_000, 100_000, 200_000, 300_000] {
        assert_eq!(status("localhost", long), 431, "{long} bytes");
    }
    assert_eq!(status("127.0.0.1:8443", 1), 200);
    assert_eq!(status("evil.example", 1), 421, "a page of a name that was made to lead here");
    let health = |path: &str| raw_status(&vault, &format!("GET {path} HTTP/1.1\r\nHost: 10.1.2.3\r\n\r\n"));
    assert_eq!((health("/healthz"), health("/readyz"), health("/metrics")), (200, 200, 401));
    assert!(vault.never_died());
}

#[test]
fn ten_thousand_parts_that_are_no_instances_are_one_line_in_the_log() {
    use leadglass_tests::stow::{DICOM_PARTS, body, studies};
    let vault = Vault::up();
    let whole = body(std::iter::repeat_n(b"".as_slice(), 10_000));
    let ask = leadglass_tests::stow::ask(&vault);
    let (answer, _) = vault.http().send_stream(&studies(&vault), ask, DICOM_PARTS, std::iter::once(whole));
    assert_eq!(answer.status, 409, "{}", &answer.text()[..200.min(answer.text().len())]);
    let words = String::from_utf8_lossy(&vault.words()).into_owned();
    let lines: Vec<&str> = words.lines().filter(|line| line.contains("not taken")).collect();
    assert!(lines.len() == 1 && lines[0].contains("10000 instances of a request were not taken"), "{lines:?}");
}
