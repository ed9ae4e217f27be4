//! A row from its seal to its engine, and what does not open.

use super::*;

#[tokio::test]
async fn staged_rows_are_visible_at_once_and_after_commit_and_restart() {
    let index = MemoryIndex::default();
    let (catalog, _) = load(&index, &[1]).await;
    let uid = StudyUid::parse("1.2.1").unwrap();
    assert_eq!(catalog.study(A, &uid), None);
    catalog.stage(1, first_instance(&catalog, 1, "DOE^JANE")).unwrap();
    let sop = SopInstanceUid::parse("1.2.1.1.1").unwrap();
    for step in ["staged", "committed", "loaded again"] {
        let again;
        let catalog = match step {
            "committed" => {
                catalog.commit(mark(1)).await.unwrap();
                &catalog
            }
            "loaded again" => {
                again = load(&index, &[1]).await.0;
                &again
            }
            _ => &catalog,
        };
        let study = catalog.study(A, &uid).unwrap();
        assert_eq!(study.study_ref, study_ref(1), "{step}");
        assert_eq!(study.row.patient_name.unwrap().expose(), "DOE^JANE");
        let row = catalog.instance(A, study_ref(1), &sop).await.unwrap().unwrap();
        assert_eq!(row, instance_row("1.2.1.1.1", "1.2.1.1", 1));
        assert_eq!(catalog.instances(A, study_ref(1)).await.unwrap(), [row]);
        assert_eq!(instances(catalog, 1), 1, "{step}");
        assert_eq!(catalog.study(B, &uid), None);
        assert_eq!(catalog.studies(A), 1);
        let series = |text| SeriesUid::parse(text).unwrap();
        assert!(catalog.has_study(A, study_ref(1)) && catalog.has_series(A, study_ref(1), &series("1.2.1.1")));
        assert!(!catalog.has_study(A, study_ref(2)) && !catalog.has_study(B, study_ref(1)));
        assert!(!catalog.has_series(A, study_ref(1), &series("1.2.1.9")));
        assert!(!catalog.has_series(B, study_ref(1), &series("1.2.1.1")));
    }
}

#[tokio::test]
async fn counts_are_right_through_versions_commits_and_replays() {
    let index = MemoryIndex::default();
    let (catalog, _) = load(&index, &[1]).await;
    catalog.stage(1, first_instance(&catalog, 1, "DOE")).unwrap();
    catalog.stage(2, more(&catalog, 1, 2, 1)).unwrap();
    let third = more(&catalog, 1, 3, 1);
    catalog.stage(3, third.clone()).unwrap();
    assert_eq!(instances(&catalog, 1), 3);
    // Committed in part, with more staged meanwhile; then a new version, which is no new instance.
    catalog.commit(mark(2)).await.unwrap();
    assert_eq!(instances(&catalog, 1), 3);
    catalog.stage(4, more(&catalog, 1, 2, 2)).unwrap();
    assert_eq!(instances(&catalog, 1), 3);

    // The process dies here: the journal stages everything that was not trimmed, also what the engine has.
    let (catalog, report) = load(&index, &[1]).await;
    assert_eq!((report.studies, report.series), (1, 1));
    assert_eq!(catalog.position(), 2);
    assert_eq!(instances(&catalog, 1), 2);
    catalog.stage(1, first_instance(&catalog, 1, "DOE")).unwrap();
    catalog.stage(2, more(&catalog, 1, 2, 1)).unwrap();
    catalog.stage(3, third.clone()).unwrap();
    catalog.stage(3, third).unwrap();
    assert_eq!(instances(&catalog, 1), 3);
    // A replayed commit changes nothing; the next one counts on.
    catalog.commit(mark(1)).await.unwrap();
    catalog.commit(mark(3)).await.unwrap();
    assert_eq!(catalog.mark().await.unwrap(), mark(3));
    let (catalog, _) = load(&index, &[1]).await;
    assert_eq!(instances(&catalog, 1), 3);
}

