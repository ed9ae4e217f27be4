//! A patient called CANARY^NEVER goes down every path and every failure; then she is looked for where nobody may find her.

use leadglass_tests::eyes::{Eyes, Sighting};
use leadglass_tests::fixture::Fixture;
use leadglass_tests::http::{Answer, Ask};
use leadglass_tests::scu::{Callers, EXPLICIT_LE, field, pdata, pdv};
use leadglass_tests::vault::Vault;
use std::io::Write as _;

/// The fixture and everything that names her: CANARY stands in every value of hers, the UIDs are hers alone.
struct Canary {
    f: Fixture,
    data_set: Vec<u8>,
    eyes: Eyes,
}

impl Canary {
    fn new() -> Self {
        let f = Fixture::named("canary.dcm");
        let eyes = Eyes::for_words(&["CANARY", &f.study, &f.series, &f.instance[..f.instance.len() - 1]]);
        let data_set = f.data_set();
        assert!(eyes.look("fixture", &data_set).len() >= 4, "the eyes see her where she is");
        Self { f, data_set, eyes }
    }

    /// As large as the objects that are written while they arrive: private bulk in front of nothing.
    fn large(&self) -> (Fixture, Vec<u8>) {
        let mut f = self.f.clone();
        let mut data_set = self.data_set.clone();
        // The last digit is part of the hash in base ten; another one names another instance of the same study.
        let last = if f.instance.ends_with('7') { '8' } else { '7' };
        let other = format!("{}{last}", &f.instance[..f.instance.len() - 1]);
        let at: Vec<usize> = data_set
            .windows(f.instance.len())
            .enumerate()
            .filter(|(_, w)| *w == f.instance.as_bytes())
            .map(|(i, _)| i)
            .collect();
        for i in at {
            data_set[i..i + other.len()].copy_from_slice(other.as_bytes());
        }
        f.instance = other;
        let bulk = b"CANARYBULK ".repeat(400_000);
        data_set.extend(b"\xfc\xff\xfc\xffOB\0\0");
        data_set.extend(u32::try_from(bulk.len()).expect("below 4 GiB").to_le_bytes());
        data_set.extend(bulk);
        (f, data_set)
    }
}

fn nothing(found: Vec<Sighting>, when: &str) {
    assert!(found.is_empty(), "{when}: she was seen\n{found:#?}");
}

/// Looks everywhere a thief, an operator or a monitoring system looks.
fn look(vault: &Vault, canary: &Canary, when: &str) {
    nothing(canary.eyes.look_under(&vault.folder()), &format!("{when}, on disk"));
    nothing(canary.eyes.look("words", &vault.words()), &format!("{when}, in what the programs wrote"));
    let metrics = vault.metrics();
    assert_eq!(metrics.status, 200);
    nothing(canary.eyes.look("metrics", &metrics.body), when);
    for place in ["readyz", "healthz"] {
        let answer = vault.http().get(&format!("{}/{place}", vault.up.http.base), Ask::default());
        nothing(canary.eyes.look(place, &answer.body), when);
    }
}

/// A refusal names a code and a request, never a patient.
fn silent(canary: &Canary, answer: &Answer) {
    assert!(answer.status >= 400, "a refusal was expected: {}", answer.status);
    nothing(canary.eyes.look("error body", &answer.body), "in a refusal");
    for (name, value) in &answer.headers {
        nothing(canary.eyes.look(name, value.as_bytes()), "in a refusal's headers");
    }
}

#[test]
fn she_is_nowhere_in_clear_after_success() {
    let (mut vault, canary) = (Vault::up(), Canary::new());
    let (large, large_data) = canary.large();
    for (f, data_set) in [(&canary.f, &canary.data_set), (&large, &large_data)] {
        assert_eq!(vault.store(f, data_set).unwrap().status, 0);
        assert_eq!(vault.store(f, data_set).unwrap().status, 0, "again");
        assert!(vault.data_set_of(f) == *data_set);
    }
    let token = Some(vault.up.token.as_str());
    let dicom = "multipart/related; type=\"application/dicom\"";
    assert_eq!(vault.ask(&format!("/studies/{}", canary.f.study), token, dicom).parts().len(), 2);
    for query in [
        format!("?StudyInstanceUID={}", canary.f.study),
        format!("?PatientID={}", canary.f.patient_id),
        "?PatientName=CANARY%5ENEVER".to_owned(),
        "?PatientName=canary*".to_owned(),
    ] {
        let answer = vault.ask(&format!("/studies{query}"), token, "application/dicom+json");
        assert_eq!(answer.status, 200, "{query}");
        assert!(!canary.eyes.look("answer", &answer.body).is_empty(), "{query} finds her, for those who may");
    }
    look(&vault, &canary, "after success");
    vault.restart();
    look(&vault, &canary, "after a restart");
    assert!(vault.data_set_of(&canary.f) == canary.data_set);
    vault.kill_vault();
    vault.kill_keyd();
    look(&vault, &canary, "after kill -9");
    // The eyes see her where the vault could have left her.
    std::fs::write(vault.up.data.vault.join("planted"), &canary.data_set).unwrap();
    assert!(canary.eyes.look_under(&vault.folder()).len() >= 4);
}

