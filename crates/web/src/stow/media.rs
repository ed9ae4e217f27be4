//! Media types: what a body or a part is, and in which form the answer is wanted (RFC 9110 §8.3, §12.5.1; PS3.18 §8.7).

/// A media type with its parameters; names in lower case, values as written, without their quotes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct MediaType {
    /// Such as `multipart/related`.
    pub(crate) essence: String,
    parameters: Vec<(String, String)>,
}

impl MediaType {
    /// Reads a header's value; `None` where it is none.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut pieces = split(text, ';');
        let essence = pieces.next()?.trim().to_ascii_lowercase();
        let is_word = |word: &str| !word.is_empty() && !word.contains(|c: char| c.is_whitespace() || c == '"');
        essence.split_once('/').filter(|(kind, sub)| is_word(kind) && is_word(sub))?;
        let parameters = pieces
            .filter_map(|piece| piece.split_once('='))
            .map(|(name, value)| (name.trim().to_ascii_lowercase(), unquoted(value.trim())))
            .take(MAX_PARAMETERS)
            .collect();
        Some(Self { essence, parameters })
    }

    /// A parameter's value.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The transfer syntax that is named; `*` names none.
    pub(crate) fn transfer_syntax(&self) -> Option<&str> {
        self.parameter("transfer-syntax").filter(|uid| *uid != "*")
    }
}

/// In which form the outcome is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// `application/dicom+json`.
    Json,
    /// `application/dicom+xml`.
    Xml,
}

impl Form {
    /// Reads an `Accept` header; `None` when nothing in it can be served. Without one, and where both weigh the same, the
    /// answer is JSON.
    pub(crate) fn accepted(header: Option<&str>) -> Option<Self> {
        let Some(header) = header.filter(|h| !h.trim().is_empty()) else { return Some(Self::Json) };
        let mut best: Option<(u16, Self)> = None;
        for range in split(header, ',').take(MAX_RANGES).filter_map(MediaType::parse) {
            let weight = range.parameter("q").map_or(Some(1000), quality).unwrap_or(0);
            let essence = match (range.essence.as_str(), range.parameter("type")) {
                ("multipart/related", Some(inner)) => inner.to_ascii_lowercase(),
                (essence, _) => essence.to_owned(),
            };
            let form = match essence.as_str() {
                "application/dicom+json" | "application/json" | "application/*" | "*/*" | "multipart/related" => {
                    Self::Json
                }
                "application/dicom+xml" | "application/xml" | "text/xml" => Self::Xml,
                _ => continue,
            };
            if weight > best.map_or(0, |(held, _)| held) {
                best = Some((weight, form));
            }
        }
        best.map(|(_, form)| form)
    }
}

fn unquoted(value: &str) -> String {
    let Some(inner) = value.strip_prefix('"') else { return value.to_owned() };
    let inner = inner.strip_suffix('"').unwrap_or(inner);
    let mut out = String::with_capacity(inner.len());
    let mut escaped = false;
    for c in inner.chars() {
        if c == '\\' && !escaped {
            escaped = true;
        } else {
            out.push(c);
            escaped = false;
        }
    }
    out
}

/// Weight in thousandths.
fn quality(text: &str) -> Option<u16> {
    let (whole, rest) = text.split_once('.').unwrap_or((text, ""));
    let digits = rest.len() <= 3 && rest.bytes().all(|b| b.is_ascii_digit());
    match whole {
        "0" if digits => format!("{rest:0<3}").parse().ok(),
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

const MAX_PARAMETERS: usize = 16;
const MAX_RANGES: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_read_quoted_and_not() {
        for text in [
            r#"multipart/related; type="application/dicom"; boundary="a;b=c""#,
            "Multipart/Related;TYPE=application/dicom ; boundary=\"a;b=c\"",
        ] {
            let media = MediaType::parse(text).unwrap();
            assert_eq!(media.essence, "multipart/related");
            assert_eq!(media.parameter("type"), Some("application/dicom"));
            assert_eq!(media.parameter("boundary"), Some("a;b=c"));
        }
        assert_eq!(MediaType::parse("application/dicom; transfer-syntax=*").unwrap().transfer_syntax(), None);
        for text in ["", "x", "/", "a b/c", "a/"] {
            assert_eq!(MediaType::parse(text), None, "{text}");
        }
    }

    #[test]
    fn the_outcome_is_told_in_the_form_that_is_wanted() {
        for (header, form) in [
            (None, Some(Form::Json)),
            (Some("*/*"), Some(Form::Json)),
            (Some("application/dicom+json"), Some(Form::Json)),
            (Some("multipart/related; type=\"application/dicom+json\""), Some(Form::Json)),
            (Some("application/dicom+xml"), Some(Form::Xml)),
            (Some("application/dicom+xml, application/dicom+json;q=0.5"), Some(Form::Xml)),
            (Some("application/dicom+xml;q=0.5, */*"), Some(Form::Json)),
            (Some("application/json;q=0"), None),
            (Some("text/html"), None),
        ] {
            assert_eq!(Form::accepted(header), form, "{header:?}");
        }
    }
}
