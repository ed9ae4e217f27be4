//! Rows as bytes outside the database: what a backup and a mirror hold.
//!
//! Record = table[1] ‖ kind[1] ‖ key length[2] ‖ value length[4] ‖ key ‖ value, big-endian; kind 1 puts, 0 deletes.
//! In a mirror the records of one commit stand in a frame: length[4] ‖ BLAKE3[16] ‖ records. A frame that a crash cut
//! short was never answered and is left out.

use super::{Change, Table};

/// One row outside the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Where.
    pub table: Table,
    /// The row's name.
    pub key: Vec<u8>,
    /// Its value.
    pub value: Vec<u8>,
}

/// Bytes that are not records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the records are damaged at byte {at}")]
pub struct DumpError {
    /// Offset within the records.
    pub at: usize,
}

/// Reads and writes records.
#[derive(Debug)]
pub struct Dump;

impl Record {
    /// Appends one row's record.
    pub fn encode(table: Table, key: &[u8], value: Option<&[u8]>, out: &mut Vec<u8>) {
        let key_len = u16::try_from(key.len()).expect("row names are at most 48 bytes or short words");
        let value_len = u32::try_from(value.map_or(0, <[u8]>::len)).expect("a row is far below 4 GiB");
        out.push(table as u8);
        out.push(u8::from(value.is_some()));
        out.extend_from_slice(&key_len.to_be_bytes());
        out.extend_from_slice(&value_len.to_be_bytes());
        out.extend_from_slice(key);
        out.extend_from_slice(value.unwrap_or_default());
    }

    /// Appends one frame that holds these changes.
    pub fn encode_changes(changes: &[Change], out: &mut Vec<u8>) {
        let mut records = Vec::new();
        for change in changes {
            Self::encode(change.table, &change.key, change.value.as_deref(), &mut records);
        }
        let len = u32::try_from(records.len()).expect("one commit is far below 4 GiB");
        out.extend_from_slice(&len.to_be_bytes());
        out.extend_from_slice(&blake3::hash(&records).as_bytes()[..FRAME_HASH_LEN]);
        out.extend_from_slice(&records);
    }
}

impl Dump {
    /// Reads records to the end.
    pub fn decode(bytes: &[u8]) -> Result<Vec<Change>, DumpError> {
        let mut at = 0;
        let mut changes = Vec::new();
        while at < bytes.len() {
            let (change, len) = one(&bytes[at..]).ok_or(DumpError { at })?;
            changes.push(change);
            at += len;
        }
        Ok(changes)
    }

    /// Reads a mirror's frames up to the end or the first frame that a crash cut short.
    pub fn decode_frames(bytes: &[u8]) -> Result<Vec<Change>, DumpError> {
        let mut changes = Vec::new();
        let mut at = 0;
        while let Some((head, rest)) = bytes[at..].split_first_chunk::<FRAME_HEAD_LEN>() {
            let len = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
            let Some(records) = rest.get(..len) else { break };
            let holds = blake3::hash(records).as_bytes()[..FRAME_HASH_LEN] == head[4..];
            match (holds, rest.len() == len) {
                (true, _) => changes.extend(Self::decode(records).map_err(|e| DumpError { at: at + e.at })?),
                // Written but not whole: the last frame of a crash.
                (false, true) => break,
                (false, false) => return Err(DumpError { at }),
            }
            at += FRAME_HEAD_LEN + len;
        }
        Ok(changes)
    }
}

fn one(bytes: &[u8]) -> Option<(Change, usize)> {
    let (head, rest) = bytes.split_first_chunk::<RECORD_HEAD_LEN>()?;
    let table = Table::from_number(head[0])?;
    let key_len = usize::from(u16::from_be_bytes([head[2], head[3]]));
    let value_len = u32::from_be_bytes([head[4], head[5], head[6], head[7]]) as usize;
    let key = rest.get(..key_len)?.to_vec();
    let value = rest.get(key_len..key_len.checked_add(value_len)?)?.to_vec();
    let value = match head[1] {
        1 => Some(value),
        0 if value.is_empty() => None,
        _ => return None,
    };
    Some((Change { table, key, value }, RECORD_HEAD_LEN + key_len + value_len))
}

const RECORD_HEAD_LEN: usize = 8;
const FRAME_HASH_LEN: usize = 16;
const FRAME_HEAD_LEN: usize = 4 + FRAME_HASH_LEN;

#[cfg(test)]
mod tests {
    use super::*;

    fn changes() -> Vec<Change> {
        vec![
            Change { table: Table::Keys, key: b"a".to_vec(), value: Some(b"one".to_vec()) },
            Change { table: Table::Keys, key: b"a".to_vec(), value: None },
        ]
    }

    #[test]
    fn frames_come_back_and_a_cut_last_frame_is_left_out() {
        let mut bytes = Vec::new();
        Record::encode_changes(&changes(), &mut bytes);
        let whole = bytes.len();
        Record::encode_changes(&changes(), &mut bytes);
        for cut in whole..bytes.len() {
            assert_eq!(Dump::decode_frames(&bytes[..cut]).unwrap(), changes(), "cut at {cut}");
        }
        assert_eq!(Dump::decode_frames(&bytes).unwrap().len(), 4);
    }

    #[test]
    fn a_damaged_frame_in_the_middle_is_an_error() {
        let mut bytes = Vec::new();
        Record::encode_changes(&changes(), &mut bytes);
        Record::encode_changes(&changes(), &mut bytes);
        bytes[FRAME_HEAD_LEN + RECORD_HEAD_LEN] ^= 1;
        assert_eq!(Dump::decode_frames(&bytes), Err(DumpError { at: 0 }));
    }
}
