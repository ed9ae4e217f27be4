//! Rendered frames, series, studies and thumbnails over real sockets; and what foreign pixels can do to the vault.

#![allow(clippy::unwrap_used, reason = "the helpers of a test end where they fail, as the test does")]

use leadglass_tests::fixture::{Fixture, HTJ2K};
use leadglass_tests::http::{Answer, Ask};
use leadglass_tests::peers::python;
use leadglass_tests::process::{alive, kill_9, until};
use leadglass_tests::vault::Vault;
use leadglass_tests::{scratch, workspace_root};
use serde_json::Value;
use std::collections::HashMap;
use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

fn get(vault: &Vault, url: &str, accept: Option<&str>) -> Answer {
    vault.http().get(url, Ask { token: Some(&vault.up.token), accept, range: None })
}

fn code(answer: &Answer) -> (u16, String) {
    assert_eq!(answer.content_type, "application/problem+json", "{}", answer.status);
    (answer.status, answer.json()["code"].as_str().unwrap().to_owned())
}

fn picture(answer: &Answer) -> image::DynamicImage {
    assert_eq!(answer.status, 200, "{}", answer.text());
    image::load_from_memory(&answer.body).unwrap()
}

/// A fixture whose bytes were changed after its head, stored under its own name.
fn store_changed(vault: &Vault, f: &Fixture, change: impl FnOnce(&mut Vec<u8>)) {
    let mut body = f.data_set();
    change(&mut body);
    let response = vault.store(f, &body).unwrap();
    assert_eq!(response.status, 0, "{}", f.file);
}

/// Where the value of an explicit VR element with a short length begins.
fn value_at(body: &[u8], tag: [u8; 4], vr: &[u8; 2]) -> usize {
    let name = [tag.as_slice(), vr].concat();
    body.windows(name.len()).position(|w| w == name).unwrap() + 8
}

/// What a script of the imaging crate's tests has to say of the fixtures' frames: by file and frame, head and blobs.
fn records(script: &str) -> HashMap<String, (Value, Vec<Vec<u8>>)> {
    let script = workspace_root().join("crates/imaging/tests/frames").join(script);
    let scratch = scratch();
    let told = Command::new(python())
        .arg(script)
        .args([workspace_root().join("fixtures").as_path(), scratch.path()])
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .unwrap();
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    let mut rest = told.stdout.as_slice();
    let mut out = HashMap::new();
    while !rest.is_empty() {
        let head: Value = serde_json::from_slice(&blob(&mut rest)).unwrap();
        let (four, after) = rest.split_first_chunk().unwrap();
        rest = after;
        let blobs = (0..u32::from_le_bytes(*four)).map(|_| blob(&mut rest)).collect();
        out.insert(head["name"].as_str().unwrap().to_owned(), (head, blobs));
    }
    out
}

fn blob(rest: &mut &[u8]) -> Vec<u8> {
    let (four, after) = rest.split_first_chunk().unwrap();
    let (blob, after) = after.split_at(u32::from_le_bytes(*four) as usize);
    *rest = after;
    blob.to_vec()
}

#[test]
fn every_rendered_frame_has_the_shades_that_numpy_gives() {
    let vault = Vault::up();
    let reference = records("shades.py");
    let mut compared = 0;
    for fixture in Fixture::every() {
        for number in 1..=fixture.frames {
            let Some((head, blobs)) = reference.get(&format!("{}#{}", fixture.file, number - 1)) else { continue };
            if number == 1 {
                vault.store_fixture(&fixture);
            }
            let url = format!("{}/frames/{number}/rendered", vault.instance_url(&fixture));
            let seen = picture(&get(&vault, &url, Some("image/png")));
            let shape = (u64::from(seen.height()), u64::from(seen.width()), u64::from(seen.color().channel_count()));
            let told = |name: &str| head[name].as_u64().unwrap();
            assert_eq!(shape, (told("rows"), told("columns"), told("samples")), "{}", fixture.file);
            assert!(seen.as_bytes() == blobs[2].as_slice(), "{} frame {number} has other shades", fixture.file);
            compared += 1;
        }
    }
    assert!(compared >= 18, "only {compared} frames were compared");
}

