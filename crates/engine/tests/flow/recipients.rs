//! Who got copies of what is erased, and who is told.

use super::{
    cases::asks_for_erasure,
    erase::{AT_ONCE, officer, order, run},
    *,
};
use futures::{FutureExt, future::BoxFuture};
use leadglass_engine::{
    Brought, Courier, CourierError, Delivery, EraseError, ExportAsked, ExportBy, ExportError, Notice, Parcel, Previews,
    Stage, Tell, WhatToErase, WhatToExport,
};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use tokio::sync::{Notify, mpsc};

/// Other houses: what each got. One that is called `away` is never reached, `picky` takes nothing, `slow` waits at a door
/// that is shut.
#[derive(Default)]
struct Others(Mutex<Vec<(String, Vec<u8>)>>, Mutex<Option<Arc<Door>>>);

/// Says that somebody stands before it, and lets in when it is opened.
#[derive(Default)]
struct Door {
    knocked: Notify,
    opened: Notify,
}

impl Others {
    fn of(&self, peer: &str) -> Vec<Vec<u8>> {
        self.0.lock().iter().filter(|(name, _)| name == peer).map(|(_, bytes)| bytes.clone()).collect()
    }
}

/// Carries to them.
struct Carrier(Arc<Others>);

impl Courier for Carrier {
    fn knows(&self, _: TenantId, peer: &str) -> bool {
        peer != "stranger"
    }

    fn bring(
        &self,
        peer: &str,
        parcel: Parcel,
        told: mpsc::Sender<Brought>,
    ) -> BoxFuture<'static, Result<(), CourierError>> {
        let (others, peer) = (self.0.clone(), peer.to_owned());
        async move {
            for number in 0..parcel.len() {
                let door = others.1.lock().clone().filter(|_| peer == "slow");
                if let Some(door) = door {
                    door.knocked.notify_one();
                    door.opened.notified().await;
                }
                if peer == "away" {
                    return Err(CourierError("nobody answers".to_owned()));
                }
                let (len, pieces) = parcel.file(number).await.map_err(|error| CourierError(error.to_string()))?;
                let bytes = pieces.try_collect::<Vec<Bytes>>().await.unwrap().concat();
                assert_eq!((bytes.len() as u64, parcel.file_len(number)), (len, Some(len)));
                let refused = (peer == "picky").then(|| "it takes nothing".to_owned());
                if refused.is_none() {
                    others.0.lock().push((peer.clone(), bytes));
                }
                let _ = told.send(Brought { number, refused }).await;
            }
            Ok(())
        }
        .boxed()
    }
}

struct NoPictures;

impl Previews for NoPictures {
    fn preview(
        &self,
        _: StudyUid,
        _: SeriesUid,
        _: SopInstanceUid,
    ) -> BoxFuture<'_, Result<Option<Bytes>, RetrieveError>> {
        async { Ok(None) }.boxed()
    }
}

fn by(house: &House) -> ExportBy {
    let (permit, exports) = house.principal(Role::Dpo).export().unwrap();
    ExportBy { permit, exports, session: [1; 16], previews: Arc::new(NoPictures) }
}

fn study(set: &DataSet) -> StudyUid {
    StudyUid::parse(&set.study).unwrap()
}

fn alone(set: &DataSet) -> (SeriesUid, SopInstanceUid) {
    (SeriesUid::parse(&set.series).unwrap(), SopInstanceUid::parse(&set.instance).unwrap())
}

/// Has it exported and brought there; how many arrived.
async fn bring(house: &House, node: &Node, what: WhatToExport, peer: &str) -> usize {
    let asked =
        ExportAsked { what, report: None, people: BTreeMap::new(), sealed: false, recipient: None, hand_out: false };
    let begun = node.engine.begin_export(by(house), asked).await.unwrap();
    let mut told = node.engine.deliver_export(by(house), begun.view.id.parse().unwrap(), peer).await.unwrap();
    loop {
        if let Delivery::End { taken, .. } = told.recv().await.unwrap() {
            return taken;
        }
    }
}

