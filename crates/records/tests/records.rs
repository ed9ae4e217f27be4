//! Records on a real file.

use leadglass_model::{Clock, Fault, MockClock, SystemEntropy, TenantId, UnixMillis};
use leadglass_records::{Expected, OpenError, RecordError, RecordKey, Records, Table, TenantRecords};
use redb::{ReadableDatabase, ReadableTable, TableDefinition};
use std::{path::Path, sync::Arc};
use zeroize::Zeroizing;

const TENANT: TenantId = TenantId::from_bytes([1; 16]);
const OTHER: TenantId = TenantId::from_bytes([2; 16]);
const RECORDS: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("records");

fn open(path: &Path) -> Records {
    let clock: Arc<dyn Clock> = Arc::new(MockClock::at(UnixMillis(1)));
    Records::open(path, clock, Arc::new(SystemEntropy)).expect("the records open")
}

fn tenant(records: &Records) -> TenantRecords {
    records.tenant(TENANT, RecordKey::from_bytes([5; 32]))
}

fn value(text: &str) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(text.as_bytes().to_vec())
}

async fn read(records: &TenantRecords, table: Table, key: &[u8]) -> Option<String> {
    let found = records.get(table, key).await.expect("it reads")?;
    Some(String::from_utf8(found.value.expose().to_vec()).expect("text was written"))
}

#[tokio::test]
async fn a_record_survives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("records.redb");
    {
        let records = open(&path);
        let here = tenant(&records);
        assert_eq!(here.put(Table::Patients, b"p1", value("one"), Expected::Absent).await.unwrap(), 1);
        assert_eq!(here.put(Table::Patients, b"p1", value("two"), Expected::Version(1)).await.unwrap(), 2);
        assert_eq!(here.put(Table::People, b"p1", value("other table"), Expected::Anything).await.unwrap(), 1);
    }
    let records = open(&path);
    let here = tenant(&records);
    assert_eq!(read(&here, Table::Patients, b"p1").await.as_deref(), Some("two"));
    assert_eq!(read(&here, Table::People, b"p1").await.as_deref(), Some("other table"));
    assert_eq!(here.get(Table::Patients, b"p1").await.unwrap().unwrap().version, 2);
    assert!(here.delete(Table::Patients, b"p1").await.unwrap());
    assert!(!here.delete(Table::Patients, b"p1").await.unwrap());
    assert_eq!(read(&here, Table::Patients, b"p1").await, None);
}

#[tokio::test]
async fn a_writer_who_expected_something_else_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let records = open(&dir.path().join("records.redb"));
    let here = tenant(&records);
    here.put(Table::Jobs, b"j", value("1"), Expected::Absent).await.unwrap();
    for expected in [Expected::Absent, Expected::Version(2), Expected::Version(0)] {
        let refused = here.put(Table::Jobs, b"j", value("2"), expected).await.unwrap_err();
        assert_eq!(refused.fault(), Fault::Conflict);
    }
    let absent = here.put(Table::Jobs, b"k", value("2"), Expected::Version(1)).await.unwrap_err();
    assert!(matches!(absent, RecordError::Changed));
    assert_eq!(read(&here, Table::Jobs, b"j").await.as_deref(), Some("1"));
}

#[tokio::test]
async fn no_plaintext_value_stands_in_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("records.redb");
    {
        let records = open(&path);
        let here = tenant(&records);
        for n in 0..50_u8 {
            here.put(Table::Patients, &[n], value("CANARY^NEVER"), Expected::Anything).await.unwrap();
        }
        here.put(Table::Patients, &[1], value("short"), Expected::Anything).await.unwrap();
        here.delete(Table::Patients, &[2]).await.unwrap();
    }
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        assert!(!bytes.is_empty());
        assert!(!bytes.windows(6).any(|window| window == b"CANARY"));
        assert!(!bytes.windows(32).any(|window| window == [5; 32]));
    }
}

#[tokio::test]
async fn a_value_is_mute() {
    let dir = tempfile::tempdir().unwrap();
    let records = open(&dir.path().join("records.redb"));
    let here = tenant(&records);
    here.put(Table::Patients, b"p", value("CANARY^NEVER"), Expected::Anything).await.unwrap();
    let shown = format!("{:?} {:?}", here.get(Table::Patients, b"p").await.unwrap(), RecordKey::from_bytes([5; 32]));
    assert!(!shown.contains("CANARY") && !shown.contains("67, 65") && !shown.contains("5, 5"), "{shown}");
}

#[tokio::test]
async fn another_record_key_opens_nothing_and_replaces_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let records = open(&dir.path().join("records.redb"));
    tenant(&records).put(Table::Holds, b"h", value("mine"), Expected::Anything).await.unwrap();
    let wrong = records.tenant(TENANT, RecordKey::from_bytes([6; 32]));
    let refused = wrong.get(Table::Holds, b"h").await.unwrap_err();
    assert_eq!(refused.fault(), Fault::Corrupt);
    assert!(wrong.scan(Table::Holds, None, 10).await.is_err());
    let refused = wrong.put(Table::Holds, b"h", value("theirs"), Expected::Anything).await.unwrap_err();
    assert!(matches!(refused, RecordError::NotAuthentic));
    assert_eq!(read(&tenant(&records), Table::Holds, b"h").await.as_deref(), Some("mine"));
}

