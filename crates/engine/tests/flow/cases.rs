//! Cases of the data protection officer, and what open ones keep.

use super::*;
use leadglass_engine::{
    CaseError, CaseId, CasePatient, CaseState, CaseType, Channel, DEFAULT_CASE_YEARS, Day, EraseError, Ground,
    Language, Linked, NewCase, Occasion, PatientAsked, RecordClass, RightsCase, RightsOutcome, Rule, Seen, Since,
    TemplateName, WhatToErase, WhatToHold,
};
use leadglass_model::{Administer, Permit, UnixMillis};
use leadglass_records::{Expected, Table};

fn officer(house: &House) -> Permit<Administer> {
    house.principal(Role::Dpo).administer().unwrap()
}

fn text(text: &str) -> Phi<String> {
    Phi::new(text.to_owned())
}

fn asked(kind: CaseType, patient: Option<&str>) -> NewCase {
    let patient = patient.map(|id| CasePatient { id: text(id), issuer: None });
    NewCase { kind, patient, received: None, minute: None, channel: Channel::Letter }
}

async fn opened(node: &Node, permit: &Permit<Administer>, kind: CaseType, set: &DataSet) -> RightsCase {
    node.engine.open_case(permit, asked(kind, Some(&set.patient_id))).await.unwrap()
}

async fn granted(node: &Node, permit: &Permit<Administer>, case: &RightsCase, ground: &str) {
    node.engine.check_identity(permit, case.id, Seen::Confirmed, text("a paper")).await.unwrap();
    node.engine.decide_case(permit, case.id, RightsOutcome::Granted, ground, text("Yes.")).await.unwrap();
}

/// The patient asks for the erasure of all that is hers, and it is granted: an officer may open it, and erase it.
pub(super) async fn asks_for_erasure(house: &House, node: &Node, set: &DataSet) -> CaseId {
    let permit = officer(house);
    let case = opened(node, &permit, CaseType::Erasure, set).await;
    granted(node, &permit, &case, "17(1)(a)").await;
    case.id
}

/// Why an erasure of the study is refused; `None`: it is taken.
async fn kept(node: &Node, permit: &Permit<Administer>, set: &DataSet, ground: Ground) -> Option<String> {
    let what = WhatToErase::Study(StudyUid::parse(&set.study).unwrap());
    match node.engine.order_erasure(permit, &what, why(ground)).await {
        Ok(order) => {
            node.engine.withdraw_erasure(permit, order.id).await.unwrap();
            None
        }
        Err(EraseError::Kept(kept)) => Some(kept.why),
        Err(error) => panic!("{error}"),
    }
}

