//! Uploads and puts that fail at any step, and what is left of them.

use bytes::Bytes;
use leadglass_model::{Durable, Fault, ObjectId, SystemEntropy};
use leadglass_store::{
    Backing, Objects, StoreError, SweepReport,
    faulty::{Fail, FaultPlan, FaultyStore, When},
};
use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

const PART: usize = 100_000;

fn faulty(dir: &Path) -> (Objects, FaultPlan) {
    let plan = FaultPlan::new(Fail::Never);
    let backing =
        Backing::local(dir).expect("a folder").wrapped(|inner| Arc::new(FaultyStore::new(inner, plan.clone())));
    (Objects::over(backing.with_part_bytes(PART)).expect("a store"), plan)
}

fn body() -> Bytes {
    (0..350_000_u32).map(|n| (n % 251).to_le_bytes()[0]).collect()
}

async fn upload(objects: &Objects, id: ObjectId) -> Result<Durable, StoreError> {
    let mut upload = objects.begin(id).await?;
    for piece in body().chunks(30_000) {
        if let Err(e) = upload.write(Bytes::copy_from_slice(piece)).await {
            upload.abort().await;
            return Err(e);
        }
    }
    upload.finish().await
}

/// Every file under `dir` but the ledger.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if !path.to_string_lossy().contains("uploads.") {
            found.push(path);
        }
    }
    found
}

fn unfinished(dir: &Path) -> usize {
    files(dir).iter().filter(|path| path.to_string_lossy().contains('#')).count()
}

#[tokio::test]
async fn an_upload_that_fails_at_any_step_leaves_a_whole_object_or_none() {
    let dir = tempfile::tempdir().unwrap();
    let (objects, plan) = faulty(dir.path());
    upload(&objects, ObjectId::random(&SystemEntropy)).await.unwrap();
    let steps = plan.operations();
    assert_eq!(steps, ["get", "begin", "part", "part", "part", "part", "complete"]);
    for step in 0..steps.len() as u64 {
        for when in [When::Before, When::After] {
            let dir = tempfile::tempdir().unwrap();
            let (objects, plan) = faulty(dir.path());
            let id = ObjectId::random(&SystemEntropy);
            plan.set(Fail::Nth(step, when, io::ErrorKind::Other));
            let outcome = upload(&objects, id).await;
            // Whether the name is taken is asked first; an answer "no" that is reported as "no" is no failure.
            if outcome.is_ok() {
                assert_eq!((step, when), (0, When::After));
                continue;
            }
            drop(objects);
            let (objects, _plan) = faulty(dir.path());
            let report = objects.sweep().await.unwrap();
            assert_eq!(unfinished(dir.path()), 0, "{step} {when:?}");
            let lost_answer = steps[usize::try_from(step).unwrap()] == "complete" && when == When::After;
            if lost_answer {
                assert_eq!(report, SweepReport { finished: vec![id], ..SweepReport::default() });
                let (bytes, len) = objects.range(id, 0..350_000).await.unwrap();
                assert_eq!((bytes, len), (body(), 350_000));
            } else {
                assert_eq!(report.finished, []);
                assert!(matches!(objects.len(id).await, Err(StoreError::Missing)), "{step} {when:?}");
                upload(&objects, id).await.unwrap();
            }
            objects.put(id, vec![body()]).await.unwrap();
            assert_eq!(objects.sweep().await.unwrap(), SweepReport::default());
        }
    }
}

#[tokio::test]
async fn a_put_that_fails_is_done_by_the_next_one() {
    for when in [When::Before, When::After] {
        let dir = tempfile::tempdir().unwrap();
        let (objects, plan) = faulty(dir.path());
        let id = ObjectId::random(&SystemEntropy);
        plan.set(Fail::Nth(0, when, io::ErrorKind::Other));
        assert_eq!(objects.put(id, vec![body()]).await.unwrap_err().fault(), Fault::Broken);
        assert_eq!(objects.len(id).await.is_ok(), when == When::After);
        assert_eq!(objects.put(id, vec![body()]).await.unwrap().sealed_len(), 350_000);
    }
}