#[tokio::test]
async fn another_tenant_sees_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let records = open(&dir.path().join("records.redb"));
    tenant(&records).put(Table::Holds, b"h", value("mine"), Expected::Anything).await.unwrap();
    let other = records.tenant(OTHER, RecordKey::from_bytes([5; 32]));
    assert_eq!(other.get(Table::Holds, b"h").await.unwrap(), None);
    assert!(other.scan(Table::Holds, None, 10).await.unwrap().is_empty());
    assert!(!other.delete(Table::Holds, b"h").await.unwrap());
}

/// Somebody with the file swaps two sealed values.
#[tokio::test]
async fn swapped_values_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("records.redb");
    {
        let records = open(&path);
        let here = tenant(&records);
        here.put(Table::Patients, b"a", value("one"), Expected::Anything).await.unwrap();
        here.put(Table::Patients, b"b", value("two"), Expected::Anything).await.unwrap();
    }
    {
        let file = redb::Database::open(&path).unwrap();
        let rows: Vec<(Vec<u8>, Vec<u8>)> = {
            let read = file.begin_read().unwrap();
            let rows = read.open_table(RECORDS).unwrap();
            rows.iter().unwrap().map(|r| r.map(|(k, v)| (k.value().to_vec(), v.value().to_vec())).unwrap()).collect()
        };
        assert_eq!(rows.len(), 2);
        let write = file.begin_write().unwrap();
        {
            let mut table = write.open_table(RECORDS).unwrap();
            table.insert(rows[0].0.as_slice(), rows[1].1.as_slice()).unwrap();
            table.insert(rows[1].0.as_slice(), rows[0].1.as_slice()).unwrap();
        }
        write.commit().unwrap();
    }
    let records = open(&path);
    for key in [b"a", b"b"] {
        let refused = tenant(&records).get(Table::Patients, key).await.unwrap_err();
        assert!(matches!(refused, RecordError::NotAuthentic));
    }
}

#[tokio::test]
async fn a_scan_pages_through_one_table_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let records = open(&dir.path().join("records.redb"));
    let here = tenant(&records);
    for n in (0..25_u8).rev() {
        here.put(Table::Jobs, &[n, n], value(&n.to_string()), Expected::Absent).await.unwrap();
    }
    here.put(Table::Settings, b"s", value("no job"), Expected::Absent).await.unwrap();
    let (mut seen, mut after) = (Vec::new(), None::<Vec<u8>>);
    loop {
        let page = here.scan(Table::Jobs, after.as_deref(), 10).await.unwrap();
        let Some(last) = page.last() else { break };
        assert!(page.len() <= 10);
        after = Some(last.key.clone());
        seen.extend(page.into_iter().map(|record| record.key));
    }
    assert_eq!(seen, (0..25_u8).map(|n| vec![n, n]).collect::<Vec<_>>());
}

#[tokio::test]
async fn keys_and_values_beyond_the_limits_are_bad_input() {
    let dir = tempfile::tempdir().unwrap();
    let records = open(&dir.path().join("records.redb"));
    let here = tenant(&records);
    let large = Zeroizing::new(vec![0; leadglass_records::MAX_VALUE_BYTES]);
    here.put(Table::Jobs, &[7; 256], large.clone(), Expected::Anything).await.unwrap();
    let too_large = Zeroizing::new(vec![0; leadglass_records::MAX_VALUE_BYTES + 1]);
    for (key, value) in [(&[][..], value("x")), (&[7; 257][..], value("x")), (b"k", too_large)] {
        let refused = here.put(Table::Jobs, key, value, Expected::Anything).await.unwrap_err();
        assert_eq!(refused.fault(), Fault::BadInput);
    }
}

#[test]
fn a_second_opening_is_refused_and_so_is_a_file_of_another_kind() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("records.redb");
    let clock: Arc<dyn Clock> = Arc::new(MockClock::at(UnixMillis(1)));
    let first = open(&path);
    let second = Records::open(&path, clock.clone(), Arc::new(SystemEntropy)).unwrap_err();
    assert!(matches!(second, OpenError::Locked), "{second:?}");
    drop(first);
    let other = dir.path().join("other.redb");
    std::fs::write(&other, b"not a file of records, but long enough to be looked at".repeat(200)).unwrap();
    let refused = Records::open(&other, clock, Arc::new(SystemEntropy)).unwrap_err();
    assert_eq!(refused.fault(), Fault::Corrupt, "{refused:?}");
}

/// The engine's first file, cut short by a crash, does not open; it must never stand under the real name.
#[test]
fn a_half_made_file_is_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("records.redb");
    std::fs::write(dir.path().join("records.new"), b"half").unwrap();
    drop(open(&path));
    assert!(!dir.path().join("records.new").exists());
    open(&path);
}
