//! Which SOP classes and transfer syntaxes are taken.
//!
//! A vault stores what it is sent as it is sent, so the standard's storage classes and data set encodings are taken
//! wholesale, those of future editions included; private ones need a line of configuration. Sources: PS3.6 Annex A, PS3.4 Annex B.5.

use std::str::FromStr;

/// Verification SOP Class (PS3.4 Annex A).
pub const VERIFICATION: &str = "1.2.840.10008.1.1";

/// Implicit VR Little Endian, the transfer syntax everybody speaks (PS3.5 §10.1).
pub const IMPLICIT_VR_LITTLE_ENDIAN: &str = "1.2.840.10008.1.2";

/// A UID, or all UIDs under a root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UidRule {
    /// This one: `1.2.276.0.1`.
    Exact(String),
    /// Every UID that starts so, written `1.2.276.0.*`; kept with the closing dot.
    Under(String),
}

/// Why a text is not a [`UidRule`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a UID rule is a UID, or a root of at least two components followed by `.*`")]
pub struct UidRuleError;

impl UidRule {
    /// Whether the rule names `uid`.
    pub fn matches(&self, uid: &str) -> bool {
        match self {
            Self::Exact(exact) => exact == uid,
            Self::Under(root) => uid.starts_with(root.as_str()),
        }
    }
}

impl FromStr for UidRule {
    type Err = UidRuleError;

    fn from_str(text: &str) -> Result<Self, UidRuleError> {
        let (uid, under) = match text.strip_suffix(".*") {
            Some(root) => (root, true),
            None => (text, false),
        };
        let checked = leadglass_model::SopClassUid::parse(uid).map_err(|_| UidRuleError)?;
        if checked.as_str() != uid || (under && !uid.contains('.')) {
            return Err(UidRuleError);
        }
        Ok(if under { Self::Under(format!("{uid}.")) } else { Self::Exact(uid.to_owned()) })
    }
}

/// What the Storage service takes beyond the standard.
#[derive(Debug, Clone, Default)]
pub struct StoragePolicy {
    /// Private SOP classes.
    pub private_sop_classes: Vec<UidRule>,
    /// Private transfer syntaxes.
    pub private_transfer_syntaxes: Vec<UidRule>,
}

impl StoragePolicy {
    /// Whether instances of this SOP class are stored.
    pub fn takes_class(&self, uid: &str) -> bool {
        uid.starts_with(STORAGE_ROOT)
            || OTHER_STORAGE_CLASSES.contains(&uid)
            || self.private_sop_classes.iter().any(|rule| rule.matches(uid))
    }

    /// Whether a data set in this transfer syntax is stored.
    pub fn takes_transfer_syntax(&self, uid: &str) -> bool {
        is_data_set_encoding(uid) || self.private_transfer_syntaxes.iter().any(|rule| rule.matches(uid))
    }
}

/// Whether the standard's transfer syntax encodes a data set: MIME and XML encapsulation and real-time video do not.
pub(crate) fn is_data_set_encoding(uid: &str) -> bool {
    let standard = uid == IMPLICIT_VR_LITTLE_ENDIAN || uid == PAPYRUS_3 || uid.starts_with("1.2.840.10008.1.2.");
    standard && !["1.2.840.10008.1.2.6.", "1.2.840.10008.1.2.7."].iter().any(|root| uid.starts_with(root))
}

/// Everything under it is a storage class.
const STORAGE_ROOT: &str = "1.2.840.10008.5.1.4.1.1.";

