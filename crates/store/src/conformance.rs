//! What every store must do. An adapter's tests call [`all`]; it panics at the first promise that is not kept.

use crate::{Objects, StoreError};
use bytes::Bytes;
use futures::TryStreamExt;
use leadglass_model::{Entropy, Fault, ObjectId};

/// Every promise, one after the other, on a store that may already hold objects.
pub async fn all(objects: &Objects, entropy: &dyn Entropy) {
    a_put_object_reads_back(objects, entropy).await;
    a_put_is_create_only_and_repeatable(objects, entropy).await;
    a_batch_is_so_many_puts(objects, entropy).await;
    an_upload_reads_back_whatever_its_pieces(objects, entropy).await;
    an_unfinished_upload_is_invisible(objects, entropy).await;
    a_missing_object_is_missing(objects, entropy).await;
    a_list_names_every_object(objects, entropy).await;
    a_deleted_object_is_gone(objects, entropy).await;
    a_sweep_removes_no_object(objects, entropy).await;
}

/// Any range, any offset, the whole length with each.
pub async fn a_put_object_reads_back(objects: &Objects, entropy: &dyn Entropy) {
    let (id, body) = (ObjectId::random(entropy), pattern(300_000, 1));
    let pieces = vec![body.slice(..1), Bytes::new(), body.slice(1..70_000), body.slice(70_000..)];
    let receipt = objects.put(id, pieces).await.expect("a put succeeds");
    assert_eq!((receipt.object(), receipt.sealed_len()), (id, 300_000));
    assert_eq!(objects.len(id).await.expect("it is there"), 300_000);
    for (from, to) in [(0, 1), (0, 300_000), (299_999, 300_000), (65_536, 131_072), (1, 2), (7, 7), (300_000, 300_000)]
    {
        let (bytes, len) = objects.range(id, from..to).await.expect("a range inside the object");
        assert_eq!(len, 300_000);
        assert_eq!(bytes, body.slice(at(from)..at(to)), "{from}..{to}");
        for room in [0, 400_000] {
            let take = move |memory: Vec<u8>, len| (memory[..at(to - from)].to_vec(), len);
            let read = objects.range_then(id, from..to, vec![7; room], take).await;
            assert_eq!(read.expect("the same range"), (bytes.to_vec(), 300_000), "{from}..{to}");
        }
        let (pieces, len) = objects.range_stream(id, from..to).await.expect("the same range");
        let pieces: Vec<Bytes> = pieces.try_collect().await.expect("all of it");
        assert_eq!((pieces.concat(), len), (bytes.to_vec(), 300_000), "{from}..{to}");
    }
    for beyond in [0..300_001, 299_999..300_001, 300_000..300_001, 400_000..400_001] {
        let refused = objects.range(id, beyond).await.expect_err("a range beyond the end");
        assert!(matches!(refused, StoreError::TooShort { len: 300_000 }), "{refused:?}");
    }
    let refused = objects.range_stream(id, 299_999..300_001).await.map(|(_, len)| len);
    assert!(matches!(refused, Err(StoreError::TooShort { len: 300_000 })), "{refused:?}");
    let refused = objects.range_then(id, 0..300_001, Vec::new(), |_, _| ()).await;
    assert!(matches!(refused, Err(StoreError::TooShort { len: 300_000 })), "{refused:?}");
    for offset in [0, 1, 150_000, 299_999, 300_000] {
        assert_eq!(read_all(objects, id, offset).await, body.slice(at(offset)..), "{offset}");
    }
    assert!(objects.stream(id, 300_001).await.is_err());
    let empty = ObjectId::random(entropy);
    objects.put(empty, vec![]).await.expect("an empty object");
    assert_eq!(objects.len(empty).await.expect("it is there"), 0);
    assert!(objects.range(empty, 0..1).await.is_err());
}

/// The same bytes again are fine, other bytes never replace them.
pub async fn a_put_is_create_only_and_repeatable(objects: &Objects, entropy: &dyn Entropy) {
    let (id, body) = (ObjectId::random(entropy), pattern(100_000, 2));
    let first = objects.put(id, vec![body.clone()]).await.expect("a put succeeds");
    let again = objects.put(id, vec![body.slice(..31), body.slice(31..)]).await.expect("the same bytes again");
    assert_eq!(first, again);
    let mut other = body.to_vec();
    other[99_999] ^= 1;
    for other in [Bytes::from(other), body.slice(1..), Bytes::new()] {
        let refused = objects.put(id, vec![other]).await.expect_err("other bytes");
        assert_eq!(refused.fault(), Fault::Conflict);
    }
    // An upload is refused as well: when it begins, at its first part, or at its end.
    for len in [50, objects.part_bytes() + 1] {
        let upload = async {
            let mut upload = objects.begin(id).await?;
            if let Err(e) = upload.write(pattern(len, 9)).await {
                upload.abort().await;
                return Err(e);
            }
            upload.finish().await
        };
        assert!(matches!(upload.await, Err(StoreError::Conflict)), "{len} bytes");
    }
    assert_eq!(read_all(objects, id, 0).await, body);
    assert_eq!(objects.sweep().await.expect("a sweep").removed, [], "nothing was left behind");
}

