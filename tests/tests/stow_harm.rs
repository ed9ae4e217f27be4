//! STOW-RS where it is hard: a vault that is killed, bodies that are large, bodies that mean harm.

#![allow(clippy::unwrap_used, reason = "the helpers of a test end where they fail, as the test does")]

use leadglass_tests::big::{BigObject, SOP_CLASS};
use leadglass_tests::fixture::Fixture;
use leadglass_tests::http::Ask;
use leadglass_tests::part10;
use leadglass_tests::peers::{run_python, said};
use leadglass_tests::process::{forget_peak, kill_9, peak_bytes, resident_bytes};
use leadglass_tests::scu::EXPLICIT_LE;
use leadglass_tests::stow::{DICOM_PARTS, STORED, Wire, ask, body, file_of, post, studies, told};
use leadglass_tests::vault::Vault;
use leadglass_tests::wire::Came;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use std::io::Read as _;
use std::thread;
use std::time::{Duration, Instant};

const MIB: u64 = 1 << 20;

#[test]
fn what_was_told_as_stored_survives_kill_9() {
    const POSTS: u64 = 36;
    const EACH: u64 = 4;
    let vault = Vault::up();
    let mut random = ChaCha8Rng::seed_from_u64(0x5703);
    let f = Fixture::named("ct-3.dcm");
    let (mut stored, mut open, mut kills) = (Vec::new(), Vec::new(), 0);
    for n in 0..POSTS {
        let sent: Vec<(Fixture, Vec<u8>)> = (0..EACH)
            .map(|i| {
                let (f, data_set) = f.renamed(n * EACH + i);
                let file = file_of(&f, &data_set);
                (f, file)
            })
            .collect();
        let whole = body(sent.iter().map(|(_, file)| file.as_slice()));
        let moment = Duration::from_micros(random.random_range(200..60_000));
        let victim = random.random_ratio(1, 3).then(|| vault.now().pids.vault);
        let killer = victim.map(|pid| {
            thread::spawn(move || {
                thread::sleep(moment);
                kill_9(pid);
            })
        });
        let mut wire = Wire::open(&vault);
        let headers = format!("Content-Type: {DICOM_PARTS}\r\nContent-Length: {}\r\n", whole.len());
        let came = wire.head(&vault, "/studies", &headers).and_then(|()| wire.send(&whole)).map(|()| wire.try_answer());
        let all_told = matches!(came, Ok(Ok(Came { status: 200, whole: true, .. })));
        assert!(all_told || victim.is_some(), "post {n} failed though nobody was killed");
        if all_told {
            stored.extend(sent)
        } else {
            open.extend(sent)
        }
        if let (Some(killer), Some(pid)) = (killer, victim) {
            killer.join().unwrap();
            kills += 1;
            vault.wait_restarted(pid);
        }
    }
    assert!(kills > 5 && !open.is_empty() && stored.len() > 60, "{kills} kills, {} and {}", stored.len(), open.len());
    for (f, file) in &stored {
        let came = vault.file_of(f);
        assert!(came.as_ref() == Ok(file), "{} was told as stored: {:?}", f.instance, came.map(|bytes| bytes.len()));
    }
    for (f, file) in &open {
        match vault.file_of(f) {
            Ok(came) => assert!(came == *file, "{} is there and not whole", f.instance),
            Err(status) => assert_eq!(status, 404),
        }
    }
    let again = post(&vault, &studies(&vault), DICOM_PARTS, body(open.iter().map(|(_, file)| file.as_slice())));
    assert_eq!(again.status, 200, "{}", again.text());
    for (f, file) in &open {
        assert!(vault.file_of(f).as_ref() == Ok(file), "{}", f.instance);
    }
}

