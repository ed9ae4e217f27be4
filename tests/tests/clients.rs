//! Clients that others wrote, against every route they know: curl over HTTP/2, dicomweb-client, Orthanc as a DICOMweb client.

#![allow(clippy::unwrap_used, reason = "the helpers of a test end where they fail, as the test does")]

use leadglass_tests::fixture::Fixture;
use leadglass_tests::http::Ask;
use leadglass_tests::peers::{Orthanc, run_python, said};
use leadglass_tests::vault::Vault;
use leadglass_tests::{part10, scratch};
use std::fs;
use std::process::{Command, Stdio};

/// A recipe: what curl is given beside the address, the path below the DICOMweb root, the status, and how the type begins.
type Recipe = (&'static [&'static str], &'static str, u16, &'static str);

const DICOM_JSON: &str = "application/dicom+json";
const PARTS_OF_DICOM: &str = "multipart/related; type=\"application/dicom\"";
const PARTS_OF_XML: &str = "multipart/related; type=\"application/dicom+xml\"";
const PARTS_OF_OCTETS: &str = "multipart/related; type=\"application/octet-stream\"";
const PROBLEM: &str = "application/problem+json";

/// PS3.18 §8 to §10 as a person types it. `S`, `E`, `I` stand for study, series and instance of a CT slice.
const RECIPES: &[Recipe] = &[
    (&[], "/studies", 200, DICOM_JSON),
    (&["-H", "Accept: application/json"], "/studies?limit=1&offset=0", 200, "application/json"),
    (&["-H", "Accept: multipart/related; type=application/dicom+xml"], "/studies?limit=1", 200, PARTS_OF_XML),
    (&[], "/studies?PatientName=nobody*", 200, DICOM_JSON),
    (&[], "/studies?includefield=all&StudyDate=20000101-20991231", 200, DICOM_JSON),
    (&[], "/studies?ModalitiesInStudy=CT&fuzzymatching=true", 200, DICOM_JSON),
    (&[], "/studies/S/series", 200, DICOM_JSON),
    (&[], "/studies/S/instances", 200, DICOM_JSON),
    (&[], "/studies/S/series/E/instances?SOPInstanceUID=I", 200, DICOM_JSON),
    (&[], "/series?Modality=CT", 200, DICOM_JSON),
    (&[], "/instances?limit=1", 200, DICOM_JSON),
    (&[], "/studies/S", 200, PARTS_OF_DICOM),
    (&[], "/studies/S/series/E", 200, PARTS_OF_DICOM),
    (&[], "/studies/S/series/E/instances/I", 200, PARTS_OF_DICOM),
    (&["-H", "Accept: application/dicom"], "/studies/S/series/E/instances/I", 200, "application/dicom"),
    (
        &["-H", "Accept: application/dicom; transfer-syntax=*"],
        "/studies/S/series/E/instances/I",
        200,
        "application/dicom",
    ),
    (&["-H", "Accept: application/dicom", "-r", "0-131"], "/studies/S/series/E/instances/I", 206, "application/dicom"),
    (&[], "/studies/S/series/E/instances/I?accept=application/dicom", 200, "application/dicom"),
    (&[], "/studies/S/metadata", 200, DICOM_JSON),
    (&["--compressed"], "/studies/S/series/E/metadata", 200, DICOM_JSON),
    (
        &["-H", "Accept: multipart/related; type=application/dicom+xml"],
        "/studies/S/series/E/instances/I/metadata",
        200,
        PARTS_OF_XML,
    ),
    (&[], "/studies/S/series/E/instances/I/frames/1", 200, PARTS_OF_OCTETS),
    (
        &["-H", "Accept: application/octet-stream"],
        "/studies/S/series/E/instances/I/frames/1",
        200,
        "application/octet-stream",
    ),
    (&[], "/studies/S/series/E/instances/I/frames/2", 404, PROBLEM),
    (&[], "/studies/S/series/E/instances/I/frames/0", 400, PROBLEM),
    (&[], "/studies/S/series/E/instances/I/bulkdata/7FE00010", 200, PARTS_OF_OCTETS),
    (
        &["-r", "0-9", "-H", "Accept: application/octet-stream"],
        "/studies/S/series/E/instances/I/bulkdata/7FE00010",
        206,
        "application/octet-stream",
    ),
    (&[], "/studies/S/series/E/instances/I/rendered", 200, "image/jpeg"),
    (
        &["-H", "Accept: image/png"],
        "/studies/S/series/E/instances/I/rendered?window=40,400,linear&viewport=64,64",
        200,
        "image/png",
    ),
    (&["-H", "Accept: image/jpeg"], "/studies/S/series/E/instances/I/frames/1/rendered?quality=80", 200, "image/jpeg"),
    (&["-H", "Accept: image/jpeg"], "/studies/S/series/E/instances/I/thumbnail?viewport=32,32", 200, "image/jpeg"),
    (&["-H", "Accept: image/jpeg"], "/studies/S/series/E/thumbnail", 200, "image/jpeg"),
    (&["-H", "Accept: image/jpeg"], "/studies/S/thumbnail", 200, "image/jpeg"),
    (&["-H", "Accept: text/html"], "/studies/S", 406, PROBLEM),
    (&[], "/studies/1.2.3.4", 404, PROBLEM),
    (&[], "/studies/not-a-uid", 404, PROBLEM),
    (&["-I"], "/studies/S/series/E/instances/I", 200, PARTS_OF_DICOM),
    (&["-X", "OPTIONS"], "/", 200, "application/vnd.sun.wadl+xml"),
    (&["-X", "DELETE"], "/studies/S", 405, ""),
    (&["-H", "Authorization:"], "/studies", 401, PROBLEM),
    (&["-X", "POST", "-H", "Content-Type: text/plain", "-d", "x"], "/studies", 415, PROBLEM),
];