/// New objects, old ones and empty ones together; a conflict harms none of the others.
pub async fn a_batch_is_so_many_puts(objects: &Objects, entropy: &dyn Entropy) {
    let bodies: Vec<(ObjectId, Bytes)> =
        (0..40).map(|n: u8| (ObjectId::random(entropy), pattern(usize::from(n) * 1000, n))).collect();
    let whole = |chosen: &[(ObjectId, Bytes)]| chosen.iter().map(|(id, body)| (*id, vec![body.clone()])).collect();
    objects.put_batch(vec![]).await.expect("nothing is put");
    objects.put(bodies[3].0, vec![bodies[3].1.clone()]).await.expect("a put succeeds");
    objects.put_batch(whole(&bodies[..30])).await.expect("a batch succeeds");
    // All of it again, in other pieces, and some more.
    let in_pieces = bodies.iter().map(|(id, body)| {
        let at = body.len() / 3;
        (*id, vec![body.slice(..at), Bytes::new(), body.slice(at..)])
    });
    objects.put_batch(in_pieces.collect()).await.expect("the same bytes again");
    for (id, body) in &bodies {
        assert_eq!(read_all(objects, *id, 0).await, body);
    }
    let mut other = bodies[7].1.to_vec();
    other[6_999] ^= 1;
    let new = (ObjectId::random(entropy), pattern(10, 41));
    for other in [Bytes::from(other), bodies[7].1.slice(1..), Bytes::new()] {
        let batch = [bodies[6].clone(), (bodies[7].0, other), new.clone()];
        let refused = objects.put_batch(whole(&batch)).await.expect_err("other bytes");
        assert_eq!(refused.fault(), Fault::Conflict);
    }
    assert_eq!(read_all(objects, bodies[7].0, 0).await, bodies[7].1);
    assert_eq!(read_all(objects, bodies[6].0, 0).await, bodies[6].1);
    objects.put_batch(whole(std::slice::from_ref(&new))).await.expect("what was refused together succeeds alone");
    let upload = objects.begin(ObjectId::random(entropy)).await.expect("an upload begins");
    let (Some(taken), fresh) = (upload.object(), ObjectId::random(entropy)) else { panic!("it has a name") };
    let refused = objects.put_batch(vec![(fresh, vec![]), (taken, vec![])]).await.expect_err("it is being written");
    assert!(matches!(refused, StoreError::InUse));
    upload.abort().await;
    objects.put_batch(vec![(taken, vec![]), (fresh, vec![])]).await.expect("no claim is left over");
}

/// Sizes around the part size, pieces that do not divide it.
pub async fn an_upload_reads_back_whatever_its_pieces(objects: &Objects, entropy: &dyn Entropy) {
    let part = objects.part_bytes();
    for (len, piece) in [(0, 1), (1, 1), (part, part), (2 * part + 1, 65_536 + 7), (4 * part, 3 * part)] {
        let (id, body) = (ObjectId::random(entropy), pattern(len, 3));
        let mut upload = objects.begin(id).await.expect("an upload begins");
        for from in (0..len).step_by(piece) {
            upload.write(body.slice(from..len.min(from + piece))).await.expect("it takes bytes");
        }
        let receipt = upload.finish().await.expect("it finishes");
        assert_eq!((receipt.object(), receipt.sealed_len()), (id, len as u64));
        assert_eq!(objects.len(id).await.expect("it is there"), len as u64);
        if len > 0 {
            assert!(read_all(objects, id, 0).await == body, "{len} bytes in pieces of {piece}");
        }
        // A replay after an upload finds the object as if it had been put.
        objects.put(id, vec![body]).await.expect("the same bytes again");
    }
}

