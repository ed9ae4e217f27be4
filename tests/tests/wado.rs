//! WADO-RS as clients ask for it: metadata and frames of every fixture, compared with what pydicom reads from the file; the
//! forms, the conditions and the refusals.

#![allow(clippy::unwrap_used, reason = "the helpers of a test end where they fail, as the test does")]

use leadglass_tests::fixture::Fixture;
use leadglass_tests::http::{Answer, Ask};
use leadglass_tests::peers::{run_python, said};
use leadglass_tests::vault::Vault;
use serde_json::Value;

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
    for f in Fixture::all() {
        vault.store_fixture(&f);
        arguments.push(f.path().to_string_lossy().into_owned());
    }
    let output = run_python(CLIENT, &arguments);
    assert!(output.status.success(), "{}", said(&output));
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(told.contains("frames 59, metadata 43"), "{told}");
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

frames = metadata = 0
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
    assert {e.tag for e in read} == {e.tag for e in ds if e.tag != 0xFFFCFFFC and e.tag.element != 0}, path
    metadata += 1
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
print(f'frames {frames}, metadata {metadata}')
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
