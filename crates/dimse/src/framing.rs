//! PDUs on a byte stream (PS3.8 §9.3).
//!
//! [`Decoder`] does no I/O: bytes go in, frames come out. A PDU's length is checked when its six-byte header is there,
//! before a byte of its body is waited for. P-DATA-TF is split into its values without copying and one value at a time,
//! so a PDU full of empty values costs no memory. Every other PDU is small, whole, and read by `dicom_ul`.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use crate::limits::{
    MAX_ASSOCIATE_BYTES, MAX_CONTEXTS, MAX_CONTROL_BYTES, MAX_PDATA_BYTES, MAX_TRANSFER_SYNTAXES, MAX_USER_ITEMS,
};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use dicom_ul::pdu::{AbortRQServiceProviderReason as AbortReason, Pdu};

/// One presentation data value (PS3.8 §9.3.5.1).
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Pdv {
    /// Presentation context.
    pub(crate) context: u8,
    /// Message control header, bit 0.
    pub(crate) part: Part,
    /// Message control header, bit 1: the last fragment of its part.
    pub(crate) last: bool,
    /// The fragment.
    pub(crate) data: Bytes,
}

/// Which part of a message a value carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Command,
    Data,
}

impl std::fmt::Debug for Pdv {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { context, part, last, data } = self;
        write!(f, "Pdv({part:?} on {context}, {} bytes, last: {last})", data.len())
    }
}

/// What a peer sent.
pub(crate) enum Frame {
    /// The next value of a P-DATA-TF.
    Value(Pdv),
    /// Any other PDU, whole.
    Control(Pdu),
}

/// Why bytes are not a PDU we take. Values of the peer are never repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// No such PDU type.
    #[error("PDU type {kind:02X} does not exist")]
    UnknownType {
        /// The type byte.
        kind: u8,
    },
    /// The header announces more than we take.
    #[error("a PDU of type {kind:02X} with {length} bytes is over the limit")]
    TooLong {
        /// The type byte.
        kind: u8,
        /// The PDU length field.
        length: u32,
    },
    /// A P-DATA-TF without a value.
    #[error("a P-DATA-TF has no value")]
    EmptyPData,
    /// A value whose length does not fit its PDU.
    #[error("a presentation data value does not fit its PDU")]
    ValueLength,
    /// More contexts, transfer syntaxes or user items than allowed.
    #[error("an association PDU has too many items")]
    TooManyItems,
    /// Something inside is not as PS3.8 says.
    #[error("a PDU of type {kind:02X} is malformed")]
    Malformed {
        /// The type byte.
        kind: u8,
    },
}

impl FrameError {
    /// What an A-ABORT says about it (PS3.8 §9.3.8).
    pub(crate) fn reason(self) -> AbortReason {
        match self {
            Self::UnknownType { .. } => AbortReason::UnrecognizedPdu,
            _ => AbortReason::InvalidPduParameter,
        }
    }
}

/// Turns bytes into frames.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    buffer: BytesMut,
    /// What is left of the P-DATA-TF that is being handed out.
    values: Bytes,
    /// Bytes that must be in the buffer before it makes sense to look again.
    wanted: usize,
    /// Length of the latest PDU: after a large one, more large ones are likely.
    latest: usize,
}

impl Decoder {
    /// Where to put the next bytes of the stream, with room for some.
    pub(crate) fn room(&mut self) -> &mut BytesMut {
        let missing = self.wanted.saturating_sub(self.buffer.len());
        let spare = self.buffer.capacity().saturating_sub(self.buffer.len());
        if spare < missing.max(FIRST_READ_BYTES) {
            let large = self.wanted.max(self.latest) > FIRST_READ_BYTES;
            self.buffer.reserve(missing.max(if large { READ_BYTES } else { FIRST_READ_BYTES }));
        }
        &mut self.buffer
    }

