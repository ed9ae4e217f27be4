//! DIMSE command sets: group 0000, implicit VR little endian, no sequences.
//!
//! A command set is a peer's bytes like any other: the same walker reads it, with depth 0 and at most [`MAX_LEN`] bytes.
//! Source: PS3.7 §6.3.1 (encoding), §9.3 and §10.3 (fields), Annex E (registry).

use crate::{Element, Encoding, Tag, Visitor, WalkError, Walker, Want};
use leadglass_model::{Fault, Phi, SopClassUid, SopInstanceUid};
use std::collections::BTreeMap;

/// Bytes of a command set that are read at most; 2 KiB is typical.
pub const MAX_LEN: usize = 64 << 10;

/// Element numbers of the fields that we read or write (PS3.7 Table E.1-1).
pub mod field {
    /// Affected SOP Class UID (UI).
    pub const AFFECTED_SOP_CLASS_UID: u16 = 0x0002;
    /// Requested SOP Class UID (UI).
    pub const REQUESTED_SOP_CLASS_UID: u16 = 0x0003;
    /// Command Field (US).
    pub const COMMAND_FIELD: u16 = 0x0100;
    /// Message ID (US).
    pub const MESSAGE_ID: u16 = 0x0110;
    /// Message ID Being Responded To (US).
    pub const MESSAGE_ID_RESPONDED: u16 = 0x0120;
    /// Move Destination (AE).
    pub const MOVE_DESTINATION: u16 = 0x0600;
    /// Priority (US).
    pub const PRIORITY: u16 = 0x0700;
    /// Command Data Set Type (US); [`super::NO_DATA_SET`] where none follows.
    pub const DATA_SET_TYPE: u16 = 0x0800;
    /// Status (US).
    pub const STATUS: u16 = 0x0900;
    /// Offending Element (AT).
    pub const OFFENDING_ELEMENT: u16 = 0x0901;
    /// Error Comment (LO).
    pub const ERROR_COMMENT: u16 = 0x0902;
    /// Error ID (US).
    pub const ERROR_ID: u16 = 0x0903;
    /// Affected SOP Instance UID (UI).
    pub const AFFECTED_SOP_INSTANCE_UID: u16 = 0x1000;
    /// Requested SOP Instance UID (UI).
    pub const REQUESTED_SOP_INSTANCE_UID: u16 = 0x1001;
    /// Event Type ID (US).
    pub const EVENT_TYPE_ID: u16 = 0x1002;
    /// Action Type ID (US).
    pub const ACTION_TYPE_ID: u16 = 0x1008;
    /// Number of Remaining Sub-operations (US).
    pub const REMAINING: u16 = 0x1020;
    /// Number of Completed Sub-operations (US).
    pub const COMPLETED: u16 = 0x1021;
    /// Number of Failed Sub-operations (US).
    pub const FAILED: u16 = 0x1022;
    /// Number of Warning Sub-operations (US).
    pub const WARNING: u16 = 0x1023;
    /// Move Originator Application Entity Title (AE).
    pub const MOVE_ORIGINATOR: u16 = 0x1030;
    /// Move Originator Message ID (US).
    pub const MOVE_ORIGINATOR_MESSAGE_ID: u16 = 0x1031;
}

/// Command Data Set Type: no data set follows. Any other value says that one does.
pub const NO_DATA_SET: u16 = 0x0101;

/// Why bytes are no command set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// More than [`MAX_LEN`] bytes.
    #[error("the command set is {len} bytes, more than is read")]
    TooLong {
        /// How many.
        len: usize,
    },
    /// An element of another group.
    #[error("the command set holds an element outside of group 0000 at byte {at}")]
    OtherGroup {
        /// Where.
        at: u64,
    },
    /// The structure is broken.
    #[error(transparent)]
    Walk(#[from] WalkError),
    /// There is no Command Field.
    #[error("the command set has no Command Field")]
    NoCommandField,
}

impl CommandError {
    /// Always the peer's.
    pub const fn fault(&self) -> Fault {
        Fault::BadInput
    }
}

/// A command set: fields by element number. Debug shows the numbers only, for values name instances.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct CommandSet {
    fields: BTreeMap<u16, Phi<Vec<u8>>>,
}

impl std::fmt::Debug for CommandSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.fields.keys().map(|e| Tag(0, *e))).finish()
    }
}

