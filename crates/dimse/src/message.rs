//! From presentation data values to messages: which value may follow which (PS3.7 §6.3, PS3.8 Annex E).
//!
//! One message is in flight at a time (the asynchronous window is never negotiated): a command set, then the data set it
//! announces, both on one presentation context.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use crate::{
    framing::{Part, Pdv},
    limits::{MAX_COMMAND_BYTES, MAX_EMPTY_RUN},
};
use bytes::{Bytes, BytesMut};

/// A breach of the rules between values. Each ends the association with an A-ABORT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// A data set without a command set before it.
    #[error("a data set came before its command set")]
    DataFirst,
    /// A command set inside another message.
    #[error("a second message began before the first was complete")]
    SecondMessage,
    /// The presentation context changed inside a message.
    #[error("the presentation context changed inside a message")]
    OtherContext,
    /// The command set is over its limit.
    #[error("the command set is too long")]
    CommandTooLong,
    /// Too many values without content, one after the other.
    #[error("too many empty values in a row")]
    EmptyRun,
}

/// What came of one value.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// More has to come.
    More,
    /// The command set is complete.
    Command { context: u8, bytes: Bytes },
    /// A piece of the data set.
    Data { piece: Bytes, last: bool },
}

#[derive(Debug)]
enum State {
    /// Between messages.
    Idle,
    /// Inside a command set.
    Command { context: u8, bytes: BytesMut },
    /// Inside, or just before, a data set.
    Data { context: u8 },
}

/// Puts messages together.
#[derive(Debug)]
pub(crate) struct Assembly {
    state: State,
    empty_run: u32,
}

impl Assembly {
    pub(crate) fn new() -> Self {
        Self { state: State::Idle, empty_run: 0 }
    }

    /// Takes the next value.
    pub(crate) fn take(&mut self, pdv: Pdv) -> Result<Step, MessageError> {
        if pdv.data.is_empty() && !pdv.last {
            self.empty_run = self.empty_run.saturating_add(1);
            if self.empty_run > MAX_EMPTY_RUN {
                return Err(MessageError::EmptyRun);
            }
        } else {
            self.empty_run = 0;
        }
        match (&mut self.state, pdv.part) {
            (State::Idle, Part::Data) | (State::Command { .. }, Part::Data) => Err(MessageError::DataFirst),
            (State::Data { .. }, Part::Command) => Err(MessageError::SecondMessage),
            (State::Data { context }, Part::Data) => {
                if *context != pdv.context {
                    return Err(MessageError::OtherContext);
                }
                if pdv.last {
                    self.state = State::Idle;
                }
                Ok(Step::Data { piece: pdv.data, last: pdv.last })
            }
            (State::Idle, Part::Command) if pdv.last => self.command(pdv.context, pdv.data),
            (State::Idle, Part::Command) => {
                if pdv.data.len() > MAX_COMMAND_BYTES {
                    return Err(MessageError::CommandTooLong);
                }
                self.state = State::Command { context: pdv.context, bytes: BytesMut::from(pdv.data.as_ref()) };
                Ok(Step::More)
            }
            (State::Command { context, bytes }, Part::Command) => {
                if *context != pdv.context {
                    return Err(MessageError::OtherContext);
                }
                if bytes.len().saturating_add(pdv.data.len()) > MAX_COMMAND_BYTES {
                    return Err(MessageError::CommandTooLong);
                }
                bytes.extend_from_slice(&pdv.data);
                if !pdv.last {
                    return Ok(Step::More);
                }
                let bytes = bytes.split().freeze();
                self.command(pdv.context, bytes)
            }
        }
    }

    fn command(&mut self, context: u8, bytes: Bytes) -> Result<Step, MessageError> {
        if bytes.len() > MAX_COMMAND_BYTES {
            return Err(MessageError::CommandTooLong);
        }
        self.state = State::Idle;
        Ok(Step::Command { context, bytes })
    }

    /// The command set just read announces a data set on `context`.
    pub(crate) fn expect_data(&mut self, context: u8) {
        self.state = State::Data { context };
    }

    /// Whether no message is under way.
    pub(crate) fn is_idle(&self) -> bool {
        matches!(self.state, State::Idle)
    }

    /// Whether pieces of a data set are still to come.
    pub(crate) fn is_in_data(&self) -> bool {
        matches!(self.state, State::Data { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pdv(part: Part, context: u8, data: &'static [u8], last: bool) -> Pdv {
        Pdv { context, part, last, data: Bytes::from_static(data) }
    }

    #[test]
    fn a_command_over_several_values_is_one_command() {
        let mut assembly = Assembly::new();
        assert_eq!(assembly.take(pdv(Part::Command, 1, b"ab", false)), Ok(Step::More));
        assert_eq!(assembly.take(pdv(Part::Command, 1, b"", false)), Ok(Step::More));
        let step = assembly.take(pdv(Part::Command, 1, b"cd", true)).unwrap();
        assert_eq!(step, Step::Command { context: 1, bytes: Bytes::from_static(b"abcd") });
        assert!(!assembly.is_in_data());
    }

    #[test]
    fn values_out_of_order_are_refused() {
        let mut assembly = Assembly::new();
        assert_eq!(assembly.take(pdv(Part::Data, 1, b"ab", false)), Err(MessageError::DataFirst));
        let mut assembly = Assembly::new();
        assembly.take(pdv(Part::Command, 1, b"ab", false)).unwrap();
        assert_eq!(assembly.take(pdv(Part::Data, 1, b"ab", false)), Err(MessageError::DataFirst));
        assert_eq!(assembly.take(pdv(Part::Command, 3, b"ab", true)), Err(MessageError::OtherContext));
        let mut assembly = Assembly::new();
        assembly.expect_data(1);
        assert_eq!(assembly.take(pdv(Part::Command, 1, b"ab", true)), Err(MessageError::SecondMessage));
        assert_eq!(assembly.take(pdv(Part::Data, 3, b"ab", true)), Err(MessageError::OtherContext));
    }

    #[test]
    fn a_run_of_empty_values_has_an_end() {
        let mut assembly = Assembly::new();
        assembly.expect_data(1);
        for _ in 0..MAX_EMPTY_RUN {
            assembly.take(pdv(Part::Data, 1, b"", false)).unwrap();
        }
        assert_eq!(assembly.take(pdv(Part::Data, 1, b"", false)), Err(MessageError::EmptyRun));
        let mut assembly = Assembly::new();
        for _ in 0..3 * MAX_EMPTY_RUN {
            assembly.expect_data(1);
            assembly.take(pdv(Part::Data, 1, b"", false)).unwrap();
            assembly.take(pdv(Part::Data, 1, b"x", false)).unwrap();
        }
    }

    #[test]
    fn a_command_set_is_capped_while_it_is_collected() {
        let mut assembly = Assembly::new();
        let piece = Bytes::from(vec![0; 1024]);
        for _ in 0..64 {
            assembly.take(Pdv { context: 1, part: Part::Command, last: false, data: piece.clone() }).unwrap();
        }
        let more = Pdv { context: 1, part: Part::Command, last: true, data: piece };
        assert_eq!(assembly.take(more), Err(MessageError::CommandTooLong));
    }
}
