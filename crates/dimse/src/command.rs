//! Command sets: the group 0000 elements that head every DIMSE message.
//!
//! A command set is implicit VR little endian, flat, without sequences (PS3.7 §6.3.1), so reading one is a single loop.
//! It is hostile input like the rest: the length is capped before it is collected, each element's length is checked
//! against what is there, and nothing is allocated by a claimed length.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use crate::limits::MAX_COMMAND_BYTES;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use std::collections::BTreeMap;

/// Element numbers of group 0000 (PS3.7 Annex E).
pub mod element {
    /// Command Group Length.
    pub const GROUP_LENGTH: u16 = 0x0000;
    /// Affected SOP Class UID.
    pub const AFFECTED_SOP_CLASS_UID: u16 = 0x0002;
    /// Command Field.
    pub const COMMAND_FIELD: u16 = 0x0100;
    /// Message ID.
    pub const MESSAGE_ID: u16 = 0x0110;
    /// Message ID Being Responded To.
    pub const MESSAGE_ID_BEING_RESPONDED_TO: u16 = 0x0120;
    /// Priority.
    pub const PRIORITY: u16 = 0x0700;
    /// Command Data Set Type.
    pub const COMMAND_DATA_SET_TYPE: u16 = 0x0800;
    /// Status.
    pub const STATUS: u16 = 0x0900;
    /// Error Comment.
    pub const ERROR_COMMENT: u16 = 0x0902;
    /// Affected SOP Instance UID.
    pub const AFFECTED_SOP_INSTANCE_UID: u16 = 0x1000;
    /// Move Originator Application Entity Title.
    pub const MOVE_ORIGINATOR_AE: u16 = 0x1030;
    /// Move Originator Message ID.
    pub const MOVE_ORIGINATOR_MESSAGE_ID: u16 = 0x1031;
}

/// Values of Command Field (0000,0100), PS3.7 §E.1.
pub mod field {
    /// C-STORE-RQ.
    pub const C_STORE_RQ: u16 = 0x0001;
    /// C-FIND-RQ.
    pub const C_FIND_RQ: u16 = 0x0020;
    /// C-MOVE-RQ.
    pub const C_MOVE_RQ: u16 = 0x0021;
    /// C-ECHO-RQ.
    pub const C_ECHO_RQ: u16 = 0x0030;
    /// C-CANCEL-RQ.
    pub const C_CANCEL_RQ: u16 = 0x0FFF;
    /// N-ACTION-RQ.
    pub const N_ACTION_RQ: u16 = 0x0130;
    /// The bit that makes a response of a request.
    pub const RESPONSE: u16 = 0x8000;
}

/// Command Data Set Type of a message without a data set (PS3.7 §E.1).
pub const NO_DATA_SET: u16 = 0x0101;

/// Why bytes are not a command set. It names elements and offsets, never values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// More than [`MAX_COMMAND_BYTES`].
    #[error("the command set is too long")]
    TooLong,
    /// It ends inside an element.
    #[error("the command set ends inside an element")]
    Truncated,
    /// An element of another group than 0000.
    #[error("element ({group:04X},{element:04X}) does not belong into a command set")]
    Foreign {
        /// Group number.
        group: u16,
        /// Element number.
        element: u16,
    },
    /// An element that stands there twice.
    #[error("element (0000,{element:04X}) stands twice")]
    Twice {
        /// Element number.
        element: u16,
    },
    /// More elements than any service defines.
    #[error("the command set has too many elements")]
    TooMany,
}

/// A command set, by element number. `Debug` shows which elements there are, not what they say.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct CommandSet(BTreeMap<u16, Bytes>);

impl CommandSet {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads a whole command set. Values stay slices of `bytes`.
    pub fn decode(mut bytes: Bytes) -> Result<Self, CommandError> {
        if bytes.len() > MAX_COMMAND_BYTES {
            return Err(CommandError::TooLong);
        }
        let mut elements = BTreeMap::new();
        while bytes.has_remaining() {
            if bytes.remaining() < ELEMENT_HEADER_BYTES {
                return Err(CommandError::Truncated);
            }
            let (group, element) = (bytes.get_u16_le(), bytes.get_u16_le());
            if group != 0 {
                return Err(CommandError::Foreign { group, element });
            }
            let len = usize::try_from(bytes.get_u32_le()).map_err(|_| CommandError::Truncated)?;
            if len > bytes.remaining() {
                return Err(CommandError::Truncated);
            }
            if elements.len() >= MAX_ELEMENTS {
                return Err(CommandError::TooMany);
            }
            if elements.insert(element, bytes.split_to(len)).is_some() {
                return Err(CommandError::Twice { element });
            }
        }
        elements.remove(&element::GROUP_LENGTH);
        Ok(Self(elements))
    }

    /// The bytes for the wire, group length first.
    pub fn encode(&self) -> Bytes {
        let mut body = BytesMut::new();
        for (&number, value) in &self.0 {
            put(&mut body, number, value);
        }
        let mut out = BytesMut::with_capacity(body.len().saturating_add(12));
        put(&mut out, element::GROUP_LENGTH, &u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes());
        out.extend_from_slice(&body);
        out.freeze()
    }

    /// A US value; `None` when it is absent or not two bytes.
    pub fn number(&self, element: u16) -> Option<u16> {
        let value = self.0.get(&element)?;
        Some(u16::from_le_bytes(value.as_ref().try_into().ok()?))
    }

