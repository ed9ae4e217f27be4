//! A bucket that is far away is asked as seldom as can be, and not at all for a reader who is gone.

#![allow(clippy::unwrap_used, reason = "the helpers of a test end where they fail, as the test does")]

use leadglass_testkit::{CT_IMAGE_STORAGE, DataSet, EXPLICIT_VR_LITTLE_ENDIAN};
use leadglass_tests::fixture::Fixture;
use leadglass_tests::process::until;
use leadglass_tests::proxy::{Proxy, Script, Step};
use leadglass_tests::site::{drained, instance_path, large, metric};
use leadglass_tests::vault::Vault;
use leadglass_tests::weed::Weed;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

/// How far away: added to every request.
const FAR: Duration = Duration::from_millis(20);
const SOON: Duration = Duration::from_secs(60);
const JSON: &str = "application/dicom+json";
const FRAME: &str = "multipart/related; type=\"application/octet-stream\"";

/// A bucket behind a proxy, and a vault on it.
struct Site {
    vault: Vault,
    proxy: Proxy,
    _weed: Weed,
}

impl Site {
    fn new() -> Self {
        let weed = Weed::start();
        let proxy = Proxy::start(weed.s3(), FAR);
        let vault = Vault::with_config(&weed.settings(proxy.address()));
        Self { vault, proxy, _weed: weed }
    }

    /// The vault starts again and holds nothing in memory.
    fn afresh(&mut self) {
        drained(&self.vault);
        self.vault.restart();
        self.proxy.set(Script::Calm);
    }

    /// What this costs at the bucket: bytes that were asked for, request by request.
    fn cost(&self, path: &str, accept: &str) -> (Vec<u8>, Vec<Option<u64>>) {
        self.proxy.set(Script::Calm);
        let answer = self.vault.ask(path, Some(&self.vault.up.token), accept);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        let seen = self.proxy.seen();
        assert!(seen.iter().all(|seen| seen.step == Step::Get), "{path}: {seen:?}");
        (answer.body, seen.iter().map(|seen| seen.range.map(|(from, to)| to - from + 1)).collect())
    }
}

#[test]
fn metadata_of_500_slices_take_at_most_three_round_trips_and_a_frame_takes_one() {
    let mut site = Site::new();
    let slices: Vec<DataSet> = (0..500).map(|number| DataSet::invented(1, number)).collect();
    let mut association =
        site.vault.associate(&[(CT_IMAGE_STORAGE, EXPLICIT_VR_LITTLE_ENDIAN)]).unwrap().expect("it is accepted");
    for slice in &slices {
        let bytes = slice.encode();
        let answer =
            association.store(CT_IMAGE_STORAGE, &slice.instance, EXPLICIT_VR_LITTLE_ENDIAN, &mut &bytes[..]).unwrap();
        assert_eq!(answer.status, 0, "slice {}", slice.number);
    }
    association.release().unwrap();
    let (many, data_set) = large(3, 4);
    let (cine, compressed) = Fixture::named("us-bot.dcm").renamed(4);
    let (chest, pixels) = chest(5);
    for (f, data_set) in [(&many, &data_set), (&cine, &compressed), (&chest, &pixels)] {
        assert_eq!(site.vault.store(f, data_set).unwrap().status, 0, "{}", f.file);
    }
    site.afresh();

    let series = format!("/studies/{}/series/{}", slices[0].study, slices[0].series);
    let (body, asked) = site.cost(&format!("{series}/metadata"), JSON);
    let told: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(told.as_array().unwrap().len(), slices.len());
    assert!(asked.len() <= 3, "metadata of {} slices: {asked:?}", slices.len());
    let (_, asked) = site.cost(&format!("/studies?StudyInstanceUID={}", slices[0].study), JSON);
    assert_eq!(asked, [], "a search needs no object");

    // A slice that nobody has looked at.
    let (_, asked) = site.cost(&format!("{series}/instances/{}/frames/1", slices[250].instance), FRAME);
    assert!(matches!(asked[..], [Some(_)]), "a frame of its own: {asked:?}");

    // One of four frames of a MiB: it and the ends of chunks around it, not the others.
    let path = instance_path(&many);
    let (body, asked) = site.cost(&format!("{path}/frames/3"), FRAME);
    let bytes: u64 = asked.iter().map(|bytes| bytes.expect("a range")).sum();
    assert!(asked.len() == 1 && bytes < body.len() as u64 + 200_000, "one of many: {asked:?}");

    // However long it is; asked for again and again, the runs that are kept meanwhile are not asked for.
    for time in 1..=3 {
        let (body, asked) = site.cost(&format!("{}/frames/1", instance_path(&chest)), FRAME);
        assert!(ends_with(&body, &pixels), "the {time}. time");
        let bytes: u64 = asked.iter().map(|bytes| bytes.expect("a range")).sum();
        match time {
            3 => assert_eq!(asked, [], "the {time}. time"),
            _ => assert!(asked.len() == 1 && bytes < CHEST_BYTES as u64 + 200_000, "the {time}. time: {asked:?}"),
        }
    }

    // Where compressed frames begin stands at the object's end: it is read once.
    let path = instance_path(&cine);
    let accept = "multipart/related; type=\"application/octet-stream\"; transfer-syntax=*";
    let (_, asked) = site.cost(&format!("{path}/frames/2"), accept);
    assert!(asked.len() <= 2 && asked.iter().all(Option::is_some), "a compressed one: {asked:?}");
    let (_, asked) = site.cost(&format!("{path}/frames/4"), accept);
    assert!(asked.len() <= 1, "the next one: {asked:?}");
}

