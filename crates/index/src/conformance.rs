//! What every engine must do, as laws that its tests call. Each law gets a bench of its own.

use crate::{Batch, Index, Mark, RowKey, Table};
use async_trait::async_trait;
use bytes::Bytes;
use leadglass_model::{StudyRef, TenantId};
use std::sync::Arc;

/// A place where one engine keeps its rows.
#[async_trait]
pub trait Bench: Send + Sync {
    /// Opens the engine; after every handle of an earlier opening is gone, opens it on what that left.
    async fn open(&self) -> Arc<dyn Index>;
}

/// Rows are there after a commit, after opening again, and gone after a delete.
pub async fn what_was_committed_is_there_after_opening_again(bench: &dyn Bench) {
    let index = bench.open().await;
    assert_eq!(index.fetch(A, key(Table::Study, 1, 1)).await.expect("fetch"), None);
    put(&*index, &[(A, key(Table::Study, 1, 1), "one"), (A, key(Table::Meta, 1, 2), "two")]).await;
    assert_eq!(get(&*index, A, key(Table::Study, 1, 1)).await, "one");
    drop(index);
    let index = bench.open().await;
    assert_eq!(get(&*index, A, key(Table::Study, 1, 1)).await, "one");
    assert_eq!(get(&*index, A, key(Table::Meta, 1, 2)).await, "two");
    let deletes = vec![(A, key(Table::Study, 1, 1)), (A, key(Table::Study, 9, 9))];
    index.commit(Batch { deletes, ..Batch::default() }).await.expect("commit");
    drop(index);
    let index = bench.open().await;
    assert_eq!(index.fetch(A, key(Table::Study, 1, 1)).await.expect("fetch"), None);
    assert_eq!(get(&*index, A, key(Table::Meta, 1, 2)).await, "two");
}

/// In one batch the later put of a key wins, and deletes come after the puts.
pub async fn a_batch_is_applied_in_order(bench: &dyn Bench) {
    let index = bench.open().await;
    let k = key(Table::Series, 1, 1);
    put(&*index, &[(A, k, "old"), (A, k, "new")]).await;
    assert_eq!(get(&*index, A, k).await, "new");
    let puts = vec![(A, k, Bytes::from_static(b"newer"))];
    index.commit(Batch { puts, deletes: vec![(A, k)], mark: None }).await.expect("commit");
    assert_eq!(index.fetch(A, k).await.expect("fetch"), None);
}

/// One tenant's rows are not another's, neither fetched nor scanned.
pub async fn tenants_do_not_see_each_other(bench: &dyn Bench) {
    let index = bench.open().await;
    let k = key(Table::Study, 1, 1);
    put(&*index, &[(A, k, "a"), (B, k, "b")]).await;
    assert_eq!(get(&*index, A, k).await, "a");
    assert_eq!(get(&*index, B, k).await, "b");
    assert_eq!(scan(&*index, A, Table::Study, None, None, 10).await, [(k, "a".to_owned())]);
    let other = TenantId::from_bytes([0xff; 16]);
    assert_eq!(scan(&*index, other, Table::Study, None, None, 10).await, []);
}

/// A scan gives one table's rows in key order, of one study or of all, page by page.
pub async fn scans_page_through_a_table_in_key_order(bench: &dyn Bench) {
    let index = bench.open().await;
    let mut all = Vec::new();
    for study in [0, 7, 0xff] {
        for mac in [0, 1, 0x80, 0xff] {
            all.push(key(Table::Series, study, mac));
        }
    }
    let mut rows: Vec<_> = all.iter().map(|k| (A, *k, "row")).collect();
    rows.reverse();
    rows.extend([(A, key(Table::Study, 7, 1), "no"), (A, key(Table::Instance, 7, 1), "no")]);
    put(&*index, &rows).await;
    for page in [1, 2, 5, 100] {
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let rows = scan(&*index, A, Table::Series, None, after, page).await;
            assert!(rows.len() <= page);
            let Some((last, _)) = rows.last() else { break };
            after = Some(*last);
            seen.extend(rows.into_iter().map(|(k, _)| k));
        }
        assert_eq!(seen, all, "pages of {page}");
    }
    for study in [0, 7, 0xff] {
        let of_study = scan(&*index, A, Table::Series, Some(StudyRef::from_bytes([study; 16])), None, 100).await;
        assert_eq!(of_study.len(), 4);
        assert!(of_study.iter().all(|(k, _)| k.study_ref == StudyRef::from_bytes([study; 16])));
        let after = Some(key(Table::Series, study, 0x80));
        let rest = scan(&*index, A, Table::Series, Some(StudyRef::from_bytes([study; 16])), after, 100).await;
        assert_eq!(rest, [(key(Table::Series, study, 0xff), "row".to_owned())]);
    }
    let none = scan(&*index, A, Table::Series, Some(StudyRef::from_bytes([1; 16])), None, 100).await;
    assert_eq!(none, []);
}

/// The mark is that of the last batch that had one.
pub async fn the_mark_stays_with_its_batch(bench: &dyn Bench) {
    let index = bench.open().await;
    assert_eq!(index.mark().await.expect("mark"), Mark::default());
    let mark = Mark { tree_size: 12, position: u64::MAX };
    index.commit(Batch { mark: Some(mark), ..Batch::default() }).await.expect("commit");
    put(&*index, &[(A, key(Table::Study, 1, 1), "row")]).await;
    assert_eq!(index.mark().await.expect("mark"), mark);
    drop(index);
    let index = bench.open().await;
    assert_eq!(index.mark().await.expect("mark"), mark);
    assert_eq!(scan(&*index, A, Table::Study, None, None, 10).await.len(), 1);
}

