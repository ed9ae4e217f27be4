//! Segments of older forms are replayed and written no more.

use crate::{
    Journal, JournalConfig, MIN_SEGMENT_BYTES,
    frame::{BLOCK_BYTES, FIRST_OF_BATCH, Form, LAST_OF_BATCH, RECORD_ALIGN, RecordHeader, SegmentHeader, align},
    writer::segment_name,
};
use bytes::Bytes;
use leadglass_model::SystemEntropy;
use std::{fs, path::Path, sync::Arc};

fn open(dir: &Path) -> (Journal, Vec<(u64, Bytes)>) {
    let config = JournalConfig { segment_bytes: MIN_SEGMENT_BYTES, max_bytes: 4 * MIN_SEGMENT_BYTES };
    let (journal, replay) = Journal::open(dir, config, Arc::new(SystemEntropy)).unwrap();
    (journal, replay.map(|record| record.map(|r| (r.position.0, r.record)).unwrap()).collect())
}

/// One batch of `payloads` in a segment of an older form.
fn older_segment(form: Form, payloads: &[&[u8]]) -> Vec<u8> {
    let header =
        SegmentHeader { form, file_id: [9; 16], generation: 1, first: 1, trimmed: 0, segment_bytes: MIN_SEGMENT_BYTES };
    let mut file = vec![0; usize::try_from(MIN_SEGMENT_BYTES).unwrap()];
    file[..96].copy_from_slice(&header.encode());
    let mut at = BLOCK_BYTES;
    for (payload, sequence) in payloads.iter().zip(1..) {
        let first = if sequence == 1 { FIRST_OF_BATCH } else { 0 };
        let last = if sequence == payloads.len() as u64 { LAST_OF_BATCH } else { 0 };
        let record =
            RecordHeader { len: u32::try_from(payload.len()).unwrap(), flags: first | last, lead: 0, sequence };
        let head = record.encode(&header.key(), &form.summing().sum([*payload]));
        let start = usize::try_from(at).unwrap();
        file[start..start + 32].copy_from_slice(&head);
        file[start + 32..][..payload.len()].copy_from_slice(payload);
        at = align(record.end(at), RECORD_ALIGN);
    }
    file
}

#[tokio::test]
async fn what_an_older_node_acknowledged_is_replayed_and_positions_go_on() {
    for form in [Form::First, Form::Second] {
        let dir = tempfile::tempdir().unwrap();
        drop(open(dir.path()));
        fs::write(dir.path().join(segment_name(1)), older_segment(form, &[b"one", b"", b"three"])).unwrap();
        let told = [(1, &b"one"[..]), (2, b""), (3, b"three")];
        let (journal, found) = open(dir.path());
        assert_eq!(found.iter().map(|(n, record)| (*n, &record[..])).collect::<Vec<_>>(), told);
        assert_eq!(journal.commit(vec![Bytes::from_static(b"four")]).await.unwrap().position(), 4);
        drop(journal);
        let (_journal, found) = open(dir.path());
        assert_eq!(found.iter().map(|(n, _)| *n).collect::<Vec<_>>(), [1, 2, 3, 4]);
        assert_eq!(&fs::read(dir.path().join(segment_name(2))).unwrap()[..8], b"LGJSEG03");
    }
}

#[tokio::test]
async fn a_last_batch_of_the_older_form_that_does_not_prove_itself_is_cut() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let mut file = older_segment(Form::First, &[b"one", b"two"]);
    file[4096 + 32] ^= 1;
    fs::write(dir.path().join(segment_name(1)), file).unwrap();
    // A torn write looks like that, and what is torn was never acknowledged (JOURNAL.md, opening, 3).
    assert!(open(dir.path()).1.is_empty());
}
