//! Letters about a case, as text in plain words. A person reads them before they go out.

use super::{
    CaseError, CaseType, RightsCase, RightsOutcome,
    deadline::{FIRST_MONTHS, Minute},
    ground::LegalGround,
};
use crate::Day;
use leadglass_export::papers::Practice;
use leadglass_model::Phi;

/// In which language.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// English.
    En,
    /// German.
    De,
}

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

/// The letter.
pub(super) fn letter(facts: &Facts<'_>, occasion: Occasion, language: Language) -> Result<Phi<String>, CaseError> {
    let case = facts.case;
    let body = match (case.kind, occasion) {
        (CaseType::Breach, _) => breach(facts, occasion, language)?,
        (_, Occasion::Received) => received(facts, language),
        (_, Occasion::Identity) => identity(facts, language),
        (_, Occasion::Extended) => extended(facts, language)?,
        (_, Occasion::Granted) => granted(facts, language)?,
        (_, Occasion::Refused) => refused(facts, language)?,
    };
    let en = language == Language::En;
    let mut head: Vec<String> = Vec::new();
    if !facts.practice.controller.is_empty() {
        head.push(facts.practice.controller.clone());
    }
    head.push(facts.today.to_string());
    head.push(format!("{}: {}", if en { "Reference" } else { "Zeichen" }, case.id));
    if let Some(patient) = &case.patient {
        head.push(format!("{}: {}", if en { "Patient number" } else { "Patientennummer" }, patient.id.expose()));
    }
    let greeting = if en { "Dear Sir or Madam," } else { "Guten Tag," };
    let end = if en { "Yours faithfully," } else { "Mit freundlichen Grüßen" };
    let mut parts = vec![head.join("\n"), subject(case.kind, language).to_owned(), greeting.to_owned()];
    parts.extend(body);
    if !facts.practice.officer.is_empty() {
        let ask = if en { "If you have questions:" } else { "Wenn Sie Fragen haben:" };
        parts.push(format!("{ask} {}", facts.practice.officer));
    }
    parts.push(end.to_owned());
    Ok(Phi::new(parts.join("\n\n") + "\n"))
}

fn subject(kind: CaseType, language: Language) -> &'static str {
    let (en, de) = match kind {
        CaseType::Access => ("Access to your data (Art. 15 GDPR)", "Auskunft über Ihre Daten (Art. 15 DSGVO)"),
        CaseType::Rectification => {
            ("Correction of your data (Art. 16 GDPR)", "Berichtigung Ihrer Daten (Art. 16 DSGVO)")
        }
        CaseType::Erasure => ("Erasure of your data (Art. 17 GDPR)", "Löschung Ihrer Daten (Art. 17 DSGVO)"),
        CaseType::Restriction => (
            "Restriction of the use of your data (Art. 18 GDPR)",
            "Einschränkung der Nutzung Ihrer Daten (Art. 18 DSGVO)",
        ),
        CaseType::Portability => {
            ("Your data to take elsewhere (Art. 20 GDPR)", "Herausgabe Ihrer Daten zum Mitnehmen (Art. 20 DSGVO)")
        }
        CaseType::Objection => (
            "Objection to the use of your data (Art. 21 GDPR)",
            "Widerspruch gegen die Nutzung Ihrer Daten (Art. 21 DSGVO)",
        ),
        CaseType::Breach => (
            "Breach of the protection of personal data (Art. 33, 34 GDPR)",
            "Verletzung des Schutzes personenbezogener Daten (Art. 33, 34 DSGVO)",
        ),
    };
    if language == Language::En { en } else { de }
}

fn received(facts: &Facts<'_>, language: Language) -> Vec<String> {
    let (day, until) = (facts.case.received, facts.case.deadline());
    match language {
        Language::En => vec![
            format!("Your request came to us on {day}."),
            format!("You hear from us by {until} at the latest. It costs you nothing."),
        ],
        Language::De => vec![
            format!("Ihre Anfrage ist am {day} bei uns eingegangen."),
            format!("Sie hören spätestens bis zum {until} von uns. Es kostet Sie nichts."),
        ],
    }
}