    /// The next frame, when all its bytes are there.
    pub(crate) fn next(&mut self) -> Result<Option<Frame>, FrameError> {
        if !self.values.is_empty() {
            return self.next_value().map(Some);
        }
        let mut header = self.buffer.as_ref();
        self.wanted = HEADER_BYTES;
        if header.remaining() < HEADER_BYTES {
            return Ok(None);
        }
        let kind = header.get_u8();
        header.advance(1);
        let length = header.get_u32();
        let limit = match kind {
            A_ASSOCIATE_RQ | A_ASSOCIATE_AC => MAX_ASSOCIATE_BYTES,
            P_DATA_TF => MAX_PDATA_BYTES,
            A_ASSOCIATE_RJ | A_RELEASE_RQ | A_RELEASE_RP | A_ABORT => MAX_CONTROL_BYTES,
            _ => return Err(FrameError::UnknownType { kind }),
        };
        if length > limit {
            return Err(FrameError::TooLong { kind, length });
        }
        if kind == P_DATA_TF && length == 0 {
            return Err(FrameError::EmptyPData);
        }
        self.wanted = HEADER_BYTES.saturating_add(length as usize);
        if self.buffer.len() < self.wanted {
            return Ok(None);
        }
        let mut pdu = self.buffer.split_to(self.wanted).freeze();
        self.latest = self.wanted;
        self.wanted = HEADER_BYTES;
        if kind == P_DATA_TF {
            pdu.advance(HEADER_BYTES);
            self.values = pdu;
            return self.next_value().map(Some);
        }
        control(kind, pdu).map(|pdu| Some(Frame::Control(pdu)))
    }

    fn next_value(&mut self) -> Result<Frame, FrameError> {
        if self.values.remaining() < VALUE_HEADER_BYTES {
            return Err(FrameError::ValueLength);
        }
        let length = self.values.get_u32() as usize;
        let Some(data_len) = length.checked_sub(2).filter(|_| length <= self.values.remaining()) else {
            return Err(FrameError::ValueLength);
        };
        let (context, control) = (self.values.get_u8(), self.values.get_u8());
        let part = if control & 1 == 1 { Part::Command } else { Part::Data };
        let data = self.values.split_to(data_len);
        Ok(Frame::Value(Pdv { context, part, last: control & 2 == 2, data }))
    }
}

fn control(kind: u8, pdu: Bytes) -> Result<Pdu, FrameError> {
    if matches!(kind, A_ASSOCIATE_RQ | A_ASSOCIATE_AC) {
        count_items(pdu.slice(HEADER_BYTES.min(pdu.len())..))?;
    }
    // Its errors print what the peer sent, so they end here.
    match dicom_ul::pdu::read_pdu(pdu, MAX_ASSOCIATE_BYTES, true) {
        Ok(Some(pdu)) => Ok(pdu),
        Ok(None) | Err(_) => Err(FrameError::Malformed { kind }),
    }
}

