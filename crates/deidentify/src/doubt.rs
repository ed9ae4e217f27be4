//! Why a person has to look at an instance before it leaves.
//!
//! No program sees reliably whether a name is painted into a picture or a face can be made out of it (PS3.15 §E.3.1,
//! §E.3.2). So whatever may hold either is held back until somebody has looked at it and says so.

use crate::Findings;
use serde::Serialize;

/// What may be in the pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Doubt {
    /// The instance says itself that text is burned in.
    SaysBurnedIn,
    /// Pictures of this kind often have text burned in, and this one does not say that it has none.
    OftenBurnedIn,
    /// The instance says itself that the patient can be recognised.
    SaysRecognizable,
    /// A photograph or a video: it can show a face.
    MayShowFace,
    /// Slices that may be of a head: a face can be computed out of them.
    MayBeHead,
    /// Speech.
    Voice,
}

impl Doubt {
    /// What is doubtful about an instance, if anything.
    pub fn of(findings: &Findings) -> Option<Self> {
        if is_voice(findings.sop_class()) {
            return Some(Self::Voice);
        }
        if !findings.pixels {
            return None;
        }
        if findings.recognizable() == "YES" {
            return Some(Self::SaysRecognizable);
        }
        if SHOWS_PEOPLE.contains(&findings.modality()) || is_photograph(findings.sop_class()) {
            return Some(Self::MayShowFace);
        }
        let sliced = SLICED.contains(&findings.modality()) && findings.recognizable() != "NO";
        let elsewhere = || FACELESS.contains(&findings.body_part());
        match findings.burned_in() {
            "NO" if sliced && !elsewhere() => Some(Self::MayBeHead),
            "NO" => None,
            "YES" => Some(Self::SaysBurnedIn),
            _ => {
                let secondary = findings.image_type().split('\\').any(|word| word.trim() == "SECONDARY")
                    || is_secondary_capture(findings.sop_class());
                let often = secondary || !NEVER_PAINTED.contains(&findings.modality());
                if often {
                    return Some(Self::OftenBurnedIn);
                }
                (sliced && !elsewhere()).then_some(Self::MayBeHead)
            }
        }
    }

    /// The same in a sentence.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::SaysBurnedIn => "it says that text is burned in",
            Self::OftenBurnedIn => "pictures of its kind often have text burned in",
            Self::SaysRecognizable => "it says that the patient can be recognised",
            Self::MayShowFace => "it can show a face",
            Self::MayBeHead => "it may be a slice of a head, and out of slices a face can be computed",
            Self::Voice => "it holds speech",
        }
    }
}

/// Slices as the device computed them, without SECONDARY in their image type: nobody paints text into those. Everything
/// else is looked at, panoramic and intra-oral pictures too, whose programs do.
const NEVER_PAINTED: &[&str] = &["CT", "MR", "PT", "NM", "SEG", "RTDOSE", "REG"];
/// Volumes whose surface is the skin (PS3.15 §E.3.2).
const SLICED: &[&str] = &["CT", "MR", "PT"];
/// Parts of the body (PS3.16 Annex L) that are imaged without a face. A part that is not said can be any.
const FACELESS: &[&str] = &[
    "ABDOMEN",
    "ABDOMENPELVIS",
    "ANKLE",
    "ANUS",
    "AORTA",
    "ARM",
    "BACK",
    "BLADDER",
    "BREAST",
    "BRONCHUS",
    "BUTTOCK",
    "CALCANEUS",
    "CALF",
    "CHEST",
    "CHESTABDOMEN",
    "CHESTABDPELVIS",
    "CLAVICLE",
    "COCCYX",
    "COLON",
    "DUODENUM",
    "ELBOW",
    "EXTREMITY",
    "FEMUR",
    "FINGER",
    "FOOT",
    "FOREARM",
    "GALLBLADDER",
    "HAND",
    "HEART",
    "HIP",
    "HUMERUS",
    "ILIUM",
    "INTESTINE",
    "KIDNEY",
    "KNEE",
    "LEG",
    "LIVER",
    "LSPINE",
    "LSSPINE",
    "LUNG",
    "PANCREAS",
    "PELVIS",
    "PROSTATE",
    "RADIUSULNA",
    "RECTUM",
    "RIB",
    "SACRUM",
    "SCAPULA",
    "SHOULDER",
    "SIJOINT",
    "SPLEEN",
    "STERNUM",
    "STOMACH",
    "THIGH",
    "THORAX",
    "THUMB",
    "TIBIAFIBULA",
    "TOE",
    "TSPINE",
    "TLSPINE",
    "URETER",
    "UTERUS",
    "WRIST",
];
/// Visible light outside of the body.
const SHOWS_PEOPLE: &[&str] = &["XC", "VID"];

fn is_photograph(class: &str) -> bool {
    matches!(class, "1.2.840.10008.5.1.4.1.1.77.1.4" | "1.2.840.10008.5.1.4.1.1.77.1.4.1")
}

fn is_secondary_capture(class: &str) -> bool {
    class == "1.2.840.10008.5.1.4.1.1.7" || class.starts_with("1.2.840.10008.5.1.4.1.1.7.")
}

fn is_voice(class: &str) -> bool {
    matches!(class, "1.2.840.10008.5.1.4.1.1.9.4.1" | "1.2.840.10008.5.1.4.1.1.9.4.2")
}

#[cfg(test)]
mod tests {
    use super::*;
    use leadglass_tap::Tag;

    fn findings(modality: &str, burned_in: &str, image_type: &str) -> Findings {
        let mut findings = Findings { pixels: true, ..Findings::default() };
        findings.note(Tag(0x0008, 0x0060), modality.as_bytes(), false);
        findings.note(Tag(0x0028, 0x0301), burned_in.as_bytes(), false);
        findings.note(Tag(0x0008, 0x0008), image_type.as_bytes(), false);
        findings
    }

    #[test]
    fn what_may_hold_a_name_or_a_face_is_doubtful() {
        let of = |modality, burned_in, image_type| Doubt::of(&findings(modality, burned_in, image_type));
        let mut chest = findings("CT", "", "ORIGINAL\\PRIMARY\\AXIAL");
        chest.note(Tag(0x0018, 0x0015), b"CHEST ", false);
        assert_eq!(Doubt::of(&chest), None);
        assert_eq!(of("NM", "", "ORIGINAL\\PRIMARY"), None);
        for burned_in in ["", "NO"] {
            assert_eq!(
                of("CT", burned_in, "ORIGINAL\\PRIMARY\\AXIAL"),
                Some(Doubt::MayBeHead),
                "nobody says of what it is"
            );
        }
        assert_eq!(of("CT", "YES ", "ORIGINAL\\PRIMARY"), Some(Doubt::SaysBurnedIn));
        assert_eq!(of("CT", "", "DERIVED\\SECONDARY\\MPR"), Some(Doubt::OftenBurnedIn));
        for modality in ["US", "SC", "OT", "ES", "PX", "IO", "DX", "", "SOMETHING"] {
            assert_eq!(of(modality, "", "ORIGINAL\\PRIMARY"), Some(Doubt::OftenBurnedIn), "{modality}");
        }
        assert_eq!(of("DX", "NO", "DERIVED\\PRIMARY"), None);
        assert_eq!(of("XC", "NO", ""), Some(Doubt::MayShowFace));
        assert_eq!(Doubt::of(&Findings { pixels: false, ..findings("US", "", "") }), None);
    }
}
