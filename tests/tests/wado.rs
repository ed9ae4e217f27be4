//! WADO-RS as clients ask for it: metadata and frames of every fixture, compared with what pydicom reads from the file; the
//! forms, the conditions and the refusals.

#![allow(clippy::unwrap_used, reason = "the helpers of a test end where they fail, as the test does")]

use leadglass_tests::fixture::Fixture;
use leadglass_tests::http::{Answer, Ask};
use leadglass_tests::peers::{run_python, said};
use leadglass_tests::process::{signal, until};
use leadglass_tests::site::{alarms, ask_plain, large, stored};
use leadglass_tests::vault::Vault;
use leadglass_tests::weed::Weed;
use rustix::process::Signal;
use serde_json::Value;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

const JSON: &str = "application/dicom+json";
const XML: &str = "multipart/related; type=\"application/dicom+xml\"";
/// As OHIF asks for a frame.
const OHIF: &str = "multipart/related; type=application/octet-stream; transfer-syntax=*";

fn frames_path(f: &Fixture, list: &str) -> String {
    format!("{}/frames/{list}", instance_path(f))
}

fn instance_path(f: &Fixture) -> String {
    format!("{}/instances/{}", series_path(f), f.instance)
}

fn series_path(f: &Fixture) -> String {
    format!("/studies/{}/series/{}", f.study, f.series)
}

fn ask(vault: &Vault, path: &str, accept: &str) -> Answer {
    vault.ask(path, Some(&vault.up.token), accept)
}

fn header<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    answer.headers.iter().find(|(k, _)| k == name).map(|(_, v)| v.as_str())
}

/// Every frame and the metadata of every fixture, by dicomweb-client, against pydicom.
#[test]
fn a_foreign_client_reads_frames_and_metadata_as_pydicom_reads_the_file() {
    let vault = Vault::up();
    let mut arguments = vec![vault.up.http.dicomweb.clone(), vault.up.token.clone(), vault.up.ca.clone()];
    for f in Fixture::every() {
        vault.store_fixture(&f);
        arguments.push(f.path().to_string_lossy().into_owned());
    }
    let output = run_python(CLIENT, &arguments);
    assert!(output.status.success(), "{}", said(&output));
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(told.contains("frames 60, metadata 44, values "), "{told}");
}

const CLIENT: &str = r#"
import sys, requests, numpy
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from dicomweb_client.api import DICOMwebClient

base, token, ca, *files = sys.argv[1:]
session = requests.Session()
session.trust_env = False
session.headers['Authorization'] = 'Bearer ' + token
session.verify = ca
client = DICOMwebClient(base, session=session)

def expected(ds):
    pixels = next((ds[k] for k in ('PixelData', 'FloatPixelData', 'DoubleFloatPixelData') if k in ds), None)
    if pixels is None:
        return []
    n = int(ds.get('NumberOfFrames', 1) or 1)
    syntax = ds.file_meta.TransferSyntaxUID
    if syntax.is_encapsulated:
        extended = None
        if 'ExtendedOffsetTable' in ds:
            extended = (ds.ExtendedOffsetTable, ds.ExtendedOffsetTableLengths)
        # An empty fragment at the end becomes a frame of its own there.
        return list(generate_frames(pixels.value, number_of_frames=n, extended_offsets=extended))[:n]
    bits = {'FloatPixelData': 32, 'DoubleFloatPixelData': 64}.get(pixels.keyword) or ds.BitsAllocated
    size = ds.Rows * ds.Columns * ds.get('SamplesPerPixel', 1)
    value = pixels.value
    if bits == 1:
        flat = numpy.unpackbits(numpy.frombuffer(value, 'u1'), bitorder='little')
        return [numpy.packbits(flat[i * size:(i + 1) * size], bitorder='little').tobytes() for i in range(n)]
    if not syntax.is_little_endian:
        value = numpy.frombuffer(value, '>u2').astype('<u2').tobytes()
    size = size * bits // 8
    return [value[i * size:(i + 1) * size] for i in range(n)]

