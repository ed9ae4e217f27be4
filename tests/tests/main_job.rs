//! The main job over real sockets: what a DICOM sender stores comes back over DICOMweb bit for bit, for those who may have it.

use leadglass_tests::fixture::Fixture;
use leadglass_tests::http::Ask;
use leadglass_tests::part10;
use leadglass_tests::peers::{echoscu, said, storescu};
use leadglass_tests::recorder::Recorder;
use leadglass_tests::scratch;
use leadglass_tests::scu::{Association, Callers, EXPLICIT_LE, Refused, VERIFICATION};
use leadglass_tests::vault::Vault;

const DICOM: &str = "application/dicom";
const MULTIPART: &str = "multipart/related; type=\"application/dicom\"";
const JSON: &str = "application/dicom+json";

#[test]
fn dcmtk_stores_every_fixture_and_it_comes_back_as_it_was_sent() {
    let (vault, recorder, scratch) = (Vault::up(), Recorder::listen(), scratch());
    let echo = echoscu(vault.dicom(), "ECHOSCU", &vault.up.dicom.aet);
    assert!(echo.status.success(), "{}", said(&echo));
    for f in Fixture::all() {
        let seen = storescu(scratch.path(), recorder.address(), "STORESCU", "RECORDER", &f, &f.path());
        assert!(seen.status.success(), "{} to the recorder: {}", f.file, said(&seen));
        let sent = storescu(scratch.path(), vault.dicom(), "STORESCU", &vault.up.dicom.aet, &f, &f.path());
        assert!(sent.status.success(), "{}: {}", f.file, said(&sent));
        let witness = recorder.of(&f.instance).expect("the recorder got it");
        let file = vault.file_of(&f).unwrap_or_else(|status| panic!("{}: status {status}", f.file));
        assert_eq!(part10::transfer_syntax(&file), witness.transfer_syntax, "{}", f.file);
        assert!(part10::data_set(&file) == witness.data_set, "{} came back otherwise than it was sent", f.file);
    }
    assert!(vault.never_died());
}

#[test]
fn every_fixture_comes_back_byte_for_byte_and_a_retry_changes_nothing() {
    let mut vault = Vault::up();
    let fixtures = Fixture::all();
    for f in &fixtures {
        vault.store_fixture(f);
        assert!(vault.data_set_of(f) == f.data_set(), "{}", f.file);
    }
    for f in &fixtures {
        vault.store_fixture(f);
    }
    let check = |vault: &Vault| {
        for f in &fixtures {
            let file = vault.file_of(f).unwrap_or_else(|status| panic!("{}: status {status}", f.file));
            assert!(part10::data_set(&file) == f.data_set(), "{}", f.file);
            assert_eq!(part10::transfer_syntax(&file), f.transfer_syntax, "{}", f.file);
            assert_eq!(part10::meta_text(&file, 0x0002).as_deref(), Some(f.sop_class.as_str()), "{}", f.file);
            assert_eq!(part10::meta_text(&file, 0x0003).as_deref(), Some(f.instance.as_str()), "{}", f.file);
            let series =
                vault.ask(&format!("/studies/{}/series/{}", f.study, f.series), Some(&vault.up.token), MULTIPART);
            assert_eq!(series.status, 200, "{}", f.file);
            let siblings = fixtures.iter().filter(|o| o.series == f.series).count();
            assert_eq!(series.parts().len(), siblings, "{}: a retry must not add an instance", f.file);
        }
    };
    check(&vault);
    vault.restart();
    check(&vault);
}

#[test]
fn a_study_and_a_series_come_as_parts_each_bit_for_bit() {
    let vault = Vault::up();
    let slices: Vec<_> = ["ct-1.dcm", "ct-2.dcm", "ct-3.dcm"].map(Fixture::named).to_vec();
    for f in &slices {
        vault.store_fixture(f);
    }
    vault.store_fixture(&Fixture::named("dx.dcm"));
    let token = Some(vault.up.token.as_str());
    let (study, series) = (&slices[0].study, &slices[0].series);
    for (path, expected) in
        [(format!("/studies/{study}"), &slices[..]), (format!("/studies/{study}/series/{series}"), &slices[..2])]
    {
        let answer = vault.ask(&path, token, MULTIPART);
        assert_eq!(answer.status, 200, "{}", answer.text());
        let mut came: Vec<_> = answer.parts().iter().map(|p| part10::data_set(p).to_vec()).collect();
        let mut sent: Vec<_> = expected.iter().map(Fixture::data_set).collect();
        came.sort();
        sent.sort();
        assert!(came == sent, "{} parts of {}", came.len(), sent.len());
    }
    let one =
        vault.ask(&format!("/studies/{study}/series/{series}/instances/{}", slices[0].instance), token, MULTIPART);
    assert_eq!(one.status, 200);
    assert!(part10::data_set(&one.parts()[0]) == slices[0].data_set());
}

