//! Segment headers and record headers: the bytes of JOURNAL.md "Bytes at rest".

use twox_hash::XxHash3_128;

/// Forms of a segment, told by its magic. One is written, the others are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// `LGJSEG01`: sums are BLAKE3.
    First,
    /// `LGJSEG02`: sums are XXH3.
    Second,
    /// `LGJSEG03`: a payload may stand behind zeros.
    Third,
}

/// How payloads are summed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Summing {
    Blake3,
    /// Several times as fast, and as good against accidents.
    Xxh3,
}

/// Sum of a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PayloadSum {
    Blake3([u8; 32]),
    Xxh3([u8; 16]),
}

impl Summing {
    pub(crate) fn sum<'a>(self, pieces: impl IntoIterator<Item = &'a [u8]>) -> PayloadSum {
        match self {
            Self::Blake3 => {
                let mut hasher = blake3::Hasher::new();
                for piece in pieces {
                    hasher.update(piece);
                }
                PayloadSum::Blake3(hasher.finalize().into())
            }
            Self::Xxh3 => {
                let mut hasher = XxHash3_128::new();
                for piece in pieces {
                    hasher.write(piece);
                }
                PayloadSum::Xxh3(hasher.finish_128().to_be_bytes())
            }
        }
    }
}

impl Form {
    const ALL: [Self; 3] = [Self::Third, Self::Second, Self::First];

    const fn magic(self) -> &'static [u8; 8] {
        match self {
            Self::First => b"LGJSEG01",
            Self::Second => b"LGJSEG02",
            Self::Third => b"LGJSEG03",
        }
    }

    pub(crate) const fn summing(self) -> Summing {
        match self {
            Self::First => Summing::Blake3,
            Self::Second | Self::Third => Summing::Xxh3,
        }
    }
}

impl PayloadSum {
    fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Blake3(sum) => sum,
            Self::Xxh3(sum) => sum,
        }
    }
}

/// Head of a segment file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) form: Form,
    pub(crate) file_id: [u8; 16],
    pub(crate) generation: u64,
    pub(crate) first: u64,
    pub(crate) trimmed: u64,
    pub(crate) segment_bytes: u64,
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut out = [0; SEGMENT_HEADER_BYTES];
        out[0..8].copy_from_slice(self.form.magic());
        out[8..24].copy_from_slice(&self.file_id);
        out[24..32].copy_from_slice(&self.generation.to_le_bytes());
        out[32..40].copy_from_slice(&self.first.to_le_bytes());
        out[40..48].copy_from_slice(&self.trimmed.to_le_bytes());
        out[48..56].copy_from_slice(&self.segment_bytes.to_le_bytes());
        let digest = blake3::hash(&out[..64]);
        out[64..].copy_from_slice(digest.as_bytes());
        out
    }

    /// The header, or nothing when a single bit of it is not as written.
    pub(crate) fn decode(bytes: &[u8; SEGMENT_HEADER_BYTES]) -> Option<Self> {
        let form = Form::ALL.into_iter().find(|form| bytes[0..8] == *form.magic())?;
        if blake3::hash(&bytes[..64]).as_bytes()[..] != bytes[64..] {
            return None;
        }
        let mut file_id = [0; 16];
        file_id.copy_from_slice(&bytes[8..24]);
        Some(Self {
            form,
            file_id,
            generation: u64_at(bytes, 24),
            first: u64_at(bytes, 32),
            trimmed: u64_at(bytes, 40),
            segment_bytes: u64_at(bytes, 48),
        })
    }

    pub(crate) fn key(&self) -> RecordKey {
        RecordKey(blake3::derive_key("leadglass journal record v1", &self.file_id))
    }
}

/// Binds a record to one use of one file.
#[derive(Clone, Copy)]
pub(crate) struct RecordKey([u8; 32]);

/// Head of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RecordHeader {
    pub(crate) len: u32,
    pub(crate) flags: u16,
    /// Zeros between header and payload.
    pub(crate) lead: u16,
    pub(crate) sequence: u64,
}

impl RecordHeader {
    pub(crate) fn is_first(&self) -> bool {
        self.flags & FIRST_OF_BATCH != 0
    }

    pub(crate) fn is_last(&self) -> bool {
        self.flags & LAST_OF_BATCH != 0
    }

    /// The header with its checksum over itself and the payload whose digest is given.
    pub(crate) fn encode(&self, key: &RecordKey, payload: &PayloadSum) -> [u8; 32] {
        let mut out = [0; 32];
        out[0..4].copy_from_slice(&self.len.to_le_bytes());
        out[4..6].copy_from_slice(&self.flags.to_le_bytes());
        out[6..8].copy_from_slice(&self.lead.to_le_bytes());
        out[8..16].copy_from_slice(&self.sequence.to_le_bytes());
        let sum = checksum(key, &out[..16], payload);
        out[16..].copy_from_slice(&sum);
        out
    }