def value_of(ds, element):
    value = element.value
    if isinstance(value, str):
        value = value.encode()
    if not isinstance(value, bytes):
        return None
    if not ds.file_meta.TransferSyntaxUID.is_little_endian and element.VR == 'OW':
        value = numpy.frombuffer(value, '>u2').astype('<u2').tobytes()
    return value

def compare(top, told, path):
    """Every value that the metadata point at, alone and by ranges."""
    compared = 0
    for tag, element in told.items():
        at = path + [tag]
        if element['vr'] == 'SQ':
            for n, item in enumerate(element.get('Value', [])):
                compared += compare(top, item, at + [str(n)])
        if 'BulkDataURI' not in element:
            continue
        url = base + '/studies/' + element['BulkDataURI'].split('/dicomweb/studies/')[1]
        ds = top
        for step in at[:-1]:
            ds = ds[int(step, 16)].value if len(step) == 8 else ds[int(step)]
        if tag == '7FE00010' and top.file_meta.TransferSyntaxUID.is_encapsulated and ds is top:
            assert client.retrieve_bulkdata(url) == expected(top), (path, tag)
        else:
            wanted = value_of(top, ds[int(tag, 16)])
            answer = session.get(url, headers={'Accept': 'application/octet-stream'})
            assert answer.status_code == 200, (at, answer.text)
            if wanted is not None:
                assert answer.content == wanted, (at, len(answer.content), len(wanted))
            part = session.get(url, headers={'Accept': 'application/octet-stream', 'Range': 'bytes=10-29'})
            assert (part.status_code, part.content) == (206, answer.content[10:30]), at
            assert client.retrieve_bulkdata(url) == [answer.content], at
        compared += 1
    return compared

frames = metadata = values = 0
for path in files:
    ds = dcmread(path)
    at = (ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.SOPInstanceUID)
    told = client.retrieve_instance_metadata(*at)
    instance = f'{base}/studies/{at[0]}/series/{at[1]}/instances/{at[2]}'
    for tag, element in told.items():
        uri = element.get('BulkDataURI')
        # The client names the host without its port, so only the path can be compared.
        wanted = f'{instance}/bulkdata/{tag}'.split('/dicomweb/')[1]
        assert uri is None or uri.split('/dicomweb/')[1] == wanted, (path, uri)
    read = Dataset.from_json(told, bulk_data_uri_handler=lambda tag, vr, uri: None)
    assert read.SOPInstanceUID == ds.SOPInstanceUID, path
    assert read.get('PatientID') == ds.get('PatientID'), path
    # What is told of every instance: Available Transfer Syntax UID.
    assert told['00083002']['Value'] == [ds.file_meta.TransferSyntaxUID], path
    assert {e.tag for e in read} - {0x00083002} == {e.tag for e in ds if e.tag != 0xFFFCFFFC and e.tag.element != 0}, path
    metadata += 1
    values += compare(ds, told, [])
    wanted = expected(ds)
    if not wanted:
        answer = session.get(instance + '/frames/1')
        assert answer.status_code == 404 and answer.json()['code'] == 'no-such-frame', (path, answer.text)
        continue
    given = client.retrieve_instance_frames(*at, frame_numbers=list(range(1, len(wanted) + 1)))
    assert len(given) == len(wanted), (path, len(given))
    for n, (a, b) in enumerate(zip(given, wanted), 1):
        assert a == b, f'{path}: frame {n} has {len(a)} bytes, expected {len(b)}'
        alone = client.retrieve_instance_frames(*at, frame_numbers=[n])
        assert alone == [b], f'{path}: frame {n} alone'
        frames += 1
    assert session.get(f'{instance}/frames/{len(wanted) + 1}').status_code == 404, path
print(f'frames {frames}, metadata {metadata}, values {values}')
"#;

