//! Which form of an instance a caller accepts (PS3.18 §8.7, §10.4.4).
//!
//! Instances leave as they came in: nothing is re-encoded. So the question is only whether the caller wants one part or
//! `multipart/related`, and whether a transfer syntax that it insists on is the stored one.

use leadglass_model::TransferSyntaxUid;

/// How instances are wrapped on their way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wrapping {
    /// One `application/dicom` body, with `Range`.
    Single,
    /// `multipart/related; type="application/dicom"`.
    Multipart,
}

/// What the `Accept` header asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Accepted {
    /// One part or many.
    pub(crate) wrapping: Wrapping,
    /// Transfer syntaxes the caller can read; `None`: any.
    syntaxes: Option<Vec<String>>,
}

impl Accepted {
    /// Reads an `Accept` header; `None` when nothing in it can be served. No header, `*/*` and `multipart/*` mean
    /// multipart, as PS3.18 has it.
    pub(crate) fn parse(header: Option<&str>) -> Option<Self> {
        let Some(header) = header.filter(|h| !h.trim().is_empty()) else {
            return Some(Self { wrapping: Wrapping::Multipart, syntaxes: None });
        };
        let mut best: Option<(u16, Self)> = None;
        for range in split(header, ',').take(MAX_RANGES) {
            let Some((weight, wrapping, syntax)) = media_range(range) else { continue };
            match &mut best {
                Some((held, accepted)) if *held == weight && accepted.wrapping == wrapping => {
                    match (&mut accepted.syntaxes, syntax) {
                        (Some(list), Some(uid)) => list.push(uid),
                        (list, None) => *list = None,
                        (None, Some(_)) => {}
                    }
                }
                Some((held, _)) if *held >= weight => {}
                _ => best = Some((weight, Self { wrapping, syntaxes: syntax.map(|s| vec![s]) })),
            }
        }
        best.filter(|(weight, _)| *weight > 0).map(|(_, accepted)| accepted)
    }

    /// Whether an instance stored in `syntax` can be handed out as it is.
    pub(crate) fn takes(&self, syntax: &TransferSyntaxUid) -> bool {
        self.syntaxes.as_ref().is_none_or(|list| list.iter().any(|uid| uid == syntax.as_str()))
    }
}

/// Weight in thousandths, wrapping, and the transfer syntax if one is named.
fn media_range(range: &str) -> Option<(u16, Wrapping, Option<String>)> {
    let mut parts = split(range, ';').map(str::trim);
    let kind = parts.next()?.to_ascii_lowercase();
    let (mut weight, mut syntax, mut inner) = (1000, None, None);
    for part in parts {
        let Some((name, value)) = part.split_once('=') else { continue };
        let value = value.trim().trim_matches('"');
        match name.trim().to_ascii_lowercase().as_str() {
            "q" => weight = quality(value)?,
            "transfer-syntax" if value != "*" => syntax = Some(value.to_owned()),
            "type" => inner = Some(value.to_ascii_lowercase()),
            _ => {}
        }
    }
    let wrapping = match (kind.as_str(), inner.as_deref()) {
        ("*/*" | "multipart/*", _) => Wrapping::Multipart,
        ("multipart/related", None | Some("application/dicom" | "application/*" | "*/*")) => Wrapping::Multipart,
        ("application/dicom" | "application/*", _) => Wrapping::Single,
        _ => return None,
    };
    Some((weight, wrapping, syntax))
}

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

    fn wrapping(header: &str) -> Option<Wrapping> {
        Accepted::parse(Some(header)).map(|a| a.wrapping)
    }

    #[test]
    fn the_default_is_multipart() {
        for header in [None, Some(""), Some("*/*"), Some("multipart/related; type=\"application/dicom\"")] {
            assert_eq!(Accepted::parse(header).map(|a| a.wrapping), Some(Wrapping::Multipart), "{header:?}");
        }
    }

    #[test]
    fn one_part_is_given_when_asked_for() {
        assert_eq!(wrapping("application/dicom"), Some(Wrapping::Single));
        assert_eq!(wrapping("application/dicom;q=0.5, multipart/related"), Some(Wrapping::Multipart));
        assert_eq!(wrapping("text/html, application/dicom;q=0.1"), Some(Wrapping::Single));
    }

    #[test]
    fn what_cannot_be_served_is_refused() {
        for header in ["image/jpeg", "application/dicom;q=0", "multipart/related; type=\"image/jpeg\"", "x"] {
            assert_eq!(wrapping(header), None, "{header}");
        }
    }

    #[test]
    fn a_named_transfer_syntax_must_be_the_stored_one() {
        let stored = TransferSyntaxUid::parse("1.2.840.10008.1.2.4.50").unwrap();
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
            assert_eq!(Accepted::parse(Some(header)).unwrap().takes(&stored), takes, "{header}");
        }
    }
}
