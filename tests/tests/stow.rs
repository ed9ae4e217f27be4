//! STOW-RS by hand over HTTP/1.1 and HTTP/2: files, and what is told of each. What other programs send is in `ways`.

#![allow(clippy::unwrap_used, reason = "the helpers of a test end where they fail, as the test does")]

use leadglass_tests::fixture::Fixture;
use leadglass_tests::http::Ask;
use leadglass_tests::stow::{DICOM_PARTS, FAILED, OTHER, STORED, Wire, ask, body, json, post, studies, told};
use leadglass_tests::vault::Vault;

#[test]
fn every_fixture_comes_back_byte_for_byte_by_http_1_and_2() {
    let fixtures = Fixture::every();
    let files: Vec<Vec<u8>> = fixtures.iter().map(Fixture::bytes).collect();
    let check = |vault: &Vault, how: &str| {
        for (f, file) in fixtures.iter().zip(&files) {
            assert!(vault.file_of(f).as_ref() == Ok(file), "{} {how}", f.file);
        }
    };

    // HTTP/1.1: all in one body of known length, then again in chunks of odd sizes: a copy, and the same answer.
    let vault = Vault::up();
    let whole = body(files.iter().map(Vec::as_slice));
    let mut wire = Wire::open(&vault);
    let headers = format!("Content-Type: {DICOM_PARTS}\r\nContent-Length: {}\r\n", whole.len());
    wire.head(&vault, "/studies", &headers).unwrap();
    wire.send(&whole).unwrap();
    let first = wire.answer();
    assert_eq!(first.status, 200, "{}", String::from_utf8_lossy(&first.body));
    let order: Vec<String> = told(&json(&first), STORED).into_iter().map(|(uid, _)| uid).collect();
    assert_eq!(order, fixtures.iter().map(|f| f.instance.clone()).collect::<Vec<_>>(), "in the order of sending");
    check(&vault, "by HTTP/1.1");
    let mut wire = Wire::open(&vault);
    wire.head(&vault, "/studies", &format!("Content-Type: {DICOM_PARTS}\r\nTransfer-Encoding: chunked\r\n")).unwrap();
    for chunk in whole.chunks(10_007) {
        wire.chunk(chunk).unwrap();
    }
    wire.chunk(b"").unwrap();
    let again = wire.answer();
    assert_eq!((again.status, json(&again)), (200, json(&first)), "a post that is sent again is told the same");
    check(&vault, "after a copy");
    let url = json(&first)[STORED]["Value"][0]["00081190"]["Value"][0].as_str().unwrap().to_owned();
    let asked = vault.http().get(&url, Ask { accept: Some("application/dicom"), ..ask(&vault) });
    assert!(asked.status == 200 && asked.body == files[0], "the retrieve URL gives what was stored");

    // HTTP/2, each alone, to its study's address and to the root.
    let vault = Vault::up();
    for (f, file) in fixtures.iter().zip(&files) {
        let url = format!("{}/{}", studies(&vault), f.study);
        let pieces: Vec<Vec<u8>> = file.chunks(40_000).map(<[u8]>::to_vec).collect();
        let (answer, version) = vault.http().send_stream(&url, ask(&vault), "application/dicom", pieces.into_iter());
        assert_eq!(answer.status, 200, "{}: {}", f.file, answer.text());
        assert_eq!(format!("{version:?}"), "HTTP/2.0");
        assert_eq!(answer.content_type, "application/dicom+json");
        assert_eq!(told(&answer.json(), STORED), [(f.instance.clone(), 0)]);
    }
    check(&vault, "by HTTP/2");
    assert!(vault.never_died());
}