#[test]
fn frames_come_in_the_form_that_was_asked_for() {
    let vault = Vault::up();
    let native = Fixture::named("ct-1.dcm");
    let jpegls = Fixture::named("ct-jpegls.dcm");
    let cine = Fixture::named("us-nobot.dcm");
    for f in [&native, &jpegls, &cine] {
        vault.store_fixture(f);
    }
    const LE: &str = "; transfer-syntax=1.2.840.10008.1.2.1";
    const JLS: &str = "; transfer-syntax=1.2.840.10008.1.2.4.80";
    let octets = |syntax: &str| format!("application/octet-stream{syntax}");
    let multi = |kind: &str| format!("multipart/related; type=\"{kind}\"; boundary=");
    let table: &[(&Fixture, &str, &str, u16, String, &str)] = &[
        (&native, "1", "*/*", 200, multi("application/octet-stream"), LE),
        (&native, "1", OHIF, 200, multi("application/octet-stream"), LE),
        (&native, "1", "application/octet-stream", 200, octets(LE), ""),
        (
            &native,
            "1",
            "multipart/related; type=\"application/octet-stream\"",
            200,
            multi("application/octet-stream"),
            LE,
        ),
        (&native, "1", "image/jpeg", 406, String::new(), ""),
        (&native, "1", "text/html", 406, String::new(), ""),
        (&native, "0", "*/*", 400, String::new(), ""),
        (&native, "1,1", "*/*", 400, String::new(), ""),
        (&native, "x", "*/*", 400, String::new(), ""),
        (&native, "2", "*/*", 404, String::new(), ""),
        (&native, "1,2", "*/*", 404, String::new(), ""),
        (&jpegls, "1", "*/*", 200, multi("image/jls"), JLS),
        (&jpegls, "1", OHIF, 200, multi("application/octet-stream"), JLS),
        (&jpegls, "1", "image/jls", 200, format!("image/jls{JLS}"), ""),
        (&jpegls, "1", "image/*", 200, format!("image/jls{JLS}"), ""),
        (&jpegls, "1", "application/octet-stream; transfer-syntax=*", 200, octets(JLS), ""),
        (&cine, "1,5", "image/jpeg", 406, String::new(), ""),
        (&cine, "1,5", "multipart/related; type=\"image/jpeg\"", 200, multi("image/jpeg"), "50"),
    ];
    for (f, list, accept, status, kind, part) in table {
        let answer = ask(&vault, &frames_path(f, list), accept);
        assert_eq!(answer.status, *status, "{} {list} as {accept}: {}", f.file, answer.content_type);
        if *status == 200 {
            assert!(answer.content_type.starts_with(kind), "{} as {accept}: {}", f.file, answer.content_type);
            assert!(answer.text().contains(part), "{} as {accept}", f.file);
        } else {
            assert_eq!(answer.content_type, "application/problem+json", "{} {list} as {accept}", f.file);
        }
        assert_eq!(header(&answer, "cache-control"), Some("no-store"), "{} {list} as {accept}", f.file);
    }
    // The query's word goes before the header's.
    let answer = ask(&vault, &format!("{}?accept=image/jls", frames_path(&jpegls, "1")), "*/*");
    assert_eq!(answer.content_type, format!("image/jls{JLS}"));
    let parts = ask(&vault, &frames_path(&cine, "5,2"), "*/*").parts();
    let alone = ["5", "2"].map(|n| ask(&vault, &frames_path(&cine, n), "image/jpeg").body);
    assert_eq!(parts, alone, "parts come in the order of the list");
}

