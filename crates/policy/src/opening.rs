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
    /// It goes on without what names anybody.
    pub nameless: bool,
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
    if facts.restricted && (facts.nameless || !opens_restricted(permit.purpose())) {
        return Opening::Hidden;
    }
    let named = |purpose| Permit::grant(permit.tenant(), permit.actor(), permit.role(), purpose);
    if permit.role() == Role::Dpo && permit.purpose() == Purpose::SubjectRequest && !facts.nameless {
        return match facts {
            Facts { asked_for: true, .. } => Opening::Opens(permit.clone()),
            // What is opened because of a claim is called so.
            Facts { claimed: true, .. } => Opening::Opens(named(Purpose::LegalClaim)),
            _ => Opening::WantsCase,
        };
    }
    if permit.purpose() != Purpose::Care {
        return Opening::Opens(permit.clone());
    }
    match permit.role() {
        // What is opened in an emergency is called so, whatever else would have opened it.
        Role::Clinician if facts.emergency => Opening::Opens(named(Purpose::BreakGlass)),
        Role::Clinician if facts.related || rule == CareRule::Practice => Opening::Opens(permit.clone()),
        Role::Clinician => Opening::WantsReason,
        Role::Radiographer if facts.made_lately => Opening::Opens(permit.clone()),
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

    /// All of it: every role, rule and fact.
    #[test]
    fn a_study_opens_to_whom_the_table_says() {
        for role in Role::ALL {
            for rule in [CareRule::Practice, CareRule::Stated] {
                for bits in 0..128_u8 {
                    let facts = Facts {
                        restricted: bits & 1 != 0,
                        related: bits & 2 != 0,
                        made_lately: bits & 4 != 0,
                        emergency: bits & 8 != 0,
                        asked_for: bits & 16 != 0,
                        claimed: bits & 32 != 0,
                        nameless: bits & 64 != 0,
                    };
                    let wanted = match role {
                        _ if facts.restricted => "hidden",
                        Role::Clinician if facts.emergency => "break-glass",
                        Role::Clinician if facts.related || rule == CareRule::Practice => "care",
                        Role::Clinician => "reason",
                        Role::Radiographer if facts.made_lately => "care",
                        _ => "hidden",
                    };
                    assert_eq!(told(role, Purpose::Care, rule, facts), wanted, "{role} {rule:?} {facts:?}");
                    let request = match role {
                        _ if facts.restricted && facts.nameless => "hidden",
                        Role::Dpo if facts.nameless || facts.asked_for => "subject-request",
                        Role::Dpo if facts.claimed => "legal-claim",
                        Role::Dpo => "case",
                        _ => "subject-request",
                    };
                    assert_eq!(told(role, Purpose::SubjectRequest, rule, facts), request, "{role} {facts:?}");
                }
            }
        }
    }
}