#[tokio::test]
async fn a_store_that_is_full_or_read_only_is_busy_and_a_failing_one_broken() {
    let dir = tempfile::tempdir().unwrap();
    let (objects, plan) = faulty(dir.path());
    let id = ObjectId::random(&SystemEntropy);
    for (kind, fault) in [
        (io::ErrorKind::StorageFull, Fault::Busy),
        (io::ErrorKind::QuotaExceeded, Fault::Busy),
        (io::ErrorKind::ReadOnlyFilesystem, Fault::Busy),
        (io::ErrorKind::Other, Fault::Broken),
    ] {
        plan.set(Fail::From(0, When::Before, kind));
        let put = objects.put(id, vec![body()]).await.unwrap_err();
        // The first step of an upload only looks.
        plan.set(Fail::From(1, When::Before, kind));
        let upload = upload(&objects, id).await.unwrap_err();
        for error in [put, upload] {
            assert_eq!(error.fault(), fault);
            let full = matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
            assert_eq!(matches!(error, StoreError::NoSpace), full);
            assert_eq!(matches!(error, StoreError::ReadOnly), kind == io::ErrorKind::ReadOnlyFilesystem);
        }
    }
    plan.set(Fail::Never);
    upload(&objects, id).await.unwrap();
}

#[tokio::test]
async fn a_dropped_upload_takes_itself_away() {
    let dir = tempfile::tempdir().unwrap();
    let (objects, _plan) = faulty(dir.path());
    let id = ObjectId::random(&SystemEntropy);
    let mut upload = objects.begin(id).await.unwrap();
    upload.write(body()).await.unwrap();
    assert_eq!(unfinished(dir.path()), 1);
    drop(upload);
    // It is ended by a task of its own; until then the name is taken.
    while matches!(objects.delete(id).await, Err(StoreError::InUse)) {
        tokio::task::yield_now().await;
    }
    assert_eq!(unfinished(dir.path()), 0);
    assert_eq!(objects.sweep().await.unwrap(), SweepReport::default());
}

/// A put that was killed leaves `NAME#1`; the replay's put takes it away, or it would outlive an erasure.
#[tokio::test]
async fn a_put_and_a_delete_take_leftovers_of_that_name_away() {
    let dir = tempfile::tempdir().unwrap();
    let (objects, _plan) = faulty(dir.path());
    let id = ObjectId::random(&SystemEntropy);
    let hex = id.to_string();
    let folder = dir.path().join("o").join(&hex[..2]);
    std::fs::create_dir_all(&folder).unwrap();
    let leave = || [1, 2].map(|n| std::fs::write(folder.join(format!("{hex}#{n}")), b"half").unwrap());
    leave();
    objects.put(id, vec![body()]).await.unwrap();
    assert_eq!(unfinished(dir.path()), 0);
    leave();
    objects.delete(id).await.unwrap();
    assert_eq!(files(dir.path()), Vec::<PathBuf>::new());
}

/// After a lost index every object looks like an orphan, and after a lost ledger every unfinished file does.
#[tokio::test]
async fn a_sweep_leaves_alone_what_this_node_did_not_begin() {
    let dir = tempfile::tempdir().unwrap();
    let ids: Vec<ObjectId> = (0..20).map(|_| ObjectId::random(&SystemEntropy)).collect();
    {
        let (objects, _plan) = faulty(dir.path());
        for id in &ids {
            objects.put(*id, vec![body()]).await.unwrap();
        }
    }
    let strange = dir.path().join("o").join("ab");
    std::fs::create_dir_all(&strange).unwrap();
    std::fs::write(strange.join(format!("{}#1", "ab".repeat(16))), b"somebody else's").unwrap();
    std::fs::write(strange.join("readme"), b"no object").unwrap();
    std::fs::remove_file(dir.path().join("uploads.lgl")).unwrap();
    let before = files(dir.path());
    let (objects, _plan) = faulty(dir.path());
    let report = objects.sweep().await.unwrap();
    assert_eq!(report, SweepReport { unknown_unfinished: 1, ..SweepReport::default() });
    let after = files(dir.path());
    assert_eq!((after.len(), before.len()), (22, 22));
    for id in ids {
        assert_eq!(objects.len(id).await.unwrap(), 350_000);
    }
}
