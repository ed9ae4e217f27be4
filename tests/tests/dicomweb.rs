//! Forms of an instance that are made while it is read: Explicit VR Little Endian for whoever asks for that; and WADO-URI,
//! which asks for instances and pictures in other words.

#![allow(clippy::unwrap_used, reason = "the helpers of a test end where they fail, as the test does")]

use leadglass_tests::fixture::Fixture;
use leadglass_tests::http::{Answer, Ask};
use leadglass_tests::peers::{dcmtk, run_python, said};
use leadglass_tests::scratch;
use leadglass_tests::site::{instance_path, sibling};
use leadglass_tests::vault::Vault;
use std::process::Command;

const EXPLICIT: &str = "application/dicom; transfer-syntax=1.2.840.10008.1.2.1";
const EXPLICIT_PARTS: &str = "multipart/related; type=\"application/dicom\"; transfer-syntax=1.2.840.10008.1.2.1";

fn ask(vault: &Vault, path: &str, accept: &str) -> Answer {
    vault.ask(path, Some(&vault.up.token), accept)
}

fn header<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    answer.headers.iter().find(|(k, _)| k == name).map(|(_, v)| v.as_str())
}

/// Every fixture, whatever it is stored in, against pydicom with its decoders, and against dcmtk's own.
#[test]
fn every_instance_comes_as_explicit_little_endian_with_the_values_that_others_read() {
    let vault = Vault::up();
    let scratch = scratch();
    let mut arguments = Vec::new();
    for f in Fixture::every() {
        vault.store_fixture(&f);
        let answer = ask(&vault, &instance_path(&f), EXPLICIT);
        assert_eq!((answer.status, answer.content_type.as_str()), (200, EXPLICIT), "{}: {}", f.file, answer.text());
        let explicit = scratch.path().join(&f.file);
        std::fs::write(&explicit, &answer.body).unwrap();
        if f.transfer_syntax == "1.2.840.10008.1.2.1" {
            assert!(answer.body == vault.file_of(&f).unwrap(), "{} is explicit already and comes as it is", f.file);
        } else {
            let dump = Command::new(dcmtk("dcmdump")).arg("-q").arg(&explicit).output().unwrap();
            assert!(dump.status.success(), "{}: {}", f.file, said(&dump));
        }
        // What dcmtk makes of it, where it can.
        let tool = match f.transfer_syntax.as_str() {
            "1.2.840.10008.1.2.4.50" | "1.2.840.10008.1.2.4.70" => "dcmdjpeg",
            "1.2.840.10008.1.2.4.80" => "dcmdjpls",
            "1.2.840.10008.1.2.5" => "dcmdrle",
            _ => "",
        };
        let theirs = scratch.path().join(format!("dcmtk-{}", f.file));
        let made = !tool.is_empty()
            && Command::new(dcmtk(tool)).arg("-q").arg(f.path()).arg(&theirs).output().unwrap().status.success();
        let theirs = if made { theirs.to_string_lossy().into_owned() } else { "-".to_owned() };
        arguments.extend([f.path().to_string_lossy().into_owned(), explicit.to_string_lossy().into_owned(), theirs]);
    }
    let output = run_python(COMPARE, &arguments);
    assert!(output.status.success(), "{}", said(&output));
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(told.contains("compressed 10, rewritten 3, as dcmtk 7"), "{told}");
}

const COMPARE: &str = r#"
import sys, numpy
from pydicom import dcmread
from pydicom.pixels import pixel_array
from pydicom.sequence import Sequence

NEW = {0x00280004, 0x00280006, 0x7FE00010}
GONE = {0x7FE00001, 0x7FE00002, 0x7FE00003, 0xFFFCFFFC}

def same(a, b, top, big):
    for one in a:
        if one.tag.element == 0 or (top and (one.tag in NEW or one.tag in GONE)) or one.tag == 0xFFFCFFFC:
            continue
        assert one.tag in b, one.tag
        other = b[one.tag]
        if isinstance(one.value, Sequence):
            assert len(one.value) == len(other.value), one.tag
            for x, y in zip(one.value, other.value):
                same(x, y, False, big)
        elif big and one.VR == 'OW':
            assert numpy.frombuffer(one.value, '>u2').tolist() == numpy.frombuffer(other.value, '<u2').tolist(), one.tag
        else:
            x, y = one.value, other.value
            if isinstance(x, bytes) and isinstance(y, bytes):
                x, y = x.rstrip(b'\0'), y.rstrip(b'\0')
            assert x == y, (one.tag, one.VR, other.VR)