/// Storage classes that grew elsewhere in the tree.
const OTHER_STORAGE_CLASSES: [&str; 11] = [
    "1.2.840.10008.5.1.1.27",    // Stored Print (retired)
    "1.2.840.10008.5.1.1.29",    // Hardcopy Grayscale Image (retired)
    "1.2.840.10008.5.1.1.30",    // Hardcopy Color Image (retired)
    "1.2.840.10008.5.1.4.34.1",  // RT Beams Delivery Instruction, trial (retired)
    "1.2.840.10008.5.1.4.34.7",  // RT Beams Delivery Instruction
    "1.2.840.10008.5.1.4.34.10", // RT Brachy Application Setup Delivery Instruction
    "1.2.840.10008.5.1.4.38.1",  // Hanging Protocol
    "1.2.840.10008.5.1.4.39.1",  // Color Palette
    "1.2.840.10008.5.1.4.43.1",  // Generic Implant Template
    "1.2.840.10008.5.1.4.44.1",  // Implant Assembly Template
    "1.2.840.10008.5.1.4.45.1",  // Implant Template Group
];

/// Papyrus 3 Implicit VR Little Endian (retired).
const PAPYRUS_3: &str = "1.2.840.10008.1.20";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_exact_or_under_a_root() {
        let exact: UidRule = "1.2.276.1".parse().unwrap();
        assert!(exact.matches("1.2.276.1") && !exact.matches("1.2.276.1.1") && !exact.matches("1.2.276.11"));
        let under: UidRule = "1.2.276.*".parse().unwrap();
        assert!(under.matches("1.2.276.5") && !under.matches("1.2.276") && !under.matches("1.2.2765"));
        for bad in ["", "*", "1.*", ".*", "1.2*", "a.b", "1.2 "] {
            assert_eq!(bad.parse::<UidRule>(), Err(UidRuleError), "{bad}");
        }
    }

    #[test]
    fn every_storage_class_of_the_dictionary_is_taken_and_no_service_is() {
        use dicom_dictionary_std::uids;
        let policy = StoragePolicy::default();
        for taken in [
            uids::CT_IMAGE_STORAGE,
            uids::DIGITAL_INTRA_ORAL_X_RAY_IMAGE_STORAGE_FOR_PRESENTATION,
            uids::ENCAPSULATED_PDF_STORAGE,
            uids::RAW_DATA_STORAGE,
            uids::RT_BEAMS_DELIVERY_INSTRUCTION_STORAGE,
            uids::HANGING_PROTOCOL_STORAGE,
            uids::COLOR_PALETTE_STORAGE,
            uids::GENERIC_IMPLANT_TEMPLATE_STORAGE,
            uids::IMPLANT_ASSEMBLY_TEMPLATE_STORAGE,
            uids::IMPLANT_TEMPLATE_GROUP_STORAGE,
            "1.2.840.10008.5.1.4.1.1.9999",
        ] {
            assert!(policy.takes_class(taken), "{taken}");
        }
        for refused in [
            uids::VERIFICATION,
            uids::STORAGE_COMMITMENT_PUSH_MODEL,
            uids::STUDY_ROOT_QUERY_RETRIEVE_INFORMATION_MODEL_FIND,
            uids::GENERIC_IMPLANT_TEMPLATE_INFORMATION_MODEL_FIND,
            uids::MODALITY_WORKLIST_INFORMATION_MODEL_FIND,
            "1.2.276.0.7230010.3.1.0.1",
        ] {
            assert!(!policy.takes_class(refused), "{refused}");
        }
        let policy = StoragePolicy { private_sop_classes: vec!["1.2.276.*".parse().unwrap()], ..policy };
        assert!(policy.takes_class("1.2.276.0.7230010.3.1.0.1"));
    }

    #[test]
    fn every_data_set_encoding_is_taken() {
        let mut policy = StoragePolicy::default();
        for taken in ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"] {
            assert!(policy.takes_transfer_syntax(taken), "{taken}");
        }
        assert!(policy.takes_transfer_syntax("1.2.840.10008.1.2.4.203"));
        assert!(!policy.takes_transfer_syntax("1.2.840.10008.1.2.6.1"));
        assert!(!policy.takes_transfer_syntax("1.2.840.113619.5.2"));
        policy.private_transfer_syntaxes.push("1.2.840.113619.5.2".parse().unwrap());
        assert!(policy.takes_transfer_syntax("1.2.840.113619.5.2"));
    }
}
