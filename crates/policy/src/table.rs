//! The table: role by role, what it may do and for which purpose. What does not stand here is refused.

use leadglass_model::{Purpose, Role, SessionTimes};
use std::time::Duration;

/// What one role may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rights {
    /// Whose they are.
    pub role: Role,
    /// Opens studies, pixels and metadata, for these purposes; which of them, [`crate::opening`] says.
    pub opens: &'static [Purpose],
    /// Finds patients, studies and what they consist of, for these purposes.
    pub finds: &'static [Purpose],
    /// What it takes out of the house as a package.
    pub exports: MayExport,
    /// Brings instances in.
    pub stores: bool,
    /// Decides on devices, tokens, people, quarantine.
    pub administers: bool,
    /// Reads the log.
    pub audits: bool,
    /// How long a browser stays signed in. `None`: the role has no browser.
    ///
    /// Source: OWASP session management; shorter for who may decide about others' data.
    pub signed_in: Option<SessionTimes>,
}

/// What a role takes out of the house.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MayExport {
    /// Nothing.
    Nothing,
    /// What somebody else ordered to be handed out.
    HandsOut,
    /// A study or an instance that it opens.
    One,
    /// All of a patient, too, with the report on who looked.
    All,
}

impl Rights {
    /// Those of a role.
    pub const fn of(role: Role) -> Self {
        let nothing = Self {
            role,
            opens: &[],
            finds: &[],
            exports: MayExport::Nothing,
            stores: false,
            administers: false,
            audits: false,
            signed_in: Some(AT_THE_CHAIR),
        };
        match role {
            Role::Device => Self { stores: true, signed_in: None, ..nothing },
            Role::Clinician => Self {
                opens: &[Purpose::Care],
                finds: &[Purpose::Care],
                exports: MayExport::One,
                stores: true,
                ..nothing
            },
            Role::Radiographer => Self { opens: &[Purpose::Care], stores: true, ..nothing },
            Role::Reception => Self { finds: &[Purpose::Care], exports: MayExport::HandsOut, stores: true, ..nothing },
            Role::Dpo => Self {
                opens: ON_RECORD,
                finds: ON_RECORD,
                exports: MayExport::All,
                administers: true,
                audits: true,
                signed_in: Some(AT_THE_DESK),
                ..nothing
            },
            Role::Admin => Self { administers: true, signed_in: Some(AT_THE_DESK), ..nothing },
            Role::Auditor => Self { audits: true, signed_in: Some(AT_THE_DESK), ..nothing },
            // Nothing is released to anybody yet.
            Role::Patient => nothing,
        }
    }
}

/// What a data protection officer opens studies for; [`crate::opening`] makes it a claim where that is the ground.
const ON_RECORD: &[Purpose] = &[Purpose::SubjectRequest];
const AT_THE_CHAIR: SessionTimes = times(10, 30, 10 * 60);
const AT_THE_DESK: SessionTimes = times(5, 15, 4 * 60);

/// Of minutes.
const fn times(lock: u64, idle: u64, absolute: u64) -> SessionTimes {
    const fn minutes(number: u64) -> Duration {
        Duration::from_secs(60 * number)
    }
    SessionTimes { lock: minutes(lock), idle: minutes(idle), absolute: minutes(absolute) }
}
