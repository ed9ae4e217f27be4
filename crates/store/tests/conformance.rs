//! Every store keeps the same promises.

use leadglass_model::SystemEntropy;
use leadglass_store::{
    Backing, Objects, conformance,
    faulty::{Fail, FaultPlan, FaultyStore},
};
use std::sync::Arc;

#[tokio::test]
async fn a_folder_conforms() {
    let dir = tempfile::tempdir().unwrap();
    let objects = Objects::local(dir.path()).unwrap();
    conformance::all(&objects, &SystemEntropy).await;
    assert_eq!(objects.sweep().await.unwrap().unknown_unfinished, 0);
}

#[tokio::test]
async fn a_store_that_streams_conforms() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(object_store::memory::InMemory::new());
    let ledger = dir.path().join("uploads.lgl");
    let objects = Objects::over(Backing::remote(store, ledger, 100_000)).unwrap();
    conformance::all(&objects, &SystemEntropy).await;
}

#[tokio::test]
async fn a_decorated_folder_conforms() {
    let dir = tempfile::tempdir().unwrap();
    let plan = FaultPlan::new(Fail::Never);
    let backing = Backing::local(dir.path()).unwrap().wrapped(|inner| Arc::new(FaultyStore::new(inner, plan.clone())));
    conformance::all(&Objects::over(backing).unwrap(), &SystemEntropy).await;
    for operation in ["put", "begin", "part", "complete", "abort", "get", "list", "delete"] {
        assert!(plan.operations().contains(&operation), "{operation} was not seen");
    }
}