#[test]
fn a_frame_and_an_instance_honour_ranges_and_conditions() {
    let vault = Vault::up();
    let native = Fixture::named("ct-1.dcm");
    let encapsulated = Fixture::named("ct-j2k.dcm");
    for (f, accept) in [(&native, "application/octet-stream"), (&encapsulated, "image/jp2")] {
        vault.store_fixture(f);
        for (path, accept) in [(frames_path(f, "1"), accept), (instance_path(f), "application/dicom")] {
            let url = format!("{}{path}", vault.up.http.dicomweb);
            let asked = |range: Option<&str>, headers: &[(&str, &str)]| {
                let ask = Ask { token: Some(&vault.up.token), accept: Some(accept), range };
                vault.http().get_with(&url, ask, headers)
            };
            let whole = asked(None, &[]);
            let (tag, len) = (header(&whole, "etag").unwrap(), whole.body.len());
            assert!(tag.starts_with('"') && tag.len() > 30, "{path}: {tag}");
            assert_eq!(header(&whole, "content-length"), Some(len.to_string().as_str()), "{path}");
            let part = asked(Some("bytes=100-299"), &[]);
            assert_eq!((part.status, &part.body[..]), (206, &whole.body[100..300]), "{path}");
            assert_eq!(header(&part, "content-range"), Some(format!("bytes 100-299/{len}").as_str()), "{path}");
            assert_eq!(asked(Some("bytes=-5"), &[]).body, whole.body[len - 5..], "{path}");
            assert_eq!(asked(Some(&format!("bytes={len}-")), &[]).status, 416, "{path}");
            assert_eq!(asked(Some("bytes=0-1"), &[("if-range", tag)]).status, 206, "{path}");
            assert_eq!(asked(Some("bytes=0-1"), &[("if-range", "\"other\"")]).status, 200, "{path}");

            let same = asked(None, &[("if-none-match", &format!("\"other\", {tag}"))]);
            assert_eq!((same.status, same.body.len()), (304, 0), "{path}");
            assert_eq!(asked(None, &[("if-none-match", "\"other\"")]).status, 200, "{path}");
            // Whoever may not see it is not told that it is unchanged.
            let stranger = Ask { token: Some(&vault.up.tokens.other_tenant), accept: Some(accept), range: None };
            let answer = vault.http().get_with(&url, stranger, &[("if-none-match", tag)]);
            assert_eq!(answer.status, 404, "{path}");
            assert!(header(&answer, "etag").is_none(), "{path}");
        }
    }
}

#[test]
fn metadata_of_a_series_are_those_of_its_instances_in_order_and_compressed_when_asked() {
    let vault = Vault::up();
    let files = ["ct-2.dcm", "ct-1.dcm", "ct-3.dcm"].map(Fixture::named);
    for f in &files {
        vault.store_fixture(f);
    }
    let [second, first, other] = &files;
    let one = |f: &Fixture| ask(&vault, &format!("{}/metadata", instance_path(f)), JSON).json()[0].clone();
    let series = ask(&vault, &format!("{}/metadata", series_path(first)), JSON);
    assert_eq!((series.status, series.content_type.as_str()), (200, JSON));
    assert_eq!(series.json(), Value::from(vec![one(first), one(second)]));
    let study = ask(&vault, &format!("/studies/{}/metadata", first.study), JSON).json();
    assert_eq!(study.as_array().unwrap().len(), 3);
    assert!(study.as_array().unwrap().contains(&one(other)));
    let uri = one(first)["7FE00010"]["BulkDataURI"].as_str().unwrap().to_owned();
    assert_eq!(uri, format!("{}/bulkdata/7FE00010", vault.instance_url(first)));

    let url = format!("{}{}/metadata", vault.up.http.dicomweb, series_path(first));
    let asked = |accept, headers: &[(&str, &str)]| {
        vault.http().get_with(&url, Ask { token: Some(&vault.up.token), accept: Some(accept), range: None }, headers)
    };
    let packed = asked(JSON, &[("accept-encoding", "gzip, deflate, br")]);
    assert_eq!(header(&packed, "content-encoding"), Some("gzip"));
    assert!(packed.body.len() * 2 < series.body.len(), "{} of {}", packed.body.len(), series.body.len());
    let unpacked = run_python(
        "import sys, gzip; sys.stdout.buffer.write(gzip.decompress(bytes.fromhex(sys.argv[1])))",
        &[packed.body.iter().map(|b| format!("{b:02x}")).collect()],
    );
    assert_eq!(unpacked.stdout, series.body);
    let tag = header(&series, "etag").unwrap();
    assert_ne!(header(&packed, "etag"), Some(tag), "another form has another tag");
    assert_eq!(asked(JSON, &[("if-none-match", tag)]).status, 304);
    assert_eq!(asked("application/json", &[]).content_type, "application/json");
    assert_eq!(asked("text/html", &[]).status, 406);

    let xml = asked(XML, &[]);
    let parts = xml.parts();
    assert_eq!(parts.len(), 2);
    for (part, f) in parts.iter().zip([first, second]) {
        let text = String::from_utf8_lossy(part);
        assert!(text.contains(&f.instance) && text.contains("keyword=\"PixelSpacing\""), "{text}");
        assert!(text.contains(&format!("<BulkData uri=\"{}/bulkdata/7FE00010\"/>", vault.instance_url(f))), "{text}");
    }
}

