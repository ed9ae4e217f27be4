//! The key service dies while a study is half sent: whoever sends does not notice. It is away while one is looked at: what is open
//! stays open until its lease ends, and comes back with the key service.

#![allow(clippy::unwrap_used, reason = "the helpers of a test end where they fail, as the test does")]

use leadglass_testkit::{CT_IMAGE_STORAGE, DataSet, EXPLICIT_VR_LITTLE_ENDIAN};
use leadglass_tests::fixture::Fixture;
use leadglass_tests::process::{kill_9, signal, until};
use leadglass_tests::site::metric;
use leadglass_tests::{part10, vault::Vault};
use rustix::process::Signal;
use std::time::Duration;

const SLICES: u32 = 500;
/// The key service is killed before the first, and has come back before the second.
const STRUCK_AND_BACK: [u32; 2] = [150, 350];
const MULTIPART: &str = "multipart/related; type=\"application/dicom\"";

#[test]
fn a_key_service_that_restarts_is_not_noticed_by_who_sends_500_slices() {
    let vault = Vault::up();
    let mut association =
        vault.associate(&[(CT_IMAGE_STORAGE, EXPLICIT_VR_LITTLE_ENDIAN)]).unwrap().expect("it is accepted");
    let slices: Vec<DataSet> = (0..SLICES).map(|number| DataSet::invented(1, number)).collect();
    let first = vault.now().pids.keyd;
    for slice in &slices {
        if slice.number == STRUCK_AND_BACK[0] {
            kill_9(first);
        }
        if slice.number == STRUCK_AND_BACK[1] {
            vault.wait_restarted(first);
        }
        let bytes = slice.encode();
        let answer =
            association.store(CT_IMAGE_STORAGE, &slice.instance, EXPLICIT_VR_LITTLE_ENDIAN, &mut &bytes[..]).unwrap();
        assert_eq!(answer.status, 0, "slice {}", slice.number);
    }
    // A study that nobody knew begins while nobody gives keys, too: some are held in reserve.
    let second = vault.now().pids.keyd;
    kill_9(second);
    let other = DataSet::invented(2, 1);
    let bytes = other.encode();
    let answer =
        association.store(CT_IMAGE_STORAGE, &other.instance, EXPLICIT_VR_LITTLE_ENDIAN, &mut &bytes[..]).unwrap();
    assert_eq!(answer.status, 0, "a new study");
    association.release().unwrap();

    vault.wait_restarted(second);
    for (study, sent) in [(&slices[0].study, &slices[..]), (&other.study, std::slice::from_ref(&other))] {
        let answer = vault.ask(&format!("/studies/{study}"), Some(&vault.up.token), MULTIPART);
        assert_eq!(answer.status, 200, "{}", answer.text());
        let mut came: Vec<_> = answer.parts().iter().map(|part| part10::data_set(part).to_vec()).collect();
        let mut expected: Vec<_> = sent.iter().map(DataSet::encode).collect();
        came.sort();
        expected.sort();
        assert!(came == expected, "{} of {} came back as they were sent", came.len(), expected.len());
    }
}

/// Leases end after a minute without a word from the key service.
const BLIND: Duration = Duration::from_secs(180);

#[test]
fn a_lease_that_ends_while_nobody_gives_keys_is_a_503_until_somebody_does() {
    let vault = Vault::up();
    let f = Fixture::named("ct-1.dcm");
    vault.store_fixture(&f);
    let instance = format!("/studies/{}/series/{}/instances/{}", f.study, f.series, f.instance);
    let ways = [
        (instance.clone(), "application/dicom"),
        (format!("{instance}/frames/1"), "multipart/related; type=\"application/octet-stream\""),
        (format!("{instance}/metadata"), "application/dicom+json"),
        (format!("{instance}/bulkdata/7FE00010"), "*/*"),
        (format!("{instance}/rendered"), "image/png"),
        (format!("{instance}/thumbnail"), "image/jpeg"),
        (format!("/studies/{}", f.study), MULTIPART),
    ];
    let ask = |way: &(String, &str)| vault.ask(&way.0, Some(&vault.up.token), way.1);
    let right = ways.each_ref().map(|way| {
        let answer = ask(way);
        assert_eq!(answer.status, 200, "{}: {}", way.0, answer.text());
        answer.body.len()
    });
    let keyd = vault.now().pids.keyd;
    signal(keyd, Signal::STOP);
    for way in &ways {
        assert_eq!(ask(way).status, 200, "{}: the lease stands", way.0);
    }
    // It is used all the time, and ends all the same: nobody can say any more whether it was revoked.
    assert!(until(BLIND, || ask(&ways[2]).status == 503), "the lease does not end");
    assert_eq!(metric(&vault, "leadglass_key_leases"), 0);
    for way in &ways {
        let answer = ask(way);
        assert_eq!(answer.status, 503, "{}: {}", way.0, answer.text());
        assert!(answer.headers.iter().any(|(name, value)| name == "retry-after" && value == "5"), "{}", way.0);
        assert_eq!(answer.content_type, "application/problem+json", "{}", way.0);
        assert_eq!(answer.json()["code"], "no-key", "{}: {}", way.0, answer.text());
    }
    // What needs no key goes on.
    for path in ["/studies", "/instances", &format!("/studies/{}/series", f.study)] {
        assert_eq!(vault.ask(path, Some(&vault.up.token), "application/dicom+json").status, 200, "{path}");
    }
    signal(keyd, Signal::CONT);
    for (way, len) in ways.iter().zip(right) {
        assert!(until(BLIND, || ask(way).status == 200), "{}: it does not come back", way.0);
        // Parts have a boundary that is another each time, and as long.
        assert_eq!(ask(way).body.len(), len, "{}", way.0);
    }
    assert!(vault.never_died());
}
