//! What comes out of each decoder is what other decoders say, to the last bit.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may fail loudly")]

mod common;
#[path = "common/reference.rs"]
mod reference;

use common::python;
use leadglass_imaging::decode::{Coding, Colour, Frame, Layout, decode};
use reference::{Case, cases};
use serde::Deserialize;

#[derive(Debug, Deserialize)]
struct Head {
    name: String,
    syntax: String,
    layout: Layout,
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
    let cases: Vec<Case<Head>> = cases("reference.py");
    let mut wrong = Vec::new();
    for Case { head, blobs } in &cases {
        let coding = Coding::of(&head.syntax).unwrap();
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
