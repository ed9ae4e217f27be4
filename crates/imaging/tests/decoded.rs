//! What comes out of each decoder is what other decoders say, to the last bit.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may fail loudly")]

mod common;

use leadglass_imaging::decode::{Coding, Colour, Frame, Layout, decode};
use serde::Deserialize;
use std::{path::Path, process::Command};

#[derive(Debug, Deserialize)]
struct Head {
    name: String,
    syntax: String,
    layout: Layout,
    #[serde(default)]
    pairs: bool,
}

struct Case {
    head: Head,
    blobs: Vec<Vec<u8>>,
}

/// Everything that `frames/reference.py` has to say.
fn cases() -> Vec<Case> {
    let home = Path::new(env!("CARGO_MANIFEST_DIR"));
    let scratch = tempfile::tempdir().unwrap();
    let told = Command::new(common::python())
        .arg(home.join("tests/frames/reference.py"))
        .arg(home.join("../../fixtures"))
        .arg(scratch.path())
        .output()
        .unwrap();
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    let mut rest = told.stdout.as_slice();
    let number = |rest: &mut &[u8]| {
        let (four, after) = rest.split_first_chunk().unwrap();
        *rest = after;
        u32::from_le_bytes(*four) as usize
    };
    let mut cases = Vec::new();
    while !rest.is_empty() {
        let blob = |rest: &mut &[u8]| {
            let len = number(rest);
            let (blob, after) = rest.split_at(len);
            *rest = after;
            blob.to_vec()
        };
        let head = serde_json::from_slice(&blob(&mut rest)).unwrap();
        let count = u32::from_le_bytes(rest[..4].try_into().unwrap());
        rest = &rest[4..];
        cases.push(Case { head, blobs: (0..count).map(|_| blob(&mut rest)).collect() });
    }
    cases
}

fn difference(frame: &Frame, expected: &[u8]) -> String {
    let got = frame.to_native();
    if got.len() != expected.len() {
        return format!("{} bytes instead of {}", got.len(), expected.len());
    }
    let wrong: Vec<usize> = (0..got.len()).filter(|i| got[*i] != expected[*i]).collect();
    let most = wrong.iter().map(|i| got[*i].abs_diff(expected[*i])).max().unwrap_or(0);
    format!("{} of {} bytes, first at {:?}, by at most {most}", wrong.len(), got.len(), wrong.first())
}

#[test]
fn every_frame_is_what_other_decoders_say() {
    let cases = cases();
    let mut wrong = Vec::new();
    for Case { head, blobs } in &cases {
        let coding = if head.pairs { Coding::NativeBigEndianPairs } else { Coding::of(&head.syntax).unwrap() };
        match decode(coding, &head.layout, &blobs[0]) {
            Err(error) => wrong.push(format!("{}: {error}", head.name)),
            Ok(frame) => {
                let as_rgb = blobs.len() > 2 && frame.colour == Colour::Rgb;
                let expected = &blobs[if as_rgb { 2 } else { 1 }];
                if frame.to_native() != *expected {
                    wrong.push(format!("{}: {}", head.name, difference(&frame, expected)));
                }
            }
        }
    }
    assert!(cases.len() > 150, "only {} frames were compared", cases.len());
    assert!(wrong.is_empty(), "{} of {} frames differ:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}