#[test]
fn curl_recipes_work_over_http_2_with_the_status_and_the_type_that_the_standard_says() {
    let vault = Vault::up();
    let dir = scratch();
    let ct = Fixture::named("ct-1.dcm");
    vault.store_fixture(&ct);
    let bearer = format!("Authorization: Bearer {}", vault.up.token);
    let curl = |words: &[&str], path: &str, file: &str| {
        let path = path.split('/').map(|part| match part {
            "S" => ct.study.clone(),
            "E" => ct.series.clone(),
            other => other
                .strip_prefix('I')
                .filter(|rest| rest.is_empty() || rest.starts_with('?'))
                .map_or(other.to_owned(), |rest| format!("{}{rest}", ct.instance)),
        });
        let url = format!(
            "{}{}",
            vault.up.http.dicomweb,
            path.collect::<Vec<_>>().join("/").replace("UID=I", &format!("UID={}", ct.instance))
        );
        let own = if words.contains(&"Authorization:") { "X-Nothing: here" } else { &bearer };
        let told = Command::new("curl")
            .args(["-q", "-sS", "-g", "--noproxy", "*", "--http2", "--cacert", &vault.up.ca, "-H", own])
            .args(["-w", "%{http_code} %{http_version} %{content_type}", "-o"])
            .arg(dir.path().join(file))
            .args(words)
            .arg(&url)
            .stdin(Stdio::null())
            .output()
            .expect("curl is missing: run tests/all once, or install curl");
        assert!(told.status.success(), "{words:?} {url}: {}", said(&told));
        let told = String::from_utf8_lossy(&told.stdout).into_owned();
        let mut words = told.splitn(3, ' ').map(str::to_owned);
        let status: u16 = words.next().unwrap().parse().unwrap();
        (status, words.next().unwrap(), words.next().unwrap())
    };
    for (words, path, status, kind) in RECIPES {
        let (came, version, content_type) = curl(words, path, "answer");
        assert_eq!((came, version.as_str()), (*status, "2"), "{words:?} {path}: {content_type}");
        assert!(content_type.starts_with(kind), "{words:?} {path}: {content_type}");
    }
    // What came is what was sent.
    let (status, ..) = curl(&["-H", "Accept: application/dicom"], "/studies/S/series/E/instances/I", "file.dcm");
    assert_eq!(status, 200);
    assert!(part10::data_set(&fs::read(dir.path().join("file.dcm")).unwrap()) == ct.data_set());
    let file = format!("file={};type=application/dicom", ct.path().display());
    assert_eq!(curl(&["-F", &file], "/studies", "answer").0, 415, "a form is no multipart/related");
}

