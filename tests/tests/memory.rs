//! The vault's memory is bounded by its configuration, not by what is sent.

#![allow(clippy::unwrap_used, reason = "the helpers of a test end where they fail, as the test does")]

use leadglass_tests::big::{BigObject, Comparison, SOP_CLASS};
use leadglass_tests::fixture::Fixture;
use leadglass_tests::http::Ask;
use leadglass_tests::process::{forget_peak, peak_bytes, resident_bytes};
use leadglass_tests::scu::EXPLICIT_LE;
use leadglass_tests::vault::Vault;
use std::thread;

const MIB: u64 = 1 << 20;
const OBJECT_MIB: u32 = 500;

/// Idle memory of a vault that has stored and served something small, so that pools and threads exist.
fn idle(vault: &Vault) -> u64 {
    for file in ["ct-1.dcm", "dx.dcm", "us-bot.dcm"] {
        let f = Fixture::named(file);
        vault.store_fixture(&f);
        assert!(vault.data_set_of(&f) == f.data_set());
    }
    forget_peak(vault.up.pids.vault).expect("our own process");
    resident_bytes(vault.up.pids.vault)
}

fn send(vault: &Vault, seed: u64) {
    let mut object = BigObject::new(seed, OBJECT_MIB);
    let instance = object.instance.clone();
    let mut a = vault.associate(&[(SOP_CLASS, EXPLICIT_LE)]).unwrap().unwrap();
    let answer = a.store(SOP_CLASS, &instance, EXPLICIT_LE, &mut object).unwrap();
    assert_eq!(answer.status, 0);
    a.release().unwrap();
}

fn above(vault: &Vault, idle: u64) -> u64 {
    peak_bytes(vault.up.pids.vault).saturating_sub(idle) / MIB
}

fn read_and_compare(vault: &Vault, seed: u64) {
    let object = BigObject::new(seed, OBJECT_MIB);
    let url = format!(
        "{}/studies/{}/series/{}/instances/{}",
        vault.up.http.dicomweb, object.study, object.series, object.instance
    );
    let expected_len = object.len();
    let mut comparison = Comparison::with(object);
    // The file's preamble and meta group come first; their length stands in them.
    let (mut head, mut start) = (Vec::new(), None);
    let ask = Ask { token: Some(&vault.up.token), accept: Some("application/dicom"), range: None };
    let status = vault.http().stream(&url, ask, |piece| {
        if start.is_some() {
            return comparison.feed(piece);
        }
        head.extend_from_slice(piece);
        if head.len() >= 144 {
            let at = leadglass_tests::part10::data_set_start(&head);
            if head.len() >= at {
                start = Some(at);
                comparison.feed(&head[at..]);
            }
        }
    });
    assert_eq!(status, 200);
    assert!(comparison.is_complete_and_equal(), "{expected_len} bytes were sent, others came back");
}

#[test]
fn one_object_of_500_mb_passes_within_64_mib_both_ways() {
    let vault = Vault::up();
    let idle = idle(&vault);
    send(&vault, 1);
    let in_peak = above(&vault, idle);
    read_and_compare(&vault, 1);
    let both_peak = above(&vault, idle);
    eprintln!("idle {} MiB; above idle: {in_peak} MiB in, {both_peak} MiB in and out", idle / MIB);
    assert!(in_peak < 64, "storing took {in_peak} MiB above idle");
    assert!(both_peak < 64, "reading took {both_peak} MiB above idle");
    assert!(vault.never_died());
}

#[test]
fn eight_objects_of_500_mb_at_once_pass_within_128_mib() {
    let vault = Vault::up();
    let idle = idle(&vault);
    let vault = &vault;
    thread::scope(|s| {
        for seed in 1..=8 {
            s.spawn(move || send(vault, seed));
        }
    });
    let peak = above(vault, idle);
    eprintln!("idle {} MiB; eight at once: {peak} MiB above", idle / MIB);
    assert!(peak < 128, "eight at once took {peak} MiB above idle");
    read_and_compare(vault, 8);
    assert!(vault.never_died());
}