#[test]
fn compressed_frames_are_decoded_for_whoever_asks_for_plain_ones() {
    let vault = Vault::up();
    let (decoded, seen) = (records("reference.py"), records("shades.py"));
    let plain = "application/octet-stream; transfer-syntax=1.2.840.10008.1.2.1";
    for file in
        ["ct-htj2k.dcm", "ct-j2k.dcm", "ct-jpegls.dcm", "dx-jpegll.dcm", "sc-rle.dcm", "us-nobot.dcm", "photo.dcm"]
    {
        let fixture = Fixture::named(file);
        vault.store_fixture(&fixture);
        let url = format!("{}/frames/1", vault.instance_url(&fixture));
        // Colour is RGB, which is what is seen of it.
        let name = format!("{file}#0");
        let expected = if seen[&name].0["samples"] == 3 { &seen[&name].1[2] } else { &decoded[&name].1[1] };
        for accept in [plain, "application/octet-stream"] {
            let answer = get(&vault, &url, Some(accept));
            assert_eq!((answer.status, answer.content_type.as_str()), (200, plain), "{file}: {}", answer.text());
            assert!(answer.body == *expected, "{file} is decoded otherwise");
        }
        let parts =
            get(&vault, &url, Some(&format!("multipart/related; type=\"application/octet-stream\"; {}", &plain[26..])));
        assert_eq!(parts.parts(), std::slice::from_ref(expected), "{file}");
        // Whoever takes anything gets what is stored.
        let stored = get(&vault, &url, Some("application/octet-stream; transfer-syntax=*"));
        assert!(stored.status == 200 && !stored.content_type.ends_with("1.2.840.10008.1.2.1"), "{file}");
    }
    let us = Fixture::named("us-nobot.dcm");
    let several = get(
        &vault,
        &format!("{}/frames/2,4", vault.instance_url(&us)),
        Some("multipart/related; type=application/octet-stream"),
    );
    assert_eq!(several.parts().len(), 2);
}

/// The same pixels, by other coders, are what was coded; the second of the syntaxes only wants the bytes in another order,
/// which these are in.
#[test]
fn high_throughput_jpeg_2000_gives_the_pixels_that_were_coded() {
    let vault = Vault::up();
    let plain = "application/octet-stream; transfer-syntax=1.2.840.10008.1.2.1";
    let original = &records("reference.py")["ct-jpegls.dcm#0"].1[1];
    let jpegls = Fixture::named("ct-jpegls.dcm");
    vault.store_fixture(&jpegls);
    let seen = |f: &Fixture| get(&vault, &format!("{}/rendered", vault.instance_url(f)), Some("image/png"));
    let picture_of_original = picture(&seen(&jpegls));
    for (salt, syntax) in (1_u64..).zip(HTJ2K) {
        let (mut fixture, body) = Fixture::named("ct-htj2k.dcm").renamed(salt);
        fixture.transfer_syntax = syntax.to_owned();
        assert_eq!(vault.store(&fixture, &body).unwrap().status, 0, "{syntax}");
        let frame = get(&vault, &format!("{}/frames/1", vault.instance_url(&fixture)), Some(plain));
        assert_eq!((frame.status, frame.content_type.as_str()), (200, plain), "{syntax}: {}", frame.text());
        assert!(frame.body == *original, "{syntax} is decoded otherwise");
        assert!(picture(&seen(&fixture)) == picture_of_original, "{syntax} looks otherwise");
        let whole =
            get(&vault, &vault.instance_url(&fixture), Some("application/dicom; transfer-syntax=1.2.840.10008.1.2.1"));
        assert_eq!(whole.status, 200, "{syntax}: {}", whole.text());
        assert!(whole.body.ends_with(original), "{syntax} is written otherwise");
        let stored = get(&vault, &vault.instance_url(&fixture), Some("application/dicom; transfer-syntax=*"));
        assert!(stored.body.ends_with(&body), "{syntax} does not come back as it was sent");
    }
}

