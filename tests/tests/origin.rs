//! Where a study came from: who looks at an image sees what vouched for whoever sent it.

#![allow(clippy::unwrap_used, reason = "a helper that cannot go on fails its test")]

use leadglass_tests::devices::device;
use leadglass_tests::fixture::Fixture;
use leadglass_tests::http::{Answer, Ask};
use leadglass_tests::scu::{Association, Callers};
use leadglass_tests::site::{drained, sibling};
use leadglass_tests::stow::{DICOM_PARTS, body, file_of};
use leadglass_tests::vault::Vault;
use serde_json::{Value, json};

#[test]
fn a_study_says_which_device_sent_it_and_how_that_is_known() {
    let vault = Vault::with_config("[[devices]]\nname = 'nobody'\naet = 'NOBODY'\naddress = '192.0.2.1'\n");
    device(&vault, &["add", "sensor", "--level", "address", "--aet", "SENSOR", "--address", "127.0.0.1"]);
    let (f, data_set) = Fixture::named("ct-1.dcm").renamed(1);
    let beside = sibling(&f, &data_set, 7);
    let who = Callers { calling: "SENSOR".to_owned(), called: vault.up.dicom.aet.clone() };
    let mut sensor = Association::open(vault.dicom(), &who, &[(&f.sop_class, &f.transfer_syntax)]).unwrap().unwrap();
    let sent = sensor.store(&f.sop_class, &f.instance, &f.transfer_syntax, &mut &data_set[..]).unwrap();
    assert_eq!(sent.status, 0);
    sensor.release().unwrap();
    let ask = Ask { token: Some(&vault.up.token), ..Ask::default() };
    let file = file_of(&beside.0, &beside.1);
    let url = format!("{}/studies", vault.up.http.dicomweb);
    assert_eq!(vault.http().try_post(&url, ask, DICOM_PARTS, body([file.as_slice()])).unwrap().status, 200);
    drained(&vault);

    let origin = |token: &str| -> Answer {
        let url = format!("{}/api/v1/studies/{}/origin", vault.up.http.base, f.study);
        vault.http().get(&url, Ask { token: Some(token), ..Ask::default() })
    };
    let told = |answer: &Answer| -> Vec<Value> {
        assert_eq!(answer.status, 200, "{}", answer.text());
        let all = answer.json();
        assert_eq!((&all[0]["series"], all.as_array().map(Vec::len)), (&json!(f.series), Some(1)));
        let mut from = all[0]["from"].as_array().unwrap().clone();
        from.sort_by_key(|one| one["kind"].to_string());
        from
    };
    let sensor = json!({ "kind": "device", "name": "sensor", "level": "address", "level_number": 1, "instances": 1 });
    let clinician = json!({ "kind": "program", "name": "up: clinician", "instances": 1 });
    assert_eq!(told(&origin(&vault.up.token)), [sensor.clone(), clinician.clone()]);
    assert_eq!(origin(&vault.up.tokens.other_tenant).status, 404);
    // What a device sent keeps its name when it may send no more.
    device(&vault, &["revoke", "sensor"]);
    assert_eq!(told(&origin(&vault.up.token)), [sensor, clinician]);
}