fn identity(facts: &Facts<'_>, language: Language) -> Vec<String> {
    let day = facts.case.received;
    match language {
        Language::En => vec![
            format!("Your request came to us on {day}. Before we answer it we have to see that it is you who asks."),
            "Please come by with a paper that shows who you are, or tell us how else we can see it. We look at the paper \
             and keep no copy of it."
                .to_owned(),
        ],
        Language::De => vec![
            format!(
                "Ihre Anfrage ist am {day} bei uns eingegangen. Bevor wir sie beantworten, müssen wir feststellen, dass sie \
                 von Ihnen kommt."
            ),
            "Bitte kommen Sie mit einem Ausweis vorbei, oder sagen Sie uns, wie wir es sonst feststellen können. Wir sehen \
             den Ausweis an und behalten keine Kopie."
                .to_owned(),
        ],
    }
}

fn extended(facts: &Facts<'_>, language: Language) -> Result<Vec<String>, CaseError> {
    let case = facts.case;
    let more = case.extension.as_ref().ok_or(CaseError::NoLetter("the case was not extended"))?;
    let (day, first, until) = (case.received, case.received.plus_months(FIRST_MONTHS), case.deadline());
    Ok(match language {
        Language::En => vec![
            format!("Your request came to us on {day}. We cannot answer it by {first}."),
            format!("The reason: {}", more.reason.expose()),
            format!("You hear from us by {until} at the latest (Art. 12(3) GDPR)."),
            complaint(facts, language),
        ],
        Language::De => vec![
            format!("Ihre Anfrage ist am {day} bei uns eingegangen. Bis zum {first} können wir sie nicht beantworten."),
            format!("Der Grund: {}", more.reason.expose()),
            format!("Sie hören spätestens bis zum {until} von uns (Art. 12 Abs. 3 DSGVO)."),
            complaint(facts, language),
        ],
    })
}

fn granted(facts: &Facts<'_>, language: Language) -> Result<Vec<String>, CaseError> {
    let (outcome, words, ground) = decided(facts.case, language)?;
    if outcome == RightsOutcome::Refused {
        return Err(CaseError::NoLetter("the last decision refuses it: the occasion is refused"));
    }
    let en = language == Language::En;
    let done = done(facts.case.kind, language);
    let day = facts.case.received;
    Ok(match outcome {
        RightsOutcome::Partly if en => vec![
            format!("Your request came to us on {day}. We do a part of what you asked for."),
            format!("For that part: {done}"),
            format!("For the rest we cannot. The reason: {ground}"),
            words,
            complaint(facts, language),
        ],
        RightsOutcome::Partly => vec![
            format!("Ihre Anfrage ist am {day} bei uns eingegangen. Einen Teil davon erfüllen wir."),
            format!("Für diesen Teil gilt: {done}"),
            format!("Den Rest können wir nicht erfüllen. Der Grund: {ground}"),
            words,
            complaint(facts, language),
        ],
        _ if en => vec![
            format!("Your request came to us on {day}. We do what you asked for. {done}"),
            format!("The reason: {ground}"),
            words,
        ],
        _ => vec![
            format!("Ihre Anfrage ist am {day} bei uns eingegangen. Wir erfüllen sie. {done}"),
            format!("Der Grund: {ground}"),
            words,
        ],
    })
}

