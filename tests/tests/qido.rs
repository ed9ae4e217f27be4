//! QIDO-RS over real sockets: names in every character set sent by dcmtk, what viewers ask, and a foreign client.
#![allow(clippy::unwrap_used, reason = "helpers of tests stop where something is wrong")]

use leadglass_tests::fixture::Fixture;
use leadglass_tests::http::{Answer, Ask};
use leadglass_tests::peers::{run_python, said, storescu};
use leadglass_tests::scratch;
use leadglass_tests::vault::Vault;
use serde_json::Value;

const JSON: &str = "application/dicom+json";

fn ask(vault: &Vault, path: &str) -> Answer {
    vault.ask(path, Some(&vault.up.token), JSON)
}

/// The results' values of one attribute, in their order.
fn found(vault: &Vault, path: &str, tag: &str) -> Vec<String> {
    let answer = ask(vault, path);
    assert_eq!((answer.status, answer.content_type.as_str()), (200, JSON), "{path}: {}", answer.text());
    let list = answer.json();
    let value = |object: &Value| object[tag]["Value"][0].as_str().unwrap_or_default().to_owned();
    list.as_array().unwrap().iter().map(value).collect()
}

fn encoded(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~*".contains(&b);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

#[test]
fn names_in_every_character_set_are_found_by_each_of_their_groups() {
    let vault = Vault::up();
    let scratch = scratch();
    let fixtures: Vec<Fixture> = Fixture::all().into_iter().filter(|f| f.file.starts_with("names-")).collect();
    assert!(fixtures.len() >= 13, "ISO 2022 of three countries, GB18030, UTF-8 and the single-byte sets");
    for f in &fixtures {
        let sent = storescu(scratch.path(), vault.dicom(), "QIDO", &vault.up.dicom.aet, f, &f.path());
        assert!(sent.status.success(), "{}: {}", f.file, said(&sent));
    }
    for f in &fixtures {
        let groups: Vec<&str> = f.patient_name.split('=').filter(|group| !group.is_empty()).collect();
        let mut asked = vec![f.patient_name.clone(), f.patient_name.to_lowercase()];
        for group in &groups {
            let start: String = group.chars().take(2).collect();
            let end: String = group.chars().skip(1).collect();
            asked.extend([(*group).to_owned(), format!("{start}*"), format!("?{end}"), format!("*{end}")]);
        }
        for name in asked {
            let path = format!("/studies?PatientName={}", encoded(&name));
            assert!(found(&vault, &path, "0020000D").contains(&f.study), "{}: not found by {name}", f.file);
        }
        // What was sent in another character set comes back as Unicode, group by group.
        let answer = ask(&vault, &format!("/studies?PatientID={}", f.patient_id)).json();
        assert_eq!(answer.as_array().unwrap().len(), 1, "{}", f.file);
        let name = &answer[0]["00100010"]["Value"][0];
        for (word, text) in ["Alphabetic", "Ideographic", "Phonetic"].iter().zip(f.patient_name.split('=')) {
            assert_eq!(name[word].as_str().unwrap_or_default(), text, "{}: {word}", f.file);
        }
    }
    // Without accents, in the other case, with half-width kana for full-width ones.
    for (name, file) in [
        ("buc^jerome", "names-latin1.dcm"),
        ("BÜC^JÉRÔME", "names-mixed.dcm"),
        ("buec*", "names-mixed.dcm"),
        ("διονυσιοσ", "names-greek.dcm"),
        ("ΔΙΟΝΥΣΙΟΣ", "names-greek.dcm"),
        ("люксем*", "names-cyrillic.dcm"),
        ("ヤマダ^*", "names-ja-kana.dcm"),
        ("=山田^太郎", "names-ja.dcm"),
        ("==やまだ*", "names-ja.dcm"),
        ("=洪^*", "names-ko.dcm"),
        ("=王^小东", "names-zh-gb18030.dcm"),
        ("=王^小東", "names-utf8.dcm"),
        ("=张*", "names-zh-2022.dcm"),
    ] {
        let path = format!("/studies?PatientName={}", encoded(name));
        let study = Fixture::named(file).study;
        assert!(found(&vault, &path, "0020000D").contains(&study), "{file}: not found by {name}");
    }
    for name in ["=Yamada*", "山本*", "Yamada"] {
        assert!(found(&vault, &format!("/studies?PatientName={}", encoded(name)), "0020000D").is_empty(), "{name}");
    }
}

#[test]
fn what_viewers_and_clients_ask_is_answered() {
    let vault = Vault::up();
    let files = ["ct-1.dcm", "ct-2.dcm", "ct-3.dcm", "dx.dcm", "io.dcm", "nameless.dcm", "us-bot.dcm"];
    let fixtures: Vec<Fixture> = files.iter().map(|file| Fixture::named(file)).collect();
    fixtures.iter().for_each(|f| vault.store_fixture(f));
    a_viewer_is_understood(&vault, &fixtures);
    every_level_is_answered(&vault, &fixtures);
    pages_follow_each_other(&vault);
    forms_are_negotiated(&vault);
    what_cannot_be_matched_is_refused(&vault);
    another_tenant_finds_nothing(&vault, &fixtures);
    a_foreign_client_finds_everything(&vault, &fixtures);
}

/// OHIF's requests, as its proxy logged them.
fn a_viewer_is_understood(vault: &Vault, fixtures: &[Fixture]) {
    let (ct, dx) = (&fixtures[0], &fixtures[3]);
    let fields = "fuzzymatching=false&includefield=00081030%2C00080060";
    let all = found(vault, &format!("/studies?limit=101&offset=0&{fields}"), "0020000D");
    assert_eq!(all.len(), 5, "five studies");
    let family: String = ct.patient_name.split('^').next().unwrap().chars().skip(1).take(3).collect();
    let middle: String = ct.patient_id.chars().skip(1).take(4).collect();
    let first = &ask(vault, &format!("/studies?StudyInstanceUID={}", ct.study)).json()[0];
    let text = |tag: &str| first[tag]["Value"][0].as_str().unwrap_or_default().to_owned();
    let date = text("00080020");
    for query in [
        format!("PatientName=*{}*&limit=101&offset=0&{fields}", encoded(&family)),
        format!("00100020=*{}*&limit=101&offset=0&{fields}", encoded(&middle)),
        format!("00100020={}&limit=101&offset=0&{fields}", encoded(&ct.patient_id)),
        format!("ModalitiesInStudy=CT%2CDX&limit=101&offset=0&{fields}&StudyDate={date}-{date}"),
        format!("limit=101&offset=0&{fields}&StudyInstanceUID={}", ct.study),
        format!("limit=101&StudyInstanceUID={}%5C{}", dx.study, ct.study),
        format!("StudyDescription=*{}*&AccessionNumber=*", encoded(&text("00081030"))),
        format!("PatientID={}&includefield=all", ct.patient_id),
        format!("PatientID={}&includefield=StudyDescription&includefield=00081030", ct.patient_id),
        format!("PatientID={}&PatientName=&StudyDate=&fuzzymatching=true", ct.patient_id),
    ] {
        assert!(found(vault, &format!("/studies?{query}"), "0020000D").contains(&ct.study), "not found by {query}");
    }
    // Nearly right is found by whoever says so, and what is not kept is said to be left out.
    let wrong: String = family.chars().rev().collect();
    let whole = ct.patient_name.split('^').next().unwrap();
    let (given, short) = (ct.patient_name.split('^').nth(1).unwrap_or_default(), &whole[..whole.len() - 1]);
    let turned = encoded(&format!("{given} {short}"));
    let nearly =
        |fuzzy: &str| found(vault, &format!("/studies?PatientName={turned}&fuzzymatching={fuzzy}"), "0020000D");
    assert!(nearly("true").contains(&ct.study) && !nearly("false").contains(&ct.study), "{given} {short}");
    assert!(found(vault, &format!("/studies?PatientName={wrong}x&fuzzymatching=true"), "0020000D").is_empty());
    for (fields, warned) in [("StudyDescription", false), ("all", false), ("PixelSpacing", true), ("00091001", true)] {
        let answer = ask(vault, &format!("/studies?includefield={fields}"));
        let warning = answer.headers.iter().find(|(name, _)| name == "warning");
        assert_eq!(warning.is_some_and(|(_, text)| text.contains("left out")), warned, "{fields}");
    }
    let modalities = found(vault, "/studies?ModalitiesInStudy=DX", "0020000D");
    assert!(modalities.contains(&dx.study) && !modalities.contains(&ct.study));
    let series = format!("/studies/{}/series?includefield=00080021%2C00080031%2C0008103E%2C00200011", ct.study);
    assert_eq!(found(vault, &series, "00080060"), ["CT", "CT"]);
}

fn every_level_is_answered(vault: &Vault, fixtures: &[Fixture]) {
    let ct = &fixtures[0];
    let study = &ask(vault, &format!("/studies?StudyInstanceUID={}", ct.study)).json()[0];
    let counts = (&study["00201206"]["Value"][0], &study["00201208"]["Value"][0]);
    assert_eq!(counts, (&Value::from(2), &Value::from(3)));
    assert_eq!(study["00080061"]["Value"], serde_json::json!(["CT"]));
    assert_eq!(study["00080005"]["Value"][0], "ISO_IR 192");

    // Retrieve URL leads to what was found, at each level.
    for path in [
        format!("/studies?StudyInstanceUID={}", ct.study),
        format!("/series?SeriesInstanceUID={}", ct.series),
        format!("/instances?SOPInstanceUID={}", ct.instance),
    ] {
        let urls = found(vault, &path, "00081190");
        let ask = Ask {
            token: Some(&vault.up.token),
            accept: Some("multipart/related; type=\"application/dicom\""),
            range: None,
        };
        let [url] = urls.as_slice() else { panic!("{path}: {urls:?}") };
        assert!(url.starts_with(&vault.up.http.dicomweb), "{url}");
        assert_eq!(vault.http().get(url, ask).status, 200, "{url}");
    }

    let all_series = found(vault, "/series?Modality=CT", "0020000E");
    assert_eq!(all_series.len(), 2);
    assert_eq!(found(vault, &format!("/studies/{}/series?Modality=MR", ct.study), "0020000E"), [""; 0]);
    let of_patient = format!("/series?PatientID={}&Modality=C*", ct.patient_id);
    assert_eq!(found(vault, &of_patient, "0020000E"), all_series);

    let of_study = found(vault, &format!("/studies/{}/instances", ct.study), "00080018");
    assert_eq!(of_study.len(), 3);
    let of_series = found(vault, &format!("/studies/{}/series/{}/instances", ct.study, ct.series), "00080018");
    assert_eq!(of_series, [fixtures[0].instance.as_str(), &fixtures[1].instance]);
    let one = format!("/studies/{}/instances?SOPInstanceUID={}&Modality=CT", ct.study, ct.instance);
    let instance = &ask(vault, &one).json()[0];
    assert_eq!(instance["00080016"]["Value"][0], ct.sop_class.as_str());
    assert_eq!(instance["00083002"]["Value"][0], ct.transfer_syntax.as_str());
    for tag in ["00280010", "00280011", "00280100", "00200013"] {
        assert!(instance[tag]["Value"][0].is_number(), "{tag}");
    }
    let frames = &ask(vault, &format!("/instances?PatientID={}", fixtures[6].patient_id)).json()[0];
    assert_eq!(frames["00280008"]["Value"][0], fixtures[6].frames);
    // Instances across studies, and none where the UIDs of path and query do not meet.
    assert_eq!(found(vault, "/instances?Modality=CT&StudyDate=19000101-", "00080018").len(), 3);
    let apart = format!("/studies/{}/instances?StudyInstanceUID=1.2.3", ct.study);
    assert_eq!(found(vault, &apart, "00080018"), [""; 0]);
    for absent in ["/studies/1.2.3/series", "/studies/1.2.3/instances", "/studies/x/instances"] {
        assert_eq!(ask(vault, absent).status, 404, "{absent}");
    }
    assert_eq!(ask(vault, &format!("/studies/{}/series/1.2.3/instances", ct.study)).status, 404);
}

fn pages_follow_each_other(vault: &Vault) {
    for level in ["studies", "series", "instances"] {
        let tag = match level {
            "studies" => "0020000D",
            "series" => "0020000E",
            _ => "00080018",
        };
        let all = found(vault, &format!("/{level}"), tag);
        let mut paged = Vec::new();
        for offset in (0..all.len()).step_by(2) {
            let path = format!("/{level}?limit=2&offset={offset}");
            let more =
                ask(vault, &path).headers.iter().any(|(name, value)| name == "warning" && value.starts_with("299 "));
            assert_eq!(more, offset + 2 < all.len(), "{path}");
            paged.extend(found(vault, &path, tag));
        }
        assert_eq!(paged, all, "{level}");
        assert!(found(vault, &format!("/{level}?offset=100000"), tag).is_empty());
        assert!(found(vault, &format!("/{level}?limit=0"), tag).is_empty());
    }
    let dates = found(vault, "/studies", "00080020");
    assert!(dates.iter().rev().is_sorted(), "the newest study first: {dates:?}");
}

fn forms_are_negotiated(vault: &Vault) {
    let get = |accept: &str, path: &str| vault.ask(path, Some(&vault.up.token), accept);
    for accept in [JSON, "*/*", "application/dicom+json; charset=utf-8"] {
        assert_eq!(get(accept, "/studies").content_type, JSON, "{accept}");
    }
    assert_eq!(get("application/json", "/studies").content_type, "application/json");
    let xml = get("multipart/related; type=\"application/dicom+xml\"", "/series");
    let parts = xml.parts();
    assert_eq!(parts.len(), found(vault, "/series", "0020000E").len());
    for part in parts {
        let text = String::from_utf8(part).unwrap();
        assert!(text.contains("<NativeDicomModel") && text.contains("keyword=\"SeriesInstanceUID\""), "{text}");
    }
    for accept in ["text/html", "application/dicom+xml", "multipart/related; type=\"application/dicom\""] {
        assert_eq!(get(accept, "/studies").status, 406, "{accept}");
    }
}

fn what_cannot_be_matched_is_refused(vault: &Vault) {
    for query in [
        "Foo=1",
        "Modality=CT",
        "RequestAttributesSequence.ScheduledProcedureStepID=1",
        "0020,000D=1.2",
        "StudyDate=2024",
        "PatientName=a*b*c*d*e*f*g*h*i*",
        "limit=many",
        "ModalitiesInStudy=,",
        "includefield=NoSuchAttribute",
    ] {
        let answer = ask(vault, &format!("/studies?{query}"));
        assert_eq!((answer.status, answer.content_type.as_str()), (400, "application/problem+json"), "{query}");
        assert_eq!(answer.json()["code"], "query", "{query}");
    }
    let nobody = vault.ask("/studies", None, JSON);
    assert_eq!(nobody.status, 401);
}

fn another_tenant_finds_nothing(vault: &Vault, fixtures: &[Fixture]) {
    let ct = &fixtures[0];
    let other = Some(vault.up.tokens.other_tenant.as_str());
    for query in
        ["", "?PatientName=*", &format!("?StudyInstanceUID={}", ct.study), &format!("?PatientID={}", ct.patient_id)]
    {
        for level in ["studies", "series", "instances"] {
            let answer = vault.ask(&format!("/{level}{query}"), other, JSON);
            assert_eq!((answer.status, answer.json()), (200, serde_json::json!([])), "/{level}{query}");
        }
    }
    for path in ["series", "instances", &format!("series/{}/instances", ct.series)] {
        assert_eq!(vault.ask(&format!("/studies/{}/{path}", ct.study), other, JSON).status, 404, "{path}");
    }
}

/// dicomweb-client of PyPI.
fn a_foreign_client_finds_everything(vault: &Vault, fixtures: &[Fixture]) {
    let ct = &fixtures[0];
    let arguments: Vec<String> =
        [&vault.up.http.dicomweb, &vault.up.token, &vault.up.ca, &ct.study, &ct.series, &ct.instance, &ct.patient_id]
            .into_iter()
            .cloned()
            .collect();
    let output = run_python(CLIENT, &arguments);
    assert!(output.status.success(), "{}", said(&output));
}

const CLIENT: &str = r#"
import sys, requests
from dicomweb_client.api import DICOMwebClient
url, token, ca, study, series, instance, patient = sys.argv[1:]
session = requests.Session()
session.trust_env = False
session.verify = ca
session.headers["Authorization"] = "Bearer " + token
client = DICOMwebClient(url=url, session=session)
uids = lambda found, tag: [one[tag]["Value"][0] for one in found]
assert len(client.search_for_studies()) == 5
assert uids(client.search_for_studies(search_filters={"PatientID": patient}), "0020000D") == [study]
assert uids(client.search_for_studies(search_filters={"00100020": patient}, fields=["StudyDescription"], fuzzymatching=True), "0020000D") == [study]
assert len(client.search_for_studies(limit=2, offset=1)) == 2
assert client.search_for_studies(search_filters={"PatientID": "nobody"}) == []
assert len(client.search_for_series()) == 6
assert series in uids(client.search_for_series(study), "0020000E")
assert series in uids(client.search_for_series(search_filters={"Modality": "CT"}), "0020000E")
assert len(client.search_for_instances()) == 7
assert len(client.search_for_instances(study)) == 3
assert instance in uids(client.search_for_instances(study, series), "00080018")
assert uids(client.search_for_instances(search_filters={"SOPInstanceUID": instance}), "00080018") == [instance]
assert len(client.search_for_studies(get_remaining=True, limit=2)) == 5
"#;

/// The keys of PS3.18 Table 10.6.1-5 that lie in a sequence.
#[test]
fn a_series_is_found_by_what_was_ordered() {
    let vault = Vault::up();
    let (ordered, other) = (Fixture::named("cr-implicit.dcm"), Fixture::named("dx.dcm"));
    vault.store_fixture(&ordered);
    vault.store_fixture(&other);
    let step = "RequestAttributesSequence.ScheduledProcedureStepID";
    for (query, fits) in [
        (format!("{step}=STEP1"), true),
        (format!("{step}=STEP?&RequestAttributesSequence.RequestedProcedureID=PROC1"), true),
        ("00400275.00401001=PROC*&Modality=CR".to_owned(), true),
        (format!("{step}=STEP1&00400275.00401001=PROC2"), false),
        (format!("{step}=STEP2"), false),
        ("PerformedProcedureStepStartDate=20200101-".to_owned(), false),
    ] {
        let series = found(&vault, &format!("/series?{query}"), "0020000E");
        assert_eq!(series.contains(&ordered.series), fits, "{query}");
        assert!(!series.contains(&other.series), "{query}");
        let instances = found(&vault, &format!("/studies/{}/instances?{query}", ordered.study), "00080018");
        assert_eq!(instances.contains(&ordered.instance), fits, "{query}");
        assert_eq!(ask(&vault, &format!("/studies?{query}")).status, 400, "{query}: it belongs to series");
    }
    let series = &ask(&vault, &format!("/studies/{}/series?includefield=00400275", ordered.study)).json()[0];
    let item = &series["00400275"]["Value"][0];
    assert_eq!((&item["00400009"]["Value"][0], &item["00401001"]["Value"][0]), (&"STEP1".into(), &"PROC1".into()));
    let xml = vault.ask("/series", Some(&vault.up.token), "multipart/related; type=\"application/dicom+xml\"").text();
    assert!(xml.contains("<Item number=\"1\">") && xml.contains("keyword=\"RequestedProcedureID\""), "{xml}");
}
