//! Legal grounds of decisions: where it stands in the GDPR, and a sentence for the letter.

use super::{CaseType, Language, RightsOutcome};
use CaseType::{Access, Breach, Erasure, Objection, Portability, Rectification, Restriction};

/// One ground of one kind of decision.
#[derive(Debug)]
pub(super) struct LegalGround {
    code: &'static str,
    /// What it is for; empty: every right of a patient.
    types: &'static [CaseType],
    says: Says,
    en: &'static str,
    de: &'static str,
}

#[derive(Debug, PartialEq, Eq)]
enum Says {
    Yes,
    No,
}

impl LegalGround {
    /// The ground of this code that fits the decision.
    pub(super) fn find(kind: CaseType, outcome: RightsOutcome, code: &str) -> Option<&'static Self> {
        GROUNDS.iter().find(|ground| ground.code == code && ground.fits(kind, outcome))
    }

    /// The codes that fit, for who gave another.
    pub(super) fn that_fit(kind: CaseType, outcome: RightsOutcome) -> String {
        let codes = GROUNDS.iter().filter(|ground| ground.fits(kind, outcome)).map(|ground| ground.code);
        codes.collect::<Vec<_>>().join(", ")
    }

    /// What is done in part is refused for the rest, and the ground is that of the refusal.
    fn fits(&self, kind: CaseType, outcome: RightsOutcome) -> bool {
        let says = if outcome == RightsOutcome::Granted { Says::Yes } else { Says::No };
        let is_of = self.types.contains(&kind) || (self.types.is_empty() && kind != Breach);
        self.says == says && is_of
    }

    /// Where it stands, such as `17(3)(b)`.
    pub(super) const fn code(&self) -> &'static str {
        self.code
    }

    pub(super) const fn sentence(&self, language: Language) -> &'static str {
        match language {
            Language::En => self.en,
            Language::De => self.de,
        }
    }
}

const fn yes(code: &'static str, types: &'static [CaseType], en: &'static str, de: &'static str) -> LegalGround {
    LegalGround { code, types, says: Says::Yes, en, de }
}

const fn no(code: &'static str, types: &'static [CaseType], en: &'static str, de: &'static str) -> LegalGround {
    LegalGround { code, types, says: Says::No, en, de }
}

/// Who could not be identified is refused on this ground alone.
pub(super) const NOT_IDENTIFIED: &str = "12(2)";

