//! Letters about a case, as text in plain words. A person reads them before they go out.

use super::{
    CaseError, CaseType, Language, RightsCase, RightsDecision, RightsOutcome, TemplateName,
    deadline::{FIRST_MONTHS, Minute},
    ground::LegalGround,
    template::fill,
    texts::Texts,
};
use crate::Day;
use leadglass_export::papers::{Practice, plain};
use leadglass_model::Phi;

/// On which occasion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occasion {
    /// It came.
    Received,
    /// Who asks has to be seen first.
    Identity,
    /// It takes longer.
    Extended,
    /// It is done, or a part of it.
    Granted,
    /// It is not done, or a part is not.
    Refused,
}

/// Until when the law keeps a patient's data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum LawKeeps {
    Not,
    Until(Day),
    /// A hold, or a rule that nobody confirmed.
    WithoutEnd,
}

/// What a letter is made of.
pub(super) struct Facts<'a> {
    pub(super) case: &'a RightsCase,
    pub(super) practice: &'a Practice,
    pub(super) law: LawKeeps,
    pub(super) today: Day,
}

/// Which template an occasion takes; none where that did not happen.
pub(super) fn template_of(case: &RightsCase, occasion: Occasion) -> Result<TemplateName, CaseError> {
    let breach = case.kind == CaseType::Breach;
    match occasion {
        Occasion::Received if breach => Ok(TemplateName::BreachKnown),
        Occasion::Received => Ok(TemplateName::Received),
        Occasion::Identity | Occasion::Extended if breach => Err(CaseError::NoLetter("a breach has no such letter")),
        Occasion::Identity => Ok(TemplateName::Identity),
        Occasion::Extended if case.extension.is_none() => Err(CaseError::NoLetter("the case was not extended")),
        Occasion::Extended => Ok(TemplateName::Extended),
        Occasion::Granted | Occasion::Refused => {
            let outcome = last(case)?.outcome;
            match (outcome, occasion) {
                (RightsOutcome::Granted, Occasion::Refused) => {
                    Err(CaseError::NoLetter("the last decision grants it: the occasion is granted"))
                }
                (RightsOutcome::Refused, Occasion::Granted) => {
                    Err(CaseError::NoLetter("the last decision refuses it: the occasion is refused"))
                }
                (RightsOutcome::Refused, _) if breach => Ok(TemplateName::BreachNotTold),
                _ if breach => Ok(TemplateName::BreachTold),
                (RightsOutcome::Granted, _) => Ok(TemplateName::Granted),
                (RightsOutcome::Refused, _) => Ok(TemplateName::Refused),
                (RightsOutcome::Partly, _) => Ok(TemplateName::Partly),
            }
        }
    }
}

/// The letter: a template's text, in the frame's.
pub(super) fn letter(
    facts: &Facts<'_>,
    (text, frame): (&str, &str),
    language: Language,
) -> Result<Phi<String>, CaseError> {
    let mut values = values(facts, language)?;
    let letter = fill(text, &values);
    values.push(("letter", letter));
    Ok(Phi::new(fill(frame, &values) + "\n"))
}

