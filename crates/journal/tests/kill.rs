//! The process is killed in the middle of its commits.

use bytes::Bytes;
use leadglass_journal::{Journal, JournalConfig, MIN_SEGMENT_BYTES, Position};
use leadglass_model::SystemEntropy;
use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
};

const DIR: &str = "LEADGLASS_JOURNAL_TO_BE_KILLED";
const CONFIG: JournalConfig = JournalConfig { segment_bytes: MIN_SEGMENT_BYTES, max_bytes: 64 * MIN_SEGMENT_BYTES };

/// Not a test of its own: what the killed process does. Without the variable it is nobody's child and does nothing.
#[test]
fn child_commits_until_it_is_killed() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let (journal, replay) = Journal::open(Path::new(&dir), CONFIG, Arc::new(SystemEntropy)).unwrap();
    drop(replay);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    runtime.block_on(async {
        let tasks = (0..4_u8).map(|task| {
            let journal = journal.clone();
            tokio::spawn(async move {
                for n in 0_u64.. {
                    let text = format!("{task}.{n}.{}", std::process::id());
                    let position = journal.commit(vec![record(&text)]).await.unwrap().position();
                    say(&format!("ack {position} {text}"));
                    if n % 16 == 15 && position > 200 {
                        say(&format!("trimming {}", position - 200));
                        journal.trim(Position(position - 200)).await.unwrap();
                        say(&format!("trimmed {}", position - 200));
                    }
                }
            })
        });
        futures::future::join_all(tasks).await;
    });
}

#[test]
fn whatever_was_acknowledged_before_a_kill_is_replayed() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = BTreeMap::new();
    let (mut trimming, mut trimmed) = (0, 0);
    for round in 1..=4 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["child_commits_until_it_is_killed", "--exact", "--nocapture"])
            .env(DIR, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut seen = 0;
        let mut line = String::new();
        // What stands in the pipe when the process dies was said before: it is read to its end.
        while lines.read_line(&mut line).unwrap() > 0 {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words[..] {
                _ if !line.ends_with('\n') => {}
                ["ack", position, text] => {
                    let before = acknowledged.insert(position.parse::<u64>().unwrap(), record(text));
                    assert!(before.is_none(), "position {position} was given twice");
                    seen += 1;
                }
                ["trimming", upto] => trimming = trimming.max(upto.parse().unwrap()),
                ["trimmed", upto] => trimmed = trimmed.max(upto.parse().unwrap()),
                _ => {}
            }
            if seen == 150 * round {
                child.kill().unwrap();
                seen += 1;
            }
            line.clear();
        }
        child.wait().unwrap();
        assert!(seen > 150 * round);

        let (journal, replay) = Journal::open(dir.path(), CONFIG, Arc::new(SystemEntropy)).unwrap();
        let found: BTreeMap<u64, Bytes> = replay.map(|r| r.map(|r| (r.position.0, r.record)).unwrap()).collect();
        drop(journal);
        let first = *found.keys().next().unwrap();
        assert!(first > trimmed && first <= trimming + 1, "{trimmed} < {first} <= {}", trimming + 1);
        assert!(found.keys().copied().eq(first..first + found.len() as u64), "no gaps");
        for (position, record) in acknowledged.range(first..) {
            assert_eq!(found.get(position), Some(record), "position {position}");
        }
        for (position, found) in &found {
            let text = std::str::from_utf8(found).unwrap().trim_end();
            assert_eq!(*found, record(text), "position {position}");
        }
        // What was written and not acknowledged is kept from now on.
        acknowledged = found;
    }
}

fn record(text: &str) -> Bytes {
    format!("{text:<3000}").into()
}

fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("{text}\n").as_bytes()).expect("the parent listens");
    out.flush().expect("the parent listens");
}