/// A rule that is over since long, or not for long, about the invented CTs of 31 January 2024.
async fn rule(node: &Node, permit: &Permit<Administer>, years: u16) {
    let rule = Rule {
        id: "ct".into(),
        country: "DE".into(),
        class: RecordClass::default(),
        years,
        since: Since::LastExamination,
        minors_until: None,
        source: "a law".into(),
        confirmed: None,
    };
    node.engine.put_retention_rule(permit, rule).await.unwrap();
    node.engine.confirm_retention_rule(permit, "ct").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_case_goes_from_the_request_to_its_end_and_outlives_the_process() {
    let house = House::new();
    let node = house.start().await;
    let set = DataSet::invented(1, 1);
    house.send(&node, &set, 1).await.unwrap();
    let permit = officer(&house);
    rule(&node, &permit, 90).await;
    let case = opened(&node, &permit, CaseType::Erasure, &set).await;
    let refuse = async |ground| {
        node.engine.decide_case(&permit, case.id, RightsOutcome::Refused, ground, text("The law.")).await
    };
    assert!(matches!(refuse("17(3)(b)").await, Err(CaseError::NoIdentity)));
    assert!(matches!(refuse("12(2)").await, Err(CaseError::NoIdentity)), "nobody looked yet");
    let looked = node.engine.check_identity(&permit, case.id, Seen::NotConfirmed, text("by phone")).await.unwrap();
    assert_eq!(looked.identity.len(), 1);
    assert!(matches!(refuse("17(3)(b)").await, Err(CaseError::NoIdentity)), "it was somebody else");
    node.engine.check_identity(&permit, case.id, Seen::Confirmed, text("she came")).await.unwrap();
    assert!(matches!(refuse("15(4)").await, Err(CaseError::Ground(fit)) if fit.contains("17(3)(b)")));
    refuse("17(3)(b)").await.unwrap();
    let extended = node.engine.extend_case(&permit, case.id, 2, text("many images")).await.unwrap();
    assert_eq!(extended.deadline().to_string(), case.received.plus_months(3).to_string());
    let again = node.engine.extend_case(&permit, case.id, 1, text("more")).await;
    assert!(matches!(again, Err(CaseError::NotExtendable(_))));

    let what = WhatToHold::Study(StudyUid::parse(&set.study).unwrap());
    let hold = node.engine.hold(&permit, what, "a claim".into()).await.unwrap();
    for nothing in [&"0".repeat(32), "x", ""] {
        for what in [Linked::Export, Linked::Erasure, Linked::Hold, Linked::Restriction] {
            let linked = node.engine.link_case(&permit, case.id, what, nothing).await;
            assert!(matches!(linked, Err(CaseError::NoOutput)), "{what:?} {nothing}");
        }
    }
    node.engine.link_case(&permit, case.id, Linked::Hold, &hold.id).await.unwrap();
    node.engine.lift_hold(&permit, hold.id.parse().unwrap()).await.unwrap();
    node.engine.note_case(&permit, case.id, text("she called")).await.unwrap();
    let letter = node.engine.case_letter(&permit, case.id, Occasion::Refused, Language::En).await.unwrap();
    assert!(letter.expose().contains("The law keeps your data until 2114-01-31."), "{}", letter.expose());
    let letter = node.engine.case_letter(&permit, case.id, Occasion::Granted, Language::De).await;
    assert!(matches!(letter, Err(CaseError::NoLetter(_))));
    node.engine.close_case(&permit, case.id, None).await.unwrap();
    let late = node.engine.note_case(&permit, case.id, text("later")).await;
    assert!(matches!(late, Err(CaseError::Closed)));
    node.stop().await;

    let node = house.start().await;
    let kept = node.engine.case(&permit, case.id).await.unwrap();
    assert_eq!((kept.state(), kept.identity.len(), kept.decisions.len()), (CaseState::Closed, 2, 1));
    assert_eq!((kept.links[0].id.as_str(), kept.notes[0].text.expose().as_str()), (hold.id.as_str(), "she called"));
    let trail: Vec<&str> = kept.trail().iter().map(|(step, _)| *step).collect();
    assert_eq!(trail, ["opened", "identity", "identity", "decided", "extended", "linked", "noted", "closed"]);
    assert!(kept.trail().iter().all(|(_, stamp)| stamp.by == permit.actor().to_string() && stamp.entry.len() == 32));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_out_of_bounds_is_no_case_and_the_list_begins_with_what_is_overdue() {
    let house = House::new();
    let node = house.start().await;
    let permit = officer(&house);
    let day = |text: &str| Some(text.parse::<Day>().unwrap());
    let tomorrow = Day::of(UnixMillis(SystemNow::millis() + 86_400_000));
    for bad in [
        asked(CaseType::Access, None),
        asked(CaseType::Access, Some("")),
        asked(CaseType::Breach, Some("P-1")),
        NewCase { received: Some(tomorrow), ..asked(CaseType::Access, Some("P-1")) },
        NewCase { minute: Some(1), ..asked(CaseType::Access, Some("P-1")) },
        NewCase { received: day("2026-01-01"), minute: Some(1440), ..asked(CaseType::Breach, None) },
    ] {
        assert!(matches!(node.engine.open_case(&permit, bad).await, Err(CaseError::Form(_))));
    }
    let fresh = node.engine.open_case(&permit, asked(CaseType::Access, Some("P-1"))).await.unwrap();
    let old = NewCase { received: day("2026-01-31"), ..asked(CaseType::Portability, Some("P-2")) };
    let old = node.engine.open_case(&permit, old).await.unwrap();
    assert_eq!(old.deadline().to_string(), "2026-02-28");
    let breach = NewCase { received: day("2026-01-31"), minute: Some(845), ..asked(CaseType::Breach, None) };
    let breach = node.engine.open_case(&permit, breach).await.unwrap();
    assert_eq!(breach.deadline().to_string(), "2026-02-03 14:05 UTC");
    let list = async || {
        let lines = node.engine.cases(&permit).await.unwrap();
        lines.iter().map(|line| (line.id, line.overdue)).collect::<Vec<_>>()
    };
    assert_eq!(list().await, [(breach.id, true), (old.id, true), (fresh.id, false)]);
    let late = node.engine.extend_case(&permit, old.id, 1, text("late")).await;
    assert!(matches!(late, Err(CaseError::NotExtendable(_))), "its first month is over");
    let never = node.engine.extend_case(&permit, breach.id, 1, text("late")).await;
    assert!(matches!(never, Err(CaseError::NotExtendable(_))));
    assert!(matches!(node.engine.close_case(&permit, old.id, None).await, Err(CaseError::Undecided)));
    node.engine.close_case(&permit, old.id, Some(text("taken back"))).await.unwrap();
    // Nobody asks in a breach, so nobody has to be recognised.
    let safe = text("It is sealed.");
    node.engine.decide_case(&permit, breach.id, RightsOutcome::Refused, "34(3)(a)", safe).await.unwrap();
    node.engine.close_case(&permit, breach.id, None).await.unwrap();
    assert_eq!(list().await, [(fresh.id, false), (breach.id, false), (old.id, false)]);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn open_cases_keep_a_patients_studies_but_from_her_own_erasure() {
    let house = House::new();
    let node = house.start().await;
    let (hers, his) = (DataSet::invented(1, 1), DataSet::invented(2, 1));
    for set in [&hers, &his] {
        house.send(&node, set, 1).await.unwrap();
    }
    let permit = officer(&house);
    rule(&node, &permit, 1).await;
    let due = async || node.engine.retention_due(&permit, None, 9).await.unwrap().total;
    assert_eq!((kept(&node, &permit, &hers, Ground::RetentionEnd).await, due().await), (None, 2));

    for kind in [CaseType::Access, CaseType::Restriction, CaseType::Objection, CaseType::Erasure] {
        let case = opened(&node, &permit, kind, &hers).await;
        for ground in [Ground::RetentionEnd, Ground::Objection] {
            let why = kept(&node, &permit, &hers, ground).await.unwrap();
            assert!(why.contains("case"), "{why}");
            assert_eq!(kept(&node, &permit, &his, ground).await, None, "somebody else's");
        }
        assert_eq!(due().await, 1);
        node.engine.close_case(&permit, case.id, Some(text("taken back"))).await.unwrap();
        assert_eq!((kept(&node, &permit, &hers, Ground::Objection).await, due().await), (None, 2));
    }
    for kind in [CaseType::Rectification, CaseType::Portability] {
        opened(&node, &permit, kind, &hers).await;
    }
    assert_eq!(kept(&node, &permit, &hers, Ground::RetentionEnd).await, None, "these keep nothing");

    // Her erasure is granted, and goes on whatever else of hers is open; nothing is erased as over meanwhile.
    let access = opened(&node, &permit, CaseType::Access, &hers).await;
    let erasure = opened(&node, &permit, CaseType::Erasure, &hers).await;
    assert!(kept(&node, &permit, &hers, Ground::ConsentWithdrawn).await.is_some(), "nothing is decided");
    granted(&node, &permit, &erasure, "17(1)(b)").await;
    assert_eq!(kept(&node, &permit, &hers, Ground::ConsentWithdrawn).await, None);
    assert!(kept(&node, &permit, &hers, Ground::RetentionEnd).await.is_some());
    // It was ordered, and then she is refused.
    let what = WhatToErase::Study(StudyUid::parse(&hers.study).unwrap());
    let order = node.engine.order_erasure(&permit, &what, why(Ground::ConsentWithdrawn)).await.unwrap();
    node.engine.link_case(&permit, erasure.id, Linked::Erasure, &order.id.to_string()).await.unwrap();
    node.engine
        .decide_case(&permit, erasure.id, RightsOutcome::Refused, "17(3)(e)", text("A claim came."))
        .await
        .unwrap();
    assert!(kept(&node, &permit, &hers, Ground::ConsentWithdrawn).await.is_some());
    // The law is asked whatever is granted.
    granted(&node, &permit, &erasure, "17(1)(b)").await;
    rule(&node, &permit, 90).await;
    let why = kept(&node, &permit, &hers, Ground::ConsentWithdrawn).await.unwrap();
    assert!(why.contains("a law"), "{why}");
    granted(&node, &permit, &access, "15(3)").await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_linked_is_about_the_patient_of_the_case() {
    let house = House::new();
    let node = house.start().await;
    let (hers, his) = (DataSet::invented(1, 1), DataSet::invented(2, 1));
    for set in [&hers, &his] {
        house.send(&node, set, 1).await.unwrap();
    }
    let permit = officer(&house);
    let case = opened(&node, &permit, CaseType::Access, &hers).await;
    let breach = node.engine.open_case(&permit, asked(CaseType::Breach, None)).await.unwrap();
    let link = async |case: &RightsCase, what, id: &str| node.engine.link_case(&permit, case.id, what, id).await;

    let what = WhatToErase::Study(StudyUid::parse(&his.study).unwrap());
    let order = node.engine.order_erasure(&permit, &what, why(Ground::Objection)).await.unwrap();
    let order = order.id.to_string();
    assert!(matches!(link(&case, Linked::Erasure, &order).await, Err(CaseError::OtherPatient)));
    link(&breach, Linked::Erasure, &order).await.unwrap();
    let own = opened(&node, &permit, CaseType::Erasure, &his).await;
    link(&own, Linked::Erasure, &order).await.unwrap();

    let report = async |set: &DataSet| {
        let about = PatientAsked { id: text(&set.patient_id), issuer: None, from_ms: None, to_ms: None };
        let audit = house.principal(Role::Dpo).audit().unwrap();
        let report = node.engine.access_report(&audit, about).await.unwrap();
        report.others.last().unwrap().entry
    };
    let (about_her, about_him) = (report(&hers).await, report(&his).await);
    link(&case, Linked::Report, &about_her.to_string()).await.unwrap();
    assert!(matches!(link(&case, Linked::Report, &about_him.to_string()).await, Err(CaseError::OtherPatient)));
    // An entry that is no report, and a place that the log does not reach.
    for nothing in ["0", "999999", "-1", "x"] {
        assert!(matches!(link(&case, Linked::Report, nothing).await, Err(CaseError::NoOutput)), "{nothing}");
    }
    assert_eq!(node.engine.case(&permit, case.id).await.unwrap().links.len(), 1);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_practice_writes_letters_by_its_own_template_until_it_takes_it_back() {
    let house = House::new();
    let node = house.start().await;
    let permit = officer(&house);
    let case = node.engine.open_case(&permit, asked(CaseType::Access, Some("{until} {{x}}"))).await.unwrap();
    let (received, frame) = (TemplateName::Received, TemplateName::Frame);
    let letter = async |node: &Node, language| {
        let text = node.engine.case_letter(&permit, case.id, Occasion::Received, language).await.unwrap();
        text.expose().clone()
    };
    let built_in = letter(&node, Language::It).await;
    assert!(built_in.contains("Accesso ai Suoi dati"), "{built_in}");
    let own = "Gentile {patient}, risposta entro il {until}.\r\n{authority}\r\n";
    let set = async |name, text: &str| node.engine.set_letter_template(&permit, name, Language::It, text).await;
    let kept = set(received, own).await.unwrap();
    assert!(kept.text == own.replace('\r', "") && kept.built_in != kept.text && kept.line.own.is_some());
    set(frame, "{date}\n{letter}\n--\n").await.unwrap();
    let refused = set(received, "entro il {until}, {cognome}").await;
    assert!(matches!(refused, Err(CaseError::Placeholder { word, .. }) if word == "cognome"));
    assert!(matches!(set(frame, "{date}").await, Err(CaseError::PlaceholderMissing("letter"))));
    node.stop().await;

    let node = house.start().await;
    let (today, until) = (Day::of(UnixMillis(SystemNow::millis())), case.deadline());
    let written = format!("{today}\nGentile {{until}} {{{{x}}}}, risposta entro il {until}.\n--\n");
    assert_eq!(letter(&node, Language::It).await, written, "a value is no placeholder");
    assert!(letter(&node, Language::Es).await.contains("Acceso a sus datos"), "another language");
    let lines = node.engine.letter_templates(&permit).await.unwrap();
    assert_eq!((lines.len(), lines.iter().filter(|line| line.own.is_some()).count()), (50, 2));
    for name in [received, frame] {
        node.engine.reset_letter_template(&permit, name, Language::It).await.unwrap();
        let again = node.engine.reset_letter_template(&permit, name, Language::It).await;
        assert!(matches!(again, Err(CaseError::Missing)));
    }
    assert_eq!(letter(&node, Language::It).await, built_in);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_case_goes_when_its_time_is_over_and_no_earlier() {
    let house = House::new();
    let node = house.start().await;
    let permit = officer(&house);
    let open = node.engine.open_case(&permit, asked(CaseType::Access, Some("P-1"))).await.unwrap();
    let case = node.engine.open_case(&permit, asked(CaseType::Access, Some("P-2"))).await.unwrap();
    let mut closed = node.engine.close_case(&permit, case.id, Some(text("taken back"))).await.unwrap();
    let expire = async |node: &Node, id: CaseId| node.engine.expire_case(&permit, id).await;
    assert!(matches!(expire(&node, open.id).await, Err(CaseError::NotClosed)));
    let until = Day::of(UnixMillis(SystemNow::millis())).plus_years(u16::from(DEFAULT_CASE_YEARS));
    assert!(matches!(expire(&node, case.id).await, Err(CaseError::Kept(day)) if day == until));
    let expired = async |node: &Node| {
        let lines = node.engine.cases(&permit).await.unwrap();
        lines.iter().filter(|line| line.expired).map(|line| line.id).collect::<Vec<_>>()
    };
    assert_eq!(expired(&node).await, []);
    node.stop().await;

    // It was closed six years ago.
    closed.closed.as_mut().unwrap().stamp.at.0 -= 6 * 366 * 86_400_000;
    let row = serde_json::to_vec(&closed).unwrap().into();
    let id = hex::decode(case.id.to_string()).unwrap();
    let name = [&b"case:"[..], &id].concat();
    house.records().await.put(Table::Cases, &name, row, Expected::Anything).await.unwrap();
    let node = house.start().await;
    node.engine.set_case_years(house.tenant, 7);
    assert!(matches!(expire(&node, case.id).await, Err(CaseError::Kept(_))), "this practice keeps them longer");
    node.engine.set_case_years(house.tenant, DEFAULT_CASE_YEARS);
    assert_eq!(expired(&node).await, [case.id]);
    expire(&node, case.id).await.unwrap();
    assert!(matches!(expire(&node, case.id).await, Err(CaseError::Missing)));
    assert_eq!(node.engine.cases(&permit).await.unwrap().len(), 1);
    node.stop().await;
}

impl House {
    /// What the node keeps in its records, while no node runs.
    async fn records(&self) -> leadglass_records::TenantRecords {
        let (clock, entropy) = (Arc::new(SystemClock), Arc::new(SystemEntropy));
        let keys = Keys::start(self.service.clone(), clock.clone(), TaskTracker::new(), CancellationToken::new());
        let record = keys.secret(self.tenant, SecretName::Record).await.unwrap();
        let records = Records::open(&self.dir.path().join("records.redb"), clock, entropy).unwrap();
        records.tenant(self.tenant, RecordKey::from_bytes(*record.expose()))
    }
}

/// The wall clock of the node.
struct SystemNow;

impl SystemNow {
    fn millis() -> u64 {
        leadglass_model::Clock::now(&SystemClock).0
    }
}