    /// A text value without its padding; `None` when it is absent or not ASCII.
    pub fn text(&self, element: u16) -> Option<&str> {
        let value = std::str::from_utf8(self.0.get(&element)?).ok()?;
        value.is_ascii().then(|| value.trim_matches([' ', '\0']))
    }

    /// Sets a US value.
    #[must_use]
    pub fn with_number(mut self, element: u16, value: u16) -> Self {
        self.0.insert(element, Bytes::copy_from_slice(&value.to_le_bytes()));
        self
    }

    /// Sets a UI value, padded with NUL to even length (PS3.5 §6.2).
    #[must_use]
    pub fn with_uid(self, element: u16, value: &str) -> Self {
        self.with_text(element, value, 0)
    }

    /// Sets an LO or AE value, padded with a space to even length (PS3.5 §6.2).
    #[must_use]
    pub fn with_label(self, element: u16, value: &str) -> Self {
        self.with_text(element, value, b' ')
    }

    fn with_text(mut self, element: u16, value: &str, pad: u8) -> Self {
        let mut bytes = BytesMut::from(value.as_bytes());
        if !bytes.len().is_multiple_of(2) {
            bytes.put_u8(pad);
        }
        self.0.insert(element, bytes.freeze());
        self
    }

    /// Command Field (0000,0100).
    pub fn command_field(&self) -> Option<u16> {
        self.number(element::COMMAND_FIELD)
    }

    /// Message ID (0000,0110).
    pub fn message_id(&self) -> Option<u16> {
        self.number(element::MESSAGE_ID)
    }

    /// Whether a data set follows. A command set that does not say has none.
    pub fn has_data_set(&self) -> bool {
        self.number(element::COMMAND_DATA_SET_TYPE).is_some_and(|kind| kind != NO_DATA_SET)
    }
}

impl std::fmt::Debug for CommandSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.keys().map(|number| format!("(0000,{number:04X})"))).finish()
    }
}

fn put(out: &mut BytesMut, element: u16, value: &[u8]) {
    out.put_u16_le(0);
    out.put_u16_le(element);
    out.put_u32_le(u32::try_from(value.len()).unwrap_or(u32::MAX));
    out.extend_from_slice(value);
}

const ELEMENT_HEADER_BYTES: usize = 8;

/// Annex E defines fewer, the retired ones included.
const MAX_ELEMENTS: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let set = CommandSet::new()
            .with_number(element::COMMAND_FIELD, field::C_STORE_RQ)
            .with_number(element::MESSAGE_ID, 7)
            .with_uid(element::AFFECTED_SOP_CLASS_UID, "1.2.840.10008.1.1")
            .with_label(element::MOVE_ORIGINATOR_AE, "ARCHIVE")
            .with_number(element::COMMAND_DATA_SET_TYPE, 0);
        let bytes = set.encode();
        assert_eq!(bytes.len() % 2, 0);
        assert_eq!(&bytes[..12], &[0, 0, 0, 0, 4, 0, 0, 0, u8::try_from(bytes.len() - 12).unwrap(), 0, 0, 0]);
        let back = CommandSet::decode(bytes).unwrap();
        assert_eq!(back, set);
        assert_eq!(back.command_field(), Some(1));
        assert_eq!(back.text(element::AFFECTED_SOP_CLASS_UID), Some("1.2.840.10008.1.1"));
        assert_eq!(back.text(element::MOVE_ORIGINATOR_AE), Some("ARCHIVE"));
        assert!(back.has_data_set());
    }

    #[test]
    fn every_prefix_is_refused_or_shorter() {
        let set =
            CommandSet::new().with_number(element::COMMAND_FIELD, 1).with_uid(element::AFFECTED_SOP_CLASS_UID, "1.2");
        let bytes = set.encode();
        for end in 0..bytes.len() {
            assert_ne!(CommandSet::decode(bytes.slice(..end)).as_ref(), Ok(&set), "{end}");
        }
    }

    #[test]
    fn hostile_sets_are_refused() {
        let element = |group: u16, number: u16, len: u32, value: &[u8]| {
            let mut out = BytesMut::new();
            out.put_u16_le(group);
            out.put_u16_le(number);
            out.put_u32_le(len);
            out.extend_from_slice(value);
            out
        };
        let decode = |bytes: BytesMut| CommandSet::decode(bytes.freeze());
        assert_eq!(decode(element(0, 2, u32::MAX, b"1.2")), Err(CommandError::Truncated));
        assert_eq!(decode(element(8, 0x18, 0, b"")), Err(CommandError::Foreign { group: 8, element: 0x18 }));
        let mut twice = element(0, 2, 0, b"");
        twice.extend_from_slice(&element(0, 2, 0, b""));
        assert_eq!(decode(twice), Err(CommandError::Twice { element: 2 }));
        let many = (0..200u16).flat_map(|n| element(0, n, 0, b"").to_vec()).collect::<Vec<_>>();
        assert_eq!(CommandSet::decode(many.into()), Err(CommandError::TooMany));
        assert_eq!(CommandSet::decode(vec![0; MAX_COMMAND_BYTES + 1].into()), Err(CommandError::TooLong));
    }

    #[test]
    fn debug_is_mute() {
        let set = CommandSet::new().with_uid(element::AFFECTED_SOP_INSTANCE_UID, "1.2.3.4.5");
        assert_eq!(format!("{set:?}"), "[\"(0000,1000)\"]");
    }
}