const GROUNDS: &[LegalGround] = &[
    yes(
        "15(1)",
        &[Access],
        "You have the right to know which data about you we keep.",
        "Sie haben das Recht zu erfahren, welche Daten über Sie wir aufbewahren.",
    ),
    yes(
        "15(3)",
        &[Access],
        "You have the right to a copy of your data.",
        "Sie haben das Recht auf eine Kopie Ihrer Daten.",
    ),
    yes("16", &[Rectification], "Wrong data have to be corrected.", "Falsche Daten sind zu berichtigen."),
    yes(
        "17(1)(a)",
        &[Erasure],
        "Your data are no longer needed for what they were taken for.",
        "Ihre Daten werden für ihren Zweck nicht mehr gebraucht.",
    ),
    yes(
        "17(1)(b)",
        &[Erasure],
        "You withdrew your consent, and nothing else allows us to keep the data.",
        "Sie haben Ihre Einwilligung widerrufen, und nichts anderes erlaubt uns, die Daten zu behalten.",
    ),
    yes(
        "17(1)(c)",
        &[Erasure],
        "You objected, and no reason weighs more.",
        "Sie haben widersprochen, und kein Grund wiegt schwerer.",
    ),
    yes(
        "17(1)(d)",
        &[Erasure],
        "The data should not have been processed.",
        "Die Daten hätten nicht verarbeitet werden dürfen.",
    ),
    yes(
        "17(1)(e)",
        &[Erasure],
        "A law obliges us to erase the data.",
        "Ein Gesetz verpflichtet uns, die Daten zu löschen.",
    ),
    yes(
        "18(1)",
        &[Restriction],
        "One of the reasons holds for which the use of data is restricted.",
        "Einer der Gründe liegt vor, aus denen die Nutzung von Daten eingeschränkt wird.",
    ),
    yes(
        "20(1)",
        &[Portability],
        "You gave us the data by consent or under a contract, and may take them elsewhere.",
        "Sie haben uns die Daten mit Einwilligung oder aufgrund eines Vertrags gegeben und dürfen sie mitnehmen.",
    ),
    yes(
        "21(1)",
        &[Objection],
        "No reason of ours weighs more than your objection.",
        "Kein Grund auf unserer Seite wiegt schwerer als Ihr Widerspruch.",
    ),
    yes(
        "33(1)",
        &[Breach],
        "The breach has to be notified to the supervisory authority.",
        "Die Verletzung ist der Aufsichtsbehörde zu melden.",
    ),
    yes(
        "34(1)",
        &[Breach],
        "The breach is likely to be a high risk for the persons concerned, so they have to be told.",
        "Die Verletzung ist voraussichtlich ein hohes Risiko für die betroffenen Personen; sie sind zu benachrichtigen.",
    ),
    no(
        "12(2)",
        &[],
        "We could not see that it is you who asks.",
        "Wir konnten nicht feststellen, dass die Anfrage von Ihnen kommt.",
    ),
    no(
        "12(5)",
        &[],
        "The request is manifestly unfounded or excessive, in particular because it is repeated.",
        "Die Anfrage ist offenkundig unbegründet oder, insbesondere durch Wiederholung, exzessiv.",
    ),
    no(
        "15(4)",
        &[Access],
        "A copy would harm the rights and freedoms of others.",
        "Eine Kopie würde die Rechte und Freiheiten anderer Personen beeinträchtigen.",
    ),
    no("16", &[Rectification], "The data are not wrong.", "Die Daten sind nicht falsch."),
    no(
        "17(1)",
        &[Erasure],
        "None of the reasons holds for which data have to be erased.",
        "Keiner der Gründe liegt vor, aus denen Daten zu löschen sind.",
    ),
    no(
        "17(3)(b)",
        &[Erasure],
        "A law obliges us to keep the data.",
        "Ein Gesetz verpflichtet uns, die Daten aufzubewahren.",
    ),
    no(
        "17(3)(c)",
        &[Erasure],
        "The data are needed for reasons of public health.",
        "Die Daten werden aus Gründen der öffentlichen Gesundheit gebraucht.",
    ),
    no(
        "17(3)(e)",
        &[Erasure],
        "The data are needed to establish, exercise or defend legal claims.",
        "Die Daten werden gebraucht, um Rechtsansprüche geltend zu machen, auszuüben oder zu verteidigen.",
    ),
    no(
        "18(1)",
        &[Restriction],
        "None of the reasons holds for which the use of data is restricted.",
        "Keiner der Gründe liegt vor, aus denen die Nutzung von Daten eingeschränkt wird.",
    ),
    no(
        "20(1)",
        &[Portability],
        "The right is about data that you gave us by consent or under a contract; these are others.",
        "Das Recht gilt für Daten, die Sie uns mit Einwilligung oder aufgrund eines Vertrags gegeben haben; diese sind andere.",
    ),
    no(
        "20(4)",
        &[Portability],
        "Handing the data over would harm the rights and freedoms of others.",
        "Die Herausgabe würde die Rechte und Freiheiten anderer Personen beeinträchtigen.",
    ),
    no(
        "21(1)",
        &[Objection],
        "Compelling reasons weigh more than your objection, or the data are needed for legal claims.",
        "Zwingende Gründe wiegen schwerer als Ihr Widerspruch, oder die Daten werden für Rechtsansprüche gebraucht.",
    ),
    no(
        "33(1)",
        &[Breach],
        "The breach is unlikely to be a risk for anybody's rights and freedoms, so the authority need not be notified.",
        "Die Verletzung führt voraussichtlich zu keinem Risiko für Rechte und Freiheiten; der Behörde muss sie nicht gemeldet werden.",
    ),
    no(
        "34(1)",
        &[Breach],
        "The breach is unlikely to be a high risk for the persons concerned, so they need not be told.",
        "Die Verletzung ist voraussichtlich kein hohes Risiko für die betroffenen Personen; sie müssen nicht benachrichtigt werden.",
    ),
    no(
        "34(3)(a)",
        &[Breach],
        "The data are encrypted, and who has them has no key.",
        "Die Daten sind verschlüsselt, und wer sie hat, hat keinen Schlüssel.",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use RightsOutcome::{Granted, Partly, Refused};

    #[test]
    fn every_type_has_grounds_for_yes_and_no_and_each_is_found_once() {
        for kind in [Access, Rectification, Erasure, Restriction, Portability, Objection, Breach] {
            for outcome in [Granted, Refused, Partly] {
                let fit: Vec<&LegalGround> = GROUNDS.iter().filter(|ground| ground.fits(kind, outcome)).collect();
                assert!(!fit.is_empty(), "{kind:?} {outcome:?}");
                for ground in &fit {
                    let same = fit.iter().filter(|other| other.code == ground.code).count();
                    assert_eq!(same, 1, "{} stands twice", ground.code);
                    assert_eq!(LegalGround::find(kind, outcome, ground.code).unwrap().en, ground.en);
                    assert!(ground.en.ends_with('.') && ground.de.ends_with('.'));
                }
            }
        }
        assert!(LegalGround::find(Access, Granted, "17(3)(b)").is_none());
        assert!(LegalGround::find(Erasure, Granted, "17(3)(b)").is_none());
        assert!(LegalGround::find(Breach, Refused, "12(5)").is_none());
        assert_eq!(LegalGround::that_fit(Access, Refused), "12(2), 12(5), 15(4)");
    }
}