/// Recipients as an officer sees them: name, known and most instances, notice.
async fn recipients(house: &House, node: &Node, id: leadglass_engine::ErasureId) -> Vec<(String, u64, u64, Notice)> {
    let found = node.engine.erasure_recipients(&officer(house, 7), id).await.unwrap();
    found.into_iter().map(|r| (r.name, r.certain, r.instances, r.notice)).collect()
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_part_only_those_are_told_who_have_it_and_only_of_it() {
    let house = House::new();
    let node = house.start().await;
    node.engine.set_erasure(AT_ONCE);
    let others = Arc::new(Others::default());
    node.engine.set_courier(Arc::new(Carrier(others.clone())));
    let (kept, doomed) = (DataSet::invented(1, 1), DataSet::invented(1, 2));
    for set in [&kept, &doomed] {
        house.send(&node, set, 1).await.unwrap();
    }
    let (series, instance) = alone(&kept);
    let one = WhatToExport::Instance(study(&kept), series, instance);
    asks_for_erasure(&house, &node, &kept).await;
    assert_eq!(bring(&house, &node, one, "has-the-other").await, 1);
    assert_eq!(bring(&house, &node, WhatToExport::Study(study(&kept)), "has-both").await, 2);
    assert_eq!(bring(&house, &node, WhatToExport::Study(study(&kept)), "picky").await, 0);
    assert_eq!(bring(&house, &node, WhatToExport::Study(study(&kept)), "away").await, 0);

    let permit = officer(&house, 7);
    let id = order(&node, &permit, &WhatToErase::Instance(study(&doomed), alone(&doomed).1)).await;
    let row = |name: &str, known, most, notice| (name.to_owned(), known, most, notice);
    let untold =
        [row("away", 0, 1, Notice::None), row("has-both", 1, 1, Notice::None), row("picky", 0, 1, Notice::None)];
    assert_eq!(recipients(&house, &node, id).await, untold, "who broke off or refused may have it");
    node.engine.tell_recipients(&permit, id, Tell::Peers).await.unwrap();
    assert!(matches!(run(&node, &permit, id).await, Err(EraseError::NotTold { peers: 2 })));
    let note = others.of("has-both").pop().unwrap();
    let again = node.engine.tell_recipients(&permit, id, Tell::Peers).await;
    assert!(matches!(again, Err(EraseError::Begun(Stage::Deleted))));
    assert!(contains(&note, "113039") && contains(&note, &doomed.instance) && contains(&note, &doomed.patient_id));
    assert!(!contains(&note, &kept.instance) && others.of("has-the-other").len() == 1);
    node.stop().await;

    // It waits over a start, and ends when the officer lets it.
    let node = house.start().await;
    node.engine.set_erasure(AT_ONCE);
    node.engine.set_courier(Arc::new(Carrier(others.clone())));
    let told =
        [row("away", 0, 1, Notice::Waiting), row("has-both", 1, 1, Notice::Told), row("picky", 0, 1, Notice::Waiting)];
    assert_eq!(recipients(&house, &node, id).await, told);
    let late = node.engine.tell_recipients(&permit, id, Tell::Peers).await;
    assert!(matches!(late, Err(EraseError::Begun(Stage::Deleted))), "its instances have no names any more");
    node.engine.tell_recipients(&permit, id, Tell::Nobody).await.unwrap();
    assert_eq!(run(&node, &permit, id).await.unwrap().stage, Stage::Done);
    assert_eq!(recipients(&house, &node, id).await[0], row("away", 0, 1, Notice::GivenUp));

    // The rest of the study is still with those who have it.
    let id = order(&node, &permit, &WhatToErase::Study(study(&kept))).await;
    let names: Vec<String> = recipients(&house, &node, id).await.into_iter().map(|r| r.0).collect();
    assert_eq!(names, ["away", "has-both", "has-the-other", "picky"]);
    assert_eq!(run(&node, &permit, id).await.unwrap().stage, Stage::Done);
    let after: Vec<String> = recipients(&house, &node, id).await.into_iter().map(|r| r.0).collect();
    assert_eq!(after, names, "the order says it when nothing else does");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_patient_a_note_a_study_leaves_before_nobody_can_read_it_any_more() {
    let house = House::new();
    let node = house.start().await;
    node.engine.set_erasure(AT_ONCE);
    let others = Arc::new(Others::default());
    node.engine.set_courier(Arc::new(Carrier(others.clone())));
    let first = DataSet::invented(1, 1);
    let second = DataSet { patient_id: first.patient_id.clone(), ..DataSet::invented(2, 1) };
    asks_for_erasure(&house, &node, &first).await;
    for set in [&first, &second] {
        house.send(&node, set, 1).await.unwrap();
        assert_eq!(bring(&house, &node, WhatToExport::Study(study(set)), "house").await, 1);
    }
    let permit = officer(&house, 7);
    let hers = WhatToErase::Patient { id: Phi::new(first.patient_id.clone()), issuer: None };
    let id = order(&node, &permit, &hers).await;
    node.engine.tell_recipients(&permit, id, Tell::Peers).await.unwrap();
    assert_eq!(run(&node, &permit, id).await.unwrap().stage, Stage::Done);
    assert_eq!(recipients(&house, &node, id).await, [("house".to_owned(), 2, 2, Notice::Told)]);
    let notes = &others.of("house")[2..];
    assert_eq!(notes.len(), 2);
    for set in [&first, &second] {
        assert_eq!(notes.iter().filter(|note| contains(note, &set.instance)).count(), 1, "a note a study");
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_an_order_back_tells_nobody() {
    let house = House::new();
    let node = house.start().await;
    node.engine.set_erasure(AT_ONCE);
    let others = Arc::new(Others::default());
    node.engine.set_courier(Arc::new(Carrier(others.clone())));
    let (kept, doomed) = (DataSet::invented(1, 1), DataSet::invented(1, 2));
    for set in [&kept, &doomed] {
        house.send(&node, set, 1).await.unwrap();
    }
    asks_for_erasure(&house, &node, &kept).await;
    assert_eq!(bring(&house, &node, WhatToExport::Study(study(&kept)), "house").await, 2);
    let permit = officer(&house, 7);
    let id = order(&node, &permit, &WhatToErase::Instance(study(&doomed), alone(&doomed).1)).await;
    node.engine.tell_recipients(&permit, id, Tell::Peers).await.unwrap();
    assert!(matches!(node.engine.run_erasure(&permit, id, None).await, Err(EraseError::KeyHost { .. })));
    assert_eq!(recipients(&house, &node, id).await, [("house".to_owned(), 1, 1, Notice::Waiting)]);
    node.engine.withdraw_erasure(&permit, id).await.unwrap();
    assert_eq!(others.of("house").len(), 2, "nothing but the images went there");
    assert!(house.fetch(&node, &doomed).await.is_ok());
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_leaves_while_the_key_host_is_waited_for_is_named_too() {
    let house = House::new();
    let node = house.start().await;
    node.engine.set_erasure(AT_ONCE);
    node.engine.set_courier(Arc::new(Carrier(Arc::default())));
    let set = DataSet::invented(1, 1);
    house.send(&node, &set, 1).await.unwrap();
    let permit = officer(&house, 7);
    let id = order(&node, &permit, &WhatToErase::Study(study(&set))).await;
    node.engine.tell_recipients(&permit, id, Tell::Peers).await.unwrap();
    assert!(matches!(node.engine.run_erasure(&permit, id, None).await, Err(EraseError::KeyHost { .. })));
    asks_for_erasure(&house, &node, &set).await;
    assert_eq!(bring(&house, &node, WhatToExport::Study(study(&set)), "late").await, 1);
    assert_eq!(run(&node, &permit, id).await.unwrap().stage, Stage::Done);
    assert_eq!(recipients(&house, &node, id).await, [("late".to_owned(), 1, 1, Notice::None)]);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stated_recipient_is_no_word_about_the_patient() {
    let house = House::new();
    let node = house.start().await;
    let set = DataSet::invented(1, 1);
    house.send(&node, &set, 1).await.unwrap();
    asks_for_erasure(&house, &node, &set).await;
    let asked = |recipient: &str| ExportAsked {
        what: WhatToExport::Study(study(&set)),
        report: None,
        people: BTreeMap::new(),
        sealed: false,
        recipient: Some(recipient.to_owned()),
        hand_out: false,
    };
    for named in [format!("for {}", set.patient_id), "Patient1's lawyer".to_owned()] {
        let refused = node.engine.begin_export(by(&house), asked(&named)).await;
        assert!(matches!(refused, Err(ExportError::RecipientNamesPatient)), "{named}");
    }
    let begun = node.engine.begin_export(by(&house), asked("Dr. Weber")).await.unwrap();
    let id = order(&node, &officer(&house, 7), &WhatToErase::Study(study(&set))).await;
    assert!(recipients(&house, &node, id).await.is_empty(), "nothing has left yet");
    for _ in 0..2 {
        let content = node.engine.export_content(by(&house), begun.view.id.parse().unwrap(), 0..begun.view.bytes);
        let pieces: Vec<Bytes> = content.await.unwrap().try_collect().await.unwrap();
        assert_eq!(pieces.iter().map(|piece| piece.len() as u64).sum::<u64>(), begun.view.bytes);
        assert_eq!(recipients(&house, &node, id).await, [("Dr. Weber".to_owned(), 1, 1, Notice::None)]);
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_peer_holds_up_nobody_else_and_can_be_given_up() {
    let house = House::new();
    let node = house.start().await;
    node.engine.set_erasure(AT_ONCE);
    let others = Arc::new(Others::default());
    node.engine.set_courier(Arc::new(Carrier(others.clone())));
    let (told, other) = (DataSet::invented(1, 1), DataSet::invented(2, 1));
    for set in [&told, &other] {
        house.send(&node, set, 1).await.unwrap();
    }
    asks_for_erasure(&house, &node, &told).await;
    assert_eq!(bring(&house, &node, WhatToExport::Study(study(&told)), "slow").await, 1);
    let permit = officer(&house, 7);
    let id = order(&node, &permit, &WhatToErase::Study(study(&told))).await;
    node.engine.tell_recipients(&permit, id, Tell::Peers).await.unwrap();
    let door = Arc::new(Door::default());
    *others.1.lock() = Some(door.clone());
    let first = run(&node, &permit, id);
    let meanwhile = async {
        door.knocked.notified().await;
        let next = order(&node, &permit, &WhatToErase::Study(study(&other))).await;
        assert_eq!(run(&node, &permit, next).await.unwrap().stage, Stage::Done, "nobody waits for the peer");
        node.engine.tell_recipients(&permit, id, Tell::Nobody).await.unwrap();
        door.opened.notify_one();
    };
    let (done, ()) = tokio::join!(first, meanwhile);
    assert_eq!(done.unwrap().stage, Stage::Done);
    assert_eq!(recipients(&house, &node, id).await, [("slow".to_owned(), 1, 1, Notice::GivenUp)]);
    node.stop().await;
}