/// Every method that dicomweb-client has, on every fixture that has what it asks for.
#[test]
fn dicomweb_client_gets_along_with_every_route_that_it_offers() {
    let vault = Vault::up();
    let mut arguments = vec![vault.up.http.dicomweb.clone(), vault.up.token.clone(), vault.up.ca.clone()];
    for name in ["ct-1.dcm", "ct-2.dcm", "us-nobot.dcm", "photo.dcm", "sr.dcm", "dx.dcm", "ct-j2k.dcm"] {
        arguments.push(Fixture::named(name).path().display().to_string());
    }
    let output = run_python(CLIENT, &arguments);
    assert!(output.status.success(), "{}", said(&output));
    assert!(String::from_utf8_lossy(&output.stdout).contains("every method"), "{}", said(&output));
}

const CLIENT: &str = r#"
import inspect, io, sys, warnings, requests, pydicom
from PIL import Image
from dicomweb_client.api import DICOMwebClient
warnings.simplefilter("ignore")
base, token, ca, *names = sys.argv[1:]
session = requests.Session()
session.trust_env, session.verify = False, ca
session.headers["Authorization"] = "Bearer " + token
client = DICOMwebClient(base, session=session)
sets = [pydicom.dcmread(name) for name in names]
used = set()

def call(name, *words, **more):
    used.add(name)
    out = getattr(client, name)(*words, **more)
    return list(out) if inspect.isgenerator(out) else out

def refused(status, name, *words):
    try:
        call(name, *words)
    except requests.HTTPError as error:
        assert error.response.status_code == status, (name, error)
    else:
        raise AssertionError(name)

client.set_chunk_size(64 * 1024)
client.set_http_retry_params(retry=False)
used |= {"set_chunk_size", "set_http_retry_params", "lookup_keyword", "lookup_tag"}
answer = call("store_instances", sets[:3])
assert len(answer.ReferencedSOPSequence) == 3 and "FailedSOPSequence" not in answer
for data in sets[3:]:
    answer = call("store_instances", [data], study_instance_uid=data.StudyInstanceUID)
    assert len(answer.ReferencedSOPSequence) == 1

ct = sets[0]
at = (ct.StudyInstanceUID, ct.SeriesInstanceUID, ct.SOPInstanceUID)
uid = lambda hit, tag: hit[tag]["Value"][0]
studies = call("search_for_studies")
assert {uid(s, "0020000D") for s in studies} == {d.StudyInstanceUID for d in sets}
assert call("search_for_studies", limit=1, get_remaining=True) == studies
assert call("search_for_studies", limit=2, offset=1) == studies[1:3]
one = call("search_for_studies", search_filters={"StudyInstanceUID": at[0]}, fields=["StudyDescription", "00081030"])
assert len(one) == 1 and uid(one[0], "0020000D") == at[0]
assert call("search_for_studies", fuzzymatching=True, search_filters={"PatientID": ct.PatientID})
assert {uid(s, "0020000E") for s in call("search_for_series")} == {d.SeriesInstanceUID for d in sets}
assert uid(call("search_for_series", at[0], search_filters={"Modality": "CT"})[0], "00080060") == "CT"
assert {uid(i, "00080018") for i in call("search_for_instances")} == {d.SOPInstanceUID for d in sets}
assert len(call("search_for_instances", at[0])) == len([d for d in sets if d.StudyInstanceUID == at[0]])
assert at[2] in {uid(i, "00080018") for i in call("search_for_instances", at[0], at[1])}