#[test]
fn what_comes_late_or_again_is_in_the_metadata_at_once() {
    let vault = Vault::up();
    let [first, second] = ["ct-1.dcm", "ct-2.dcm"].map(Fixture::named);
    let read = || {
        let answer = ask(&vault, &format!("{}/metadata", series_path(&first)), JSON);
        let tag = header(&answer, "etag").unwrap().to_owned();
        (answer.json().as_array().unwrap().clone(), tag)
    };
    vault.store_fixture(&first);
    let (alone, tag) = read();
    assert_eq!(alone.len(), 1);
    vault.store_fixture(&second);
    let (both, later) = read();
    assert_eq!(both.len(), 2);
    assert_ne!(tag, later);
    assert_eq!(both[0], alone[0]);

    // A newer version from the same device: another word of the same length.
    let mut changed = first.data_set();
    let at = changed.windows(8).position(|w| w == b"ORIGINAL").unwrap();
    changed[at..at + 8].copy_from_slice(b"CHANGED ");
    assert_eq!(vault.store(&first, &changed).unwrap().status, 0);
    let (now, newest) = read();
    assert_eq!(now.len(), 2);
    assert_ne!(later, newest);
    assert_eq!(now[0]["00080008"]["Value"][0], "CHANGED");
    assert_eq!(now[1], both[1]);
}

/// Made by pydicom and sent by STOW-RS: a PDF, a video, an icon with fragments of its own.
#[test]
fn documents_and_videos_are_bulk_data_under_their_own_names() {
    let vault = Vault::up();
    let arguments = [&vault.up.http.dicomweb, &vault.up.token, &vault.up.ca].map(Clone::clone);
    let paths = ["pdf.dcm", "us-nobot.dcm"].map(|name| Fixture::named(name).path().to_string_lossy().into_owned());
    let output = run_python(DOCUMENTS, &[&arguments[..], &paths].concat());
    assert!(output.status.success(), "{}", said(&output));
}

const DOCUMENTS: &str = r#"
import io, sys, requests
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGBaseline8Bit, MPEG4HP41, generate_uid

base, token, ca, pdf, cine = sys.argv[1:]
session = requests.Session()
session.trust_env = False
session.headers['Authorization'] = 'Bearer ' + token
session.verify = ca

def store(ds):
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    out = io.BytesIO()
    ds.save_as(out)
    body = b'--b\r\nContent-Type: application/dicom\r\n\r\n' + out.getvalue() + b'\r\n--b--\r\n'
    kind = {'Content-Type': 'multipart/related; type="application/dicom"; boundary=b'}
    answer = session.post(base + '/studies', data=body, headers=kind)
    assert answer.status_code == 200, answer.text
    return f'{base}/studies/{ds.StudyInstanceUID}/series/{ds.SeriesInstanceUID}/instances/{ds.SOPInstanceUID}'

def get(url, accept, **headers):
    return session.get(url, headers={'Accept': accept, **headers})

