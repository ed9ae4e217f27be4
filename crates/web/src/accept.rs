//! Which of the forms that can be served a caller wants (PS3.18 §8.7.5 and §8.7.8; RFC 9110 §12.5.1).
//!
//! The handler offers what it can serve, the best first. Each offer is worth what the most specific range of the `Accept`
//! header that covers it says; the worthiest offer is taken, of equal ones the first. Nothing is re-encoded to please a
//! header, so an offer names the transfer syntax that it comes in.

use axum::http::{HeaderMap, header};

/// What a request accepts; several `Accept` lines are one list (RFC 9110 §5.3). `None` for what is no text.
#[allow(clippy::option_option, reason = "the outer says whether it can be read, the inner whether it is there")]
pub(crate) fn header(headers: &HeaderMap) -> Option<Option<String>> {
    let lines = headers.get_all(header::ACCEPT).iter().map(|line| line.to_str().ok());
    let lines = lines.collect::<Option<Vec<_>>>()?;
    Some((!lines.is_empty()).then(|| lines.join(", ")))
}

/// How a representation is wrapped on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wrapping {
    /// One body.
    Single,
    /// `multipart/related`, one part a thing.
    Multipart,
}

/// A form that can be served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Offer {
    /// One part or many.
    pub(crate) wrapping: Wrapping,
    /// Media type of the body or of each part, in lower case.
    pub(crate) kind: &'static str,
    /// Transfer syntax, for what has one.
    pub(crate) syntax: Option<String>,
    /// Whether a range that names this media type and no transfer syntax means this one too.
    pub(crate) usual: bool,
}

impl Offer {
    /// A form without a transfer syntax.
    pub(crate) const fn plain(wrapping: Wrapping, kind: &'static str) -> Self {
        Self { wrapping, kind, syntax: None, usual: true }
    }

    /// A form in a transfer syntax.
    pub(crate) fn encoded(wrapping: Wrapping, kind: &'static str, syntax: &str, usual: bool) -> Self {
        Self { wrapping, kind, syntax: Some(syntax.to_owned()), usual }
    }
}

/// The offer that an `Accept` header likes best; without a header the first. `None`: none of them.
pub(crate) fn choose(header: Option<&str>, offers: &[Offer]) -> Option<Offer> {
    let Some(header) = header.filter(|h| !h.trim().is_empty()) else { return offers.first().cloned() };
    let ranges: Vec<Range> = split(header, ',').take(MAX_RANGES).filter_map(Range::parse).collect();
    let worth = |offer: &Offer| {
        let covering = ranges.iter().filter_map(|range| Some((range.covers(offer)?, range.weight)));
        covering.max().map_or(0, |(_, weight)| weight)
    };
    let mut best: Option<(u16, &Offer)> = None;
    for offer in offers {
        let weight = worth(offer);
        if weight > best.map_or(0, |(held, _)| held) {
            best = Some((weight, offer));
        }
    }
    best.map(|(_, offer)| offer.clone())
}

/// One media range.
#[derive(Debug)]
struct Range {
    kind: String,
    /// `type` of a multipart range.
    inner: Option<String>,
    syntax: Option<String>,
    /// Thousandths.
    weight: u16,
}

impl Range {
    /// `None` for what cannot be read, and for character sets other than UTF-8.
    fn parse(range: &str) -> Option<Self> {
        let mut parts = split(range, ';').map(str::trim);
        let kind = parts.next()?.to_ascii_lowercase();
        let mut parsed = Self { kind, inner: None, syntax: None, weight: 1000 };
        for part in parts {
            let Some((name, value)) = part.split_once('=') else { continue };
            let value = value.trim().trim_matches('"').trim();
            match name.trim().to_ascii_lowercase().as_str() {
                "q" => parsed.weight = quality(value)?,
                // Some put the parts' parameters inside of the quotes.
                "type" => {
                    let mut inner = split(value, ';').map(str::trim);
                    parsed.inner = inner.next().map(str::to_ascii_lowercase);
                    let syntax = inner.find_map(|p| p.strip_prefix("transfer-syntax="));
                    parsed.syntax = parsed.syntax.or_else(|| syntax.map(str::to_owned));
                }
                "transfer-syntax" => parsed.syntax = Some(value.to_owned()),
                "charset" if !matches!(value.to_ascii_lowercase().as_str(), "utf-8" | "utf8" | "*") => return None,
                _ => {}
            }
        }
        Some(parsed)
    }

    /// How closely the range describes the offer; `None` where it does not.
    fn covers(&self, offer: &Offer) -> Option<u8> {
        let family = |kind: &str| offer.kind.split_once('/').is_some_and(|(family, _)| kind == format!("{family}/*"));
        let named = match (self.kind.as_str(), self.inner.as_deref(), offer.wrapping) {
            ("*/*", _, _) => 1,
            ("multipart/*", None, Wrapping::Multipart) => 2,
            ("multipart/related" | "multipart/*", inner, Wrapping::Multipart) => match inner {
                None | Some("*/*") => 3,
                Some(kind) if family(kind) => 4,
                Some(kind) if kind == offer.kind => 5,
                Some(_) => return None,
            },
            (kind, _, Wrapping::Single) if family(kind) => 2,
            (kind, _, Wrapping::Single) if kind == offer.kind => 5,
            _ => return None,
        };
        match (self.syntax.as_deref(), &offer.syntax) {
            (None, _) if offer.usual || named < 5 => Some(named),
            (Some("*"), _) => Some(named),
            (Some(asked), Some(syntax)) if asked == syntax => Some(named + 1),
            _ => None,
        }
    }
}

