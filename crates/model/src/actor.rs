//! Who acts, in which role, and what for.

use std::{fmt, str::FromStr};

/// Pseudonym of a person, a token or a device, as it stands in audit entries and key requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ActorRef(pub [u8; 16]);

impl fmt::Display for ActorRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// What somebody may do at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Sends studies; reads nothing.
    Device,
    /// Views the studies of the own tenant.
    Clinician,
    /// Takes pictures: brings them in, and opens none.
    Radiographer,
    /// Finds patients and studies, hands in photos and documents; sees no picture.
    Reception,
    /// Data protection officer: exports, erases, restricts.
    Dpo,
    /// Runs the system; sees no patient.
    Admin,
    /// Reads the log and proves it; sees no patient.
    Auditor,
    /// What is theirs, once it is released to them.
    Patient,
}

/// What a study is opened for. KEYS.md names the same words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// Treatment of the patient.
    Care,
    /// Sealing what comes in.
    Ingest,
    /// The patient asked (GDPR Art. 15, 20).
    SubjectRequest,
    /// Part of an erasure (GDPR Art. 17).
    Erasure,
    /// Research.
    Research,
    /// Quality assurance.
    Quality,
    /// Establishment or defence of a legal claim.
    LegalClaim,
    /// Proof that what is stored still opens.
    StorageCheck,
    /// An emergency outside the usual rights; reviewed afterwards.
    BreakGlass,
}

impl Purpose {
    /// Every purpose, in the order of KEYS.md.
    pub const ALL: [Self; 9] = [
        Self::Care,
        Self::Ingest,
        Self::SubjectRequest,
        Self::Erasure,
        Self::Research,
        Self::Quality,
        Self::LegalClaim,
        Self::StorageCheck,
        Self::BreakGlass,
    ];

    /// The word on the wire and in audit entries.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Care => "care",
            Self::Ingest => "ingest",
            Self::SubjectRequest => "subject-request",
            Self::Erasure => "erasure",
            Self::Research => "research",
            Self::Quality => "quality",
            Self::LegalClaim => "legal-claim",
            Self::StorageCheck => "storage-check",
            Self::BreakGlass => "break-glass",
        }
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Purpose {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|p| p.as_str() == text).ok_or("not a purpose")
    }
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 8] = [
        Self::Device,
        Self::Clinician,
        Self::Radiographer,
        Self::Reception,
        Self::Dpo,
        Self::Admin,
        Self::Auditor,
        Self::Patient,
    ];

    /// The word in tokens, configuration and audit entries.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Device => "device",
            Self::Clinician => "clinician",
            Self::Radiographer => "radiographer",
            Self::Reception => "reception",
            Self::Dpo => "dpo",
            Self::Admin => "admin",
            Self::Auditor => "auditor",
            Self::Patient => "patient",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let role = Self::ALL.into_iter().find(|r| r.as_str() == text);
        role.ok_or("not a role: device, clinician, radiographer, reception, dpo, admin, auditor or patient")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_purpose_comes_back_from_its_word() {
        for purpose in Purpose::ALL {
            assert_eq!(purpose.as_str().parse(), Ok(purpose));
            assert_eq!(serde_json::to_string(&purpose).unwrap(), format!("\"{purpose}\""));
        }
    }

    #[test]
    fn every_role_comes_back_from_its_word() {
        for role in Role::ALL {
            assert_eq!(role.as_str().parse(), Ok(role));
            assert_eq!(serde_json::to_string(&role).unwrap(), format!("\"{role}\""));
        }
    }
}