/// The file of a big object, made while it is sent.
fn big_file(seed: u64, mib: u32) -> (BigObject, impl Iterator<Item = Vec<u8>> + Send + use<>) {
    let object = BigObject::new(seed, mib);
    let template = Fixture::named("dx.dcm").bytes();
    // File meta of our own: class, instance, syntax.
    let mut meta = Vec::new();
    for (element, text) in [(2u16, SOP_CLASS), (3, object.instance.as_str()), (0x10, EXPLICIT_LE)] {
        let padded = if text.len() % 2 == 1 { format!("{text}\0") } else { text.to_owned() };
        meta.extend([2, 0]);
        meta.extend(element.to_le_bytes());
        meta.extend(b"UI");
        meta.extend(u16::try_from(padded.len()).unwrap().to_le_bytes());
        meta.extend(padded.as_bytes());
    }
    let mut head = template[..132].to_vec();
    head.extend(b"\x02\x00\x00\x00UL\x04\x00");
    head.extend(u32::try_from(meta.len()).unwrap().to_le_bytes());
    head.extend(meta);
    let mut source = BigObject::new(seed, mib);
    let pieces = std::iter::once(head).chain(std::iter::from_fn(move || {
        let mut piece = vec![0; 60_000];
        let n = source.read(&mut piece).unwrap();
        piece.truncate(n);
        (n > 0).then_some(piece)
    }));
    (object, pieces)
}

#[test]
fn large_uploads_keep_memory_flat_by_http_1_and_2() {
    let vault = Vault::up();
    for file in ["ct-1.dcm", "dx.dcm"] {
        let f = Fixture::named(file);
        assert_eq!(post(&vault, &studies(&vault), DICOM_PARTS, body([f.bytes().as_slice()])).status, 200);
    }
    forget_peak(vault.up.pids.vault).unwrap();
    let idle = resident_bytes(vault.up.pids.vault);
    let above = || peak_bytes(vault.up.pids.vault).saturating_sub(idle) / MIB;

    let (by_2, pieces) = big_file(21, 200);
    let opening = b"--b-1\r\nContent-Type: application/dicom\r\n\r\n".to_vec();
    let framed = std::iter::once(opening.clone()).chain(pieces).chain(std::iter::once(b"\r\n--b-1--\r\n".to_vec()));
    let (answer, version) = vault.http().send_stream(&studies(&vault), ask(&vault), DICOM_PARTS, framed);
    assert_eq!((answer.status, format!("{version:?}").as_str()), (200, "HTTP/2.0"), "{}", answer.text());
    let by_2_peak = above();

    let (by_1, pieces) = big_file(22, 200);
    let mut wire = Wire::open(&vault);
    wire.head(&vault, "/studies", &format!("Content-Type: {DICOM_PARTS}\r\nTransfer-Encoding: chunked\r\n")).unwrap();
    wire.chunk(&opening).unwrap();
    pieces.for_each(|piece| wire.chunk(&piece).unwrap());
    wire.chunk(b"\r\n--b-1--\r\n").unwrap();
    wire.chunk(b"").unwrap();
    assert_eq!(wire.answer().status, 200);
    let peak = above();
    eprintln!("idle {} MiB; above idle: {by_2_peak} MiB by HTTP/2, {peak} MiB by both", idle / MIB);
    assert!(peak < 64, "{peak} MiB above idle");

    for (object, seed) in [(by_2, 21), (by_1, 22)] {
        let url =
            format!("{}/{}/series/{}/instances/{}", studies(&vault), object.study, object.series, object.instance);
        let mut comparison = leadglass_tests::big::Comparison::with(BigObject::new(seed, 200));
        let (mut head, mut begun) = (Vec::new(), false);
        let status = vault.http().stream(&url, Ask { accept: Some("application/dicom"), ..ask(&vault) }, |piece| {
            if begun {
                return comparison.feed(piece);
            }
            head.extend_from_slice(piece);
            if head.len() > 1000 {
                begun = true;
                comparison.feed(&head[part10::data_set_start(&head)..]);
            }
        });
        assert!(status == 200 && comparison.is_complete_and_equal(), "object {seed} came back otherwise");
    }
    assert!(vault.never_died());
}