compressed = rewritten = dcmtk = 0
for stored, explicit, theirs in zip(*[iter(sys.argv[1:])] * 3):
    a, b = dcmread(stored), dcmread(explicit)
    syntax = a.file_meta.TransferSyntaxUID
    assert b.file_meta.TransferSyntaxUID == '1.2.840.10008.1.2.1', explicit
    assert b.file_meta.MediaStorageSOPInstanceUID == a.SOPInstanceUID
    if syntax == '1.2.840.10008.1.2.1':
        continue
    same(a, b, True, not syntax.is_little_endian)
    assert all(e.tag.element for e in b.iterall()), 'a group length was kept'
    # Of an empty fragment at the end pydicom makes a frame of its own.
    if 'PixelData' in a and not stored.endswith('emptyfragment.dcm'):
        x, y = pixel_array(a), pixel_array(b)
        assert x.shape == y.shape and x.dtype.newbyteorder('=') == y.dtype, (stored, x.shape, y.shape, x.dtype, y.dtype)
        # Decoders of lossy JPEG may round otherwise (T.83), and so does what makes RGB of it.
        lossy = syntax in ('1.2.840.10008.1.2.4.50', '1.2.840.10008.1.2.4.51')
        worst = numpy.abs(x.astype('i8') - y.astype('i8')).max()
        assert worst <= (4 if lossy else 0), (stored, worst)
        if b.SamplesPerPixel == 3:
            assert (b.PhotometricInterpretation, b.PlanarConfiguration) == ('RGB', 0), stored
        else:
            assert b.PhotometricInterpretation == a.PhotometricInterpretation, stored
        if lossy:
            assert b.LossyImageCompression == '01', stored
        assert len(b.PixelData) % 2 == 0
    if syntax.is_encapsulated:
        compressed += 1
    else:
        rewritten += 1
    if theirs != '-':
        c = dcmread(theirs)
        assert numpy.array_equal(pixel_array(c), pixel_array(b)), theirs
        dcmtk += 1
print(f'compressed {compressed}, rewritten {rewritten}, as dcmtk {dcmtk}')
"#;

#[test]
fn what_cannot_be_decoded_is_left_out_and_said_to_be() {
    let vault = Vault::up();
    let jpegls = Fixture::named("ct-jpegls.dcm");
    vault.store_fixture(&jpegls);
    // The same under the name of a video, of another instance of the study: nobody decodes that here.
    let mut video = jpegls.clone();
    video.transfer_syntax = "1.2.840.10008.1.2.4.102".to_owned();
    let (video, data_set) = sibling(&video, &jpegls.data_set(), 7);
    vault.store(&video, &data_set).unwrap();
    let study = format!("/studies/{}", jpegls.study);

    let all = ask(&vault, &study, "multipart/related; type=\"application/dicom\"; transfer-syntax=*");
    assert_eq!((all.status, all.parts().len(), header(&all, "warning")), (200, 2, None));
    let some = ask(&vault, &study, EXPLICIT_PARTS);
    assert_eq!((some.status, some.parts().len()), (206, 1), "{}", some.content_type);
    assert!(header(&some, "warning").unwrap().starts_with("299 "), "{:?}", some.headers);
    assert!(some.content_type.starts_with("multipart/related; type=\"application/dicom\"; boundary="));
    let both = format!("{EXPLICIT_PARTS}, multipart/related; type=\"application/dicom\"; transfer-syntax=*; q=0.1");
    let both = ask(&vault, &study, &both);
    assert_eq!(
        (both.status, both.parts().len()),
        (200, 2),
        "what cannot be decoded comes as it is to whoever takes that"
    );

    let none = ask(&vault, &instance_path(&video), EXPLICIT);
    assert_eq!((none.status, none.json()["code"].as_str()), (406, Some("not-acceptable")));
    let alone = ask(&vault, &instance_path(&jpegls), EXPLICIT);
    assert_eq!(some.parts(), std::slice::from_ref(&alone.body));
    let tag = header(&alone, "etag").unwrap();
    assert_ne!(Some(tag), header(&ask(&vault, &instance_path(&jpegls), "application/dicom"), "etag"));
    let url = format!("{}{}", vault.up.http.dicomweb, instance_path(&jpegls));
    let conditional = Ask { token: Some(&vault.up.token), accept: Some(EXPLICIT), range: None };
    assert_eq!(vault.http().get_with(&url, conditional, &[("if-none-match", tag)]).status, 304);
}

fn uri(f: &Fixture, more: &str) -> String {
    format!("/wado?requestType=WADO&studyUID={}&seriesUID={}&objectUID={}{more}", f.study, f.series, f.instance)
}

