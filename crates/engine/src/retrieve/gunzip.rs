//! Metadata, decompressed (RFC 1952): the other side of `ingest::gzip`.

use flate2::{Decompress, FlushDecompress, Status};
use std::cell::RefCell;

thread_local! {
    // Its window is 32 KiB: made anew for each of the 500 rows of a series, clearing it took a quarter of the time.
    static DECOMPRESSOR: RefCell<Decompress> = RefCell::new(Decompress::new(false));
}

/// What one gzip member without name and time holds, if that is at most `most` bytes and as long as the member says. Its
/// checksum is not looked at: the row that it came in was authenticated as a whole.
pub(super) fn gunzip(packed: &[u8], most: usize) -> Option<Vec<u8>> {
    let (body, trailer) = packed.split_last_chunk::<TRAILER>()?;
    let [.., a, b, c, d] = *trailer;
    let len = u32::from_le_bytes([a, b, c, d]) as usize;
    let body = body.strip_prefix(&DEFLATE_WITHOUT_FLAGS)?.get(TIME_AND_SYSTEM..)?;
    if len > most {
        return None;
    }
    // One byte more than it may be: a longer one would fill it.
    let mut plain = Vec::with_capacity(len + 1);
    let status = DECOMPRESSOR.with_borrow_mut(|decompressor| {
        decompressor.reset(false);
        decompressor.decompress_vec(body, &mut plain, FlushDecompress::Finish)
    });
    (status.ok()? == Status::StreamEnd && plain.len() == len).then_some(plain)
}

/// Magic, method and flags.
const DEFLATE_WITHOUT_FLAGS: [u8; 4] = [0x1f, 0x8b, 8, 0];
const TIME_AND_SYSTEM: usize = 6;
/// Checksum and length.
const TRAILER: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::gzip;
    use flate2::{Compression, GzBuilder, write::GzEncoder};
    use std::io::Write as _;

    #[test]
    fn a_member_comes_out_whole_or_not_at_all_whatever_came_before() {
        let noise: Vec<u8> = (0..100_000_u32).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
        for plain in [&b""[..], b"{}", &[b'x'; 70_000], &noise, b"[1]"] {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(plain).unwrap();
            for packed in [gzip(plain), encoder.finish().unwrap()] {
                assert_eq!(gunzip(&packed, plain.len()).as_deref(), Some(plain));
                for cut in 1..packed.len().min(40) {
                    assert_eq!(gunzip(&packed[..packed.len() - cut], 1 << 20), None, "{cut} bytes are missing");
                }
                assert_eq!(gunzip(&packed, plain.len().wrapping_sub(1)).is_some(), plain.is_empty());
            }
        }
        assert_eq!(gunzip(b"", 9), None);
    }

    #[test]
    fn a_member_that_is_longer_than_it_says_or_bears_a_name_is_none() {
        let mut packed = gzip(&[b'x'; 70_000]);
        let len = packed.len();
        packed[len - 4..].copy_from_slice(&69_999_u32.to_le_bytes());
        assert_eq!(gunzip(&packed, 1 << 20), None);
        let mut named = GzBuilder::new().filename("x").write(Vec::new(), Compression::fast());
        named.write_all(b"{}").unwrap();
        assert_eq!(gunzip(&named.finish().unwrap(), 9), None);
    }
}