document = b'%PDF-1.4\n ' + bytes(range(256)) * 300
ds = dcmread(pdf)
ds.EncapsulatedDocument = document
url = store(ds) + '/bulkdata/00420011'
answer = get(url, 'application/pdf')
assert (answer.status_code, answer.headers['Content-Type']) == (200, 'application/pdf'), answer.text
assert answer.content == document
assert get(url, 'text/html,application/pdf,*/*;q=0.8').headers['Content-Type'] == 'application/pdf'
assert get(url, 'application/octet-stream').content == document
assert get(url, '*/*').headers['Content-Type'].startswith('multipart/related; type="application/octet-stream"')
assert get(url, 'image/png').status_code == 406
tag = answer.headers['ETag']
assert get(url, 'application/pdf', **{'If-None-Match': tag}).status_code == 304
assert get(url, 'application/pdf', Range='bytes=70000-').content == document[70000:]
for other in ('00420010', '00100010', '52009229/0/00281201', 'x', '00420011/0', '7FE00010'):
    assert get(url.replace('00420011', other), '*/*').status_code == 404, other

# Of a document with an odd length the instance says it: the byte behind it is not the document's.
odd = document + b'!'
ds = dcmread(pdf)
ds.EncapsulatedDocument, ds.EncapsulatedDocumentLength = odd, len(odd)
url = store(ds) + '/bulkdata/00420011'
answer = get(url, 'application/pdf')
assert answer.content == odd and answer.headers['Content-Length'] == str(len(odd))
assert get(url, 'application/pdf', Range=f'bytes={len(odd) - 1}-').content == b'!'
whole = get(url, 'application/octet-stream')
assert whole.content == odd + b'\0' and whole.headers['ETag'] != answer.headers['ETag']

video = [bytes([n]) * 70_000 for n in range(3)]
ds = dcmread(cine)
ds.file_meta.TransferSyntaxUID = MPEG4HP41
ds.PixelData = encapsulate(video, has_bot=False)
ds['PixelData'].is_undefined_length = True
instance = store(ds)
answer = get(instance + '/frames/1', '*/*')
assert (answer.status_code, answer.json()['code']) == (406, 'frames-inseparable'), answer.text
answer = get(instance + '/bulkdata/7FE00010', 'video/mp4')
assert (answer.status_code, answer.headers['Content-Type']) == (200, f'video/mp4; transfer-syntax={MPEG4HP41}')
assert answer.content == b''.join(video)

icon = Dataset()
icon.Rows = icon.Columns = 8
icon.PixelData = encapsulate([b'\xff\xd8 icon', b' \xff\xd9'], has_bot=False)
icon['PixelData'].is_undefined_length = True
ds = dcmread(cine)
ds.IconImageSequence = [icon]
instance = store(ds)
answer = get(instance + '/bulkdata/00880200/0/7FE00010', 'application/octet-stream')
assert answer.status_code == 200 and answer.content.startswith(b'\xff\xd8 icon'), answer.text
assert get(instance + '/frames/1', '*/*').status_code == 200
"#;

/// An instance whose object can be changed behind the vault's back.
struct Victim {
    f: Fixture,
    object: PathBuf,
    sealed: Vec<u8>,
    frames: usize,
}

impl Victim {
    fn store(vault: &Vault, f: Fixture, data_set: &[u8], frames: usize) -> Self {
        let object = stored(vault, &f, data_set);
        let sealed = fs::read(&object).unwrap();
        Self { f, object, sealed, frames }
    }

    /// All frames one by one, then Pixel Data as bulk data: what came, or nothing where it was refused or broke off.
    fn read(&self, vault: &Vault) -> Vec<Option<Vec<u8>>> {
        let accept = "application/octet-stream; transfer-syntax=*";
        let frames = (1..=self.frames).map(|n| frames_path(&self.f, &n.to_string()));
        let paths = frames.chain([format!("{}/bulkdata/7FE00010", instance_path(&self.f))]);
        let read = |path: String| {
            let accept = if path.contains("bulkdata") { "*/*" } else { accept };
            let came = ask_plain(vault, &path, accept, None);
            match (came.status, came.whole) {
                (200, true) => Some(body_of(&came.body)),
                (200, false) | (500..=599 | 0, _) => None,
                (status, _) => panic!("{path}: {status}"),
            }
        };
        paths.map(read).collect()
    }
}