#[test]
fn an_old_client_gets_by_one_address_what_a_new_one_gets_by_many() {
    let vault = Vault::up();
    let (ct, cine, jpegls) =
        (Fixture::named("ct-1.dcm"), Fixture::named("us-nobot.dcm"), Fixture::named("ct-jpegls.dcm"));
    let (pdf, sr) = (Fixture::named("pdf.dcm"), Fixture::named("sr.dcm"));
    for f in [&ct, &cine, &jpegls, &pdf, &sr] {
        vault.store_fixture(f);
    }
    let old = |f: &Fixture, more: &str| {
        let url = format!("{}{}", vault.up.http.base, uri(f, more));
        vault.http().get(&url, Ask { token: Some(&vault.up.token), accept: None, range: None })
    };
    let new = |path: String, accept: &str| ask(&vault, &path, accept);
    let rendered = |f: &Fixture, more: &str| format!("{}{more}", instance_path(f));

    const LOSSLESS: &str = "application/dicom; transfer-syntax=1.2.840.10008.1.2.4.80";
    let table: &[(&Fixture, &str, Answer)] = &[
        (&ct, "&contentType=application/dicom", new(instance_path(&ct), "application/dicom")),
        // Explicit little endian is what is usual, whatever is stored; another syntax is named.
        (&jpegls, "&contentType=application%2Fdicom", new(instance_path(&jpegls), EXPLICIT)),
        (
            &jpegls,
            "&contentType=application/dicom&transferSyntax=1.2.840.10008.1.2.4.80",
            new(instance_path(&jpegls), LOSSLESS),
        ),
        // One picture is a picture, more of them and none are an instance.
        (&ct, "", new(rendered(&ct, "/rendered"), "image/jpeg")),
        (&cine, "", new(instance_path(&cine), EXPLICIT)),
        (&sr, "", new(instance_path(&sr), "application/dicom")),
        (&ct, "&contentType=image/png", new(rendered(&ct, "/rendered"), "image/png")),
        (&cine, "&contentType=image/jpeg&frameNumber=3", new(rendered(&cine, "/frames/3/rendered"), "image/jpeg")),
        (
            &ct,
            "&contentType=image/png&windowCenter=40&windowWidth=400&rows=64&columns=64",
            new(rendered(&ct, "/rendered?window=40,400,linear&viewport=64,64"), "image/png"),
        ),
        (
            &ct,
            "&contentType=image/jpeg&imageQuality=30&region=0,0,1,1&columns=32",
            new(rendered(&ct, "/rendered?quality=30&viewport=32,8192,0,0,,"), "image/jpeg"),
        ),
        (&pdf, "&contentType=application/pdf", new(rendered(&pdf, "/rendered"), "application/pdf")),
    ];
    for (f, more, expected) in table {
        let answer = old(f, more);
        assert_eq!((answer.status, expected.status), (200, 200), "{} {more}: {}", f.file, answer.text());
        assert_eq!(answer.content_type, expected.content_type, "{} {more}", f.file);
        assert!(answer.body == expected.body, "{} {more} comes otherwise", f.file);
        assert_eq!(header(&answer, "cache-control"), Some("no-store"));
    }
    for (more, status, code) in [
        ("&anonymize=yes", 406, "not-anonymised"),
        ("&contentType=text/html", 406, "not-acceptable"),
        ("&contentType=application/dicom&transferSyntax=1.2.840.10008.1.2.4.90", 406, "not-acceptable"),
        ("&contentType=application/dicom&frameNumber=1", 400, "parameter"),
        ("&contentType=image/jpeg&frameNumber=9", 404, "no-such-frame"),
        ("&contentType=image/jpeg&frameNumber=x", 400, "parameter"),
        ("&contentType=image/jpeg&imageQuality=101", 400, "parameter"),
        ("&studyUID=1.2", 400, "parameter"),
    ] {
        let answer = old(&ct, more);
        assert_eq!((answer.status, answer.json()["code"].as_str()), (status, Some(code)), "{more}");
    }
    let mut absent = ct.clone();
    absent.instance = "1.2.3".to_owned();
    assert_eq!(old(&absent, "").status, 404);
}