#[test]
fn each_instance_succeeds_or_fails_by_itself() {
    let vault = Vault::up();
    let (a, b) = (Fixture::named("ct-1.dcm"), Fixture::named("dx.dcm"));
    let (file_a, file_b) = (a.bytes(), b.bytes());
    let url = studies(&vault);

    // Another study than the address names.
    let of_a = format!("{url}/{}", a.study);
    let mixed = post(&vault, &of_a, DICOM_PARTS, body([file_a.as_slice(), &file_b]));
    assert_eq!(mixed.status, 202);
    assert_eq!(told(&mixed.json(), STORED), [(a.instance.clone(), 0)]);
    assert_eq!(told(&mixed.json(), FAILED), [(b.instance.clone(), 0xA900)]);
    assert_eq!(vault.file_of(&b), Err(404));
    let none = post(&vault, &of_a, "application/dicom", file_b.clone());
    assert_eq!((none.status, told(&none.json(), FAILED)), (409, vec![(b.instance.clone(), 0xA900)]));

    // No instance, one cut short, one whose head names another.
    let mut swapped = file_b.clone();
    swapped.splice(..b.data_set_offset, file_a[..a.data_set_offset].iter().copied());
    let cut = &file_b[..file_b.len() - 3];
    let parts = body([b"hello".as_slice(), cut, &swapped, &file_b]);
    let some = post(&vault, &url, DICOM_PARTS, parts);
    assert_eq!(some.status, 202, "{}", some.text());
    assert_eq!(told(&some.json(), OTHER), [(String::new(), 0xC000)]);
    assert_eq!(told(&some.json(), FAILED), [(b.instance.clone(), 0xC000), (a.instance.clone(), 0xA900)]);
    assert_eq!(told(&some.json(), STORED), [(b.instance.clone(), 0)]);
    assert!(vault.file_of(&b).as_ref() == Ok(&file_b));

    // Told in XML where that is wanted.
    let xml = Ask { accept: Some("application/dicom+xml"), ..ask(&vault) };
    let answer = vault.http().send_stream(&url, xml, DICOM_PARTS, [body([file_a.as_slice()])].into_iter()).0;
    assert_eq!((answer.status, answer.content_type.as_str()), (200, "application/dicom+xml"));
    assert!(answer.text().contains(&a.instance) && answer.text().contains("keyword=\"ReferencedSOPSequence\""));

    // What cannot be read at all.
    let html = Ask { accept: Some("text/html"), ..ask(&vault) };
    let refused = vault.http().send_stream(&url, html, DICOM_PARTS, [body([file_a.as_slice()])].into_iter()).0;
    assert_eq!(refused.status, 406);
    for (content_type, bytes, status) in [
        ("image/jpeg", file_a.clone(), 415),
        ("multipart/form-data; boundary=b-1", body([file_a.as_slice()]), 415),
        ("multipart/related; type=\"text/plain\"; boundary=b-1", body([file_a.as_slice()]), 415),
        ("multipart/related; type=\"application/dicom\"", body([file_a.as_slice()]), 400),
        ("application/dicom", Vec::new(), 400),
        (DICOM_PARTS, b"--b-1--\r\n".to_vec(), 400),
        (DICOM_PARTS, b"something else".to_vec(), 400),
        (DICOM_PARTS, body([&[7u8; 100_000][..]])[..50_000].to_vec(), 400),
        (DICOM_PARTS, b"--b-1\r\nContent-Type: multipart/related; boundary=c\r\n\r\n--c--\r\n--b-1--".to_vec(), 400),
    ] {
        let answer = post(&vault, &url, content_type, bytes);
        assert_eq!(answer.status, status, "{content_type}: {}", answer.text());
        assert!(answer.content_type.starts_with("application/problem+json"), "{content_type}");
    }
    assert_eq!(post(&vault, &format!("{url}/not-a-uid"), DICOM_PARTS, body([file_a.as_slice()])).status, 400);

    // What was stored before the body broke is told.
    let mut broken = body([file_a.as_slice()]);
    broken.truncate(broken.len() - 4);
    broken.extend_from_slice(b"\r\nContent-Type: application/dicom\r\n\r\nhalf");
    let some = post(&vault, &url, DICOM_PARTS, broken);
    assert_eq!(
        (some.status, told(&some.json(), STORED), told(&some.json(), OTHER).len()),
        (202, vec![(a.instance.clone(), 0)], 1)
    );
    assert!(vault.never_died());
}

#[test]
fn only_who_may_store_stores_and_in_the_own_tenant() {
    let vault = Vault::up();
    let f = Fixture::named("ct-1.dcm");
    let send = |token: Option<&str>| {
        let ask = Ask { token, accept: None, range: None };
        vault
            .http()
            .send_stream(&studies(&vault), ask, DICOM_PARTS, [body([f.bytes().as_slice()])].into_iter())
            .0
            .status
    };
    assert_eq!(send(None), 401);
    assert_eq!(send(Some("lg_not-a-token")), 401);
    assert_eq!(send(Some(&vault.up.tokens.dpo)), 403);
    assert_eq!(send(Some(&vault.up.tokens.other_tenant)), 200);
    assert_eq!(vault.file_of(&f), Err(404), "what another tenant stored is nothing here");
    assert_eq!(send(Some(&vault.up.tokens.clinician)), 200);
    assert!(vault.file_of(&f).as_ref() == Ok(&f.bytes()));
}

#[test]
fn the_plain_listener_takes_instances_from_a_proxy() {
    let vault = Vault::up();
    let f = Fixture::named("ct-2.dcm");
    let url = format!("{}/studies", vault.up.http.plain_dicomweb.as_ref().unwrap());
    let answer = post(&vault, &url, DICOM_PARTS, body([f.bytes().as_slice()]));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let told = answer.json()["00081190"]["Value"][0].as_str().unwrap().to_owned();
    assert_eq!(told, format!("{url}/{}", f.study));
    assert!(vault.file_of(&f).as_ref() == Ok(&f.bytes()));
}

#[test]
fn what_waits_for_a_person_is_stored_and_has_no_address() {
    let vault = Vault::up();
    let f = Fixture::named("ct-1.dcm");
    vault.store_fixture(&f);
    // The same instance with other bytes, from somebody else than the device: the first stays where its address leads.
    let mut other = f.bytes();
    let last = other.len() - 1;
    other[last] ^= 1;
    for what in ["new", "a copy"] {
        let answer = post(&vault, &studies(&vault), DICOM_PARTS, body([other.as_slice()]));
        assert_eq!((answer.status, told(&answer.json(), STORED)), (200, vec![(f.instance.clone(), 0)]), "{what}");
        let (whole, one) = (answer.json(), answer.json()[STORED]["Value"][0].clone());
        let nothing = serde_json::json!({ "vr": "UR" });
        assert_eq!((&whole["00081190"], &one["00081190"]), (&nothing, &nothing), "{what}: {}", answer.text());
        assert!(vault.data_set_of(&f) == f.data_set(), "{what}");
    }
    assert!(vault.never_died());
}
