//! A rendered frame has the shades that the formulas of PS3.3 give, reckoned anew in numpy.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may fail loudly")]

mod common;
#[path = "common/reference.rs"]
mod reference;

use common::python;
use leadglass_imaging::{
    decode::Coding,
    render::{Format, Metadata, Window, Wish, render},
};
use reference::{Case, cases};
use serde::Deserialize;
use std::collections::HashMap;

#[derive(Debug, Deserialize)]
struct Head {
    name: String,
    syntax: String,
    frame: u32,
    window: Option<Window>,
    rows: u32,
    columns: u32,
    samples: u8,
    tables: Vec<String>,
}

/// Renders a case as PNG and says how it differs.
fn compare(Case { head, blobs }: &Case<Head>) -> Result<(), String> {
    let json = std::str::from_utf8(&blobs[0]).unwrap();
    let metadata = Metadata::parse(json).unwrap();
    let coding = Coding::of(&head.syntax).unwrap();
    let mut tables: HashMap<String, Vec<u8>> = head.tables.iter().cloned().zip(blobs[3..].iter().cloned()).collect();
    let wanted = metadata.tables(head.frame);
    tables.retain(|path, _| wanted.contains(path));
    let description = metadata.describe(head.frame, coding, &tables).map_err(|e| e.to_string())?;
    let wish = Wish { window: head.window, viewport: None, quality: 90, format: Format::Png };
    let picture = render(&description, &blobs[1], &wish).map_err(|e| format!("{e}: {e:?}"))?;
    let seen = image::load_from_memory(&picture.0).unwrap();
    let shape = (seen.height(), seen.width(), seen.color().channel_count());
    if shape != (head.rows, head.columns, head.samples) {
        return Err(format!("shape {shape:?}"));
    }
    let (got, expected) = (seen.as_bytes(), &blobs[2]);
    let wrong: Vec<usize> = (0..got.len()).filter(|i| got[*i] != expected[*i]).collect();
    if wrong.is_empty() {
        return Ok(());
    }
    let most = wrong.iter().map(|i| got[*i].abs_diff(expected[*i])).max().unwrap();
    Err(format!("{} of {} samples, first at {}, by at most {most}", wrong.len(), got.len(), wrong[0]))
}

#[test]
fn every_frame_has_the_shades_of_the_formulas() {
    let cases: Vec<Case<Head>> = cases("shades.py");
    let wrong: Vec<String> =
        cases.iter().filter_map(|case| Some(format!("{}: {}", case.head.name, compare(case).err()?))).collect();
    assert!(cases.len() > 120, "only {} pictures were compared", cases.len());
    assert!(wrong.is_empty(), "{} of {} pictures differ:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}