#[test]
fn nobody_works_for_a_reader_who_is_gone() {
    let mut site = Site::new();
    const MIB: u32 = 64;
    let (f, data_set) = large(5, MIB);
    assert_eq!(site.vault.store(&f, &data_set).unwrap().status, 0);
    site.afresh();
    let place = site.vault.up.http.plain_dicomweb.clone().unwrap();
    let (host, root) = place.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let open = || metric(&site.vault, "leadglass_http_answers_open");
    let cut = || metric(&site.vault, "leadglass_http_answers_cut_total");
    assert_eq!((open(), cut()), (0, 0));
    let mut held = Vec::new();
    // More than once, and more than the vault reads for at one time: whoever went away left its place.
    for round in 1..=3_u64 {
        let readers: Vec<TcpStream> = (0..16)
            .map(|_| {
                let mut stream = TcpStream::connect(host).unwrap();
                stream.set_read_timeout(Some(SOON)).unwrap();
                let token = &site.vault.up.token;
                let head = format!(
                    "GET /{root}{} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\nAccept: application/dicom\r\n\r\n",
                    instance_path(&f)
                );
                stream.write_all(head.as_bytes()).unwrap();
                let mut some = vec![0; 100_000];
                stream.read_exact(&mut some).unwrap();
                assert!(some.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&some[..200]));
                stream
            })
            .collect();
        assert_eq!(open(), 16, "round {round}");
        drop(readers);
        assert!(until(SOON, || open() == 0), "round {round}: {} answers are still open", open());
        assert_eq!(cut(), 16 * round);
        held.push(resident(site.vault.up.pids.vault));
    }
    // What is asked of the bucket now is asked by the next one only.
    let (passed, whole) = (site.proxy.passed(), 48 * (u64::from(MIB) << 20));
    assert!(passed < whole / 4, "{passed} bytes read for 48 readers who took little of {MIB} MiB each");
    let (small, data_set) = Fixture::named("ct-1.dcm").renamed(9);
    assert_eq!(site.vault.store(&small, &data_set).unwrap().status, 0);
    drained(&site.vault);
    site.proxy.set(Script::Calm);
    let (_, asked) = site.cost(&instance_path(&small), "application/dicom");
    assert_eq!(asked.len(), 1, "{asked:?}");
    // Memory that readers had is used again: the third round needs no more than the first, but for what the system rounds.
    assert!(held[2] < held[0] + (32 << 20), "{held:?} bytes after each round");
    assert!(site.vault.never_died());
}

/// A chest X-ray of its usual size: one frame of 18 MB.
fn chest(salt: u64) -> (Fixture, Vec<u8>) {
    let (f, mut body) = Fixture::named("dx.dcm").renamed(salt);
    let at = |body: &[u8], head: &[u8]| body.windows(head.len()).rposition(|w| w == head).unwrap() + head.len();
    for (head, value) in [(*b"\x28\0\x10\0US\x02\0", 3_000_u16), (*b"\x28\0\x11\0US\x02\0", 3_000)] {
        let at = at(&body, &head);
        body[at..at + 2].copy_from_slice(&value.to_le_bytes());
    }
    body.truncate(at(&body, b"\xe0\x7f\x10\0OW\0\0"));
    body.extend(u32::try_from(CHEST_BYTES).unwrap().to_le_bytes());
    body.extend(
        (0..CHEST_BYTES / 2).flat_map(|n| (n.wrapping_mul(2_654_435_761) >> 18 & 0x3fff).to_le_bytes()[..2].to_vec()),
    );
    (f, body)
}

/// Whether the one part of an answer is what a data set ends with.
fn ends_with(answer: &[u8], data_set: &[u8]) -> bool {
    let pixels = &data_set[data_set.len() - CHEST_BYTES..];
    // In front of it are the part's header fields, behind it the last border.
    let start = answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
    answer[start..].starts_with(pixels)
}

const CHEST_BYTES: usize = 3_000 * 3_000 * 2;

/// Resident memory of a process, bytes.
fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}
