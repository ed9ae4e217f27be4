//! A journal on a real disk: what is acknowledged comes back, in order, until it is trimmed.

use bytes::Bytes;
use leadglass_disk::Trays;
use leadglass_journal::{CommitError, Journal, JournalConfig, JournalError, MIN_SEGMENT_BYTES, Position};
use leadglass_model::{Fault, SystemEntropy};
use std::{path::Path, sync::Arc};

fn small() -> JournalConfig {
    JournalConfig { segment_bytes: MIN_SEGMENT_BYTES, max_bytes: 4 * MIN_SEGMENT_BYTES }
}

fn open(dir: &Path) -> (Journal, Vec<(u64, Bytes)>) {
    let (journal, replay) = Journal::open(dir, small(), Arc::new(SystemEntropy)).expect("the journal opens");
    let records: Result<_, _> = replay.map(|r| r.map(|r| (r.position.0, r.record))).collect();
    (journal, records.expect("the journal replays"))
}

#[tokio::test]
async fn records_come_back_in_order_with_their_pieces_joined() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, before) = open(dir.path());
    assert!(before.is_empty());
    for n in 1..=50_u64 {
        let pieces = vec![Bytes::from(format!("head {n} ")), Bytes::new(), Bytes::from(vec![7; 3000])];
        assert_eq!(journal.commit(pieces).await.unwrap().position(), n);
    }
    assert_eq!((journal.pending(), journal.last()), (50, Position(50)));
    drop(journal);
    let (_journal, after) = open(dir.path());
    assert_eq!(after.len(), 50);
    for (n, (position, record)) in (1..).zip(after) {
        assert_eq!(position, n);
        assert_eq!(record, [format!("head {n} ").as_bytes(), &[7; 3000]].concat());
    }
}

/// Long pieces that lie at a block in memory lie at one in the file, alone and in a batch; the others wherever.
#[tokio::test]
async fn long_pieces_lie_at_blocks_and_records_come_back() {
    const LONG: usize = 100_000;
    let config = JournalConfig { segment_bytes: 2 << 20, max_bytes: 8 << 20 };
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(dir.path(), config, Arc::new(SystemEntropy)).unwrap();
    let trays = Trays::new(0);
    let record = |n: u8| {
        let mut tray = trays.take(LONG);
        tray.room(LONG).fill(n);
        // Every third one does not lie at a block.
        let long = tray.into_bytes().slice(usize::from(n.is_multiple_of(3))..);
        vec![Bytes::from(vec![0xee; usize::from(n) * 37]), long, Bytes::from_static(b"end")]
    };
    let alone = journal.commit(record(1)).await.unwrap();
    let together = futures::future::join_all((2..=10).map(|n| journal.commit(record(n)))).await;
    assert!(alone.position() == 1 && together.iter().all(Result::is_ok));
    drop(journal);

    let files = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
    let file = files.into_iter().find(|path| path.file_name().unwrap().to_string_lossy().starts_with("seg-")).unwrap();
    let file = std::fs::read(file).unwrap();
    for n in (1..=10_u8).filter(|n| n % 3 != 0) {
        let at = file.windows(LONG).position(|bytes| bytes.iter().all(|byte| *byte == n)).expect("it is there");
        assert_eq!(at % 4096, 0, "record {n}");
    }
    let (_journal, replay) = Journal::open(dir.path(), config, Arc::new(SystemEntropy)).unwrap();
    let found: Vec<Bytes> = replay.map(|record| record.unwrap().record).collect();
    // Of those that were committed together, one order is as good as another.
    assert_eq!(found.len(), 10);
    for n in 1..=10 {
        assert!(found.iter().any(|bytes| *bytes == record(n).concat()), "record {n}");
    }
}

#[tokio::test]
async fn what_is_trimmed_stays_away_and_positions_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    for n in 0..40_u8 {
        journal.commit(vec![Bytes::from(vec![n; 4000])]).await.unwrap();
    }
    journal.trim(Position(37)).await.unwrap();
    assert_eq!(journal.pending(), 3);
    drop(journal);
    let (journal, after) = open(dir.path());
    assert_eq!(after.iter().map(|(p, _)| *p).collect::<Vec<_>>(), [38, 39, 40]);
    journal.trim(Position(40)).await.unwrap();
    drop(journal);
    let (journal, after) = open(dir.path());
    assert!(after.is_empty());
    assert_eq!(journal.commit(vec![Bytes::from_static(b"next")]).await.unwrap().position(), 41);
}

