//! A seeded run of mutations over every parser that reads stored bytes: no panic, no acceptance of a change.
//!
//! The fuzz targets do the same without an end; this run is the part that every test run repeats.

use super::{name, note, open_whole, plain, seal_a, seal_b, small_chunks, study_key};
use crate::{
    Backend, Footer, Header, ObjectRecords, Suite, WrapBinding, WrapHeader, WrapPurpose, WrappingKey, row_header,
    unwrap, wrap,
};
use leadglass_model::SystemEntropy;

/// xorshift64*: small, seeded, the same on every machine.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let roll = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
        usize::try_from(roll).unwrap() % end.max(1)
    }

    /// One to four changes: flips, interesting bytes, cuts, repeats, insertions.
    fn mutate(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut out = bytes.to_vec();
        for _ in 0..=self.below(4) {
            let at = self.below(out.len());
            match self.below(6) {
                0 if !out.is_empty() => out[at] ^= 1 << self.below(8),
                1 if !out.is_empty() => out[at] = [0, 1, 0x7f, 0x80, 0xff][self.below(5)],
                2 => out.truncate(at),
                3 => {
                    let end = (at + self.below(64)).min(out.len());
                    let again = out[at.min(end)..end].to_vec();
                    out.splice(at..at, again);
                }
                4 => out.insert(at, [0, 0xff][self.below(2)]),
                _ => {
                    let end = (at + self.below(64)).min(out.len());
                    out.drain(at.min(end)..end);
                }
            }
        }
        out
    }
}

#[test]
fn mutated_objects_never_open() {
    let mut dice = Dice(0x5eed_0001);
    for suite in super::SUITES {
        let (_, sealed) = seal_a(small_chunks(suite, Backend::AwsLc), &plain(9000));
        for round in 0..4000 {
            let mutant = dice.mutate(&sealed);
            if mutant != sealed {
                assert!(open_whole(Backend::AwsLc, &mutant).is_err(), "round {round}");
            }
        }
    }
}

#[test]
fn mutated_wraps_and_rows_never_open() {
    let mut dice = Dice(0x5eed_0002);
    let around = WrappingKey::from_bytes([8; 32]);
    let binding = WrapBinding {
        tenant: name().tenant,
        purpose: WrapPurpose::Study,
        wrapping_key_id: name().key_id,
        wrapping_key_version: 1,
        key_id: name().key_id,
        key_gen: name().key_gen,
    };
    let wrapped = wrap(&around, &binding, study_key().reveal(), &SystemEntropy);
    for round in 0..20_000 {
        let mutant = dice.mutate(&wrapped);
        let _ = (WrapHeader::parse(&mutant), row_header(&mutant));
        assert!(mutant == wrapped || unwrap(&around, &binding, &mutant).is_err(), "round {round}");
    }
}

#[test]
fn mutated_records_and_footers_never_panic_and_stay_within_the_body() {
    let mut dice = Dice(0x5eed_0003);
    let records = ObjectRecords {
        frames: crate::Frames::Table(vec![crate::FrameSpan { offset: 5, len: 10 }; 3]),
        layout: Some(crate::Layout { dataset_start: 4, pixel_value: Some(5) }),
        media_type: Some(String::from("application/dicom")),
        ..note()
    };
    let index = records.encode(&[7; 32], 1 << 21).unwrap();
    let (_, sealed) = seal_b(small_chunks(Suite::Aes256Gcm, Backend::AwsLc), &plain(100), &note());
    let mut accepted = 0;
    for _ in 0..50_000 {
        let mutant = dice.mutate(&index);
        if let Ok(opened) = ObjectRecords::parse(&mutant, 100) {
            accepted += 1;
            let frames = opened.records.frames;
            assert!((0..frames.count()).all(|n| frames.span(n).is_some_and(|span| span.end <= 100)));
        }
        let mut footer = [0; 64];
        let mutant = dice.mutate(&sealed[sealed.len() - 64..]);
        footer[..mutant.len().min(64)].copy_from_slice(&mutant[..mutant.len().min(64)]);
        footer[..8].copy_from_slice(b"SVOF\x01\x01\0\0");
        let _ = (Footer::parse(&footer, 1000), Header::parse(&mutant));
    }
    assert!(accepted > 100, "the run tests refusals only");
}
