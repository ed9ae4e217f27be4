//! In which form an answer is wanted (PS3.18 §8.7.5): DICOM JSON unless asked otherwise, or one XML part a result.

/// The forms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// `application/dicom+json`, or `application/json` for whoever knows that only.
    Json(&'static str),
    /// `multipart/related; type="application/dicom+xml"`.
    Xml,
}

/// Reads an `Accept` header; `None` when nothing in it can be served.
pub(crate) fn form(header: Option<&str>) -> Option<Form> {
    let Some(header) = header.filter(|h| !h.trim().is_empty()) else { return Some(Form::Json(DICOM_JSON)) };
    let mut best: Option<(u16, Form)> = None;
    for range in split(header, ',').take(MAX_RANGES) {
        let Some((weight, form)) = media_range(range) else { continue };
        if weight > best.map_or(0, |(held, _)| held) {
            best = Some((weight, form));
        }
    }
    best.map(|(_, form)| form)
}

/// Weight in thousandths, and the form.
fn media_range(range: &str) -> Option<(u16, Form)> {
    let mut parts = split(range, ';').map(str::trim);
    let kind = parts.next()?.to_ascii_lowercase();
    let (mut weight, mut inner) = (1000, None);
    for part in parts {
        let Some((name, value)) = part.split_once('=') else { continue };
        let value = value.trim().trim_matches('"').to_ascii_lowercase();
        match name.trim().to_ascii_lowercase().as_str() {
            "q" => weight = quality(&value)?,
            "type" => inner = Some(value),
            "charset" if !matches!(value.as_str(), "utf-8" | "utf8" | "*") => return None,
            _ => {}
        }
    }
    let form = match (kind.as_str(), inner.as_deref()) {
        ("*/*" | "application/*" | DICOM_JSON, _) => Form::Json(DICOM_JSON),
        (JSON, _) => Form::Json(JSON),
        ("multipart/related" | "multipart/*", None | Some("application/dicom+xml")) => Form::Xml,
        _ => return None,
    };
    Some((weight, form))
}

fn quality(text: &str) -> Option<u16> {
    let number: f32 = text.parse().ok().filter(|number| (0.0..=1.0).contains(number))?;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 1,000")]
    Some((number * 1000.0) as u16)
}

/// Splits at `at` outside double quotes.
fn split(text: &str, at: char) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    text.split(move |c| {
        quoted ^= c == '"';
        c == at && !quoted
    })
}

const DICOM_JSON: &str = "application/dicom+json";
const JSON: &str = "application/json";
const MAX_RANGES: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_chosen_as_the_table_says() {
        let dicom = Some(Form::Json(DICOM_JSON));
        let table: &[(Option<&str>, Option<Form>)] = &[
            (None, dicom),
            (Some(""), dicom),
            (Some("*/*"), dicom),
            (Some("application/*"), dicom),
            (Some("application/dicom+json"), dicom),
            (Some("application/dicom+json; charset=UTF-8"), dicom),
            (Some("application/json"), Some(Form::Json(JSON))),
            (Some("text/html, application/json;q=0.9, */*;q=0.8"), Some(Form::Json(JSON))),
            (Some("multipart/related; type=\"application/dicom+xml\""), Some(Form::Xml)),
            (Some("multipart/related; type=application/dicom+xml"), Some(Form::Xml)),
            (Some("multipart/related"), Some(Form::Xml)),
            (Some("multipart/related; type=\"application/dicom+xml\"; q=0.5, application/dicom+json"), dicom),
            (Some("application/dicom+json;q=0"), None),
            (Some("application/dicom+json;q=2"), None),
            (Some("application/dicom+json; charset=latin1"), None),
            (Some("multipart/related; type=\"application/dicom\""), None),
            (Some("application/dicom+xml"), None),
            (Some("text/html"), None),
            (Some("x"), None),
        ];
        for (header, expected) in table {
            assert_eq!(form(*header), *expected, "{header:?}");
        }
    }
}
