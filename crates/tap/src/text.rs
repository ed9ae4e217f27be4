//! Small readings of values: padding, numbers.

/// The value without its padding (PS3.5 §6.2: spaces, NUL for UI; both occur everywhere).
pub(crate) fn trim_end(text: &str) -> &str {
    text.trim_end_matches([' ', '\0'])
}

/// The first US of a value.
pub(crate) fn u16_first(value: &[u8], big_endian: bool) -> Option<u16> {
    let bytes = value.first_chunk().copied()?;
    Some(if big_endian { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) })
}

/// An IS; one that was written as a whole decimal ("12.0") counts as well.
pub(crate) fn integer(text: &str) -> Option<i64> {
    let text = text.trim_matches([' ', '\0']);
    let text = text.strip_prefix('+').unwrap_or(text);
    let whole =
        text.split_once('.').map_or(text, |(whole, rest)| if rest.bytes().all(|b| b == b'0') { whole } else { text });
    whole.parse().ok()
}

/// A DS or IS as a JSON number, or `None` where it is none: `+5`, `.5`, `5.` and `007` occur and JSON knows none of them.
pub(crate) fn json_number(text: &str) -> Option<String> {
    let text = text.trim_matches([' ', '\0']);
    if text.is_empty() || text.len() > MAX_NUMBER {
        return None;
    }
    let (sign, rest) = match text.as_bytes().first()? {
        b'-' => ("-", text.get(1..)?),
        b'+' => ("", text.get(1..)?),
        _ => ("", text),
    };
    let (mantissa, exponent) = match rest.split_once(['e', 'E']) {
        Some((m, e)) => (m, Some(e)),
        None => (rest, None),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || (whole.is_empty() && fraction.is_empty()) {
        return None;
    }
    let whole = match whole.trim_start_matches('0') {
        "" => "0",
        w => w,
    };
    let mut out = format!("{sign}{whole}");
    if !fraction.is_empty() {
        out.push('.');
        out.push_str(fraction);
    }
    if let Some(exponent) = exponent {
        let unsigned = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        if unsigned.is_empty() || !digits(unsigned) {
            return None;
        }
        out.push('e');
        out.push_str(exponent);
    }
    // A reader that makes a double of it must not overflow.
    out.parse::<f64>().ok().filter(|n| n.is_finite())?;
    Some(out)
}

/// A DS has 16 characters; somewhat more is met.
const MAX_NUMBER: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_the_field_become_numbers_of_json() {
        for (given, wanted) in [
            ("1.50 ", "1.50"),
            ("+5", "5"),
            ("-.5", "-0.5"),
            ("5.", "5"),
            ("007", "7"),
            ("-0", "-0"),
            ("1e+3", "1e+3"),
            (" 12", "12"),
            ("2E-05", "2e-05"),
        ] {
            assert_eq!(json_number(given).as_deref(), Some(wanted), "{given}");
            assert!(serde_json::from_str::<f64>(wanted).is_ok(), "{wanted}");
        }
        for bad in ["", " ", ".", "-", "1e", "1e400", "1,5", "0x1", "NaN", "1 2", "1e5e5"] {
            assert_eq!(json_number(bad), None, "{bad}");
        }
    }

    #[test]
    fn whole_numbers_are_read_as_written_in_the_field() {
        assert_eq!(integer(" 12 "), Some(12));
        assert_eq!(integer("+3"), Some(3));
        assert_eq!(integer("12.00"), Some(12));
        assert_eq!(integer("12.5"), None);
        assert_eq!(integer(""), None);
    }
}