#[tokio::test]
async fn a_series_row_that_comes_again_keeps_the_count() {
    let index = MemoryIndex::default();
    let (catalog, _) = load(&index, &[1]).await;
    catalog.stage(1, first_instance(&catalog, 1, "DOE")).unwrap();
    catalog.commit(mark(1)).await.unwrap();
    catalog.stage(2, [seal_series(&catalog, 1, &series_row("1.2.1.1", "MR"))]).unwrap();
    catalog.commit(mark(2)).await.unwrap();
    let (catalog, _) = load(&index, &[1]).await;
    assert_eq!(instances(&catalog, 1), 1);
    assert_eq!(catalog.series(A, study_ref(1))[0].modality.as_deref(), Some("MR"));
}

#[tokio::test]
async fn moved_changed_replayed_and_foreign_rows_are_corrupt() {
    let index = MemoryIndex::default();
    let (catalog, _) = load(&index, &[1, 2]).await;
    catalog.stage(1, first_instance(&catalog, 1, "DOE")).unwrap();
    catalog.stage(2, first_instance(&catalog, 2, "ROE")).unwrap();
    catalog.commit(mark(2)).await.unwrap();
    let sop = |n: u8| SopInstanceUid::parse(&format!("1.2.{n}.1.1")).unwrap();
    let key = |n: u8| catalog.instance_key(A, study_ref(n), &sop(n)).unwrap();
    let first = index.fetch(A, key(1)).await.unwrap().unwrap();
    let other = index.fetch(A, key(2)).await.unwrap().unwrap();
    let write = |tenant, key, bytes: Bytes| {
        let index = index.clone();
        async move { index.commit(Batch { puts: vec![(tenant, key, bytes)], ..Batch::default() }).await.unwrap() }
    };
    let check = |result: Result<Option<InstanceRow>, IndexError>, what: &str| {
        let error = result.unwrap_err();
        assert!(matches!(error, IndexError::Corrupt { table: Table::Instance }), "{what}: {error:?}");
        assert_eq!(error.fault(), Fault::Corrupt);
        let text = format!("{error} {error:?}");
        assert!(!text.contains("DOE") && !text.contains("1.2."), "{text}");
    };
    // Another study's row, every flipped byte, a cut row.
    write(A, key(1), other).await;
    check(catalog.instance(A, study_ref(1), &sop(1)).await, "moved");
    for at in (0..first.len()).step_by(7) {
        let mut bytes = first.to_vec();
        bytes[at] ^= 1;
        write(A, key(1), bytes.into()).await;
        let result = catalog.instance(A, study_ref(1), &sop(1)).await;
        assert!(matches!(result, Err(IndexError::Corrupt { .. } | IndexError::NoKey { .. })), "byte {at}");
    }
    write(A, key(1), first.slice(..first.len() - 1)).await;
    check(catalog.instance(A, study_ref(1), &sop(1)).await, "cut");
    // Another tenant's, under the same key and name.
    let foreign = catalog.instance_key(B, study_ref(1), &sop(1)).unwrap();
    write(B, foreign, first.clone()).await;
    check(catalog.instance(B, study_ref(1), &sop(1)).await, "foreign");
    // An older version than this process has seen.
    write(A, key(1), first.clone()).await;
    assert!(catalog.instance(A, study_ref(1), &sop(1)).await.unwrap().is_some());
    catalog.stage(3, more(&catalog, 1, 1, 2)).unwrap();
    catalog.commit(mark(3)).await.unwrap();
    assert_eq!(catalog.instance(A, study_ref(1), &sop(1)).await.unwrap().unwrap().version, 2);
    write(A, key(1), first).await;
    // As when it was not asked for during a while.
    catalog.recent.clear();
    check(catalog.instance(A, study_ref(1), &sop(1)).await, "replayed");
}