#[test]
fn json_leaves_compressed_for_whoever_takes_it_and_pixels_never_do() {
    let vault = Vault::up();
    let files = ["ct-1.dcm", "ct-2.dcm", "ct-3.dcm", "dx.dcm", "photo.dcm"].map(Fixture::named);
    files.iter().for_each(|f| vault.store_fixture(f));
    let get = |path: &str, accept: &str, takes: &str| {
        let asked = Ask { token: Some(&vault.up.token), accept: Some(accept), range: None };
        vault.http().get_with(&format!("{}{path}", vault.up.http.dicomweb), asked, &[("accept-encoding", takes)])
    };
    let unpacked = |answer: &Answer| match header(answer, "content-encoding") {
        Some("zstd") => {
            let output = run_python(UNPACK, &[answer.body.iter().map(|b| format!("{b:02x}")).collect()]);
            assert!(output.status.success(), "{}", said(&output));
            output.stdout
        }
        _ => answer.body.clone(),
    };
    let metadata = format!("/studies/{}/metadata", files[0].study);
    for path in ["/instances", "/studies", &metadata] {
        for accept in ["application/dicom+json", "multipart/related; type=\"application/dicom+xml\""] {
            let plain = get(path, accept, "identity");
            let packed = get(path, accept, "gzip, deflate, br, zstd");
            assert_eq!(header(&plain, "content-encoding"), None, "{path}");
            assert_eq!(header(&packed, "content-encoding"), Some("zstd"), "{path} as {accept}");
            assert_eq!(header(&get(path, accept, "gzip, br"), "content-encoding"), Some("gzip"), "{path}");
            assert!(packed.body.len() < plain.body.len() / 2, "{path}");
            assert!(header(&packed, "vary").is_some_and(|vary| vary.contains("accept-encoding")), "{path}");
            assert_eq!(unpacked(&packed).len(), plain.body.len(), "{path} as {accept}");
            if accept == "application/dicom+json" {
                assert_eq!(unpacked(&packed), plain.body, "{path}");
            }
        }
    }
    for (path, accept) in [
        (instance_path(&files[0]), "application/dicom"),
        (format!("/studies/{}", files[0].study), "*/*"),
        (format!("{}/frames/1", instance_path(&files[0])), "*/*"),
        (format!("{}/rendered", instance_path(&files[0])), "image/png"),
        (instance_path(&files[4]), EXPLICIT),
    ] {
        assert_eq!(header(&get(&path, accept, "gzip, zstd"), "content-encoding"), None, "{path}");
    }
}

/// Python has no zstd of its own yet; the library of the system does.
const UNPACK: &str = r#"
import ctypes, ctypes.util, sys
lib = ctypes.CDLL(ctypes.util.find_library('zstd') or 'libzstd.so.1')
packed = bytes.fromhex(sys.argv[1])
class Buffer(ctypes.Structure):
    _fields_ = [('at', ctypes.c_void_p), ('size', ctypes.c_size_t), ('pos', ctypes.c_size_t)]
lib.ZSTD_createDStream.restype = ctypes.c_void_p
lib.ZSTD_decompressStream.restype = ctypes.c_size_t
stream = ctypes.c_void_p(lib.ZSTD_createDStream())
source, room = ctypes.create_string_buffer(packed, len(packed)), ctypes.create_string_buffer(1 << 24)
given = Buffer(ctypes.cast(source, ctypes.c_void_p), len(packed), 0)
taken = Buffer(ctypes.cast(room, ctypes.c_void_p), 1 << 24, 0)
left = lib.ZSTD_decompressStream(stream, ctypes.byref(taken), ctypes.byref(given))
assert left == 0 and given.pos == len(packed), (left, given.pos)
sys.stdout.buffer.write(room.raw[:taken.pos])
"#;