/// A photo with a profile of its own is uploaded elsewhere; here is one without, and a grey picture, which bears none.
#[test]
fn a_picture_in_colour_bears_the_profile_that_is_wished_for() {
    let vault = Vault::up();
    let [photo, ct] = ["photo.dcm", "ct-1.dcm"].map(Fixture::named);
    for f in [&photo, &ct] {
        vault.store_fixture(f);
    }
    let seen = |f: &Fixture, query: &str, accept: &str| {
        get(&vault, &format!("{}/rendered{query}", vault.instance_url(f)), Some(accept))
    };
    let warned = |answer: &Answer| answer.headers.iter().any(|(name, _)| name == "warning");
    let tag = |answer: &Answer| answer.headers.iter().find(|(name, _)| name == "etag").unwrap().1.clone();
    for (accept, mark) in [("image/jpeg", b"ICC_PROFILE".as_slice()), ("image/png", b"iCCP")] {
        let bears = |answer: &Answer| answer.body.windows(mark.len()).any(|window| window == mark);
        let plain = seen(&photo, "", accept);
        assert!(!bears(&plain) && !warned(&plain), "{accept}");
        for query in ["?iccprofile=yes", "?iccprofile=srgb"] {
            let borne = seen(&photo, query, accept);
            assert!(bears(&borne) && !warned(&borne), "{accept} {query}");
            assert!(picture(&borne) == picture(&plain), "{accept} {query} shows otherwise");
            assert_ne!(tag(&borne), tag(&plain), "{accept} {query}");
        }
        for (f, query) in [(&photo, "?iccprofile=adobergb"), (&ct, "?iccprofile=yes")] {
            let without = seen(f, query, accept);
            assert!(without.status == 200 && !bears(&without) && warned(&without), "{} {accept} {query}", f.file);
        }
        let none = seen(&photo, "?iccprofile=no", accept);
        assert!(!bears(&none) && !warned(&none), "{accept}");
    }
}

#[test]
fn pictures_come_in_the_form_the_size_and_the_window_that_are_wished() {
    let vault = Vault::up();
    let ct = Fixture::named("ct-1.dcm");
    vault.store_fixture(&ct);
    let url = format!("{}/rendered", vault.instance_url(&ct));
    let plain = get(&vault, &url, None);
    assert_eq!(plain.content_type, "image/jpeg");
    let full = picture(&plain);
    assert!(plain.headers.iter().any(|(n, v)| n == "cache-control" && v == "no-store"), "{:?}", plain.headers);

    // Again with its tag: nothing to send. Another wish is another picture.
    let tag = plain.headers.iter().find(|(name, _)| name == "etag").unwrap().1.clone();
    let ask = Ask { token: Some(&vault.up.token), accept: None, range: None };
    assert_eq!(vault.http().get_with(&url, ask, &[("if-none-match", &tag)]).status, 304);
    assert_eq!(vault.http().get_with(&format!("{url}?quality=50"), ask, &[("if-none-match", &tag)]).status, 200);

    let small = picture(&get(&vault, &format!("{url}?viewport=20,40"), None));
    assert_eq!((small.width(), small.height()), (20, 20 * full.height() / full.width()));
    let part = picture(&get(&vault, &format!("{url}?viewport=10,10,5,6,10,10"), Some("image/png"))).to_luma8();
    let whole = picture(&get(&vault, &url, Some("image/png"))).to_luma8();
    assert_eq!(part.get_pixel(0, 0), whole.get_pixel(5, 6));
    let mirrored = picture(&get(&vault, &format!("{url}?viewport=10,10,5,6,-10,10"), Some("image/png"))).to_luma8();
    assert_eq!(mirrored.get_pixel(9, 3), part.get_pixel(0, 3));

    let dark = picture(&get(&vault, &format!("{url}?window=30000,10,linear"), Some("image/png"))).to_luma8();
    assert!(dark.pixels().all(|p| p.0 == [0]));
    let rough = get(&vault, &format!("{url}?quality=1"), None);
    assert!(rough.body.len() < plain.body.len());
    // The query's word counts more than the header's; what is not drawn is no error.
    let asked = get(&vault, &format!("{url}?accept=image/png&annotation=patient,technique"), Some("image/jpeg"));
    assert_eq!(asked.content_type, "image/png");
    assert!(asked.headers.iter().any(|(n, v)| n == "warning" && v.starts_with("299 leadglass")), "{:?}", asked.headers);
    assert!(!plain.headers.iter().any(|(n, _)| n == "warning"));

    for accept in ["image/gif", "video/mp4", "application/dicom", "image/jpeg;q=0"] {
        assert_eq!(code(&get(&vault, &url, Some(accept))), (406, "not-acceptable".into()), "{accept}");
    }
    for (query, name) in [
        ("viewport=0,5", "viewport"),
        ("viewport=9999,9,9999,0,5,5", "viewport"),
        ("viewport=10,10,9000,0,5,5", "viewport"),
        ("window=1,2", "window"),
        ("window=1,0,linear", "window"),
        ("quality=101", "quality"),
        ("quality=9&quality=8", "quality"),
    ] {
        let answer = get(&vault, &format!("{url}?{query}"), None);
        assert_eq!(code(&answer), (400, "parameter".into()), "{query}");
        assert!(answer.json()["detail"].as_str().unwrap().contains(name), "{query}: {}", answer.text());
    }
    assert_eq!(code(&get(&vault, &format!("{}/frames/2/rendered", vault.instance_url(&ct)), None)).0, 404);
}

