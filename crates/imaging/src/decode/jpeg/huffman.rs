//! Huffman tables (T.81 Annex C, §F.2.2.3).

use super::bits::Bits;
use crate::decode::DecodeError;

/// A table ready to decode with.
pub(super) struct Huffman {
    /// By the next nine bits: length in the high byte and symbol in the low one; 0 where the code is longer.
    short: Vec<u16>,
    /// For each length: one more than its largest code, left-aligned to 16 bits.
    limit: [u32; 17],
    /// For each length: what to add to a code to find its symbol.
    offset: [i32; 17],
    symbols: Vec<u8>,
}

impl Huffman {
    /// Reads one table of a DHT segment; what follows it comes back, too.
    pub(super) fn read(segment: &[u8]) -> Result<(Self, &[u8]), DecodeError> {
        let damaged = DecodeError::Damaged { what: "a Huffman table" };
        let (counts, rest) = segment.split_first_chunk::<16>().ok_or(DecodeError::Truncated)?;
        let total: usize = counts.iter().map(|n| usize::from(*n)).sum();
        let (symbols, rest) = rest.split_at_checked(total).ok_or(DecodeError::Truncated)?;
        if total > 256 {
            return Err(damaged);
        }
        let mut table = Self { short: vec![0; 1 << SHORT], limit: [0; 17], offset: [0; 17], symbols: symbols.to_vec() };
        let (mut code, mut index) = (0_u32, 0_u32);
        for (length, count) in (1_u32..).zip(counts) {
            let count = u32::from(*count);
            if code + count > 1 << length {
                return Err(damaged);
            }
            let (slot_limit, slot_offset) =
                table.limit.iter_mut().zip(&mut table.offset).nth(length as usize).ok_or(damaged)?;
            *slot_offset = index.cast_signed() - code.cast_signed();
            for symbol in symbols.iter().skip(index as usize).take(count as usize) {
                if length <= SHORT {
                    let first = code << (SHORT - length);
                    let entry = u16::from_be_bytes([length.to_le_bytes()[0], *symbol]);
                    let places = table.short.iter_mut().skip(first as usize);
                    places.take(1 << (SHORT - length)).for_each(|place| *place = entry);
                }
                code += 1;
            }
            index += count;
            *slot_limit = if count > 0 { code << (16 - length) } else { 0 };
            code <<= 1;
        }
        Ok((table, rest))
    }

    /// The next symbol.
    pub(super) fn next(&self, bits: &mut Bits<'_>) -> Result<u8, DecodeError> {
        let ahead = bits.peek();
        if let Some(entry) = self.short.get(usize::from(ahead >> (16 - SHORT)))
            && *entry != 0
        {
            let [length, symbol] = entry.to_be_bytes();
            bits.take(u32::from(length))?;
            return Ok(symbol);
        }
        let long = (1_u32..).zip(self.limit.iter().zip(&self.offset).skip(1)).skip(SHORT as usize);
        for (length, (limit, offset)) in long {
            if u32::from(ahead) < *limit {
                let code = i32::from(ahead >> (16 - length));
                let symbol = usize::try_from(code + offset).ok().and_then(|index| self.symbols.get(index));
                let symbol = *symbol.ok_or(DecodeError::Damaged { what: "a Huffman code" })?;
                bits.take(length)?;
                return Ok(symbol);
            }
        }
        // Past the end of the data there are only zeros, which no table needs to know.
        bits.take(16)?;
        Err(DecodeError::Damaged { what: "a Huffman code" })
    }
}

/// Bits of a code that one look-up decodes.
const SHORT: u32 = 9;
