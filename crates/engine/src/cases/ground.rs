//! Legal grounds of decisions: where it stands in the GDPR, for which types, and for yes or no. Their sentences stand with
//! the words of letters.

use super::{CaseType, Language, RightsOutcome, texts::Texts};
use CaseType::{Access, Breach, Erasure, Objection, Portability, Rectification, Restriction};

/// One ground of one kind of decision.
#[derive(Debug)]
pub(super) struct LegalGround {
    code: &'static str,
    /// What it is for; empty: every right of a patient.
    types: &'static [CaseType],
    says: Says,
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

    /// In words, with where it stands.
    pub(super) fn sentence(&self, language: Language) -> String {
        let says = if self.says == Says::Yes { "yes" } else { "no" };
        let sentence = Texts::of(language).sentence(&format!("{says}.{}", self.code));
        format!("{sentence} ({})", language.cite(self.code))
    }
}

const fn yes(code: &'static str, types: &'static [CaseType]) -> LegalGround {
    LegalGround { code, types, says: Says::Yes }
}

const fn no(code: &'static str, types: &'static [CaseType]) -> LegalGround {
    LegalGround { code, types, says: Says::No }
}

/// Who could not be identified is refused on this ground alone.
pub(super) const NOT_IDENTIFIED: &str = "12(2)";

const GROUNDS: &[LegalGround] = &[
    yes("15(1)", &[Access]),
    yes("15(3)", &[Access]),
    yes("16", &[Rectification]),
    yes("17(1)(a)", &[Erasure]),
    yes("17(1)(b)", &[Erasure]),
    yes("17(1)(c)", &[Erasure]),
    yes("17(1)(d)", &[Erasure]),
    yes("17(1)(e)", &[Erasure]),
    yes("18(1)", &[Restriction]),
    yes("20(1)", &[Portability]),
    yes("21(1)", &[Objection]),
    yes("33(1)", &[Breach]),
    yes("34(1)", &[Breach]),
    no("12(2)", &[]),
    no("12(5)", &[]),
    no("15(4)", &[Access]),
    no("16", &[Rectification]),
    no("17(1)", &[Erasure]),
    no("17(3)(a)", &[Erasure]),
    no("17(3)(b)", &[Erasure]),
    no("17(3)(c)", &[Erasure]),
    no("17(3)(d)", &[Erasure]),
    no("17(3)(e)", &[Erasure]),
    no("18(1)", &[Restriction]),
    no("20(1)", &[Portability]),
    no("20(4)", &[Portability]),
    no("21(1)", &[Objection]),
    no("33(1)", &[Breach]),
    no("34(1)", &[Breach]),
    no("34(3)(a)", &[Breach]),
    no("34(3)(b)", &[Breach]),
    no("34(3)(c)", &[Breach]),
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
                    assert_eq!(LegalGround::find(kind, outcome, ground.code).unwrap().code, ground.code);
                    for language in Language::ALL {
                        let sentence = ground.sentence(language);
                        assert!(sentence.contains(". ("), "{language} {}: {sentence}", ground.code);
                    }
                }
            }
        }
        assert!(LegalGround::find(Access, Granted, "17(3)(b)").is_none());
        assert!(LegalGround::find(Erasure, Granted, "17(3)(b)").is_none());
        assert!(LegalGround::find(Breach, Refused, "12(5)").is_none());
        assert_eq!(LegalGround::that_fit(Access, Refused), "12(2), 12(5), 15(4)");
    }
}
