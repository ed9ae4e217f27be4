//! Any bytes as INDEX and as FOOTER: no panic, no frame outside of the body.
#![no_main]
use leadglass_seal::{Footer, ObjectRecords};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((footer, index)) = data.split_first_chunk::<64>() else { return };
    let number = |at: usize| u64::from_be_bytes(footer[at..at + 8].try_into().unwrap());
    let plain_len = number(8).wrapping_add(number(24)).wrapping_add(64);
    let body_len = Footer::parse(footer, plain_len).map_or(1000, |footer| footer.body_len);
    let Ok(opened) = ObjectRecords::parse(index, body_len) else { return };
    let frames = opened.records.frames;
    assert!((0..frames.count()).all(|n| frames.span(n).is_some_and(|span| span.end <= body_len)));
});
