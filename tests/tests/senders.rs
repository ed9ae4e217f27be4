//! Senders that others wrote: pynetdicom and Orthanc. (dcmtk's storescu stands in `main_job`.)

use leadglass_tests::fixture::Fixture;
use leadglass_tests::part10;
use leadglass_tests::peers::{Orthanc, run_python, said};
use leadglass_tests::recorder::Recorder;
use leadglass_tests::scratch;
use leadglass_tests::vault::Vault;
use std::fs;
use std::net::SocketAddr;

/// Sends each file twice: as its raw bytes in pieces, and as a data set that pynetdicom encodes. Prints `file status` lines.
const PYNETDICOM: &str = r#"
import sys, warnings, pydicom
from pathlib import Path
from pynetdicom import AE, _config
warnings.simplefilter("ignore")
host, port, called, chunked = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4] == "chunked"
_config.STORE_SEND_CHUNKED_DATASET = chunked
for name in sys.argv[5:]:
    meta = pydicom.dcmread(name, stop_before_pixels=True).file_meta
    ae = AE(ae_title="PYNETDICOM")
    ae.add_requested_context(meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID)
    association = ae.associate(host, port, ae_title=called)
    if not association.is_established:
        print(Path(name).name, "refused", flush=True)
        continue
    status = association.send_c_store(name if chunked else pydicom.dcmread(name))
    print(Path(name).name, f"{status.Status:04x}" if "Status" in status else "none", flush=True)
    association.release()
"#;

fn pynetdicom(to: SocketAddr, called: &str, how: &str, fixtures: &[Fixture]) {
    let mut arguments = vec![to.ip().to_string(), to.port().to_string(), called.to_owned(), how.to_owned()];
    arguments.extend(fixtures.iter().map(|f| f.path().display().to_string()));
    let output = run_python(PYNETDICOM, &arguments);
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    for f in fixtures {
        assert!(lines.lines().any(|l| l == format!("{} 0000", f.file)), "{} {how}: {}", f.file, said(&output));
    }
}

#[test]
fn pynetdicom_in_pieces_stores_every_fixture_byte_for_byte() {
    let (vault, fixtures) = (Vault::up(), Fixture::all());
    pynetdicom(vault.dicom(), &vault.up.dicom.aet, "chunked", &fixtures);
    for f in &fixtures {
        assert!(vault.data_set_of(f) == f.data_set(), "{}", f.file);
    }
}

#[test]
fn what_pynetdicom_encodes_itself_comes_back_as_it_was_sent() {
    let (vault, recorder, fixtures) = (Vault::up(), Recorder::listen(), Fixture::all());
    pynetdicom(recorder.address(), "RECORDER", "encoded", &fixtures);
    pynetdicom(vault.dicom(), &vault.up.dicom.aet, "encoded", &fixtures);
    for f in &fixtures {
        let witness = recorder.of(&f.instance).expect("the recorder got it");
        assert!(vault.data_set_of(f) == witness.data_set, "{}", f.file);
    }
}

#[test]
fn orthanc_stores_every_fixture_and_it_comes_back_as_it_was_sent() {
    let (vault, recorder, scratch) = (Vault::up(), Recorder::listen(), scratch());
    let aet = vault.up.dicom.aet.clone();
    let orthanc =
        Orthanc::start(scratch.path(), &[("vault", &aet, vault.dicom()), ("recorder", "RECORDER", recorder.address())]);
    for f in Fixture::all() {
        let id = orthanc.upload(fs::read(f.path()).unwrap()).unwrap_or_else(|e| panic!("{}: {e}", f.file));
        for peer in ["recorder", "vault"] {
            orthanc.send(&id, peer).unwrap_or_else(|e| panic!("{} to the {peer}: {e}", f.file));
        }
        let witness = recorder.of(&f.instance).expect("the recorder got it");
        let file = vault.file_of(&f).unwrap_or_else(|status| panic!("{}: status {status}", f.file));
        assert_eq!(part10::transfer_syntax(&file), witness.transfer_syntax, "{}", f.file);
        assert!(part10::data_set(&file) == witness.data_set, "{}", f.file);
    }
}
