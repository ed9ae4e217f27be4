//! DIMSE statuses, and the one table from the house's faults to them.
//!
//! Source: PS3.7 Annex C; PS3.4 Table B.2-1 for C-STORE.

use crate::command::{CommandSet, NO_DATA_SET, field, operation};
use leadglass_model::Fault;
use std::fmt;

/// Status (0000,0900) of a response.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Status(pub u16);

impl Status {
    /// Done.
    pub const SUCCESS: Self = Self(0x0000);
    /// Processing failure (PS3.7 §C.5.19).
    pub const PROCESSING_FAILURE: Self = Self(0x0110);
    /// Invalid SOP instance: the UID breaks the rules of UIDs (PS3.7 §C.5.13).
    pub const INVALID_INSTANCE: Self = Self(0x0117);
    /// SOP class not supported (PS3.7 §C.5.26).
    pub const CLASS_NOT_SUPPORTED: Self = Self(0x0122);
    /// Not authorised (PS3.7 §C.5.14).
    pub const NOT_AUTHORISED: Self = Self(0x0124);
    /// Unrecognised operation (PS3.7 §C.5.27).
    pub const UNRECOGNISED_OPERATION: Self = Self(0x0211);
    /// Refused: out of resources (PS3.4 Table B.2-1, A7xx).
    pub const OUT_OF_RESOURCES: Self = Self(0xA700);
    /// Error: data set does not match (PS3.4 Table B.2-1, A9xx).
    pub const MISMATCH: Self = Self(0xA900);
    /// Error: cannot understand (PS3.4 Table B.2-1, Cxxx).
    pub const CANNOT_UNDERSTAND: Self = Self(0xC000);

    /// The status of a C-STORE that failed with `fault`.
    pub const fn of_store_fault(fault: Fault) -> Self {
        match fault {
            Fault::BadInput => Self::CANNOT_UNDERSTAND,
            Fault::Denied => Self::NOT_AUTHORISED,
            Fault::Conflict => Self::MISMATCH,
            Fault::Busy => Self::OUT_OF_RESOURCES,
            Fault::Missing | Fault::Corrupt | Fault::Broken => Self::PROCESSING_FAILURE,
        }
    }

    /// Whether the operation was carried out: success, or a warning of C-STORE (B000, B006, B007) or of PS3.7 (0001, 0107, 0116).
    pub const fn is_done(self) -> bool {
        matches!(self.0, 0x0000 | 0x0001 | 0x0107 | 0x0116 | 0xB000..=0xBFFF)
    }
}

/// The response to `request` with this status: what it was called and which message it answers (PS3.7 §9.3, §10.3).
pub(crate) fn response(request: &CommandSet, status: Status) -> CommandSet {
    let mut response = CommandSet::new(request.command_field().unwrap_or(0) | operation::RESPONSE)
        .with_us(field::MESSAGE_ID_RESPONDED, request.message_id().unwrap_or(0))
        .with_us(field::DATA_SET_TYPE, NO_DATA_SET)
        .with_us(field::STATUS, status.0);
    if let Some(class) = request.affected_sop_class() {
        response = response.with_uid(field::AFFECTED_SOP_CLASS_UID, class.as_str());
    }
    response
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04X}", self.0)
    }
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Status({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fault_has_the_status_of_the_standard() {
        let table = [
            (Fault::BadInput, 0xC000),
            (Fault::Denied, 0x0124),
            (Fault::Missing, 0x0110),
            (Fault::Conflict, 0xA900),
            (Fault::Busy, 0xA700),
            (Fault::Corrupt, 0x0110),
            (Fault::Broken, 0x0110),
        ];
        for (fault, status) in table {
            assert_eq!(Status::of_store_fault(fault).0, status, "{fault:?}");
            assert!(!Status::of_store_fault(fault).is_done());
        }
        assert!(Status::SUCCESS.is_done() && Status(0xB007).is_done());
    }
}
