//! kill -9 of the vault or the key service while instances arrive: what was acknowledged is there and equal, nothing is half there.

#![allow(clippy::unwrap_used, reason = "the helpers of a test end where they fail, as the test does")]

use leadglass_tests::big::{BigObject, SOP_CLASS};
use leadglass_tests::fixture::Fixture;
use leadglass_tests::part10;
use leadglass_tests::process::kill_9;
use leadglass_tests::scu::EXPLICIT_LE;
use leadglass_tests::vault::Vault;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use std::io::Read as _;
use std::thread;
use std::time::Duration;

const TRANSFERS: u64 = 200;
/// One transfer in so many is met by a kill, at a random moment from its start.
const ONE_IN: u32 = 7;
/// The moments: a small transfer takes a few milliseconds, so most fall inside one or right behind its answer.
const MOMENT_MICROSECONDS: std::ops::Range<u64> = 0..12_000;

struct Sent {
    f: Fixture,
    data_set: Vec<u8>,
    acknowledged: bool,
}

/// Most are small (the journal holds them whole); every tenth is of 2 MiB (its object is written while it arrives).
fn transfer(n: u64) -> (Fixture, Vec<u8>) {
    if n % 10 != 9 {
        return Fixture::named("ct-3.dcm").renamed(n);
    }
    let mut big = BigObject::new(n, 2);
    let mut data_set = Vec::new();
    big.read_to_end(&mut data_set).unwrap();
    let f = Fixture {
        file: format!("big {n}"),
        sop_class: SOP_CLASS.to_owned(),
        transfer_syntax: EXPLICIT_LE.to_owned(),
        study: big.study.clone(),
        series: big.series.clone(),
        instance: big.instance.clone(),
        ..Fixture::named("ct-3.dcm")
    };
    (f, data_set)
}

fn check(vault: &Vault, sent: &[Sent]) {
    for s in sent {
        match vault.file_of(&s.f) {
            Ok(file) => {
                assert!(part10::data_set(&file) == s.data_set, "{} came back otherwise than it was sent", s.f.instance)
            }
            Err(404) => assert!(!s.acknowledged, "{} was acknowledged and is lost", s.f.instance),
            Err(status) => panic!("{}: status {status}", s.f.instance),
        }
        let series = format!("/studies/{}/series/{}", s.f.study, s.f.series);
        let answer = vault.ask(&series, Some(&vault.up.token), "multipart/related; type=\"application/dicom\"");
        match answer.status {
            200 => {
                let parts = answer.parts();
                assert_eq!(parts.len(), 1, "{}", s.f.instance);
                assert!(part10::data_set(&parts[0]) == s.data_set, "{}", s.f.instance);
            }
            404 => assert!(!s.acknowledged, "{} was acknowledged and its series is lost", s.f.instance),
            status => panic!("{}: status {status}", s.f.instance),
        }
    }
}

#[test]
fn what_was_acknowledged_survives_kill_9_and_the_rest_is_absent_or_complete() {
    let mut vault = Vault::up();
    let mut random = ChaCha8Rng::seed_from_u64(0x1EAD_61A5);
    let (mut sent, mut kills) = (Vec::new(), 0);
    for n in 0..TRANSFERS {
        let (f, data_set) = transfer(n);
        // Drawn for every transfer, so that the sequence does not depend on what happened.
        let (strikes, of_vault, moment) =
            (random.random_ratio(1, ONE_IN), random.random_bool(0.5), random.random_range(MOMENT_MICROSECONDS));
        let victim = strikes.then(|| if of_vault { vault.now().pids.vault } else { vault.now().pids.keyd });
        let killer = victim.map(|pid| {
            thread::spawn(move || {
                thread::sleep(Duration::from_micros(moment));
                kill_9(pid);
            })
        });
        let acknowledged = vault.store(&f, &data_set).is_ok_and(|answer| answer.status == 0);
        assert!(acknowledged || victim.is_some(), "transfer {n} failed though nobody was killed");
        sent.push(Sent { f, data_set, acknowledged });
        if let (Some(killer), Some(pid)) = (killer, victim) {
            killer.join().unwrap();
            kills += 1;
            vault.wait_restarted(pid);
        }
    }
    assert!(kills > 10, "{kills} kills");
    assert!(sent.iter().filter(|s| s.acknowledged).count() > 150);
    check(&vault, &sent);
    // Once more from the disk alone: first after a last kill of both, then after an orderly stop.
    vault.kill_keyd();
    vault.kill_vault();
    check(&vault, &sent);
    vault.restart();
    check(&vault, &sent);
    // What was not acknowledged is sent again, as a modality does.
    for s in sent.iter_mut().filter(|s| !s.acknowledged) {
        let answer = vault.store(&s.f, &s.data_set).unwrap();
        assert_eq!(answer.status, 0, "{}", s.f.instance);
        s.acknowledged = true;
    }
    check(&vault, &sent);
}

#[test]
fn a_transfer_whose_sender_vanishes_leaves_nothing_to_see() {
    let vault = Vault::up();
    for n in [1, 9] {
        let (f, data_set) = transfer(n);
        for cut in [1, 300, data_set.len() / 2, data_set.len() - 1] {
            let mut a = vault.associate(&[(&f.sop_class, &f.transfer_syntax)]).unwrap().unwrap();
            let context = a.context(&f.sop_class, &f.transfer_syntax).unwrap();
            a.begin_store(&f.sop_class, &f.instance, &f.transfer_syntax).unwrap();
            for piece in data_set[..cut].chunks(16_000) {
                use leadglass_tests::scu::{pdata, pdv};
                use std::io::Write as _;
                a.socket().write_all(&pdata(&[pdv(context, false, false, piece)])).unwrap();
            }
            drop(a);
            assert_eq!(vault.file_of(&f).unwrap_err(), 404, "cut at {cut}");
        }
        assert_eq!(vault.store(&f, &data_set).unwrap().status, 0);
        assert!(vault.data_set_of(&f) == data_set);
    }
    assert!(vault.never_died());
}