impl CommandSet {
    /// An empty one, with its Command Field (PS3.7 Table E.1-1: C-STORE-RQ 0001H, C-ECHO-RQ 0030H, responses + 8000H).
    pub fn new(command_field: u16) -> Self {
        Self::default().with_us(field::COMMAND_FIELD, command_field)
    }

    /// Reads a complete command set. Of a repeated field the first stands.
    pub fn parse(bytes: &[u8]) -> Result<Self, CommandError> {
        if bytes.len() > MAX_LEN {
            return Err(CommandError::TooLong { len: bytes.len() });
        }
        let mut reader = Reader::default();
        let mut walker = Walker::of_group(Encoding::ImplicitLe, 0, 0x0000);
        walker.feed(bytes, &mut reader)?;
        if walker.leftover().is_some() {
            return Err(CommandError::OtherGroup { at: walker.position() });
        }
        walker.finish()?;
        if reader.set.command_field().is_none() {
            return Err(CommandError::NoCommandField);
        }
        Ok(reader.set)
    }

    /// Writes it, group length first.
    pub fn encode(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(256);
        for (element, value) in &self.fields {
            push(&mut body, *element, value.expose());
        }
        let mut out = Vec::with_capacity(body.len().saturating_add(12));
        push(&mut out, 0x0000, &u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes());
        out.extend_from_slice(&body);
        out
    }

    /// A US field.
    pub fn us(&self, element: u16) -> Option<u16> {
        self.fields.get(&element)?.expose().as_slice().try_into().ok().map(u16::from_le_bytes)
    }

    /// A text field without its padding; `None` where it is empty.
    pub fn text(&self, element: u16) -> Option<String> {
        let text = String::from_utf8_lossy(self.fields.get(&element)?.expose()).into_owned();
        Some(text.trim_matches([' ', '\0']).to_owned()).filter(|t| !t.is_empty())
    }

    /// Command Field.
    pub fn command_field(&self) -> Option<u16> {
        self.us(field::COMMAND_FIELD)
    }

    /// Message ID of a request.
    pub fn message_id(&self) -> Option<u16> {
        self.us(field::MESSAGE_ID)
    }

    /// Status of a response.
    pub fn status(&self) -> Option<u16> {
        self.us(field::STATUS)
    }

    /// Whether a data set follows. Without Command Data Set Type none does.
    pub fn has_data_set(&self) -> bool {
        self.us(field::DATA_SET_TYPE).is_some_and(|t| t != NO_DATA_SET)
    }

    /// Affected SOP Class UID, checked.
    pub fn affected_sop_class(&self) -> Option<SopClassUid> {
        SopClassUid::parse(&self.text(field::AFFECTED_SOP_CLASS_UID)?).ok()
    }

    /// Affected SOP Instance UID, checked.
    pub fn affected_sop_instance(&self) -> Option<SopInstanceUid> {
        SopInstanceUid::parse(&self.text(field::AFFECTED_SOP_INSTANCE_UID)?).ok()
    }

    /// Sets a US field.
    #[must_use]
    pub fn with_us(mut self, element: u16, value: u16) -> Self {
        self.fields.insert(element, Phi::new(value.to_le_bytes().to_vec()));
        self
    }

    /// Sets a UI field; padded with NUL.
    #[must_use]
    pub fn with_uid(self, element: u16, uid: &str) -> Self {
        self.with_padded(element, uid, 0)
    }

    /// Sets a text field (AE, LO); padded with a space.
    #[must_use]
    pub fn with_text(self, element: u16, text: &str) -> Self {
        self.with_padded(element, text, b' ')
    }

    /// Sets an AT field.
    #[must_use]
    pub fn with_tags(mut self, element: u16, tags: &[Tag]) -> Self {
        let bytes = tags.iter().flat_map(|t| [t.0.to_le_bytes(), t.1.to_le_bytes()]).flatten().collect();
        self.fields.insert(element, Phi::new(bytes));
        self
    }

    fn with_padded(mut self, element: u16, text: &str, pad: u8) -> Self {
        let mut bytes = text.as_bytes().to_vec();
        if bytes.len() % 2 == 1 {
            bytes.push(pad);
        }
        self.fields.insert(element, Phi::new(bytes));
        self
    }
}

