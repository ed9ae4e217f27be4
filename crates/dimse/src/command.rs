//! Command sets, as [`leadglass_tap`] reads and writes them, and the operations that head them.

pub use leadglass_tap::command::{CommandError, CommandSet, NO_DATA_SET, field};

/// Command Data Set Type of a message with a data set: anything but [`NO_DATA_SET`] (PS3.7 §E.1).
pub const WITH_DATA_SET: u16 = 0x0000;

/// Values of Command Field (0000,0100), PS3.7 §E.1.
pub mod operation {
    /// C-STORE-RQ.
    pub const C_STORE_RQ: u16 = 0x0001;
    /// C-FIND-RQ.
    pub const C_FIND_RQ: u16 = 0x0020;
    /// C-MOVE-RQ.
    pub const C_MOVE_RQ: u16 = 0x0021;
    /// C-ECHO-RQ.
    pub const C_ECHO_RQ: u16 = 0x0030;
    /// N-ACTION-RQ.
    pub const N_ACTION_RQ: u16 = 0x0130;
    /// C-CANCEL-RQ.
    pub const C_CANCEL_RQ: u16 = 0x0FFF;
    /// The bit that makes a response of a request.
    pub const RESPONSE: u16 = 0x8000;
}