/// Frames that are decoded and documents that are shown are made on the way, and still are resources like others: with a tag, a
/// length, and parts of them for whoever asks.
#[test]
fn what_is_made_on_the_way_has_a_tag_a_length_and_ranges_too() {
    let vault = Vault::up();
    let (jls, us, pdf) = (Fixture::named("ct-jpegls.dcm"), Fixture::named("us-bot.dcm"), Fixture::named("pdf.dcm"));
    for f in [&jls, &us, &pdf] {
        vault.store_fixture(f);
    }
    let octets = "application/octet-stream";
    let with = |path: &str, accept: &str, name: &str, value: &str| {
        let asked = Ask { token: Some(&vault.up.token), accept: Some(accept), range: None };
        vault.http().get_with(&format!("{}{path}", vault.up.http.dicomweb), asked, &[(name, value)])
    };
    let length = |name: &str| {
        let file = vault.file_of(&Fixture::named(name)).unwrap();
        let found = file.windows(6).position(|w| w == [0x42, 0, 0x15, 0, b'U', b'L']).unwrap();
        u32::from_le_bytes(file[found + 8..found + 12].try_into().unwrap()) as usize
    };
    for (path, accept) in [
        (format!("{}/frames/1", instance_path(&jls)), octets),
        (format!("{}/rendered", instance_path(&pdf)), "application/pdf"),
    ] {
        let whole = ask(&vault, &path, accept);
        assert_eq!(whole.status, 200, "{}", whole.text());
        let tag = header(&whole, "etag").unwrap();
        assert_eq!(header(&whole, "content-length"), Some(whole.body.len().to_string().as_str()));
        assert_eq!(with(&path, accept, "If-None-Match", &format!("\"other\", {tag}")).status, 304);
        let part = with(&path, accept, "Range", "bytes=10-29");
        assert_eq!((part.status, part.body.as_slice()), (206, &whole.body[10..30]), "{path}");
        assert_eq!(with(&path, accept, "Range", &format!("bytes={}-", whole.body.len())).status, 416);
    }
    // The document, without the byte that makes its value even.
    assert_eq!(
        ask(&vault, &format!("{}/rendered", instance_path(&pdf)), "application/pdf").body.len(),
        length("pdf.dcm")
    );

    // Bulk data that are compressed can be had plain: of several frames one behind the other.
    for (f, frames) in [(&jls, 1), (&us, 6)] {
        let bulk = ask(&vault, &format!("{}/bulkdata/7FE00010", instance_path(f)), octets);
        assert_eq!((bulk.status, bulk.content_type.split(';').next()), (200, Some(octets)), "{}", bulk.text());
        let each = (1..=frames).map(|n| ask(&vault, &format!("{}/frames/{n}", instance_path(f)), octets).body);
        assert!(bulk.body == each.collect::<Vec<_>>().concat(), "{}", f.file);
        assert_eq!(
            ask(&vault, &format!("{}/bulkdata/7FE00010", instance_path(f)), "image/*; transfer-syntax=*").status,
            if frames == 1 { 200 } else { 406 }
        );
    }
}

#[test]
fn pictures_have_square_pixels_and_say_what_they_leave_out() {
    let vault = Vault::up();
    let (ct, float) = (Fixture::named("ct-1.dcm"), Fixture::named("parametric-map.dcm"));
    let mut body = ct.data_set();
    let spacing = [0x28, 0, 0x30, 0, b'D', b'S'];
    let at = body.windows(6).position(|w| w == spacing).unwrap() + 8;
    let len = usize::from(u16::from_le_bytes([body[at - 2], body[at - 1]]));
    body[at..at + len].copy_from_slice(format!("{:<len$}", "1\\.5").as_bytes());
    assert_eq!(vault.store(&ct, &body).unwrap().status, 0);
    vault.store_fixture(&float);
    let size = |path: &str| {
        let answer = ask(&vault, path, "image/png");
        let picture = image::load_from_memory(&answer.body).unwrap_or_else(|_| panic!("{}", answer.text()));
        (picture.width(), picture.height())
    };
    let plain = size(&format!("{}/rendered", instance_path(&ct)));
    assert_eq!(plain.1, 2 * plain.0, "a pixel twice as high as wide");
    assert_eq!(size(&format!("{}/rendered?viewport=50,50", instance_path(&ct))), (25, 50));

    let refused = ask(&vault, &format!("{}/rendered", instance_path(&float)), "image/png");
    assert_eq!((refused.status, refused.json()["code"].as_str()), (422, Some("pixels-float")));
    let refused = ask(&vault, &format!("{}/rendered?iccprofile=rainbow", instance_path(&ct)), "image/png");
    assert_eq!((refused.status, refused.json()["code"].as_str()), (400, Some("parameter")));

    let (dicomweb, base) = (&vault.up.http.dicomweb, &vault.up.http.base);
    for url in [
        format!("{dicomweb}/studies/{}/series/{}/rendered?annotation=patient", ct.study, ct.series),
        format!("{dicomweb}{}/frames/1/rendered?annotation=patient", instance_path(&ct)),
        format!("{base}{}", uri(&ct, "&annotation=patient")),
    ] {
        let answer = vault.http().get(&url, Ask { token: Some(&vault.up.token), accept: None, range: None });
        assert_eq!(answer.status, 200, "{url}: {}", answer.text());
        assert!(header(&answer, "warning").is_some_and(|told| told.contains("annotations")), "{url}");
    }
    let told = ask(&vault, "/studies?emptyvaluematching=true", "*/*");
    assert!(header(&told, "warning").is_some_and(|told| told.contains("literal")), "{}", told.text());
}
