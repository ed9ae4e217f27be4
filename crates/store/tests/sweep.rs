//! A sweep while the node is at work.
#![allow(clippy::unwrap_used, reason = "tests may fail loudly")]

use bytes::Bytes;
use leadglass_model::{ObjectId, SystemEntropy};
use leadglass_store::{Objects, SweepReport};

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_beside_uploads_that_are_under_way_takes_nothing_of_theirs() {
    let dir = tempfile::tempdir().unwrap();
    let objects = Objects::local(dir.path()).unwrap();
    let piece = Bytes::from(vec![7; objects.part_bytes() + 1]);
    let ids = [(); 8].map(|()| ObjectId::random(&SystemEntropy));
    let uploads = ids.map(|id| {
        let (objects, piece) = (objects.clone(), piece.clone());
        tokio::spawn(async move {
            let mut upload = objects.begin(id).await.unwrap();
            for _ in 0..8 {
                upload.write(piece.clone()).await.unwrap();
                tokio::task::yield_now().await;
            }
            upload.finish().await.unwrap()
        })
    });
    let mut sweeps = 0;
    while sweeps < 20 || uploads.iter().any(|upload| !upload.is_finished()) {
        assert_eq!(objects.sweep_begun().await.unwrap(), SweepReport::default(), "in sweep {sweeps}");
        sweeps += 1;
    }
    for upload in uploads {
        let durable = upload.await.unwrap();
        assert_eq!(objects.len(durable.object()).await.unwrap(), 8 * piece.len() as u64);
    }
}