/// A quality value in thousandths (RFC 9110 §12.4.2).
fn quality(text: &str) -> Option<u16> {
    let (whole, rest) = text.split_once('.').unwrap_or((text, ""));
    let digits = rest.len() <= 3 && rest.bytes().all(|b| b.is_ascii_digit());
    let thousandths = || format!("{rest:0<3}").parse::<u16>().ok();
    match whole {
        "0" if digits => thousandths(),
        "1" if digits && rest.bytes().all(|b| b == b'0') => Some(1000),
        _ => None,
    }
}

/// Splits at `at` outside double quotes.
fn split(text: &str, at: char) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    text.split(move |c| {
        quoted ^= c == '"';
        c == at && !quoted
    })
}

const MAX_RANGES: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use Wrapping::{Multipart, Single};

    const JLS: &str = "1.2.840.10008.1.2.4.80";

    fn instances() -> Vec<Offer> {
        [Multipart, Single].map(|w| Offer::encoded(w, "application/dicom", "1.2.840.10008.1.2.4.50", true)).to_vec()
    }

    fn frames() -> Vec<Offer> {
        vec![
            Offer::encoded(Multipart, "image/jls", JLS, true),
            Offer::encoded(Multipart, "application/octet-stream", JLS, false),
            Offer::encoded(Single, "image/jls", JLS, true),
            Offer::encoded(Single, "application/octet-stream", JLS, false),
        ]
    }

    fn wrapping(header: &str) -> Option<Wrapping> {
        choose(Some(header), &instances()).map(|offer| offer.wrapping)
    }

    /// Some clients send a line for each media type; once all but the first were passed over, and they were refused.
    #[test]
    fn several_lines_are_one_list() {
        let mut headers = HeaderMap::new();
        assert_eq!(header(&headers), Some(None));
        headers.append(header::ACCEPT, "image/jpeg".parse().unwrap());
        headers.append(header::ACCEPT, "application/dicom;q=0.5".parse().unwrap());
        assert_eq!(header(&headers), Some(Some("image/jpeg, application/dicom;q=0.5".into())));
        assert_eq!(header(&headers).flatten().and_then(|all| wrapping(&all)), Some(Single));
        headers.append(header::ACCEPT, http::HeaderValue::from_bytes(b"\xff").unwrap());
        assert_eq!(header(&headers), None);
    }

    #[test]
    fn the_default_is_multipart() {
        assert_eq!(choose(None, &instances()).map(|o| o.wrapping), Some(Multipart));
        for header in ["", "*/*", "multipart/*", "multipart/related; type=\"application/dicom\""] {
            assert_eq!(wrapping(header), Some(Multipart), "{header:?}");
        }
    }

    #[test]
    fn one_part_is_given_when_asked_for() {
        assert_eq!(wrapping("application/dicom"), Some(Single));
        assert_eq!(wrapping("application/*"), Some(Single));
        assert_eq!(wrapping("application/dicom;q=0.5, multipart/related"), Some(Multipart));
        assert_eq!(wrapping("text/html, application/dicom;q=0.1"), Some(Single));
    }

    #[test]
    fn what_cannot_be_served_is_refused() {
        for header in [
            "image/jpeg",
            "application/dicom;q=0",
            "application/dicom;q=2",
            "multipart/related; type=\"image/jpeg\"",
            "x",
        ] {
            assert_eq!(wrapping(header), None, "{header}");
        }
    }

    #[test]
    fn the_closest_range_says_what_an_offer_is_worth() {
        assert_eq!(wrapping("*/*, multipart/related;q=0"), Some(Single));
        assert_eq!(wrapping("*/*;q=0.1, multipart/related; type=\"application/dicom\"; q=0.05"), Some(Single));
        assert_eq!(
            wrapping("multipart/related; q=1, multipart/related; type=\"application/dicom\"; q=0, */*;q=0.2"),
            Some(Single)
        );
    }

    #[test]
    fn a_named_transfer_syntax_must_be_the_one_offered() {
        for (header, takes) in [
            ("application/dicom", true),
            ("application/dicom; transfer-syntax=*", true),
            ("application/dicom; transfer-syntax=1.2.840.10008.1.2.4.50", true),
            ("application/dicom; transfer-syntax=\"1.2.840.10008.1.2.1\"", false),
            (
                "application/dicom; transfer-syntax=1.2.840.10008.1.2.1, application/dicom; transfer-syntax=1.2.840.10008.1.2.4.50",
                true,
            ),
        ] {
            assert_eq!(wrapping(header).is_some(), takes, "{header}");
        }
    }

    #[test]
    fn compressed_frames_come_under_the_name_that_was_asked_for() {
        let table: &[(&str, Option<usize>)] = &[
            ("*/*", Some(0)),
            ("multipart/related; type=\"image/jls\"", Some(0)),
            ("multipart/related; type=\"image/*\"", Some(0)),
            ("multipart/related; type=application/octet-stream; transfer-syntax=*", Some(1)),
            ("multipart/related; type=\"application/octet-stream; transfer-syntax=*\"", Some(1)),
            ("multipart/related; type=application/octet-stream; transfer-syntax=1.2.840.10008.1.2.4.80", Some(1)),
            // Uncompressed is the default of this media type, and it is not offered.
            ("multipart/related; type=application/octet-stream", None),
            ("application/octet-stream", None),
            ("application/octet-stream; transfer-syntax=*", Some(3)),
            ("image/jls", Some(2)),
            ("image/*", Some(2)),
            ("image/jpeg", None),
            ("image/avif,image/webp,image/apng,image/*,*/*;q=0.8", Some(2)),
            ("multipart/related; type=\"image/jp2\", multipart/related; type=\"image/jls\"; q=0.3", Some(0)),
        ];
        for (header, expected) in table {
            assert_eq!(choose(Some(header), &frames()), expected.map(|n| frames()[n].clone()), "{header}");
        }
    }
}