/// What placeholders stand for. What has no value in this case is empty.
fn values(facts: &Facts<'_>, language: Language) -> Result<Vec<(&'static str, String)>, CaseError> {
    let (case, practice, texts) = (facts.case, facts.practice, Texts::of(language));
    let of_type = |what: &str| texts.sentence(&format!("{what}.{}", case.kind.as_str())).to_owned();
    let keeps = match facts.law {
        LawKeeps::Not => String::new(),
        LawKeeps::Until(day) => fill(texts.sentence("keeps.until"), &[("day", day.to_string())]),
        LawKeeps::WithoutEnd => texts.sentence("keeps.open").to_owned(),
    };
    let authority = fill(texts.sentence("authority"), &[("authority", practice.authority.clone())]);
    let complaint = [texts.sentence("complaint"), authority.as_str()].join(" ");
    let known = case.known_at.map_or_else(|| case.received.to_string(), |at| Minute(at).to_string());
    let (ground, words) = match case.decisions.last() {
        Some(decision) => (grounded(case, decision, language)?, decision.words.expose().clone()),
        None => (String::new(), String::new()),
    };
    Ok(vec![
        ("controller", practice.controller.clone()),
        ("officer", practice.officer.clone()),
        ("authority", practice.authority.clone()),
        ("date", facts.today.to_string()),
        ("case", case.id.to_string()),
        ("patient", case.patient.as_ref().map_or_else(String::new, |patient| plain(patient.id.expose()))),
        ("subject", of_type("subject")),
        ("received", case.received.to_string()),
        ("first", case.received.plus_months(FIRST_MONTHS).to_string()),
        ("until", case.deadline().to_string()),
        ("reason", case.extension.as_ref().map_or_else(String::new, |more| more.reason.expose().clone())),
        ("known", known),
        ("done", of_type("done")),
        ("ground", ground),
        ("words", words),
        ("keeps", keeps),
        ("complaint", complaint.trim_end().to_owned()),
    ])
}

fn last(case: &RightsCase) -> Result<&RightsDecision, CaseError> {
    case.decisions.last().ok_or(CaseError::NoLetter("nothing was decided yet"))
}