#[tokio::test]
async fn a_full_journal_answers_busy_and_takes_records_again_once_trimmed() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    let record = || vec![Bytes::from(vec![1; 30_000])];
    let refused = loop {
        if let Err(e) = journal.commit(record()).await {
            break e;
        }
    };
    assert!(matches!(refused, CommitError::Full));
    assert_eq!(refused.fault(), Fault::Busy);
    assert!(matches!(journal.commit(record()).await, Err(CommitError::Full)));
    let last = journal.last();
    journal.trim(last).await.unwrap();
    assert_eq!(journal.commit(record()).await.unwrap().position(), last.0 + 1);
    // Many times the journal's size passes through it as long as somebody trims.
    for _ in 0..100 {
        let receipt = journal.commit(record()).await.unwrap();
        journal.trim(Position::from(&receipt)).await.unwrap();
    }
    let on_disk: u64 = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().metadata().unwrap().len()).sum();
    assert!(on_disk <= small().max_bytes + 8192, "{on_disk}");
}

#[tokio::test]
async fn many_committers_get_distinct_positions_and_all_records_are_there() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    let commits = (0..200_u64).map(|n| {
        let journal = journal.clone();
        async move { (journal.commit(vec![Bytes::from(n.to_string())]).await.unwrap().position(), n.to_string()) }
    });
    let mut acknowledged = futures::future::join_all(commits).await;
    acknowledged.sort_unstable();
    drop(journal);
    let (_journal, after) = open(dir.path());
    let expected: Vec<_> = acknowledged.into_iter().map(|(p, text)| (p, Bytes::from(text))).collect();
    assert_eq!(after, expected);
}

#[tokio::test]
async fn a_record_too_long_for_a_segment_is_bad_input() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    let max = usize::try_from(small().max_record_bytes()).unwrap();
    journal.commit(vec![Bytes::from(vec![1; max])]).await.unwrap();
    let refused = journal.commit(vec![Bytes::from(vec![1; max + 1])]).await.unwrap_err();
    assert_eq!(refused.fault(), Fault::BadInput);
    journal.commit(vec![]).await.unwrap();
    drop(journal);
    let (_journal, after) = open(dir.path());
    assert_eq!(after.iter().map(|(_, r)| r.len()).collect::<Vec<_>>(), [max, 0]);
}

#[tokio::test]
async fn a_second_opening_is_refused_while_the_first_lives() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    let second = Journal::open(dir.path(), small(), Arc::new(SystemEntropy));
    assert!(matches!(second, Err(JournalError::Locked)));
    drop(journal);
    open(dir.path());
}

#[test]
fn sizes_that_do_not_fit_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    for (segment_bytes, max_bytes) in [(4096, 1 << 20), ((1 << 16) + 1, 1 << 20), (1 << 16, 1 << 16)] {
        let config = JournalConfig { segment_bytes, max_bytes };
        let refused = Journal::open(dir.path(), config, Arc::new(SystemEntropy));
        assert!(matches!(refused, Err(JournalError::Config)));
    }
}

#[tokio::test]
async fn a_journal_begun_behind_a_position_goes_on_there_and_never_over_another() {
    let dir = tempfile::tempdir().unwrap();
    Journal::begin_behind(dir.path(), Position(4_711)).unwrap();
    {
        let (journal, records) = open(dir.path());
        assert_eq!((records.len(), journal.last(), journal.trimmed()), (0, Position(4_711), Position(4_711)));
        let receipt = journal.commit(vec![Bytes::from_static(b"next")]).await.unwrap();
        assert_eq!(Position::from(&receipt), Position(4_712));
    }
    assert!(Journal::begin_behind(dir.path(), Position(1)).is_err());
    let (_journal, records) = open(dir.path());
    assert_eq!(records, [(4_712, Bytes::from_static(b"next"))]);
}
