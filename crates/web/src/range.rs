//! `Range: bytes=…` for one range (RFC 9110 §14.1). More than one range is answered whole, as the RFC allows.

use std::ops::Range;

/// What a `Range` header asks of a body of known length.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// No range, or one we need not honour.
    Whole,
    /// These bytes.
    Part(Range<u64>),
    /// Nothing of the body.
    Unsatisfiable,
}

/// Reads a `Range` header for a body of `total` bytes.
pub(crate) fn parse(header: &str, total: u64) -> Wanted {
    let Some(spec) = header.trim().strip_prefix("bytes=") else { return Wanted::Whole };
    let Some((first, last)) = spec.split_once('-') else { return Wanted::Whole };
    let (first, last) = (first.trim(), last.trim());
    if first.is_empty() {
        return match last.parse::<u64>() {
            Ok(0) => Wanted::Unsatisfiable,
            Ok(_) if total == 0 => Wanted::Unsatisfiable,
            Ok(suffix) => Wanted::Part(total.saturating_sub(suffix)..total),
            Err(_) => Wanted::Whole,
        };
    }
    let Ok(first) = first.parse::<u64>() else { return Wanted::Whole };
    let last = match last.parse::<u64>() {
        Ok(last) if last < first => return Wanted::Whole,
        Ok(last) => last,
        Err(_) if last.is_empty() => u64::MAX,
        Err(_) => return Wanted::Whole,
    };
    if first >= total { Wanted::Unsatisfiable } else { Wanted::Part(first..last.saturating_add(1).min(total)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_the_rfc_has_them() {
        for (header, wanted) in [
            ("bytes=0-0", Wanted::Part(0..1)),
            ("bytes=2-", Wanted::Part(2..10)),
            ("bytes=-3", Wanted::Part(7..10)),
            ("bytes=-30", Wanted::Part(0..10)),
            ("bytes=5-99", Wanted::Part(5..10)),
            ("bytes=10-", Wanted::Unsatisfiable),
            ("bytes=-0", Wanted::Unsatisfiable),
            ("bytes=5-4", Wanted::Whole),
            ("bytes=0-1,4-5", Wanted::Whole),
            ("items=0-1", Wanted::Whole),
            ("bytes=x-1", Wanted::Whole),
            ("bytes=0-18446744073709551615", Wanted::Part(0..10)),
        ] {
            assert_eq!(parse(header, 10), wanted, "{header}");
        }
    }
}