#[tokio::test]
async fn rows_of_a_study_are_opened_once_and_one_that_went_back_is_noticed() {
    let index = MemoryIndex::default();
    let (catalog, _) = load(&index, &[1]).await;
    catalog.stage(1, first_instance(&catalog, 1, "DOE")).unwrap();
    catalog.stage(2, more(&catalog, 1, 2, 1)).unwrap();
    catalog.commit(mark(2)).await.unwrap();
    let sop = |n: u8| SopInstanceUid::parse(&format!("1.2.1.1.{n}")).unwrap();
    let key = |n: u8| catalog.instance_key(A, study_ref(1), &sop(n)).unwrap();
    let versions = async || {
        let rows = catalog.instances(A, study_ref(1)).await?;
        let version = |uid| rows.iter().find(|row| row.sop_uid == uid).map(|row| row.version);
        Ok::<_, IndexError>([version(sop(1)), version(sop(2))])
    };
    assert_eq!(versions().await.unwrap(), [Some(1), Some(1)]);
    // The same version in other bytes: the one that was opened is good, so these are not read.
    let old = index.fetch(A, key(1)).await.unwrap().unwrap();
    let write = async |bytes: Bytes| {
        index.commit(Batch { puts: vec![(A, key(1), bytes)], ..Batch::default() }).await.unwrap();
    };
    let mut flipped = old.to_vec();
    *flipped.last_mut().unwrap() ^= 1;
    write(flipped.into()).await;
    assert_eq!(versions().await.unwrap(), [Some(1), Some(1)]);
    catalog.stage(3, more(&catalog, 1, 1, 2)).unwrap();
    assert_eq!(versions().await.unwrap(), [Some(2), Some(1)], "staged");
    catalog.commit(mark(3)).await.unwrap();
    assert_eq!(versions().await.unwrap(), [Some(2), Some(1)], "committed");
    write(old).await;
    assert!(matches!(versions().await, Err(IndexError::Corrupt { table: Table::Instance })), "went back");
    index.commit(Batch { deletes: vec![(A, key(1))], ..Batch::default() }).await.unwrap();
    assert_eq!(versions().await.unwrap(), [None, Some(1)], "what the engine lacks is not made up");
}

#[tokio::test]
async fn a_remembered_row_gives_way_to_a_newer_one_and_to_its_removal() {
    let index = MemoryIndex::default();
    let (catalog, _) = load(&index, &[1]).await;
    catalog.stage(1, first_instance(&catalog, 1, "DOE")).unwrap();
    catalog.commit(mark(1)).await.unwrap();
    let sop = SopInstanceUid::parse("1.2.1.1.1").unwrap();
    let key = catalog.instance_key(A, study_ref(1), &sop).unwrap();
    let version = async || catalog.instance(A, study_ref(1), &sop).await.unwrap().map(|row| row.version);
    assert_eq!(version().await, Some(1));
    // Behind the catalog's back: the row is answered from memory.
    index.commit(Batch { deletes: vec![(A, key)], ..Batch::default() }).await.unwrap();
    assert_eq!(version().await, Some(1));
    catalog.stage(2, more(&catalog, 1, 1, 2)).unwrap();
    assert_eq!(version().await, Some(2), "staged");
    catalog.commit(mark(2)).await.unwrap();
    assert_eq!(version().await, Some(2), "committed");
    catalog.write(Batch { deletes: vec![(A, key)], ..Batch::default() }).await.unwrap();
    assert_eq!(version().await, None, "removed");
}

#[tokio::test]
async fn a_study_row_that_does_not_open_is_reported_and_the_others_load() {
    let index = MemoryIndex::default();
    let (catalog, _) = load(&index, &[1, 2, 3]).await;
    for n in [1, 2, 3] {
        catalog.stage(n.into(), first_instance(&catalog, n, "DOE")).unwrap();
    }
    catalog.commit(mark(3)).await.unwrap();
    let key = catalog.study_key(A, study_ref(1), &StudyUid::parse("1.2.1").unwrap()).unwrap();
    let mut bytes = index.fetch(A, key).await.unwrap().unwrap().to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    index.commit(Batch { puts: vec![(A, key, bytes.into())], ..Batch::default() }).await.unwrap();
    // The key of study 3 is gone: erased.
    let (catalog, report) = load(&index, &[1, 2]).await;
    assert_eq!(report, LoadReport { studies: 1, series: 2, without_key: 2, corrupt_studies: 1, corrupt_series: 0 });
    assert_eq!(catalog.search(A, &Query::default()).len(), 1);
}

