//! `GET /v1/revocations?after=`: a stream of lines that stays open.
//!
//! Each line is one [`RevocationEvent`]. The service sends a beat at least every [`super::REVOCATION_BEAT_S`] seconds.

use super::{Few, MAX_BATCH, MAX_LINE_BYTES, WireError, json_from};
use leadglass_model::{KeyId, StudyRef, TenantId};
use serde::{Deserialize, Serialize};

/// What became of studies or keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RevocationKind {
    /// They are destroyed or on their way there: drop keys, rows, rendered images.
    Destroyed,
    /// They are restricted: drop leases.
    Restricted,
    /// The restriction is lifted.
    Unrestricted,
}

/// Something that nodes must follow at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    /// What.
    pub kind: RevocationKind,
    /// Whose.
    pub tenant: TenantId,
    /// All keys of these studies.
    #[serde(default)]
    pub study_refs: Few<StudyRef, MAX_BATCH>,
    /// These keys.
    #[serde(default)]
    pub key_ids: Few<KeyId, MAX_BATCH>,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum RevocationEvent {
    /// Nothing happened; the stream lives.
    Beat {
        /// Number of the last revocation.
        seq: u64,
    },
    /// A revocation.
    Revoked {
        /// Its number; grows by one. A reader that comes back asks for what is after the last it saw.
        seq: u64,
        /// It.
        revocation: Revocation,
    },
    /// The service cannot tell what was after the number asked for: drop every lease.
    Reset {
        /// Number of the last revocation.
        seq: u64,
    },
}

impl RevocationEvent {
    /// The number to ask after next time.
    pub const fn seq(&self) -> u64 {
        match self {
            Self::Beat { seq } | Self::Revoked { seq, .. } | Self::Reset { seq } => *seq,
        }
    }

    /// The line, with its line feed.
    pub fn to_line(&self) -> Vec<u8> {
        let mut line = serde_json::to_vec(self).expect("an event has string keys and no failing serializer");
        line.push(b'\n');
        line
    }
}

/// Cuts a stream of bytes into events.
#[derive(Debug, Default)]
pub struct RevocationLines {
    pending: Vec<u8>,
}

impl RevocationLines {
    /// Takes bytes as they arrive and gives the events they complete.
    ///
    /// # Errors
    /// A line above [`MAX_LINE_BYTES`], or one that is no event. The stream is of no further use then.
    pub fn push(&mut self, mut bytes: &[u8]) -> Result<Vec<RevocationEvent>, WireError> {
        let mut events = Vec::new();
        while let Some(at) = bytes.iter().position(|b| *b == b'\n') {
            let (line, rest) = bytes.split_at(at);
            self.extend(line)?;
            events.push(json_from(&self.pending, MAX_LINE_BYTES)?);
            self.pending.clear();
            bytes = rest.get(1..).unwrap_or_default();
        }
        self.extend(bytes)?;
        Ok(events)
    }

    fn extend(&mut self, bytes: &[u8]) -> Result<(), WireError> {
        let len = self.pending.len().saturating_add(bytes.len());
        if len > MAX_LINE_BYTES {
            return Err(WireError::TooLong { len, max: MAX_LINE_BYTES });
        }
        self.pending.extend_from_slice(bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_back_however_the_bytes_are_cut() {
        let events = [
            RevocationEvent::Beat { seq: 3 },
            RevocationEvent::Revoked {
                seq: 4,
                revocation: Revocation {
                    kind: RevocationKind::Restricted,
                    tenant: TenantId::from_bytes([1; 16]),
                    study_refs: Few::new(vec![StudyRef::from_bytes([2; 16])]).unwrap(),
                    key_ids: Few::default(),
                },
            },
            RevocationEvent::Reset { seq: 4 },
        ];
        let bytes: Vec<u8> = events.iter().flat_map(RevocationEvent::to_line).collect();
        for step in 1..=bytes.len() {
            let mut lines = RevocationLines::default();
            let seen: Vec<_> = bytes.chunks(step).flat_map(|piece| lines.push(piece).unwrap()).collect();
            assert_eq!(seen, events, "cut every {step} bytes");
        }
    }

    #[test]
    fn a_line_without_end_is_refused_at_the_limit() {
        let mut lines = RevocationLines::default();
        assert!(lines.push(&[b' '; MAX_LINE_BYTES]).is_ok());
        assert!(matches!(lines.push(b" "), Err(WireError::TooLong { .. })));
    }

    #[test]
    fn the_longest_event_fits_a_line() {
        let event = RevocationEvent::Revoked {
            seq: u64::MAX,
            revocation: Revocation {
                kind: RevocationKind::Unrestricted,
                tenant: TenantId::from_bytes([1; 16]),
                study_refs: Few::new(vec![StudyRef::from_bytes([2; 16]); MAX_BATCH]).unwrap(),
                key_ids: Few::new(vec![KeyId::from_bytes([2; 16]); MAX_BATCH]).unwrap(),
            },
        };
        assert_eq!(RevocationLines::default().push(&event.to_line()).unwrap(), [event]);
    }
}
