//! Records of `tests/frames/*.py`: a JSON head and its blobs.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part")]

use serde::de::DeserializeOwned;
use std::{path::Path, process::Command};

pub struct Case<H> {
    pub head: H,
    pub blobs: Vec<Vec<u8>>,
}

/// Everything that a script has to say.
pub fn cases<H: DeserializeOwned>(script: &str) -> Vec<Case<H>> {
    let home = Path::new(env!("CARGO_MANIFEST_DIR"));
    let scratch = tempfile::tempdir().unwrap();
    let told = Command::new(crate::python())
        .arg(home.join("tests/frames").join(script))
        .arg(home.join("../../fixtures"))
        .arg(scratch.path())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .unwrap();
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    let mut rest = told.stdout.as_slice();
    let mut cases = Vec::new();
    while !rest.is_empty() {
        let head = serde_json::from_slice(&blob(&mut rest)).unwrap();
        let count = number(&mut rest);
        cases.push(Case { head, blobs: (0..count).map(|_| blob(&mut rest)).collect() });
    }
    cases
}

fn number(rest: &mut &[u8]) -> usize {
    let (four, after) = rest.split_first_chunk().unwrap();
    *rest = after;
    u32::from_le_bytes(*four) as usize
}

fn blob(rest: &mut &[u8]) -> Vec<u8> {
    let len = number(rest);
    let (blob, after) = rest.split_at(len);
    *rest = after;
    blob.to_vec()
}