/// Not before it is finished, and not when it is given up.
pub async fn an_unfinished_upload_is_invisible(objects: &Objects, entropy: &dyn Entropy) {
    let id = ObjectId::random(entropy);
    let mut upload = objects.begin(id).await.expect("an upload begins");
    upload.write(pattern(objects.part_bytes() + 1, 4)).await.expect("it takes bytes");
    assert!(matches!(objects.len(id).await, Err(StoreError::Missing)));
    assert!(matches!(objects.begin(id).await, Err(StoreError::InUse)));
    assert!(matches!(objects.put(id, vec![]).await, Err(StoreError::InUse)));
    upload.abort().await;
    assert!(matches!(objects.len(id).await, Err(StoreError::Missing)));
    let again = objects.begin(id).await.expect("it may begin again");
    again.finish().await.expect("it finishes");
}

/// Every way of asking says so.
pub async fn a_missing_object_is_missing(objects: &Objects, entropy: &dyn Entropy) {
    let id = ObjectId::random(entropy);
    assert!(matches!(objects.len(id).await, Err(StoreError::Missing)));
    assert!(matches!(objects.range(id, 0..1).await, Err(StoreError::Missing)));
    assert!(matches!(objects.range(id, 0..0).await, Err(StoreError::Missing)));
    assert!(matches!(objects.stream(id, 0).await, Err(StoreError::Missing)));
    assert!(matches!(objects.stream(id, 9).await, Err(StoreError::Missing)));
    objects.delete(id).await.expect("removing what is not there");
}

/// With its length, and without what is unfinished.
pub async fn a_list_names_every_object(objects: &Objects, entropy: &dyn Entropy) {
    let ids: Vec<ObjectId> = (0..5).map(|_| ObjectId::random(entropy)).collect();
    for (len, id) in ids.iter().enumerate() {
        objects.put(*id, vec![pattern(len, 5)]).await.expect("a put succeeds");
    }
    let unfinished = ObjectId::random(entropy);
    let mut upload = objects.begin(unfinished).await.expect("an upload begins");
    upload.write(pattern(objects.part_bytes() + 1, 5)).await.expect("it takes bytes");
    let listed: Vec<(ObjectId, u64)> = objects.list().try_collect().await.expect("a list");
    for (len, id) in ids.iter().enumerate() {
        assert_eq!(listed.iter().filter(|found| **found == (*id, len as u64)).count(), 1);
    }
    assert!(listed.iter().all(|(id, _)| *id != unfinished));
    upload.abort().await;
}

/// And its name is free again.
pub async fn a_deleted_object_is_gone(objects: &Objects, entropy: &dyn Entropy) {
    let id = ObjectId::random(entropy);
    objects.put(id, vec![pattern(10, 6)]).await.expect("a put succeeds");
    objects.delete(id).await.expect("it is removed");
    assert!(matches!(objects.range(id, 0..1).await, Err(StoreError::Missing)));
    objects.put(id, vec![pattern(11, 7)]).await.expect("a put succeeds");
}

/// Not even one that no ledger ever heard of.
pub async fn a_sweep_removes_no_object(objects: &Objects, entropy: &dyn Entropy) {
    let put = ObjectId::random(entropy);
    objects.put(put, vec![pattern(10, 8)]).await.expect("a put succeeds");
    let before: usize =
        objects.list().map_ok(|_| 1).try_fold(0, |sum, n| async move { Ok(sum + n) }).await.expect("a list");
    let running = ObjectId::random(entropy);
    let mut upload = objects.begin(running).await.expect("an upload begins");
    upload.write(pattern(objects.part_bytes() + 1, 8)).await.expect("it takes bytes");
    let report = objects.sweep().await.expect("a sweep");
    assert!(!report.removed.contains(&running), "a running upload is left alone");
    upload.write(pattern(1, 9)).await.expect("it takes bytes");
    upload.finish().await.expect("it finishes");
    let after: usize =
        objects.list().map_ok(|_| 1).try_fold(0, |sum, n| async move { Ok(sum + n) }).await.expect("a list");
    assert_eq!(after, before + 1);
}

async fn read_all(objects: &Objects, id: ObjectId, offset: u64) -> Bytes {
    let (stream, len) = objects.stream(id, offset).await.expect("it is there");
    let pieces: Vec<Bytes> = stream.try_collect().await.expect("it reads to its end");
    let all = pieces.concat();
    assert_eq!(all.len() as u64, len - offset);
    all.into()
}

fn at(offset: u64) -> usize {
    usize::try_from(offset).expect("objects here are small")
}

/// Bytes that differ from place to place and from seed to seed.
fn pattern(len: usize, seed: u8) -> Bytes {
    let mut reader = blake3::Hasher::new().update(&[seed]).finalize_xof();
    let mut bytes = vec![0; len];
    reader.fill(&mut bytes);
    bytes.into()
}