fn push(out: &mut Vec<u8>, element: u16, value: &[u8]) {
    out.extend_from_slice(&[0, 0]);
    out.extend_from_slice(&element.to_le_bytes());
    out.extend_from_slice(&u32::try_from(value.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(value);
}

#[derive(Default)]
struct Reader {
    set: CommandSet,
    element: u16,
    buffer: Vec<u8>,
}

impl Visitor for Reader {
    fn value(&mut self, element: &Element) -> Want {
        self.element = element.tag.1;
        self.buffer.clear();
        if element.tag.is_group_length() { Want::Nothing } else { Want::Bytes }
    }

    fn bytes(&mut self, piece: &[u8]) {
        self.buffer.extend_from_slice(piece);
    }

    fn value_end(&mut self) {
        let value = std::mem::take(&mut self.buffer);
        self.set.fields.entry(self.element).or_insert(Phi::new(value));
    }

    // A walker of depth 0 opens none of these.
    fn sequence(&mut self, _: &Element) {}
    fn sequence_end(&mut self) {}
    fn item(&mut self) {}
    fn item_end(&mut self) {}
    fn fragments(&mut self, _: &Element) {}
    fn fragment(&mut self, _: u64, _: u32) -> Want {
        Want::Nothing
    }
    fn fragments_end(&mut self, _: u64) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store_request() -> CommandSet {
        CommandSet::new(0x0001)
            .with_uid(field::AFFECTED_SOP_CLASS_UID, "1.2.840.10008.5.1.4.1.1.2")
            .with_us(field::MESSAGE_ID, 7)
            .with_us(field::PRIORITY, 0)
            .with_us(field::DATA_SET_TYPE, 1)
            .with_uid(field::AFFECTED_SOP_INSTANCE_UID, "1.2.3.4")
    }

    #[test]
    fn a_written_set_comes_back() {
        let set = store_request();
        let back = CommandSet::parse(&set.encode()).unwrap();
        assert_eq!(back, set);
        assert_eq!(back.command_field(), Some(1));
        assert!(back.has_data_set());
        assert_eq!(back.affected_sop_instance().unwrap().expose(), "1.2.3.4");
    }

    #[test]
    fn debug_shows_no_value() {
        let shown = format!("{:?}", store_request());
        assert!(shown.contains("(0000,1000)") && !shown.contains("1.2.3.4"), "{shown}");
    }

    #[test]
    fn an_echo_response_is_byte_exact() {
        let set = CommandSet::new(0x8030).with_us(field::STATUS, 0).with_us(field::DATA_SET_TYPE, NO_DATA_SET);
        let expect = [
            0u8, 0, 0, 0, 4, 0, 0, 0, 30, 0, 0, 0, // group length
            0, 0, 0, 1, 2, 0, 0, 0, 0x30, 0x80, //
            0, 0, 0, 8, 2, 0, 0, 0, 1, 1, //
            0, 0, 0, 9, 2, 0, 0, 0, 0, 0,
        ];
        assert_eq!(set.encode(), expect);
        assert!(!CommandSet::parse(&expect).unwrap().has_data_set());
    }

    #[test]
    fn hostile_sets_are_refused() {
        assert_eq!(CommandSet::parse(&vec![0; MAX_LEN + 1]), Err(CommandError::TooLong { len: MAX_LEN + 1 }));
        assert_eq!(CommandSet::parse(&[]), Err(CommandError::NoCommandField));
        // Nested sequences, 56 KB of them.
        let nested: Vec<u8> =
            [0u8, 0, 0x10, 0x90, 255, 255, 255, 255, 0xFE, 0xFF, 0, 0xE0, 255, 255, 255, 255].repeat(3500);
        assert!(matches!(CommandSet::parse(&nested), Err(CommandError::Walk(WalkError::TooDeep { .. }))));
        // A value longer than the set.
        assert!(matches!(
            CommandSet::parse(&[0, 0, 0, 1, 0xF0, 0xFF, 0xFF, 0xFF, 1]),
            Err(CommandError::Walk(WalkError::Truncated { .. }))
        ));
        let mut other = store_request().encode();
        other.extend_from_slice(&[8, 0, 0x16, 0, 0, 0, 0, 0]);
        assert!(matches!(CommandSet::parse(&other), Err(CommandError::OtherGroup { .. })));
        let cut = store_request().encode();
        assert!(matches!(
            CommandSet::parse(&cut[..cut.len() - 1]),
            Err(CommandError::Walk(WalkError::Truncated { .. }))
        ));
    }
}