/// What it means that a right is granted.
fn done(kind: CaseType, language: Language) -> &'static str {
    let (en, de) = match kind {
        CaseType::Access => (
            "You get your images, and with them what the law says you are to be told.",
            "Sie erhalten Ihre Bilder und dazu, was Ihnen nach dem Gesetz mitzuteilen ist.",
        ),
        CaseType::Rectification => (
            "Your data are corrected. What was given to others we tell them, too.",
            "Ihre Daten werden berichtigt. Wem wir sie gegeben haben, dem teilen wir das mit.",
        ),
        CaseType::Erasure => (
            "Your data are erased. You can have a certificate of it that says what it covers and what it does not.",
            "Ihre Daten werden gelöscht. Sie können darüber eine Bescheinigung erhalten, die sagt, was sie umfasst und was nicht.",
        ),
        CaseType::Restriction => (
            "Your data are kept and not used, but with your consent or for legal claims. Before that ends we tell you.",
            "Ihre Daten werden aufbewahrt und nicht genutzt, außer mit Ihrer Einwilligung oder für Rechtsansprüche. Bevor \
             das endet, teilen wir es Ihnen mit.",
        ),
        CaseType::Portability => (
            "You get your data in a form that another practice can read.",
            "Sie erhalten Ihre Daten in einer Form, die eine andere Praxis lesen kann.",
        ),
        CaseType::Objection => (
            "Your data are no longer used for what you objected to.",
            "Ihre Daten werden dafür, wogegen Sie widersprochen haben, nicht mehr genutzt.",
        ),
        CaseType::Breach => ("It is told.", "Sie wird mitgeteilt."),
    };
    if language == Language::En { en } else { de }
}

fn refused(facts: &Facts<'_>, language: Language) -> Result<Vec<String>, CaseError> {
    let (outcome, words, ground) = decided(facts.case, language)?;
    if outcome == RightsOutcome::Granted {
        return Err(CaseError::NoLetter("the last decision grants it: the occasion is granted"));
    }
    let (day, en) = (facts.case.received, language == Language::En);
    let (all, part) = if en {
        ("We cannot do what you asked for.", "A part of it we cannot do.")
    } else {
        ("Wir können sie nicht erfüllen.", "Einen Teil davon können wir nicht erfüllen.")
    };
    let how_much = if outcome == RightsOutcome::Partly { part } else { all };
    let mut body = if en {
        vec![format!("Your request came to us on {day}. {how_much}"), format!("The reason: {ground}")]
    } else {
        vec![format!("Ihre Anfrage ist am {day} bei uns eingegangen. {how_much}"), format!("Der Grund: {ground}")]
    };
    body.push(words);
    match (facts.law, en) {
        (LawKeeps::Not, _) => {}
        (LawKeeps::Until(until), true) => body.push(format!("The law keeps your data until {until}.")),
        (LawKeeps::Until(until), false) => {
            body.push(format!("Das Gesetz verlangt, dass Ihre Daten bis zum {until} aufbewahrt werden."));
        }
        (LawKeeps::WithoutEnd, true) => {
            body.push("Your data have to be kept, and there is no day yet on which that ends.".to_owned());
        }
        (LawKeeps::WithoutEnd, false) => {
            body.push(
                "Ihre Daten müssen aufbewahrt werden; ein Tag, an dem das endet, steht noch nicht fest.".to_owned(),
            );
        }
    }
    body.push(complaint(facts, language));
    Ok(body)
}

/// The last decision: what, in which words, and the ground with its sentence.
fn decided(case: &RightsCase, language: Language) -> Result<(RightsOutcome, String, String), CaseError> {
    let last = case.decisions.last().ok_or(CaseError::NoLetter("nothing was decided yet"))?;
    let ground = LegalGround::find(case.kind, last.outcome, &last.ground);
    let ground = ground.ok_or(CaseError::NoLetter("the decision's ground is not known to this version"))?;
    let law = if language == Language::En { "GDPR" } else { "DSGVO" };
    let sentence = format!("{} (Art. {} {law})", ground.sentence(language), ground.code());
    Ok((last.outcome, last.words.expose().clone(), sentence))
}