/// Counts the items of an association PDU before anything is allocated for them.
fn count_items(mut body: Bytes) -> Result<(), FrameError> {
    if body.remaining() < ASSOCIATE_FIXED_BYTES {
        return Ok(());
    }
    body.advance(ASSOCIATE_FIXED_BYTES);
    let mut contexts = 0usize;
    let mut user_information = 0usize;
    while let Some((kind, mut item)) = next_item(&mut body) {
        match kind {
            0x20 | 0x21 => {
                contexts = contexts.saturating_add(1);
                item.advance(item.remaining().min(4));
                if contexts > MAX_CONTEXTS || items(item) > MAX_TRANSFER_SYNTAXES.saturating_add(1) {
                    return Err(FrameError::TooManyItems);
                }
            }
            0x50 => {
                user_information = user_information.saturating_add(1);
                if user_information > 1 || items(item) > MAX_USER_ITEMS {
                    return Err(FrameError::TooManyItems);
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn items(mut body: Bytes) -> usize {
    std::iter::from_fn(|| next_item(&mut body)).count()
}

/// The next item with its 16-bit length; `None` at the end, or where the lengths stop making sense: whoever reads the
/// content finds that out.
fn next_item(body: &mut Bytes) -> Option<(u8, Bytes)> {
    if body.remaining() < 4 {
        return None;
    }
    let kind = body.get_u8();
    body.advance(1);
    let len = usize::from(body.get_u16());
    Some((kind, body.split_to(len.min(body.remaining()))))
}

/// The bytes of a PDU other than P-DATA-TF; `None` when a field cannot be written.
pub(crate) fn encode_control(pdu: &Pdu) -> Option<Bytes> {
    let mut out = Vec::new();
    dicom_ul::pdu::write_pdu(&mut out, pdu).ok()?;
    Some(out.into())
}

/// P-DATA-TF PDUs that carry one part of a message, none longer than `max_pdu_bytes` in its length field.
pub(crate) fn encode_values(out: &mut BytesMut, context: u8, part: Part, content: &[u8], max_pdu_bytes: u32) {
    let room = value_bytes(max_pdu_bytes);
    let mut rest = content;
    loop {
        let (now, later) = rest.split_at(rest.len().min(room));
        let last = later.is_empty();
        put_value_header(out, context, part, last, now.len());
        out.extend_from_slice(now);
        if last {
            return;
        }
        rest = later;
    }
}

/// How many bytes of a message fit one P-DATA-TF; even, as fragments have to be (PS3.8 Annex E.2).
pub(crate) fn value_bytes(max_pdu_bytes: u32) -> usize {
    (max_pdu_bytes.saturating_sub(6).max(2) & !1) as usize
}

/// The header of a P-DATA-TF with one value of `len` bytes.
pub(crate) fn put_value_header(out: &mut BytesMut, context: u8, part: Part, last: bool, len: usize) {
    let value_len = u32::try_from(len.saturating_add(2)).unwrap_or(u32::MAX);
    out.put_u8(P_DATA_TF);
    out.put_u8(0);
    out.put_u32(value_len.saturating_add(4));
    out.put_u32(value_len);
    out.put_u8(context);
    out.put_u8(u8::from(part == Part::Command) | (u8::from(last) << 1));
}

pub(crate) const HEADER_BYTES: usize = 6;
const VALUE_HEADER_BYTES: usize = 6;
/// Protocol version, reserved bytes, both titles and 32 more reserved bytes.
const ASSOCIATE_FIXED_BYTES: usize = 68;

/// In a stream of large PDUs as much is read at once as the socket has, up to about this.
const READ_BYTES: usize = 256 * 1024;
/// An idle association holds no more than this.
const FIRST_READ_BYTES: usize = 8 * 1024;

const A_ASSOCIATE_RQ: u8 = 1;
const A_ASSOCIATE_AC: u8 = 2;
const A_ASSOCIATE_RJ: u8 = 3;
const P_DATA_TF: u8 = 4;
const A_RELEASE_RQ: u8 = 5;
const A_RELEASE_RP: u8 = 6;
const A_ABORT: u8 = 7;

#[cfg(test)]
#[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "tests may fail loudly")]
mod tests {
    use super::*;
    use dicom_ul::pdu::AbortRQSource;
    use rand::{Rng, SeedableRng};

    fn session() -> Bytes {
        let mut out = BytesMut::new();
        encode_values(&mut out, 1, Part::Command, &[7; 300], 128);
        encode_values(&mut out, 1, Part::Data, &[8; 1000], 256);
        // Three values in one PDU, one of them empty.
        out.extend_from_slice(&[4, 0, 0, 0, 0, 22]);
        out.extend_from_slice(&[0, 0, 0, 4, 3, 1, 1, 2, 0, 0, 0, 2, 3, 0, 0, 0, 0, 4, 3, 2, 3, 4]);
        out.extend_from_slice(&encode_control(&Pdu::ReleaseRQ).unwrap());
        out.extend_from_slice(&encode_control(&Pdu::AbortRQ { source: AbortRQSource::ServiceUser }).unwrap());
        out.freeze()
    }

    fn frames(bytes: &[u8], mut cut: impl FnMut() -> usize) -> Vec<String> {
        let mut decoder = Decoder::default();
        let mut out = Vec::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(cut().clamp(1, rest.len()));
            decoder.room().extend_from_slice(now);
            rest = later;
            while let Some(frame) = decoder.next().unwrap() {
                out.push(match frame {
                    Frame::Value(pdv) => format!("{pdv:?} {:?}", pdv.data),
                    Frame::Control(pdu) => format!("{pdu:?}"),
                });
            }
        }
        out
    }

    #[test]
    fn how_the_stream_is_cut_makes_no_difference() {
        let bytes = session();
        let whole = frames(&bytes, || usize::MAX);
        assert_eq!(whole.len(), 3 + 4 + 3 + 2);
        for size in 1..200 {
            assert_eq!(frames(&bytes, || size), whole, "pieces of {size}");
        }
        let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(1);
        for _ in 0..200 {
            assert_eq!(frames(&bytes, || random.random_range(1..400)), whole);
        }
    }

    #[test]
    fn a_length_is_refused_at_the_header() {
        let refused = |header: [u8; 6]| {
            let mut decoder = Decoder::default();
            decoder.room().extend_from_slice(&header);
            decoder.next().err()
        };
        assert_eq!(refused([4, 0, 255, 255, 255, 255]), Some(FrameError::TooLong { kind: 4, length: u32::MAX }));
        assert_eq!(refused([4, 0, 0, 4, 0, 1]), Some(FrameError::TooLong { kind: 4, length: MAX_PDATA_BYTES + 1 }));
        assert_eq!(refused([4, 0, 0, 4, 0, 0]), None);
        assert_eq!(refused([4, 0, 0, 0, 0, 0]), Some(FrameError::EmptyPData));
        assert_eq!(refused([1, 0, 0, 4, 0, 1]), Some(FrameError::TooLong { kind: 1, length: MAX_ASSOCIATE_BYTES + 1 }));
        assert_eq!(refused([5, 0, 0, 0, 0, 65]), Some(FrameError::TooLong { kind: 5, length: 65 }));
        assert_eq!(refused([0x47, 0x45, 0x54, 0x20, 0x2F, 0x20]), Some(FrameError::UnknownType { kind: 0x47 }));
    }

    #[test]
    fn a_value_fits_its_pdu_or_is_refused() {
        let refused = |body: &[u8]| {
            let mut decoder = Decoder::default();
            decoder.room().extend_from_slice(&[4, 0, 0, 0, 0, u8::try_from(body.len()).unwrap()]);
            decoder.room().extend_from_slice(body);
            decoder.next().err()
        };
        assert_eq!(refused(&[0, 0, 0, 2, 1, 2]), None);
        for bad in [
            &[0, 0, 0, 2, 1][..],
            &[0, 0, 0, 1, 1, 2],
            &[0, 0, 0, 0, 1, 2],
            &[0, 0, 0, 3, 1, 2],
            &[255, 255, 255, 255, 1, 2],
        ] {
            assert_eq!(refused(bad), Some(FrameError::ValueLength), "{bad:?}");
        }
    }

    #[test]
    fn items_are_counted_before_they_are_read() {
        let request = |items: &[u8]| {
            let mut pdu = BytesMut::new();
            pdu.put_u16(0x0100);
            pdu.put_u32(u32::try_from(68 + items.len()).unwrap());
            pdu.extend_from_slice(&[0; 68]);
            pdu.extend_from_slice(items);
            let mut decoder = Decoder::default();
            decoder.room().extend_from_slice(&pdu);
            decoder.next().err()
        };
        assert_eq!(request(&[0x20, 0, 0, 4, 1, 0, 0, 0].repeat(10_000)), Some(FrameError::TooManyItems));
        let mut syntaxes = vec![0x20, 0, 0x10, 4, 1, 0, 0, 0];
        syntaxes.extend_from_slice(&[0x40, 0, 0, 0].repeat(1024));
        assert_eq!(request(&syntaxes), Some(FrameError::TooManyItems));
        let mut user = vec![0x50, 0, 1, 4];
        user.extend_from_slice(&[0x99, 0, 0, 0].repeat(65));
        assert_eq!(request(&user), Some(FrameError::TooManyItems));
        assert_eq!(request(&[0x50, 0, 0, 0].repeat(2)), Some(FrameError::TooManyItems));
    }

    #[test]
    fn random_bytes_never_panic_and_always_end() {
        let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(2);
        let valid = session();
        for round in 0..4000 {
            let mut bytes = if round % 2 == 0 {
                let mut bytes = valid.to_vec();
                for _ in 0..random.random_range(1..6) {
                    let at = random.random_range(0..bytes.len());
                    bytes[at] = random.random();
                }
                bytes
            } else {
                let mut bytes = vec![0; random.random_range(6..600)];
                random.fill(&mut bytes[..]);
                bytes[0] = random.random_range(0..9);
                bytes[2..5].fill(0);
                bytes
            };
            bytes.truncate(random.random_range(1..=bytes.len()));
            let mut decoder = Decoder::default();
            decoder.room().extend_from_slice(&bytes);
            // Each frame takes at least six bytes.
            let taken = (0..=bytes.len()).take_while(|_| matches!(decoder.next(), Ok(Some(_)))).count();
            assert!(taken <= bytes.len() / 6, "round {round}");
        }
    }
}
