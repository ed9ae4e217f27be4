//! Forms of an instance that are made while it is read: Explicit VR Little Endian for whoever asks for that.

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
    for f in Fixture::all() {
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
    assert!(told.contains("compressed 9, rewritten 3, as dcmtk 7"), "{told}");
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
    assert_eq!(some.parts(), [alone.body.clone()]);
    let tag = header(&alone, "etag").unwrap();
    assert_ne!(Some(tag), header(&ask(&vault, &instance_path(&jpegls), "application/dicom"), "etag"));
    let url = format!("{}{}", vault.up.http.dicomweb, instance_path(&jpegls));
    let conditional = Ask { token: Some(&vault.up.token), accept: Some(EXPLICIT), range: None };
    assert_eq!(vault.http().get_with(&url, conditional, &[("if-none-match", tag)]).status, 304);
}
