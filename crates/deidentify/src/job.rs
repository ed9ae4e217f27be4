//! One job: a key, a profile, and what holds for all of its instances.

use crate::{Boxes, JobKey, Options, Preset, Profile};

/// What all instances of a job share.
#[derive(Debug)]
pub struct Job {
    pub(crate) key: JobKey,
    pub(crate) profile: Profile,
    pub(crate) pixels: bool,
    preset: Preset,
}

/// What is decided about one instance before it is written anew.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Regions of its pixels that are blanked.
    pub boxes: Boxes,
    /// A person has looked at it: it says that nothing is burned in.
    pub reviewed: bool,
}

impl Job {
    /// A job under a fresh key.
    pub fn new(key: JobKey, preset: Preset) -> Self {
        Self { key, profile: Profile::new(preset.options()), pixels: preset.has_pixels(), preset }
    }

    /// What was asked for.
    pub const fn preset(&self) -> Preset {
        self.preset
    }

    /// Its options.
    pub const fn options(&self) -> &Options {
        self.profile.options()
    }

    /// The UID that an instance, series or study gets.
    pub fn uid(&self, uid: &str) -> String {
        self.key.uid(uid)
    }

    /// The name that a patient gets.
    pub fn pseudonym(&self, patient: &str) -> String {
        self.key.pseudonym(patient)
    }
}
