//! Which study somebody opens who may open studies: the care relation, emergencies, restriction.

use leadglass_model::{Permit, Purpose, Read, Role};

/// When a clinician of a tenant treats one of its patients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CareRule {
    /// Always: everybody here treats everybody, as in a practice of few people.
    #[default]
    Practice,
    /// When that was recorded: somebody assigned the patient to him, he made a part of the study, is named in it, or stated
    /// a reason.
    Stated,
}

/// What is known about somebody and a study.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Facts {
    /// Processing of the study is restricted (GDPR Art. 18).
    pub restricted: bool,
    /// A relation to the patient is recorded, and goes on.
    pub related: bool,
    /// He, or a device of his, made all that he asks for within the last 24 hours.
    pub made_lately: bool,
    /// He has said that this is an emergency, and that goes on.
    pub emergency: bool,
    /// A case of the patient is open.
    pub asked_for: bool,
    /// Somebody holds the study for a claim.
    pub claimed: bool,
    /// Somebody who may see it ordered that it be handed out.
    pub ordered: bool,
    /// What becomes of it.
    pub used: Use,
}

/// What becomes of what is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Use {
    /// Somebody looks at it.
    #[default]
    Seen,
    /// It leaves the house in a package.
    Taken,
    /// It goes on without what names anybody.
    Nameless,
}

/// What follows.
#[derive(Debug, Clone)]
pub enum Opening {
    /// It opens, for the purpose of this permit.
    Opens(Permit<Read>),
    /// It opens for whoever states a reason.
    WantsReason,
    /// It opens while a case of its patient is open.
    WantsCase,
    /// For him it does not exist.
    Hidden,
}

/// Whether a study opens to the holder of a permit to read.
pub fn opening(permit: &Permit<Read>, rule: CareRule, facts: &Facts) -> Opening {
    // A restricted study serves the patient and claims, not research, with or without a name in it.
    let is_nameless = facts.used == Use::Nameless;
    if facts.restricted && (is_nameless || !opens_restricted(permit.purpose())) {
        return Opening::Hidden;
    }
    let named = |purpose| Permit::grant(permit.tenant(), permit.actor(), permit.role(), purpose);
    if permit.role() == Role::Dpo && !is_nameless {
        return match permit.purpose() {
            Purpose::SubjectRequest if facts.asked_for => Opening::Opens(permit.clone()),
            // What is opened because of a claim is called so.
            Purpose::SubjectRequest | Purpose::LegalClaim if facts.claimed => {
                Opening::Opens(named(Purpose::LegalClaim))
            }
            Purpose::SubjectRequest | Purpose::LegalClaim => Opening::WantsCase,
            _ => Opening::Hidden,
        };
    }
    if permit.purpose() != Purpose::Care {
        return Opening::Opens(permit.clone());
    }
    match permit.role() {
        // What is opened in an emergency is called so, whatever else would have opened it. It never leaves the house.
        Role::Clinician if facts.emergency && facts.used != Use::Taken => Opening::Opens(named(Purpose::BreakGlass)),
        Role::Clinician if facts.related || rule == CareRule::Practice => Opening::Opens(permit.clone()),
        Role::Clinician => Opening::WantsReason,
        Role::Radiographer if facts.made_lately => Opening::Opens(permit.clone()),
        Role::Reception if facts.ordered => Opening::Opens(permit.clone()),
        _ => Opening::Hidden,
    }
}

/// What a restricted study still opens for (GDPR Art. 18(2)).
pub const fn opens_restricted(purpose: Purpose) -> bool {
    matches!(purpose, Purpose::SubjectRequest | Purpose::LegalClaim | Purpose::StorageCheck)
}

#[cfg(test)]
mod tests {
    use super::*;
    use leadglass_model::{ActorRef, TenantId};

    fn told(role: Role, purpose: Purpose, rule: CareRule, facts: Facts) -> String {
        let permit = Permit::grant(TenantId::from_bytes([1; 16]), ActorRef([2; 16]), role, purpose);
        match opening(&permit, rule, &facts) {
            Opening::Opens(permit) => permit.purpose().to_string(),
            Opening::WantsReason => "reason".to_owned(),
            Opening::WantsCase => "case".to_owned(),
            Opening::Hidden => "hidden".to_owned(),
        }
    }

    const USES: [Use; 3] = [Use::Seen, Use::Taken, Use::Nameless];

    /// All of it: every role, rule and fact.
    #[test]
    fn a_study_opens_to_whom_the_table_says() {
        for role in Role::ALL {
            for rule in [CareRule::Practice, CareRule::Stated] {
                for (bits, used) in (0..128_u8).flat_map(|bits| USES.map(|used| (bits, used))) {
                    let facts = Facts {
                        restricted: bits & 1 != 0,
                        related: bits & 2 != 0,
                        made_lately: bits & 4 != 0,
                        emergency: bits & 8 != 0,
                        asked_for: bits & 16 != 0,
                        claimed: bits & 32 != 0,
                        ordered: bits & 64 != 0,
                        used,
                    };
                    let wanted = match role {
                        _ if facts.restricted => "hidden",
                        Role::Clinician if facts.emergency && used != Use::Taken => "break-glass",
                        Role::Clinician if facts.related || rule == CareRule::Practice => "care",
                        Role::Clinician => "reason",
                        Role::Radiographer if facts.made_lately => "care",
                        Role::Reception if facts.ordered => "care",
                        _ => "hidden",
                    };
                    assert_eq!(told(role, Purpose::Care, rule, facts), wanted, "{role} {rule:?} {facts:?}");
                    let request = match role {
                        _ if facts.restricted && used == Use::Nameless => "hidden",
                        Role::Dpo if used == Use::Nameless || facts.asked_for => "subject-request",
                        Role::Dpo if facts.claimed => "legal-claim",
                        Role::Dpo => "case",
                        _ => "subject-request",
                    };
                    assert_eq!(told(role, Purpose::SubjectRequest, rule, facts), request, "{role} {facts:?}");
                    if role == Role::Dpo && used != Use::Nameless {
                        let claim = if facts.claimed { "legal-claim" } else { "case" };
                        assert_eq!(told(role, Purpose::LegalClaim, rule, facts), claim, "{facts:?}");
                        for other in [Purpose::StorageCheck, Purpose::Quality] {
                            assert_eq!(told(role, other, rule, facts), "hidden", "{other} {facts:?}");
                        }
                    }
                }
            }
        }
    }
}
