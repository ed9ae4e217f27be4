//! The key service dies while a study is half sent: whoever sends does not notice.

#![allow(clippy::unwrap_used, reason = "the helpers of a test end where they fail, as the test does")]

use leadglass_testkit::{CT_IMAGE_STORAGE, DataSet, EXPLICIT_VR_LITTLE_ENDIAN};
use leadglass_tests::{part10, process::kill_9, vault::Vault};

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
