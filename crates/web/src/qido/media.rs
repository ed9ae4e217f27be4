//! In which form an answer is wanted (PS3.18 §8.7.5): DICOM JSON unless asked otherwise, or one XML part a result.

use crate::accept::{self, Offer, Wrapping};

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
    let offers = [
        Offer::plain(Wrapping::Single, DICOM_JSON),
        Offer::plain(Wrapping::Single, JSON),
        Offer::plain(Wrapping::Multipart, DICOM_XML),
    ];
    accept::choose(header, &offers).map(|offer| match offer.kind {
        DICOM_XML => Form::Xml,
        kind => Form::Json(kind),
    })
}

const DICOM_JSON: &str = "application/dicom+json";
const JSON: &str = "application/json";
const DICOM_XML: &str = "application/dicom+xml";

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
            (Some("application/dicom+json;q=0, */*"), Some(Form::Json(JSON))),
            (Some("application/json;q=0.5, */*;q=0.4"), Some(Form::Json(JSON))),
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