#[tokio::test]
async fn a_forgotten_study_is_gone_with_what_was_staged() {
    let index = MemoryIndex::default();
    let (catalog, _) = load(&index, &[1]).await;
    catalog.stage(1, first_instance(&catalog, 1, "DOE")).unwrap();
    catalog.commit(mark(1)).await.unwrap();
    let late = more(&catalog, 1, 2, 1);
    catalog.stage(2, late).unwrap();
    catalog.forget(A, study_ref(1));
    assert_eq!(catalog.study(A, &StudyUid::parse("1.2.1").unwrap()), None);
    assert_eq!(catalog.search(A, &Query::default()), []);
    let sop = SopInstanceUid::parse("1.2.1.1.1").unwrap();
    assert!(matches!(catalog.instance(A, study_ref(1), &sop).await, Err(IndexError::NoKey { .. })));
    catalog.commit(mark(2)).await.unwrap();
    assert_eq!(index.scan(A, Table::Instance, None, None, 10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn cases_of_quarantine_are_found_only_there() {
    let index = MemoryIndex::default();
    let (catalog, _) = load(&index, &[1, 2]).await;
    catalog.stage(1, first_instance(&catalog, 1, "DOE")).unwrap();
    let case =
        StudyRow { quarantine: Some(QuarantineReason::OtherPatient), ..study_row("1.2.1", "ROE", "OTHER", "20240101") };
    catalog.stage(2, [seal_study(&catalog, 2, &case)]).unwrap();
    let uid = StudyUid::parse("1.2.1").unwrap();
    assert_eq!(catalog.study(A, &uid).unwrap().study_ref, study_ref(1));
    assert_eq!(catalog.search(A, &Query::default()).len(), 1);
    assert_eq!(catalog.quarantined(A, Some(&uid)), [StudyEntry { study_ref: study_ref(2), row: case }]);
    assert_eq!(catalog.quarantined(A, Some(&StudyUid::parse("9").unwrap())), []);
    // Released: the row without its reason moves it among the studies.
    let released = study_row("1.2.9", "ROE", "OTHER", "20240101");
    catalog.commit(mark(2)).await.unwrap();
    catalog.write(Batch { puts: vec![seal_study(&catalog, 2, &released)], ..Batch::default() }).await.unwrap();
    assert_eq!(catalog.quarantined(A, None), []);
    assert_eq!(catalog.search(A, &Query::default()).len(), 2);
}

#[tokio::test]
async fn a_direct_write_waits_for_rows_that_are_on_their_way() {
    let index = MemoryIndex::default();
    let (catalog, _) = load(&index, &[1]).await;
    let rows = first_instance(&catalog, 1, "DOE");
    let batch = Batch { deletes: vec![(A, rows[0].1)], ..Batch::default() };
    catalog.stage(1, rows).unwrap();
    let refused = catalog.write(batch.clone()).await.unwrap_err();
    assert!(matches!(refused, IndexError::Pending { table: Table::Study }));
    assert_eq!(refused.fault(), Fault::Busy);
    catalog.commit(mark(1)).await.unwrap();
    catalog.write(batch).await.unwrap();
    assert_eq!(catalog.search(A, &Query::default()), []);
}

#[tokio::test]
async fn metadata_opens_with_its_meta_key_alone() {
    let index = MemoryIndex::default();
    let (catalog, _) = load(&index, &[1]).await;
    let sop = SopInstanceUid::parse("1.2.1.1.1").unwrap();
    let key = catalog.meta_key(A, study_ref(1), &sop).unwrap();
    let good = leadglass_seal::MetaKey::from_bytes([5; 32]);
    let sealed = catalog.seal_meta(A, &key, key_id(1), KeyGen::FIRST, &good, b"{}");
    catalog.stage(1, [(A, key, sealed)]).unwrap();
    for _ in 0..2 {
        let meta = catalog.meta(A, study_ref(1), &sop).await.unwrap().unwrap();
        assert_eq!((meta.key_id(), meta.key_gen()), (key_id(1), KeyGen::FIRST));
        assert_eq!(meta.open(&good).unwrap(), b"{}");
        assert!(meta.open(&leadglass_seal::MetaKey::from_bytes([6; 32])).is_err());
        catalog.commit(mark(1)).await.unwrap();
    }
}

#[tokio::test]
async fn long_metadata_are_fetched_a_few_at_a_time() {
    let index = MemoryIndex::default();
    let (catalog, _) = load(&index, &[1]).await;
    let sops: Vec<_> = (0..40).map(|n| SopInstanceUid::parse(&format!("1.2.1.1.{n}")).unwrap()).collect();
    let meta_key = leadglass_seal::MetaKey::from_bytes([5; 32]);
    for (n, sop) in (1_u8..).zip(&sops[1..]) {
        let key = catalog.meta_key(A, study_ref(1), sop).unwrap();
        let sealed = catalog.seal_meta(A, &key, key_id(1), KeyGen::FIRST, &meta_key, &[n; 10_000]);
        catalog.stage(n.into(), [(A, key, sealed)]).unwrap();
    }
    let asked: Vec<&SopInstanceUid> = sops.iter().collect();
    let all = catalog.metas(A, study_ref(1), &asked, usize::MAX).await.unwrap();
    assert_eq!((all.len(), all.iter().flatten().count()), (40, 39));
    // What waits to be committed, some of both, and what was.
    for position in [0, 5, 39] {
        catalog.commit(mark(position)).await.unwrap();
        let some = catalog.metas(A, study_ref(1), &asked, 100_000).await.unwrap();
        assert_eq!((some.len(), some.iter().flatten().count()), (11, 10), "behind {position}");
        let numbers: Vec<u8> = some.iter().flatten().map(|meta| meta.open(&meta_key).unwrap()[0]).collect();
        assert_eq!(numbers, (1..=10).collect::<Vec<u8>>());
        assert_eq!(catalog.metas(A, study_ref(1), &asked[1..], 300_000).await.unwrap().len(), 30);
        assert_eq!(catalog.metas(A, study_ref(1), &asked[1..], 1).await.unwrap().len(), 1);
        assert_eq!(catalog.metas(A, study_ref(2), &asked[..3], 1).await.unwrap().iter().flatten().count(), 0);
    }
}

#[tokio::test]
async fn nothing_readable_reaches_the_engine() {
    let index = MemoryIndex::default();
    let (catalog, _) = load(&index, &[1]).await;
    catalog.stage(1, first_instance(&catalog, 1, "CANARY^NEVER")).unwrap();
    catalog.commit(mark(1)).await.unwrap();
    for table in Table::ALL {
        for (key, bytes) in index.scan(A, table, None, None, 10).await.unwrap() {
            let all = [&key.to_bytes()[..], &bytes].concat();
            for canary in [&b"CANARY"[..], b"NEVER", b"1.2.1", b"ID1", b"Knee"] {
                assert!(!all.windows(canary.len()).any(|w| w == canary));
            }
            assert_eq!((bytes.len() - leadglass_seal::ROW_OVERHEAD) % 256, 0);
        }
    }
}

#[tokio::test]
async fn an_absent_instance_of_a_study_that_began_here_is_known_without_the_engine() {
    let index = MemoryIndex::default();
    let (catalog, _) = load(&index, &[1]).await;
    catalog.stage(1, first_instance(&catalog, 1, "DOE")).unwrap();
    catalog.commit(mark(1)).await.unwrap();
    let sop = |text: &str| SopInstanceUid::parse(text).unwrap();
    assert!(catalog.instance(A, study_ref(1), &sop("1.2.1.1.1")).await.unwrap().is_some());
    assert!(catalog.instance(A, study_ref(1), &sop("1.2.1.1.9")).await.unwrap().is_none());
    // Whoever writes behind the catalog's back is not seen: memory answered.
    let (_, key, bytes) = seal_instance(&catalog, 1, &instance_row("1.2.1.1.9", "1.2.1.1", 1));
    index.commit(Batch { puts: vec![(A, key, bytes)], ..Batch::default() }).await.unwrap();
    assert!(catalog.instance(A, study_ref(1), &sop("1.2.1.1.9")).await.unwrap().is_none());
    // Another process asks the engine.
    let (catalog, _) = load(&index, &[1]).await;
    assert!(catalog.instance(A, study_ref(1), &sop("1.2.1.1.9")).await.unwrap().is_some());
    // Also for a study whose rows did not open and which seems to begin.
    let (catalog, _) = load(&index, &[]).await;
    let rows = vec![seal_study(&catalog, 1, &study_row("1.2.1", "DOE", "ID1", "20240102"))];
    catalog.stage(2, rows).unwrap();
    assert!(catalog.instance(A, study_ref(1), &sop("1.2.1.1.9")).await.unwrap().is_some());
}
