//! Metadata, compressed (RFC 1952).

use flate2::{Compress, Compression, Crc, FlushCompress, Status};
use std::cell::RefCell;

thread_local! {
    // A compressor is 300 KB of tables: made anew for each instance, clearing them took longer than compressing.
    static COMPRESSOR: RefCell<Compress> = RefCell::new(Compress::new(Compression::fast(), false));
}

/// One gzip member without name and time.
pub(crate) fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(plain.len() / 2 + ROOM_BYTES);
    out.extend_from_slice(&HEAD);
    COMPRESSOR.with_borrow_mut(|compressor| {
        compressor.reset();
        loop {
            let taken = usize::try_from(compressor.total_in()).expect("no more than was given");
            let status = compressor.compress_vec(&plain[taken..], &mut out, FlushCompress::Finish);
            match status.expect("the state was just reset") {
                Status::StreamEnd => break,
                Status::Ok | Status::BufError => out.reserve(out.capacity()),
            }
        }
    });
    let mut crc = Crc::new();
    crc.update(plain);
    out.extend_from_slice(&crc.sum().to_le_bytes());
    out.extend_from_slice(&crc.amount().to_le_bytes());
    out
}

/// Magic, deflate, no flags, no time, fastest algorithm, unknown system.
const HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 4, 255];
const ROOM_BYTES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::read::GzDecoder;
    use std::io::Read;

    #[test]
    fn what_was_packed_comes_out_whatever_came_before() {
        let noise: Vec<u8> = (0..100_000_u32).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
        for plain in [&b""[..], b"{}", &[b'a'; 70_000], &noise, b"[1]"] {
            let packed = gzip(plain);
            let mut back = Vec::new();
            GzDecoder::new(packed.as_slice()).read_to_end(&mut back).unwrap();
            assert_eq!(back, plain);
        }
    }
}