for data in sets:
    at = (data.StudyInstanceUID, data.SeriesInstanceUID, data.SOPInstanceUID)
    star = (("application/dicom", "*"),)
    assert call("retrieve_instance", *at, media_types=star) == data, at
    for name, depth in (("retrieve_study", 1), ("iter_study", 1), ("retrieve_series", 2), ("iter_series", 2)):
        whole = call(name, *at[:depth], media_types=star)
        fits = [d for d in sets if (d.StudyInstanceUID, d.SeriesInstanceUID)[:depth] == at[:depth]]
        assert {d.SOPInstanceUID for d in whole} == {d.SOPInstanceUID for d in fits}, (name, at)
        assert data in whole
    alone = call("retrieve_instance_metadata", *at)
    assert uid(alone, "00080018") == at[2]
    assert alone in call("retrieve_series_metadata", *at[:2]) and alone in call("retrieve_study_metadata", at[0])
    if "PixelData" not in data:
        refused(404, "retrieve_instance_frames", *at, [1])
        continue
    count = int(data.get("NumberOfFrames", 1))
    numbers = list(range(1, min(count, 3) + 1))
    frames = call("retrieve_instance_frames", *at, numbers)
    assert len(frames) == len(numbers) and frames == call("iter_instance_frames", *at, numbers)
    # As it is told, and plain whatever it is stored in.
    url = alone["7FE00010"]["BulkDataURI"]
    bulk = call("retrieve_bulkdata", url)
    plain = call("retrieve_bulkdata", url, media_types=(("application/octet-stream", "1.2.840.10008.1.2.1"),))
    assert len(b"".join(plain)) >= count * data.Rows * data.Columns * data.SamplesPerPixel * data.BitsAllocated // 8, at
    assert bulk == call("iter_bulkdata", url) and len(b"".join(bulk)) >= len(frames[0])
    for kind in ("image/jpeg", "image/png"):
        # A file of many frames is a film; one of them is a picture.
        pictures = [call("retrieve_instance_frames_rendered", *at, [1], media_types=(kind,))]
        if count == 1:
            pictures.append(call("retrieve_instance_rendered", *at, media_types=(kind,)))
        for picture in pictures:
            picture = Image.open(io.BytesIO(picture))
            assert picture.size == (data.Columns, data.Rows) and picture.format == kind[6:].upper(), at
at = (ct.StudyInstanceUID, ct.SeriesInstanceUID, ct.SOPInstanceUID)
# A series of several pictures comes in parts, which this client does not take.
refused(406, "retrieve_series_rendered", *at[:2], ("image/jpeg",))
# Nothing is deleted by whoever may read.
refused(405, "delete_study", at[0])
refused(405, "delete_series", *at[:2])
refused(405, "delete_instance", *at)
missing = {n for n, f in inspect.getmembers(DICOMwebClient, inspect.isfunction) if n[0] != "_"} - used
assert not missing, missing
print("every method")
"#;

#[test]
fn orthanc_finds_and_fetches_a_study_as_it_was_sent() {
    let vault = Vault::up();
    let dir = scratch();
    let names = ["ct-1.dcm", "ct-2.dcm", "ct-j2k.dcm", "us-bot.dcm", "photo.dcm", "sr.dcm", "pdf.dcm"];
    let sent = names.map(Fixture::named);
    for f in &sent {
        vault.store_fixture(f);
    }
    let further = serde_json::json!({
        "Plugins": [Orthanc::dicomweb_plugin()],
        "HttpsCACertificates": vault.up.ca,
        "DicomWeb": { "Enable": true, "Servers": { "vault": {
            "Url": format!("{}/", vault.up.http.dicomweb),
            "HttpHeaders": { "Authorization": format!("Bearer {}", vault.up.token) },
            "HasDelete": false,
        } } },
    });
    let orthanc = Orthanc::start_with(dir.path(), &[], &further);
    let http = vault.http();
    let post = |path: &str, body: serde_json::Value| {
        let url = format!("{}/dicom-web/servers/vault/{path}", orthanc.base());
        let answer = http.send("POST", &url, Ask::default(), body.to_string().into_bytes());
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.json()
    };
    let found =
        post("qido", serde_json::json!({ "Uri": "/studies", "Arguments": { "StudyInstanceUID": sent[0].study } }));
    assert!(found.to_string().contains(&sent[0].study), "{found}");
    // A study, a series and an instance are fetched, each in its own way.
    let [first, .., last] = &sent;
    let wanted = sent.iter().skip(2).take(4).map(|f| serde_json::json!({ "Study": f.study, "Series": f.series }));
    let wanted: Vec<serde_json::Value> = [serde_json::json!({ "Study": first.study })]
        .into_iter()
        .chain(wanted)
        .chain([serde_json::json!({ "Study": last.study, "Series": last.series, "Instance": last.instance })])
        .collect();
    let _ = post("retrieve", serde_json::json!({ "Resources": wanted, "Synchronous": true }));
    for f in &sent {
        let url = format!("{}/tools/lookup", orthanc.base());
        let ids = http.send("POST", &url, Ask::default(), f.instance.clone().into_bytes()).json();
        let id = ids[0]["ID"].as_str().unwrap_or_else(|| panic!("{}: Orthanc does not have it", f.file));
        let file = http.get(&format!("{}/instances/{id}/file", orthanc.base()), Ask::default());
        assert!(part10::data_set(&file.body) == f.data_set(), "{} came to Orthanc otherwise", f.file);
    }
}