/// A multipart body without its boundary, which is another each time.
fn body_of(body: &[u8]) -> Vec<u8> {
    let Some(boundary) = body.strip_prefix(b"--").and_then(|b| b.split(|b| *b == b'\r').next()) else {
        return body.to_vec();
    };
    let mut out = body.to_vec();
    let mut at = 0;
    while let Some(found) = out[at..].windows(boundary.len()).position(|w| w == boundary) {
        out[at + found..at + found + boundary.len()].fill(b'-');
        at += found + boundary.len();
    }
    out
}

/// SVO1: the header, a chunk's plaintext, its tag (FORMAT.md).
const HEADER: usize = 120;
const CHUNK: usize = 65_536 + 16;

#[test]
fn frames_of_a_changed_object_are_right_or_refused_and_an_alarm_is_raised() {
    let mut vault = Vault::up();
    let (native, data_set) = large(5, 2);
    let native = Victim::store(&vault, native, &data_set, 2);
    let (cine, data_set) = Fixture::named("us-bot.dcm").renamed(6);
    let cine = Victim::store(&vault, cine, &data_set, 6);
    let (other, data_set) = Fixture::named("us-bot.dcm").renamed(7);
    let other = Victim::store(&vault, other, &data_set, 6);
    assert_eq!(cine.sealed.len(), other.sealed.len());

    for v in [&native, &cine] {
        let mut harms: Vec<(String, Vec<u8>)> = Vec::new();
        for start in (HEADER..v.sealed.len()).step_by(CHUNK).step_by(5) {
            for at in [start + 9, (start + CHUNK).min(v.sealed.len()) - 3] {
                let mut flipped = v.sealed.clone();
                flipped[at] ^= 1;
                harms.push((format!("byte {at} flipped"), flipped));
            }
        }
        harms.push(("cut".to_owned(), v.sealed[..v.sealed.len() - 1].to_vec()));
        harms.push((
            "cut at a chunk".to_owned(),
            v.sealed[..HEADER + (v.sealed.len() - HEADER) / CHUNK * CHUNK].to_vec(),
        ));
        harms.push(("longer".to_owned(), [&v.sealed[..], b"x"].concat()));
        if v.sealed.len() == other.sealed.len() {
            harms.push(("another object".to_owned(), other.sealed.clone()));
        }
        let mut first = true;
        let mut right: Vec<Option<Vec<u8>>> = Vec::new();
        for (what, harmed) in harms {
            let what = format!("{} {what}", v.f.file);
            let touched = harmed.len() != v.sealed.len() || v.sealed.len() < 3 * CHUNK || what.contains("another");
            if touched && !first {
                // What was read before may be in memory still, and is right there.
                vault.restart();
            }
            fs::write(&v.object, &harmed).unwrap();
            let before = alarms(&vault, "integrity");
            let came = v.read(&vault);
            let after = alarms(&vault, "integrity");
            fs::write(&v.object, &v.sealed).unwrap();
            // The frame table is not known before: it must not be taken from what is harmed either.
            if std::mem::take(&mut first) {
                right = v.read(&vault);
                assert!(
                    right.iter().all(Option::is_some),
                    "{what}: {:?}",
                    right.iter().map(Option::is_some).collect::<Vec<_>>()
                );
            }
            let refused = came.iter().filter(|frame| frame.is_none()).count();
            for (n, (came, right)) in came.iter().zip(&right).enumerate() {
                assert!(came.is_none() || came == right, "{what}: wrong bytes came out for {n}");
            }
            assert_eq!(refused > 0, after > before, "{what}: {refused} refused, {} alarms", after - before);
            assert!(!touched || refused == v.frames + 1, "{what}: {refused} refused");
        }
        assert_eq!(v.read(&vault), right, "all is as before");
    }
    assert!(vault.never_died());
}