/// Art. 12(4).
fn complaint(facts: &Facts<'_>, language: Language) -> String {
    let named = facts.practice.authority.as_str();
    match (language, named.is_empty()) {
        (Language::En, true) => {
            "You have the right to complain to the data protection authority of the place where you live \
                                 or work, and to go to court."
                .to_owned()
        }
        (Language::En, false) => {
            format!(
                "You have the right to complain to the data protection authority, and to go to court. The authority: {named}"
            )
        }
        (Language::De, true) => {
            "Sie haben das Recht, sich bei der Datenschutzbehörde an Ihrem Wohnort oder Arbeitsort zu \
                                 beschweren und vor Gericht zu gehen."
                .to_owned()
        }
        (Language::De, false) => format!(
            "Sie haben das Recht, sich bei der Datenschutzbehörde zu beschweren und vor Gericht zu gehen. Die Behörde: {named}"
        ),
    }
}

/// Nobody asks here: a note that a breach is known, a notice of it, or a note why there is none.
fn breach(facts: &Facts<'_>, occasion: Occasion, language: Language) -> Result<Vec<String>, CaseError> {
    let en = language == Language::En;
    let known = facts.case.known_at.map_or_else(|| facts.case.received.to_string(), |at| Minute(at).to_string());
    let until = facts.case.deadline();
    match occasion {
        Occasion::Identity | Occasion::Extended => Err(CaseError::NoLetter("a breach has no such letter")),
        Occasion::Received if en => Ok(vec![
            format!("A breach of the protection of personal data has been known to us since {known}."),
            format!("The supervisory authority is told by {until} unless a risk for those concerned is unlikely."),
        ]),
        Occasion::Received => Ok(vec![
            format!("Eine Verletzung des Schutzes personenbezogener Daten ist uns seit {known} bekannt."),
            format!(
                "Die Aufsichtsbehörde erfährt es bis {until}, außer wenn ein Risiko für Betroffene unwahrscheinlich ist."
            ),
        ]),
        Occasion::Granted | Occasion::Refused => {
            let (outcome, words, ground) = decided(facts.case, language)?;
            let tells = outcome != RightsOutcome::Refused;
            if tells != (occasion == Occasion::Granted) {
                return Err(CaseError::NoLetter("the last decision is the other way round"));
            }
            let opening = match (tells, en) {
                (true, true) => format!("Since {known} we have known of a breach of the protection of personal data."),
                (true, false) => {
                    format!("Seit {known} wissen wir von einer Verletzung des Schutzes personenbezogener Daten.")
                }
                (false, true) => format!("Of the breach known since {known} no notice is given."),
                (false, false) => format!("Über die seit {known} bekannte Verletzung wird nicht benachrichtigt."),
            };
            Ok(vec![opening, words, ground])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cases::case::{CaseId, CasePatient, Channel, Extension, RightsDecision, Stamp};
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
        let practice = Practice {
            controller: "Practice Dr. Example".into(),
            officer: "officer@example.org".into(),
            authority: "The Authority, Example Street 1".into(),
            ..Practice::default()
        };
        let facts = Facts { case, practice: &practice, law, today: "2026-02-03".parse().unwrap() };
        letter(&facts, occasion, language).ok().map(Phi::into_exposed)
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
                 You have the right to complain to the data protection authority, and to go to court. The authority: The \
                 Authority, Example Street 1\n\nIf you have questions: officer@example.org\n\nYours faithfully,\n",
                "07".repeat(16)
            )
        );
        let de = text(&case, until, Occasion::Refused, Language::De).unwrap();
        for words in
            ["Löschung Ihrer Daten", "bis zum 2036-01-31", "beschweren", "Art. 17(3)(b) DSGVO", "The Authority"]
        {
            assert!(de.contains(words), "{words}: {de}");
        }
        let held = text(&case, LawKeeps::WithoutEnd, Occasion::Refused, Language::En).unwrap();
        assert!(held.contains("no day yet"));
        assert_eq!(text(&case, until, Occasion::Granted, Language::En), None, "it was refused");
    }

    #[test]
    fn every_type_has_a_letter_for_what_happened_in_both_languages() {
        use CaseType::{Access, Breach, Erasure, Objection, Portability, Rectification, Restriction};
        for kind in [Access, Rectification, Erasure, Restriction, Portability, Objection, Breach] {
            for language in [Language::En, Language::De] {
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
                }
            }
        }
    }
}