#[test]
fn she_is_nowhere_in_clear_after_every_failure() {
    let (vault, canary) = (Vault::up(), Canary::new());
    let f = &canary.f;
    let (large, large_data) = canary.large();
    let open = || vault.associate(&[(&f.sop_class, &f.transfer_syntax)]).unwrap().unwrap();

    // The sender vanishes in the middle, small and large.
    for (g, data_set) in [(f, &canary.data_set), (&large, &large_data)] {
        for cut in [200, data_set.len() / 2, data_set.len() - 1] {
            let mut a = open();
            a.begin_store(&g.sop_class, &g.instance, &g.transfer_syntax).unwrap();
            let context = a.context(&g.sop_class, &g.transfer_syntax).unwrap();
            for piece in data_set[..cut].chunks(16_000) {
                a.socket().write_all(&pdata(&[pdv(context, false, false, piece)])).unwrap();
            }
        }
    }
    // The data set ends too early, lies about a length, or is no data set.
    let mut lying = canary.data_set.clone();
    lying.extend(b"\xfc\xff\xfc\xffOB\0\0\xf0\xff\xff\xffCANARY");
    let mut wrong_vr = canary.data_set.clone();
    wrong_vr[4..6].copy_from_slice(b"??");
    for (what, bytes) in [
        ("cut", canary.data_set[..canary.data_set.len() / 2].to_vec()),
        ("lying", lying),
        ("wrong VR", wrong_vr),
        ("text", b"CANARY^NEVER was here ".repeat(100)),
        ("nothing", Vec::new()),
    ] {
        let mut a = open();
        if let Ok(answer) = a.store(&f.sop_class, &f.instance, &f.transfer_syntax, &mut &bytes[..]) {
            assert_ne!(answer.status, 0, "{what} was stored");
            let comment = field(&answer.command, 0x0902).unwrap_or_default();
            nothing(canary.eyes.look("error comment", comment), what);
        }
    }
    // The command names another instance than the data set.
    let other = Fixture { instance: "2.25.4720".to_owned(), ..f.clone() };
    assert!(vault.store(&other, &canary.data_set).map_or(true, |a| a.status != 0));
    // A called AE nobody has.
    let stranger = Callers { calling: "SYSTEMTEST".to_owned(), called: "NOBODY-HERE".to_owned() };
    let refused =
        leadglass_tests::scu::Association::open(vault.dicom(), &stranger, &[(&f.sop_class, EXPLICIT_LE)]).unwrap();
    assert!(refused.is_err());

    // Reading what is not there, in every way it can be asked.
    let token = Some(vault.up.token.as_str());
    let instance = format!("/studies/{}/series/{}/instances/{}", f.study, f.series, f.instance);
    for (path, token) in [
        (instance.clone(), token),
        (instance.clone(), None),
        (instance.clone(), Some("lg_CANARY")),
        (instance.clone(), Some(vault.up.tokens.other_tenant.as_str())),
        (format!("{instance}/frames/1"), token),
        (format!("{instance}/CANARY"), token),
        ("/studies/CANARY^NEVER".replace('^', "%5E"), token),
        ("/CANARY".to_owned(), token),
    ] {
        silent(&canary, &vault.ask(&path, token, "application/dicom"));
    }
    for query in ["?PatientName=CANARY&limit=CANARY", "?PatientName=CANARY&offset=-1"] {
        let answer = vault.ask(&format!("/studies{query}"), token, "application/dicom+json");
        nothing(canary.eyes.look("answer", &answer.body), query);
    }
    let url = format!("{}/studies/{}", vault.up.http.dicomweb, f.study);
    for method in ["POST", "PUT", "DELETE"] {
        let answer = vault.http().send(method, &url, Ask { token, ..Ask::default() }, canary.data_set.clone());
        silent(&canary, &answer);
    }
    look(&vault, &canary, "after failures");

    // She is stored, then the same instance comes with other bytes, and with another patient: a version and a quarantine.
    assert_eq!(vault.store(f, &canary.data_set).unwrap().status, 0);
    for (from, to) in [(&b"CANARYPIXELS"[..], &b"CANARYPIXELZ"[..]), (&b"CANARY-7Q2X "[..], &b"CANARY-OTHER"[..])] {
        let mut changed = canary.data_set.clone();
        let from = from.strip_suffix(b" ").unwrap_or(from);
        let at = changed.windows(from.len()).position(|w| w == from).unwrap();
        changed[at..at + from.len()].copy_from_slice(&to[..from.len()]);
        let _ = vault.store(f, &changed).unwrap();
    }
    // The processes die while she arrives.
    for _ in 0..3 {
        let mut a = open();
        let _ = a.begin_store(&large.sop_class, &large.instance, &large.transfer_syntax);
        let context = a.context(&large.sop_class, &large.transfer_syntax).unwrap();
        for piece in large_data[..large_data.len() / 2].chunks(16_000) {
            if a.socket().write_all(&pdata(&[pdv(context, false, false, piece)])).is_err() {
                break;
            }
        }
        vault.kill_vault();
    }
    vault.kill_keyd();
    look(&vault, &canary, "after kills in the middle");
}