#[test]
fn without_the_key_service_what_is_open_goes_on_and_the_rest_is_told_to_wait() {
    let vault = Vault::up();
    let (open, data_set) = Fixture::named("ct-1.dcm").renamed(1);
    assert_eq!(vault.store(&open, &data_set).unwrap().status, 0);
    let (closed, data_set) = Fixture::named("ct-1.dcm").renamed(2);
    assert_eq!(vault.store(&closed, &data_set).unwrap().status, 0);
    let paths = |f: &Fixture| {
        [
            (frames_path(f, "1"), OHIF),
            (format!("{}/metadata", series_path(f)), JSON),
            (format!("{}/bulkdata/7FE00010", instance_path(f)), "*/*"),
        ]
    };
    for (path, accept) in paths(&open) {
        assert_eq!(ask(&vault, &path, accept).status, 200, "{path}");
    }
    let keyd = vault.now().pids.keyd;
    signal(keyd, Signal::STOP);
    for (path, accept) in paths(&open) {
        assert_eq!(ask(&vault, &path, accept).status, 200, "{path}: the lease stands");
    }
    for (path, accept) in paths(&closed) {
        let answer = ask(&vault, &path, accept);
        assert_eq!(answer.status, 503, "{path}: {}", answer.text());
        assert_eq!(header(&answer, "retry-after"), Some("5"), "{path}");
        assert_eq!(answer.content_type, "application/problem+json", "{path}");
    }
    signal(keyd, Signal::CONT);
    for (path, accept) in paths(&closed) {
        assert!(until(Duration::from_secs(60), || ask(&vault, &path, accept).status == 200), "{path}");
    }
}

/// The same answers from a bucket: the vault starts again, so that nothing comes from memory.
#[test]
fn frames_and_metadata_come_from_a_bucket_as_from_a_folder() {
    let weed = Weed::start();
    let mut bucket = Vault::with_config(&weed.settings(weed.s3()));
    let folder = Vault::up();
    let mut sent = ["ct-1.dcm", "us-bot.dcm", "us-eot.dcm", "seg.dcm", "sc-deflated.dcm", "mr-bigendian.dcm"]
        .map(|name| (Fixture::named(name), Fixture::named(name).data_set()))
        .to_vec();
    sent.push(large(9, 3));
    for (f, data_set) in &sent {
        for vault in [&bucket, &folder] {
            assert_eq!(vault.store(f, data_set).unwrap().status, 0, "{}", f.file);
        }
    }
    bucket.restart();
    for (f, _) in &sent {
        let frames = if f.file.ends_with("MiB") { 3 } else { f.frames };
        let list = (1..=frames).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
        let [a, b] = [&bucket, &folder].map(|vault| ask(vault, &frames_path(f, &list), "*/*").parts());
        assert_eq!(a.len(), frames as usize, "{}", f.file);
        assert!(a == b, "{}: frames differ", f.file);
        let [a, b] = [&bucket, &folder].map(|vault| {
            let text = ask(vault, &format!("{}/metadata", instance_path(f)), JSON).text();
            text.replace(&vault.up.http.dicomweb, "")
        });
        assert_eq!(a, b, "{}", f.file);
    }
}

#[test]
fn the_service_says_what_it_can_do() {
    let vault = Vault::up();
    let wadl = ask(&vault, "/", "*/*");
    assert_eq!((wadl.status, wadl.content_type.as_str()), (200, "application/vnd.sun.wadl+xml"));
    assert!(wadl.text().contains("id=\"RetrieveFrames\""), "{}", wadl.text());
    let url = format!("{}/", vault.up.http.dicomweb);
    let ask_json = Ask { token: Some(&vault.up.token), accept: Some("application/json"), range: None };
    let options = vault.http().send("OPTIONS", &url, ask_json, Vec::new());
    assert_eq!(options.status, 200);
    assert_eq!(header(&options, "allow"), Some("GET, HEAD, OPTIONS"));
    assert_eq!(options.json()["resources"].as_array().unwrap().len(), 22);
    assert_eq!(ask(&vault, "/", "image/png").status, 406);
}