#[test]
fn hostile_bodies_are_refused_quickly_and_others_are_served() {
    let vault = Vault::up();
    let (good, url) = (Fixture::named("ct-1.dcm"), studies(&vault));
    assert_eq!(post(&vault, &url, DICOM_PARTS, body([good.bytes().as_slice()])).status, 200);
    forget_peak(vault.up.pids.vault).unwrap();
    let idle = resident_bytes(vault.up.pids.vault);
    let begun = Instant::now();

    // More parts than are taken, empty ones; headers without end; a preamble without end; blanks behind a boundary.
    let parts = [b"--b-1".to_vec(), b"\r\n\r\n\r\n--b-1".repeat(100_000), b"--".to_vec()].concat();
    let headers = [b"--b-1\r\nContent-Type: application/dicom\r\nX: ".to_vec(), vec![b'x'; 4 << 20]].concat();
    let lines = [b"--b-1\r\n".to_vec(), b"X: y\r\n".repeat(1 << 19)].concat();
    let preamble = vec![b'x'; 4 << 20];
    let epilogue = [b"--b-1--\r\n".to_vec(), vec![b'x'; 4 << 20]].concat();
    for (what, bytes) in
        [("parts", parts), ("headers", headers), ("lines", lines), ("preamble", preamble), ("epilogue", epilogue)]
    {
        // A refusal may come while we still send; then the connection ends under us, which is an answer as well.
        let came = refused(&vault, "/studies", DICOM_PARTS, &bytes);
        assert!(matches!(came, None | Some(400)), "{what}: {came:?}");
    }

    // Heads that lie about lengths, and one that does not end.
    let f = Fixture::named("dx.dcm");
    let mut private_without_end = f.bytes()[..132].to_vec();
    private_without_end.extend(b"\x02\x00\x02\x01OB\x00\x00\xF0\xFF\xFF\xFF");
    private_without_end.resize(8 << 20, 7);
    let mut long_element = f.bytes()[..f.data_set_offset].to_vec();
    long_element.extend(b"\x08\x00\x05\x00CS\x0A\x00ISO_IR 100\x08\x00\x08\x00UN\x00\x00\xF0\xFF\xFF\xFFshort");
    for (what, bytes) in [("private", private_without_end), ("element", long_element)] {
        let answer = post(&vault, &url, DICOM_PARTS, body([bytes.as_slice(), &good.bytes()]));
        assert_eq!(answer.status, 202, "{what}: {}", answer.text());
        assert_eq!(told(&answer.json(), STORED).len(), 1, "{what}: what is sent beside it is stored");
    }

    // A deflated data set that grows by more than a thousandfold.
    let bomb = run_python(
        "import sys, zlib, struct, pydicom\nfile = open(sys.argv[1], 'rb').read()\nc = zlib.compressobj(9, zlib.DEFLATED, -15)\n\
         out = c.compress(b'\\x08\\x00\\x05\\x00CS\\x00\\x00\\x09\\x00\\x10\\x10OB\\x00\\x00' + struct.pack('<I', 0xFFFFFFF0))\n\
         for _ in range(2000): out += c.compress(bytes(1 << 20))\nsys.stdout.buffer.write(file[:int(sys.argv[2])] + out + c.flush())",
        &{
            let f = Fixture::named("sc-deflated.dcm");
            [f.path().display().to_string(), f.data_set_offset.to_string()]
        },
    );
    assert!(bomb.status.success() && bomb.stdout.len() > 1 << 20, "{}", said(&bomb));
    let answer = post(&vault, &url, "application/dicom", bomb.stdout);
    assert_eq!(answer.status, 409, "{}", answer.text());

    // Metadata: nested without end, numbers without end, entities, more bulk than is held.
    let metadata = |notation: &str, text: &[u8]| {
        let head = format!("--b-1\r\nContent-Type: application/dicom+{notation}\r\n\r\n");
        let bytes = [head.as_bytes(), text, b"\r\n--b-1--"].concat();
        let content_type = format!("multipart/related; type=\"application/dicom+{notation}\"; boundary=b-1");
        refused(&vault, "/studies", &content_type, &bytes)
    };
    assert!(matches!(metadata("json", &b"[".repeat(4 << 20)), Some(400)));
    let nested = br#"{"00081140":{"vr":"SQ","Value":["#.repeat(100_000);
    assert!(matches!(metadata("json", &nested), Some(400 | 409)));
    let numbers = [br#"[{"00280010":{"vr":"FD","Value":["#.as_slice(), &b"1,".repeat(3 << 20), b"1]}}]"].concat();
    assert!(matches!(metadata("json", &numbers), Some(409)));
    assert!(matches!(metadata("json", &b" ".repeat(9 << 20)), None | Some(413)));
    let laughs = b"<!DOCTYPE x [<!ENTITY a 'ha'>]><NativeDicomModel>&a;</NativeDicomModel>";
    assert!(matches!(metadata("xml", laughs), Some(400)));
    let xxe = b"<!DOCTYPE x [<!ENTITY a SYSTEM 'file:///etc/hostname'>]><NativeDicomModel><DicomAttribute tag='00100010' vr='LO'><Value>&a;</Value></DicomAttribute></NativeDicomModel>";
    assert!(matches!(metadata("xml", xxe), Some(400)));
    // One part that is pointed at again and again, by less than the elements that are taken, and by more.
    let pointing = |count: usize| {
        let items = vec![r#"{"00091010":{"vr":"OB","BulkDataURI":"a"}}"#; count].join(",");
        let model = format!(
            r#"{{"00080016":{{"vr":"UI","Value":["1.2.840.10008.5.1.4.1.1.7"]}},"00080018":{{"vr":"UI","Value":["1.2.3"]}},"00081140":{{"vr":"SQ","Value":[{items}]}}}}"#
        );
        [
            model.as_bytes(),
            b"\r\n--b-1\r\nContent-Type: application/octet-stream\r\nContent-Location: a\r\n\r\n",
            &[7; 4_500],
        ]
        .concat()
    };
    assert!(matches!(metadata("json", &pointing(40_000)), Some(413)));
    assert!(matches!(metadata("json", &pointing(150_000)), Some(413)));
    let bulk =
        [b"--b-1\r\nContent-Type: application/octet-stream\r\nContent-Location: a\r\n\r\n".to_vec(), vec![7; 70 << 20]]
            .concat();
    let modelled = "multipart/related; type=\"application/dicom+json\"; boundary=b-1";
    assert!(matches!(refused(&vault, "/studies", modelled, &bulk), None | Some(413)));

    let took = begun.elapsed();
    let above = peak_bytes(vault.up.pids.vault).saturating_sub(idle) / MIB;
    eprintln!("{took:?}; {above} MiB above idle");
    // Bulk data beside metadata may be held up to their bound of 64 MiB, files not at all.
    assert!(above < 160, "{above} MiB above idle");

    // Bodies that begin and do not go on hold nobody up.
    let mut idlers: Vec<Wire> = (0..16)
        .map(|_| {
            let mut wire = Wire::open(&vault);
            wire.head(&vault, "/studies", &format!("Content-Type: {DICOM_PARTS}\r\nTransfer-Encoding: chunked\r\n"))
                .unwrap();
            wire.chunk(b"--b-1\r\nContent-Type: application/dicom\r\n\r\nDI").unwrap();
            wire
        })
        .collect();
    assert_eq!(post(&vault, &url, DICOM_PARTS, body([good.bytes().as_slice()])).status, 200);
    assert!(vault.echoes());
    assert!(vault.file_of(&good).as_ref() == Ok(&good.bytes()));
    // And each is ended.
    let came = idlers.pop().unwrap().answer();
    assert_eq!(came.status, 408);
    assert!(vault.never_died());
}

/// Sends a body that will be refused: the status, or nothing when the connection ended under us.
fn refused(vault: &Vault, path: &str, content_type: &str, body: &[u8]) -> Option<u16> {
    let mut wire = Wire::open(vault);
    let headers = format!("Content-Type: {content_type}\r\nContent-Length: {}\r\n", body.len());
    wire.head(vault, path, &headers).ok()?;
    for piece in body.chunks(64_000) {
        if wire.send(piece).is_err() {
            break;
        }
    }
    wire.try_answer().ok().map(|came| came.status).filter(|status| *status != 0)
}

#[test]
fn many_requests_at_once_keep_nobody_waiting() {
    const REQUESTS: u64 = 20;
    const EACH: u64 = 20;
    let vault = Vault::up();
    let f = Fixture::named("ct-3.dcm");
    let all: Vec<Vec<(Fixture, Vec<u8>)>> = (0..REQUESTS)
        .map(|n| {
            let one = |i| {
                let (f, data_set) = f.renamed(n * EACH + i);
                let file = file_of(&f, &data_set);
                (f, file)
            };
            (0..EACH).map(one).collect()
        })
        .collect();
    thread::scope(|scope| {
        for sent in &all {
            let vault = &vault;
            scope.spawn(move || {
                let whole = body(sent.iter().map(|(_, file)| file.as_slice()));
                let answer = post(vault, &studies(vault), DICOM_PARTS, whole);
                assert_eq!(answer.status, 200, "{}", answer.text());
            });
        }
    });
    // More than that in a minute, and the key service asks what they are for.
    for (f, file) in all.iter().flatten().step_by(4) {
        let came = vault.file_of(f);
        assert!(came.as_ref() == Ok(file), "{}: {:?}", f.instance, came.map(|bytes| bytes.len()));
    }
}

#[test]
fn an_instance_with_endless_attributes_hides_nothing_of_its_study() {
    const GROUPS: std::ops::Range<u16> = 0x6001..0x600B;
    let vault = Vault::up();
    let plain = Fixture::named("ct-3.dcm");
    vault.store_fixture(&plain);
    let long = Fixture { instance: format!("{}9", &plain.instance[..plain.instance.len() - 1]), ..plain.clone() };
    let data_set = plain.data_set();
    let mut data_set = replaced(&data_set, plain.instance.as_bytes(), long.instance.as_bytes());
    let pixels = data_set.windows(4).rposition(|tag| tag == [0xE0, 0x7F, 0x10, 0x00]).unwrap();
    let private = GROUPS.step_by(2).flat_map(|group| (0x1000..=0xFFFFu16).map(move |element| (group, element)));
    let private: Vec<u8> = private
        .flat_map(|(group, element)| {
            let (group, element) = (group.to_le_bytes(), element.to_le_bytes());
            [group[0], group[1], element[0], element[1], b'L', b'O', 2, 0, b'x', b'y']
        })
        .collect();
    data_set.splice(pixels..pixels, private);
    let answer = post(&vault, &studies(&vault), DICOM_PARTS, body([file_of(&long, &data_set).as_slice()]));
    assert_eq!(answer.status, 200, "{}", answer.text());

    let series = format!("{}/studies/{}/series/{}", vault.up.http.dicomweb, plain.study, plain.series);
    let told = vault.http().get(&format!("{series}/metadata"), ask(&vault));
    assert_eq!(told.status, 200, "{}", told.text());
    let told = told.json();
    let of = |f: &Fixture| told.as_array().unwrap().iter().find(|of| of["00080018"]["Value"][0] == f.instance.as_str());
    assert!(of(&plain).unwrap()["00100010"].is_object());
    let named = of(&long).expect("it is told of");
    assert_eq!(named["00280010"]["Value"][0], of(&plain).unwrap()["00280010"]["Value"][0]);
    assert!(named["00100010"].is_null(), "its metadata were too long");
    let alone = vault.http().get(&format!("{series}/instances/{}/metadata", long.instance), ask(&vault));
    assert_eq!((alone.status, alone.json()["code"].as_str()), (413, Some("metadata-too-long")));
    for picture in ["rendered", "thumbnail"] {
        let answer = vault
            .http()
            .get(&format!("{series}/{picture}"), Ask { accept: Some("image/jpeg, multipart/related"), ..ask(&vault) });
        assert!(matches!(answer.status, 200 | 206), "{picture}: {} {}", answer.status, answer.text());
    }
    assert_eq!(vault.file_of(&long).unwrap(), file_of(&long, &data_set));
}

fn replaced(bytes: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    let at = bytes.windows(old.len()).position(|window| window == old).expect("it is there");
    [&bytes[..at], new, &bytes[at + old.len()..]].concat()
}