/// The ground's sentence, with where it stands.
fn grounded(case: &RightsCase, decision: &RightsDecision, language: Language) -> Result<String, CaseError> {
    let ground = LegalGround::find(case.kind, decision.outcome, &decision.ground);
    let ground = ground.ok_or(CaseError::NoLetter("the decision's ground is not known to this version"))?;
    Ok(ground.sentence(language))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cases::case::{CaseId, CasePatient, Channel, Extension, Stamp};
    use leadglass_model::UnixMillis;

    fn stamp() -> Stamp {
        Stamp { by: "07".into(), at: UnixMillis(0), entry: String::new() }
    }

    fn case(kind: CaseType) -> RightsCase {
        let breach = kind == CaseType::Breach;
        RightsCase {
            id: CaseId([7; 16]),
            kind,
            patient: (!breach).then(|| CasePatient { id: Phi::new("P-1".into()), issuer: None }),
            received: "2026-01-31".parse().unwrap(),
            known_at: breach.then_some(UnixMillis(1_798_671_900_000)),
            channel: Channel::Letter,
            opened: stamp(),
            identity: vec![],
            extension: None,
            decisions: vec![],
            links: vec![],
            notes: vec![],
            closed: None,
        }
    }

    fn decide(case: &mut RightsCase, outcome: RightsOutcome, ground: &str) {
        let words = Phi::new("So says the officer.".to_owned());
        case.decisions.push(RightsDecision { outcome, ground: ground.to_owned(), words, stamp: stamp() });
    }

    fn text(case: &RightsCase, law: LawKeeps, occasion: Occasion, language: Language) -> Option<String> {
        let texts = Texts::of(language);
        let template = texts.template(template_of(case, occasion).ok()?);
        let practice = Practice {
            controller: "Practice Dr. Example".into(),
            officer: "officer@example.org".into(),
            authority: "The Authority, Example Street 1".into(),
            ..Practice::default()
        };
        let facts = Facts { case, practice: &practice, law, today: "2026-02-03".parse().unwrap() };
        letter(&facts, (template, texts.template(TemplateName::Frame)), language).ok().map(Phi::into_exposed)
    }

    #[test]
    fn a_refusal_says_why_until_when_and_where_to_complain() {
        let mut case = case(CaseType::Erasure);
        assert_eq!(text(&case, LawKeeps::Not, Occasion::Refused, Language::En), None, "nothing was decided");
        decide(&mut case, RightsOutcome::Refused, "17(3)(b)");
        let until = LawKeeps::Until("2036-01-31".parse().unwrap());
        let en = text(&case, until, Occasion::Refused, Language::En).unwrap();
        assert_eq!(
            en,
            format!(
                "Practice Dr. Example\n2026-02-03\nReference: {}\nPatient number: P-1\n\n\
                 Erasure of your data (Art. 17 GDPR)\n\nDear Sir or Madam,\n\n\
                 Your request came to us on 2026-01-31. We cannot do what you asked for.\n\n\
                 The reason: A law obliges us to keep the data. (Art. 17(3)(b) GDPR)\n\nSo says the officer.\n\n\
                 The law keeps your data until 2036-01-31.\n\n\
                 You have the right to lodge a complaint with a supervisory authority, in particular where you live, where \
                 you work, or where you think the law was broken (Art. 77 GDPR), and the right to a judicial remedy (Art. 79 \
                 GDPR). The authority for us: The Authority, Example Street 1\n\nIf you have questions: officer@example.org\n\nYours faithfully,\n",
                "07".repeat(16)
            )
        );
        let de = text(&case, until, Occasion::Refused, Language::De).unwrap();
        for words in [
            "Löschung Ihrer Daten",
            "bis zum 2036-01-31",
            "beschweren",
            "Art. 17 Abs. 3 Buchst. b DSGVO",
            "The Authority",
        ] {
            assert!(de.contains(words), "{words}: {de}");
        }
        let held = text(&case, LawKeeps::WithoutEnd, Occasion::Refused, Language::En).unwrap();
        assert!(held.contains("no day yet"));
        assert_eq!(text(&case, until, Occasion::Granted, Language::En), None, "it was refused");
    }

    #[test]
    fn what_is_done_in_part_says_both() {
        let mut case = case(CaseType::Access);
        decide(&mut case, RightsOutcome::Partly, "15(4)");
        let granted = text(&case, LawKeeps::WithoutEnd, Occasion::Granted, Language::Fr).unwrap();
        assert_eq!(text(&case, LawKeeps::WithoutEnd, Occasion::Refused, Language::Fr), Some(granted.clone()));
        for words in
            ["en partie", "copie de vos images", "art. 15, paragraphe 4, du RGPD", "art. 77", "pas encore fixé"]
        {
            assert!(granted.contains(words), "{words}: {granted}");
        }
    }

    #[test]
    fn every_type_has_a_letter_for_what_happened_in_every_language() {
        use CaseType::{Access, Breach, Erasure, Objection, Portability, Rectification, Restriction};
        for kind in [Access, Rectification, Erasure, Restriction, Portability, Objection, Breach] {
            for language in Language::ALL {
                let mut case = case(kind);
                let is_breach = kind == Breach;
                let written = |case: &RightsCase, occasion| text(case, LawKeeps::Not, occasion, language);
                assert!(written(&case, Occasion::Received).is_some());
                assert_eq!(written(&case, Occasion::Identity).is_none(), is_breach);
                assert_eq!(written(&case, Occasion::Extended), None);
                let reason = Phi::new("There are many images.".to_owned());
                case.extension = Some(Extension { months: 2, reason, stamp: stamp() });
                let extended = written(&case, Occasion::Extended);
                assert_eq!(extended.is_none(), is_breach);
                if let Some(text) = extended {
                    assert!(text.contains("2026-04-30") && text.contains("2026-02-28") && text.contains("many images"));
                }
                for (outcome, occasion) in
                    [(RightsOutcome::Granted, Occasion::Granted), (RightsOutcome::Refused, Occasion::Refused)]
                {
                    let fit = LegalGround::that_fit(kind, outcome);
                    decide(&mut case, outcome, fit.split(", ").next().unwrap());
                    let text = written(&case, occasion).unwrap();
                    assert!(text.contains("So says the officer."), "{text}");
                    assert!(!text.contains("  ") && !text.contains("\n\n\n"), "{text}");
                    assert!(!text.contains(['{', '}']), "a placeholder was left: {text}");
                    // Who is refused hears whom to complain to (Art. 12(4)).
                    let complains = text.contains("77") && text.contains("79");
                    assert_eq!(complains, !is_breach && outcome == RightsOutcome::Refused, "{text}");
                }
            }
        }
    }
}