#[test]
fn a_range_of_an_instance_is_that_slice_of_the_file() {
    let vault = Vault::up();
    let f = Fixture::named("dx.dcm");
    vault.store_fixture(&f);
    let whole = vault.file_of(&f).unwrap();
    let last = whole.len() - 1;
    for (range, from, to) in [
        ("bytes=0-0".to_owned(), 0, 0),
        ("bytes=128-131".to_owned(), 128, 131),
        ("bytes=1000-30000".to_owned(), 1000, 30000),
        (format!("bytes={}-", last - 10), last - 10, last),
        ("bytes=-5".to_owned(), last - 4, last),
    ] {
        let ask = Ask { token: Some(&vault.up.token), accept: Some(DICOM), range: Some(&range) };
        let answer = vault.http().get(&vault.instance_url(&f), ask);
        assert_eq!(answer.status, 206, "{range}: {}", answer.text());
        assert!(answer.body == whole[from..=to], "{range}");
    }
    let beyond = format!("bytes={}-", whole.len());
    let ask = Ask { token: Some(&vault.up.token), accept: Some(DICOM), range: Some(&beyond) };
    assert_eq!(vault.http().get(&vault.instance_url(&f), ask).status, 416);
}

#[test]
fn a_study_is_found_by_its_uid_its_patients_id_and_name() {
    let vault = Vault::up();
    let fixtures: Vec<_> =
        ["ct-1.dcm", "ct-2.dcm", "dx.dcm", "names-ja.dcm", "names-latin1.dcm", "names-ko.dcm", "nameless.dcm"]
            .map(Fixture::named)
            .to_vec();
    for f in &fixtures {
        vault.store_fixture(f);
    }
    let find = |query: &str| {
        let answer = vault.ask(&format!("/studies{query}"), Some(&vault.up.token), JSON);
        assert!(answer.status == 200 || answer.status == 204, "{query}: {} {}", answer.status, answer.text());
        let mut found: Vec<String> = Vec::new();
        if answer.status == 200 {
            for study in answer.json().as_array().expect("an array").iter() {
                found.push(study["0020000D"]["Value"][0].as_str().expect("a Study Instance UID").to_owned());
            }
        }
        found.sort();
        found
    };
    for f in &fixtures {
        assert_eq!(find(&format!("?StudyInstanceUID={}", f.study)), [f.study.as_str()], "{}", f.file);
        assert_eq!(find(&format!("?0020000D={}", f.study)), [f.study.as_str()], "{}", f.file);
        if !f.patient_id.is_empty() {
            assert_eq!(find(&format!("?PatientID={}", f.patient_id)), [f.study.as_str()], "{}", f.file);
        }
    }
    let study = |file: &str| Fixture::named(file).study;
    assert_eq!(find("?PatientName=FIXTURE%5EDX"), [study("dx.dcm")]);
    assert_eq!(find("?PatientName=fixture%5Edx"), [study("dx.dcm")], "case does not matter");
    let mut both = vec![study("ct-1.dcm"), study("dx.dcm")];
    both.sort();
    assert_eq!(find("?PatientName=FIXTURE*"), both);
    assert_eq!(find("?PatientName=Yamada*"), [study("names-ja.dcm")]);
    assert_eq!(find("?PatientName=Buc%5EJ%C3%A9r%C3%B4me"), [study("names-latin1.dcm")]);
    assert_eq!(find("?PatientName=Nobody*"), Vec::<String>::new());
    assert_eq!(find("").len(), 6, "six studies were stored");
}

#[test]
fn who_may_not_see_a_study_cannot_tell_that_it_exists() {
    let vault = Vault::up();
    let f = Fixture::named("dx.dcm");
    vault.store_fixture(&f);
    let other = Some(vault.up.tokens.other_tenant.as_str());
    let instance = format!("/studies/{}/series/{}/instances/{}", f.study, f.series, f.instance);
    for (path, accept) in [
        (instance.clone(), DICOM),
        (format!("/studies/{}", f.study), MULTIPART),
        (format!("/studies/{}/series/{}", f.study, f.series), MULTIPART),
    ] {
        let (theirs, absent) =
            (vault.ask(&path, other, accept), vault.ask(&path.replace("2.25.", "2.25.9"), other, accept));
        assert_eq!(theirs.status, 404, "{path}");
        assert_eq!((theirs.status, &theirs.content_type), (absent.status, &absent.content_type));
    }
    for query in [format!("?StudyInstanceUID={}", f.study), format!("?PatientID={}", f.patient_id), String::new()] {
        let answer = vault.ask(&format!("/studies{query}"), other, JSON);
        let empty =
            answer.status == 204 || (answer.status == 200 && answer.json().as_array().is_some_and(Vec::is_empty));
        assert!(empty, "{}: {}", answer.status, answer.text());
    }
    for token in [None, Some("lg_nobody"), Some("")] {
        assert_eq!(vault.ask(&instance, token, DICOM).status, 401, "{token:?}");
        assert_eq!(vault.ask("/studies", token, JSON).status, 401, "{token:?}");
    }
    assert_eq!(vault.file_of(&f).map(|b| b.len() > 1000), Ok(true), "its own tenant still reads it");
}

#[test]
fn a_call_for_an_unknown_ae_is_refused_by_name() {
    let vault = Vault::up();
    let stranger = Callers { calling: "SYSTEMTEST".to_owned(), called: "NOBODY-HERE".to_owned() };
    let refused = Association::open(vault.dicom(), &stranger, &[(VERIFICATION, EXPLICIT_LE)]).unwrap().unwrap_err();
    // PS3.8 Table 9-21: rejected permanently, by the service user, called AE title not recognised.
    assert_eq!(refused, Refused::Rejected(1, 1, 7));
    assert!(vault.echoes());
}
