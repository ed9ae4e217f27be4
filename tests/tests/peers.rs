//! The foreign senders against our recorder: they are on the machine, and the comparison that the system tests make can be made.

use leadglass_tests::fixture::Fixture;
use leadglass_tests::peers::{Orthanc, echoscu, said, storescu};
use leadglass_tests::recorder::Recorder;
use leadglass_tests::scratch;
use std::fs;

#[test]
fn dcmtk_sends_every_fixture_to_the_recorder() {
    let (recorder, scratch) = (Recorder::listen(), scratch());
    let echo = echoscu(recorder.address(), "ECHOSCU", "RECORDER");
    assert!(echo.status.success(), "{}", said(&echo));
    let mut unchanged = 0;
    for f in Fixture::all() {
        let output = storescu(scratch.path(), recorder.address(), "STORESCU", "RECORDER", &f, &f.path());
        assert!(output.status.success(), "{}: {}", f.file, said(&output));
        let kept = recorder.of(&f.instance).expect("the recorder got it");
        assert_eq!(kept.transfer_syntax, f.transfer_syntax, "{}", f.file);
        if kept.data_set == f.data_set() { unchanged += 1 } else { eprintln!("{} is re-encoded by storescu", f.file) }
    }
    assert!(unchanged > 20, "{unchanged} fixtures pass through storescu unchanged");
}

#[test]
fn orthanc_sends_every_fixture_to_the_recorder() {
    let (recorder, scratch) = (Recorder::listen(), scratch());
    let orthanc = Orthanc::start(scratch.path(), &[("recorder", "RECORDER", recorder.address())]);
    for f in Fixture::all() {
        let id = orthanc.upload(fs::read(f.path()).unwrap()).unwrap_or_else(|e| panic!("{}: {e}", f.file));
        orthanc.send(&id, "recorder").unwrap_or_else(|e| panic!("{}: {e}", f.file));
        assert!(recorder.of(&f.instance).is_some(), "{}", f.file);
    }
}