/// Commits of many tasks at once all arrive, each whole.
pub async fn commits_at_the_same_time_all_arrive(bench: &dyn Bench) {
    let index = bench.open().await;
    let commits = (0..64u8).map(|n| {
        let index = Arc::clone(&index);
        tokio::spawn(async move {
            let puts = (0..4).map(|m| (A, key(Table::Instance, n, m), Bytes::from(vec![n; 100]))).collect();
            index.commit(Batch { puts, ..Batch::default() }).await.map(|_| ())
        })
    });
    for commit in commits.collect::<Vec<_>>() {
        commit.await.expect("the task ends").expect("commit");
    }
    drop(index);
    let index = bench.open().await;
    assert_eq!(index.scan(A, Table::Instance, None, None, 1000).await.expect("scan").len(), 64 * 4);
}

/// Rows of every size come back.
pub async fn empty_and_large_rows_come_back(bench: &dyn Bench) {
    let index = bench.open().await;
    for (n, len) in [(0u8, 0usize), (1, 1), (2, 100_000), (3, 4 << 20)] {
        let puts = vec![(A, key(Table::Meta, n, 0), Bytes::from(vec![n; len]))];
        index.commit(Batch { puts, ..Batch::default() }).await.expect("commit");
    }
    drop(index);
    let index = bench.open().await;
    for (n, len) in [(0u8, 0usize), (1, 1), (2, 100_000), (3, 4 << 20)] {
        let row = index.fetch(A, key(Table::Meta, n, 0)).await.expect("fetch").expect("the row is there");
        assert!(row.len() == len && row.iter().all(|b| *b == n), "{len} bytes");
    }
}

/// Several rows come in the order asked for, absent ones too, and no more than the bytes allow.
pub async fn rows_fetched_together_stand_in_their_order(bench: &dyn Bench) {
    let index = bench.open().await;
    let k = |n| key(Table::Meta, 1, n);
    put(&*index, &[(A, k(1), "one"), (A, k(2), "two"), (A, k(3), "three"), (B, k(4), "four")]).await;
    let asked = [k(3), k(9), k(1), k(4), k(2)];
    let all = index.fetch_many(A, &asked, usize::MAX).await.expect("fetch");
    let wanted = [Some("three"), None, Some("one"), None, Some("two")];
    assert_eq!(all, wanted.map(|row| row.map(|row| Bytes::from_static(row.as_bytes()))));
    for (bytes, many) in [(0, 1), (5, 1), (6, 3), (8, 3), (9, 5), (11, 5)] {
        assert_eq!(index.fetch_many(A, &asked, bytes).await.expect("fetch"), all[..many], "{bytes} bytes");
    }
    assert_eq!(index.fetch_many(A, &[], 9).await.expect("fetch"), []);
}

const A: TenantId = TenantId::from_bytes([0xa0; 16]);
const B: TenantId = TenantId::from_bytes([0xb0; 16]);

const fn key(table: Table, study: u8, mac: u8) -> RowKey {
    RowKey { table, study_ref: StudyRef::from_bytes([study; 16]), uid_mac: [mac; 16] }
}

async fn put(index: &dyn Index, rows: &[(TenantId, RowKey, &'static str)]) {
    let puts = rows.iter().map(|(t, k, v)| (*t, *k, Bytes::from_static(v.as_bytes()))).collect();
    index.commit(Batch { puts, ..Batch::default() }).await.expect("commit");
}

async fn get(index: &dyn Index, tenant: TenantId, key: RowKey) -> String {
    let row = index.fetch(tenant, key).await.expect("fetch").expect("the row is there");
    String::from_utf8_lossy(&row).into_owned()
}

async fn scan(
    index: &dyn Index,
    tenant: TenantId,
    table: Table,
    study: Option<StudyRef>,
    after: Option<RowKey>,
    limit: usize,
) -> Vec<(RowKey, String)> {
    let rows = index.scan(tenant, table, study, after, limit).await.expect("scan");
    rows.into_iter().map(|(k, v)| (k, String::from_utf8_lossy(&v).into_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryIndex;

    #[async_trait]
    impl Bench for MemoryIndex {
        async fn open(&self) -> Arc<dyn Index> {
            Arc::new(self.clone())
        }
    }

    #[tokio::test]
    async fn the_engine_in_memory_conforms() {
        what_was_committed_is_there_after_opening_again(&MemoryIndex::default()).await;
        a_batch_is_applied_in_order(&MemoryIndex::default()).await;
        tenants_do_not_see_each_other(&MemoryIndex::default()).await;
        scans_page_through_a_table_in_key_order(&MemoryIndex::default()).await;
        the_mark_stays_with_its_batch(&MemoryIndex::default()).await;
        commits_at_the_same_time_all_arrive(&MemoryIndex::default()).await;
        rows_fetched_together_stand_in_their_order(&MemoryIndex::default()).await;
        empty_and_large_rows_come_back(&MemoryIndex::default()).await;
    }
}