/// What Pillow makes of a coded picture at another size.
fn resized(coded: &[u8], width: u32, height: u32) -> Vec<u8> {
    let script = workspace_root().join("crates/imaging/tests/frames/resized.py");
    let mut child = Command::new(python())
        .arg(script)
        .args([width.to_string(), height.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(coded).unwrap();
    let told = child.wait_with_output().unwrap();
    assert!(told.status.success());
    told.stdout
}

#[test]
fn other_sizes_are_what_pillow_makes_of_the_picture() {
    let vault = Vault::up();
    for (file, viewports) in [
        ("ct-1.dcm", [(5, 5), (37, 90), (200, 200), (333, 1000)]),
        ("photo.dcm", [(7, 7), (31, 31), (64, 50), (900, 900)]),
    ] {
        let fixture = Fixture::named(file);
        vault.store_fixture(&fixture);
        let url = format!("{}/rendered", vault.instance_url(&fixture));
        let full = get(&vault, &url, Some("image/png"));
        for (width, height) in viewports {
            let seen = picture(&get(&vault, &format!("{url}?viewport={width},{height}"), Some("image/png")));
            let (wide, high) = (seen.width(), seen.height());
            assert!(wide == width || high == height, "{wide} x {high} fills no side of {width} x {height}");
            let expected = resized(&full.body, wide, high);
            let far = seen.as_bytes().iter().zip(&expected).map(|(a, b)| a.abs_diff(*b)).max();
            assert_eq!(seen.as_bytes().len(), expected.len(), "{file}");
            // Pillow rounds once more between the two directions.
            assert!(far.unwrap() <= 1, "{file} at {wide} x {high} differs by {far:?}");
        }
    }
}

#[test]
fn studies_and_series_are_rendered_part_by_part_and_have_thumbnails() {
    let vault = Vault::up();
    for name in ["ct-1.dcm", "ct-2.dcm", "ct-3.dcm", "us-nobot.dcm", "sr.dcm", "pdf.dcm", "photo.dcm"] {
        vault.store_fixture(&Fixture::named(name));
    }
    let ct = Fixture::named("ct-1.dcm");
    let study = format!("{}/studies/{}", vault.up.http.dicomweb, ct.study);
    let series = format!("{study}/series/{}", ct.series);
    for (url, accept, parts) in [
        (format!("{study}/rendered"), None, 3),
        (format!("{series}/rendered"), Some("multipart/related; type=\"image/png\""), 2),
    ] {
        let answer = get(&vault, &url, accept);
        assert_eq!(answer.status, 200, "{}", answer.text());
        let pictures = answer.parts();
        assert_eq!(pictures.len(), parts);
        pictures.iter().for_each(|part| assert!(image::load_from_memory(part).unwrap().width() > 0));
    }
    assert_eq!(get(&vault, &format!("{study}/rendered"), Some("image/jpeg")).status, 406);

    let us = Fixture::named("us-nobot.dcm");
    let several = get(&vault, &format!("{}/frames/1,3,5/rendered", vault.instance_url(&us)), None);
    assert_eq!(several.parts().len(), 3);

    for url in [
        format!("{study}/thumbnail"),
        format!("{series}/thumbnail"),
        format!("{}/thumbnail", vault.instance_url(&us)),
        format!("{}/frames/2/thumbnail?viewport=30,30", vault.instance_url(&us)),
        format!("{}/thumbnail", vault.instance_url(&Fixture::named("photo.dcm"))),
    ] {
        let answer = get(&vault, &url, None);
        assert_eq!(answer.content_type, "image/jpeg", "{}", answer.text());
        let small = picture(&answer);
        assert!(small.width() <= 200 && small.height() <= 200);
    }

    let (sr, pdf) = (Fixture::named("sr.dcm"), Fixture::named("pdf.dcm"));
    assert_eq!(code(&get(&vault, &format!("{}/rendered", vault.instance_url(&sr)), None)), (422, "no-pixels".into()));
    assert_eq!(
        code(&get(&vault, &format!("{}/thumbnail", vault.instance_url(&sr)), None)),
        (404, "no-thumbnail".into())
    );
    let sr_study = format!("{}/studies/{}", vault.up.http.dicomweb, sr.study);
    assert_eq!(code(&get(&vault, &format!("{sr_study}/rendered"), None)), (422, "no-pixels".into()));
    let paper = get(&vault, &format!("{}/rendered", vault.instance_url(&pdf)), None);
    assert_eq!((paper.status, paper.content_type.as_str()), (200, "application/pdf"));
    assert!(paper.body.starts_with(b"%PDF-"));
    assert_eq!(get(&vault, &format!("{}/rendered", vault.instance_url(&pdf)), Some("image/png")).status, 406);
}

/// Workers of this vault that are alive.
fn workers(vault: &Vault) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{}/task", vault.up.pids.vault)).unwrap();
    let children = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("children")).ok());
    let pids: Vec<u32> =
        children.flat_map(|c| c.split_whitespace().map(|p| p.parse().unwrap()).collect::<Vec<_>>()).collect();
    pids.into_iter().filter(|pid| is_worker(*pid)).collect()
}