    /// What the bytes claim. Nothing is proven before [`Self::proves`].
    pub(crate) fn claimed(bytes: &[u8; 32]) -> Self {
        let [a, b, c, d, e, f, g, h, ..] = *bytes;
        Self {
            len: u32::from_le_bytes([a, b, c, d]),
            flags: u16::from_le_bytes([e, f]),
            lead: u16::from_le_bytes([g, h]),
            sequence: u64_at(bytes, 8),
        }
    }

    /// Where the payload begins, in a record that begins at `offset`.
    pub(crate) fn payload_at(&self, offset: u64) -> u64 {
        offset + RECORD_HEADER_BYTES + u64::from(self.lead)
    }

    /// Where it ends.
    pub(crate) fn end(&self, offset: u64) -> u64 {
        self.payload_at(offset) + u64::from(self.len)
    }

    /// Whether these header bytes and this payload were written together, for this use of this file.
    pub(crate) fn proves(bytes: &[u8; 32], key: &RecordKey, payload: &PayloadSum) -> bool {
        checksum(key, &bytes[..16], payload) == bytes[16..]
    }
}

fn checksum(key: &RecordKey, head: &[u8], payload: &PayloadSum) -> [u8; 16] {
    let digest = blake3::Hasher::new_keyed(&key.0).update(head).update(payload.as_bytes()).finalize();
    let mut out = [0; 16];
    out.copy_from_slice(&digest.as_bytes()[..16]);
    out
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut out = [0; 8];
    out.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(out)
}

pub(crate) const fn align(offset: u64, to: u64) -> u64 {
    offset.div_ceil(to) * to
}

/// Batches start at multiples of it; the first block of a segment holds its header.
pub(crate) const BLOCK_BYTES: u64 = 4096;
/// Records inside a batch start at multiples of it.
pub(crate) const RECORD_ALIGN: u64 = 8;
pub(crate) const RECORD_HEADER_BYTES: u64 = 32;
pub(crate) const SEGMENT_HEADER_BYTES: usize = 96;
pub(crate) const FIRST_OF_BATCH: u16 = 1;
pub(crate) const LAST_OF_BATCH: u16 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> SegmentHeader {
        SegmentHeader {
            form: Form::Third,
            file_id: [7; 16],
            generation: 3,
            first: 41,
            trimmed: 40,
            segment_bytes: 1 << 16,
        }
    }

    #[test]
    fn a_segment_header_comes_back_and_no_flipped_bit_does() {
        let bytes = header().encode();
        assert_eq!(SegmentHeader::decode(&bytes), Some(header()));
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(SegmentHeader::decode(&bad), None, "bit {bit}");
        }
    }

    #[test]
    fn a_sum_does_not_depend_on_the_pieces() {
        for summing in [Summing::Blake3, Summing::Xxh3] {
            let whole = summing.sum([&b"payload"[..]]);
            assert_eq!(summing.sum([&b"pay"[..], b"", b"load"]), whole);
            assert_ne!(summing.sum([&b"payloae"[..]]), whole);
        }
    }

    #[test]
    fn segments_of_older_forms_are_read_with_their_own_sums() {
        let old = SegmentHeader { form: Form::First, ..header() };
        assert_eq!(SegmentHeader::decode(&old.encode()), Some(old));
        assert_eq!(&old.encode()[..8], b"LGJSEG01");
        let sum = old.form.summing().sum([&b"payload"[..]]);
        assert_eq!(sum, PayloadSum::Blake3(*blake3::hash(b"payload").as_bytes()));
        let old = SegmentHeader { form: Form::Second, ..header() };
        assert_eq!(SegmentHeader::decode(&old.encode()), Some(old));
        assert_eq!(&old.encode()[..8], b"LGJSEG02");
    }

    #[test]
    fn a_sum_is_xxh3_with_128_bits_and_seed_zero() {
        // XXH3_128bits of no bytes, as the specification's own tests have it.
        let empty = u128::to_be_bytes(0x99aa_06d3_0147_98d8_6001_c324_468d_497f);
        assert_eq!(Summing::Xxh3.sum([]), PayloadSum::Xxh3(empty));
    }

    #[test]
    fn a_record_of_another_use_of_the_file_proves_nothing() {
        let payload = Summing::Xxh3.sum([&b"payload"[..]]);
        let record = RecordHeader { len: 7, flags: FIRST_OF_BATCH, lead: 4_095, sequence: 41 };
        let bytes = record.encode(&header().key(), &payload);
        assert_eq!(RecordHeader::claimed(&bytes), record);
        assert!(RecordHeader::proves(&bytes, &header().key(), &payload));
        let reused = SegmentHeader { file_id: [8; 16], ..header() };
        assert!(!RecordHeader::proves(&bytes, &reused.key(), &payload));
        for bit in 0..256 {
            let mut bad = bytes;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(!RecordHeader::proves(&bad, &header().key(), &payload), "bit {bit}");
        }
    }
}
