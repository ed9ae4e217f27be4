//! The process is killed in the middle of an upload.

use bytes::Bytes;
use leadglass_model::{ObjectId, SystemEntropy};
use leadglass_store::{Objects, StoreError, SweepReport};
use std::{
    io::{BufRead, BufReader, Read, Write},
    path::Path,
    process::{Command, Stdio},
};

const DIR: &str = "LEADGLASS_STORE_TO_BE_KILLED";

/// Not a test of its own: what the killed process does. Without the variable it is nobody's child and does nothing.
#[test]
fn child_uploads_until_it_is_killed() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    runtime.block_on(async {
        let objects = Objects::local(Path::new(&dir)).unwrap();
        let whole = ObjectId::random(&SystemEntropy);
        objects.put(whole, vec![Bytes::from_static(b"whole")]).await.unwrap();
        let half = ObjectId::random(&SystemEntropy);
        let mut upload = objects.begin(half).await.unwrap();
        for _ in 0..5 {
            upload.write(Bytes::from(vec![7; objects.part_bytes()])).await.unwrap();
        }
        writeln!(std::io::stdout(), "\nbegun {whole} {half}").unwrap();
        // Until the parent kills it, or is gone itself.
        let _ = std::io::stdin().read(&mut [0]);
    });
}

#[tokio::test]
async fn a_killed_upload_is_swept_and_nothing_else_is() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["child_uploads_until_it_is_killed", "--exact", "--nocapture"])
        .env(DIR, dir.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let begun = lines.find_map(|line| line.unwrap().strip_prefix("begun ").map(str::to_owned)).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let (whole, half) = begun.split_once(' ').unwrap();
    let (whole, half): (ObjectId, ObjectId) = (whole.parse().unwrap(), half.parse().unwrap());

    let hex = half.to_string();
    let left_behind = dir.path().join("o").join(&hex[..2]).join(format!("{hex}#1"));
    assert!(left_behind.exists());
    let objects = Objects::local(dir.path()).unwrap();
    assert!(matches!(objects.len(half).await, Err(StoreError::Missing)));
    let report = objects.sweep().await.unwrap();
    assert_eq!(report, SweepReport { removed: vec![half], ..SweepReport::default() });
    assert!(!left_behind.exists());
    assert_eq!(objects.range(whole, 0..5).await.unwrap().0, "whole");
    assert_eq!(objects.sweep().await.unwrap(), SweepReport::default());
}