fn is_worker(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.contains("render-worker"))
}

#[test]
fn a_frame_that_breaks_its_worker_breaks_nothing_else() {
    let vault = Vault::up();
    let good = Fixture::named("ct-j2k.dcm");
    vault.store_fixture(&good);
    let shown =
        |vault: &Vault| picture(&get(vault, &format!("{}/rendered", vault.instance_url(&good)), Some("image/png")));
    let before = shown(&vault);

    // Damaged, cut short, of a size that no frame has, and of a size that is not the codestream's.
    let (jls, _) = Fixture::named("ct-jpegls.dcm").renamed(1);
    store_changed(&vault, &jls, |body| {
        let renamed = Fixture::named("ct-jpegls.dcm").renamed(1).1;
        *body = renamed;
        let start = body.windows(2).rposition(|w| w == [0xff, 0xda]).unwrap() + 12;
        body[start..start + 600].fill(0x5a);
    });
    let (dx, dx_body) = Fixture::named("dx.dcm").renamed(2);
    store_changed(&vault, &dx, |body| {
        *body = dx_body;
        for tag in [[0x28, 0, 0x10, 0], [0x28, 0, 0x11, 0]] {
            let at = value_at(body, tag, b"US");
            body[at..at + 2].fill(0xff);
        }
    });
    let (j2k, j2k_body) = Fixture::named("ct-j2k.dcm").renamed(3);
    store_changed(&vault, &j2k, |body| {
        *body = j2k_body;
        let at = value_at(body, [0x28, 0, 0x10, 0], b"US");
        body[at] ^= 1;
    });
    for bad in [&jls, &dx, &j2k] {
        let answer = get(&vault, &format!("{}/rendered", vault.instance_url(bad)), None);
        assert!([404, 406, 422, 500].contains(&code(&answer).0), "{}: {}", bad.file, answer.text());
        assert_eq!(shown(&vault).as_bytes(), before.as_bytes());
    }

    // A worker that dies while it waits is replaced. None waits that has read JPEG 2000, and a
    // grey JPEG of what is not compressed needs none.
    let kept = Fixture::named("ct-1.dcm");
    vault.store_fixture(&kept);
    let url = format!("{}/rendered", vault.instance_url(&kept));
    picture(&get(&vault, &url, Some("image/png")));
    let waiting = workers(&vault);
    assert!(!waiting.is_empty(), "no worker waits");
    for pid in &waiting {
        kill_9(*pid);
        assert!(until(Duration::from_secs(20), || !alive(*pid) || !is_worker(*pid)));
    }
    assert_eq!(shown(&vault).as_bytes(), before.as_bytes());
    picture(&get(&vault, &url, Some("image/png")));

    // It has nothing of the vault: no environment but its allocator's, no files but its pipes.
    for pid in workers(&vault) {
        if let Ok(environment) = fs::read(format!("/proc/{pid}/environ")) {
            let words: Vec<_> = environment.split(|b| *b == 0).filter(|w| !w.is_empty()).collect();
            assert!(words.iter().all(|w| w.starts_with(b"MIMALLOC_")), "{}", String::from_utf8_lossy(&environment));
        }
        if let Ok(files) = fs::read_dir(format!("/proc/{pid}/fd")) {
            assert_eq!(files.count(), 3);
        }
    }
    assert!(vault.never_died());
}
