//! WADO-URI (PS3.18 §9): one instance by the query of its address, for clients that know nothing newer.
//!
//! The query is put into the words of WADO-RS and answered by the same handlers: the same policy, entries, answers and
//! refusals. `application/dicom` comes in Explicit VR Little Endian unless a transfer syntax is named (§9.1.2.2.2); what
//! cannot be decoded comes as it is stored. Without a content type a single picture comes as JPEG, everything else as DICOM
//! (§9.1.2.2.1). Nothing is anonymised here, so who asks for that is refused.

use crate::{
    App, Problem,
    accept::{self, Offer, Wrapping},
    app::Caller,
    rendered,
    wado::{self, Named},
};
use axum::{
    extract::{Path, State},
    http::{HeaderValue, StatusCode, Uri, header, request::Parts},
    response::Response,
};
use leadglass_engine::Target;
use leadglass_model::{Fault, TransferSyntaxUid};
use std::collections::BTreeMap;

/// `GET /wado?requestType=WADO&studyUID=…&seriesUID=…&objectUID=…`
pub(crate) async fn object(State(app): State<App>, caller: Caller, parts: Parts) -> Result<Response, Problem> {
    let permit = caller.read()?;
    let asked = Asked::read(parts.uri.query().unwrap_or(""))?;
    let [study, series, instance] = &asked.uids;
    let target = Target::Instance(wado::study_uid(study)?, wado::series_uid(series)?, wado::instance_uid(instance)?);
    let form = match asked.form(&parts)? {
        Some(form) => form,
        None => {
            let Target::Instance(study, series, instance) = &target else { return Err(Problem::not_found()) };
            let pixels = app.engine.pixels(&permit, caller.session, study, series, instance).await;
            let pixels = pixels.map_err(|e| wado::problem(&e))?;
            let pictured = asked.frame.is_some() || pixels.count() == Some(1);
            if pictured { JPEG } else { DICOM }
        }
    };
    if form == DICOM {
        asked.no_picture()?;
        let parts = said(parts, &asked.path(""), &[], &asked.dicom())?;
        return wado::instances(State(app), caller, Named(target), parts).await;
    }
    let query = asked.rendered(&app, &caller, &target).await?;
    let [study, series, instance] = asked.uids.clone();
    match asked.frame.clone() {
        Some(frame) => {
            let parts = said(parts, &asked.path(&format!("/frames/{frame}/rendered")), &query, form)?;
            rendered::frames(State(app), caller, Path((study, series, instance, frame)), parts).await
        }
        None => {
            let parts = said(parts, &asked.path("/rendered"), &query, form)?;
            rendered::instance(State(app), caller, Path((study, series, instance)), parts).await
        }
    }
}

/// What a query asks for. Texts are checked where they are used.
#[derive(Debug, Default, PartialEq)]
struct Asked {
    /// Study, series, instance.
    uids: [String; 3],
    /// Media types as in an `Accept` header.
    kinds: Option<String>,
    syntax: Option<String>,
    frame: Option<String>,
    rows: Option<u32>,
    columns: Option<u32>,
    region: Option<[f64; 4]>,
    window: Option<(String, String)>,
    quality: Option<String>,
    annotation: Option<String>,
}

impl Asked {
    fn read(query: &str) -> Result<Self, Problem> {
        let mut values = BTreeMap::new();
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            if PARAMETERS.contains(&&*name) && values.insert(name.clone().into_owned(), value.into_owned()).is_some() {
                return Err(refused(format!("The parameter {name} stands there twice.")));
            }
        }
        let mut take = |name: &str| values.remove(name).map(|value| value.trim().to_owned()).filter(|v| !v.is_empty());
        if !take("requestType").is_some_and(|kind| kind.eq_ignore_ascii_case("WADO")) {
            return Err(refused("The parameter requestType is WADO."));
        }
        if take("anonymize").is_some_and(|anonymize| !anonymize.eq_ignore_ascii_case("no")) {
            let sentence = "Instances are given out with what they say of their patient: nothing is anonymised here.";
            return Err(Problem::with_status(StatusCode::NOT_ACCEPTABLE, "not-anonymised", sentence));
        }
        if take("presentationUID").is_some() || take("presentationSeriesUID").is_some() {
            return Err(refused("Presentation states are not applied here: leave presentationUID out."));
        }
        if take("charset")
            .is_some_and(|charset| !charset.to_ascii_lowercase().split(',').any(|c| c.starts_with("utf-8")))
        {
            return Err(wado::not_acceptable("Answers are in UTF-8."));
        }
        let mut uid = |name: &str| take(name).ok_or_else(|| refused(format!("The parameter {name} is missing.")));
        let uids = [uid("studyUID")?, uid("seriesUID")?, uid("objectUID")?];
        let window = match (take("windowCenter"), take("windowWidth")) {
            (Some(center), Some(width)) => Some((center, width)),
            (None, None) => None,
            _ => return Err(refused("The parameters windowCenter and windowWidth stand together or not at all.")),
        };
        let side = |name: &str, value: Option<String>| {
            let side = |value: String| value.parse::<u32>().ok().filter(|side| (1..=MAX_SIDE).contains(side));
            let wrong = || refused(format!("The parameter {name} is a whole number from 1 to {MAX_SIDE}."));
            value.map(|value| side(value).ok_or_else(wrong)).transpose()
        };
        let asked = Self {
            uids,
            kinds: take("contentType"),
            syntax: take("transferSyntax"),
            frame: take("frameNumber"),
            rows: side("rows", take("rows"))?,
            columns: side("columns", take("columns"))?,
            region: take("region").map(|text| region(&text)).transpose()?,
            window,
            quality: take("imageQuality"),
            annotation: take("annotation"),
        };
        if asked.frame.as_ref().is_some_and(|frame| !frame.parse::<u32>().is_ok_and(|frame| frame > 0)) {
            return Err(refused("The parameter frameNumber is one frame's, counted from 1."));
        }
        if asked.syntax.as_ref().is_some_and(|syntax| TransferSyntaxUid::parse(syntax).is_err()) {
            return Err(refused("The parameter transferSyntax is a UID."));
        }
        Ok(asked)
    }

    /// The media type that is wanted; `None` where nobody says, so that the instance decides.
    fn form(&self, parts: &Parts) -> Result<Option<&'static str>, Problem> {
        let header = || parts.headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
        let told = self.kinds.as_deref().or_else(header).map(str::trim).filter(|told| !told.is_empty());
        let Some(told) = told.filter(|told| *told != "*/*") else { return Ok(None) };
        let offers = [JPEG, PNG, DICOM, PDF].map(|kind| Offer::plain(Wrapping::Single, kind));
        accept::choose(Some(told), &offers).map(|offer| Some(offer.kind)).ok_or_else(|| wado::not_acceptable(FORMS))
    }

    /// The instance in what was asked for, or in what is usual.
    fn dicom(&self) -> String {
        match &self.syntax {
            Some(syntax) => format!("{DICOM}; transfer-syntax={syntax}"),
            None => format!("{DICOM}; transfer-syntax={EXPLICIT_LE}, {DICOM}; transfer-syntax=*; q=0.5"),
        }
    }

    /// Of a whole instance nothing is cut out (§9.1.2.2.2: these go with pictures).
    fn no_picture(&self) -> Result<(), Problem> {
        let size = self.rows.is_some() || self.columns.is_some() || self.region.is_some();
        if self.frame.is_some() || size || self.window.is_some() || self.quality.is_some() {
            return Err(refused(
                "Frames, sizes, windows and qualities are for pictures: ask for image/jpeg or image/png.",
            ));
        }
        Ok(())
    }

    fn path(&self, end: &str) -> String {
        let [study, series, instance] = &self.uids;
        format!("/dicomweb/studies/{study}/series/{series}/instances/{instance}{end}")
    }

    /// The parameters of a rendered resource (§8.3.5.1).
    async fn rendered(
        &self,
        app: &App,
        caller: &Caller,
        target: &Target,
    ) -> Result<Vec<(&'static str, String)>, Problem> {
        if self.syntax.is_some() {
            return Err(refused("A transfer syntax is for application/dicom."));
        }
        let mut query = Vec::new();
        if let Some((center, width)) = &self.window {
            query.push(("window", format!("{center},{width},linear")));
        }
        if let Some(quality) = &self.quality {
            query.push(("quality", quality.clone()));
        }
        if let Some(annotation) = &self.annotation {
            query.push(("annotation", annotation.clone()));
        }
        let size = match (self.region, target) {
            (Some(_), Target::Instance(study, series, instance)) => {
                let pixels = app.engine.pixels(&caller.read()?, caller.session, study, series, instance).await;
                let (rows, columns) = pixels.map_err(|e| wado::problem(&e))?.size();
                rows.zip(columns)
            }
            _ => None,
        };
        query.extend(self.viewport(size).map(|viewport| ("viewport", viewport)));
        Ok(query)
    }

    /// Rows, columns and region as a viewport, of an image of `size` (rows, columns).
    fn viewport(&self, size: Option<(u16, u16)>) -> Option<String> {
        let Some(([left, top, right, bottom], (rows, columns))) = self.region.zip(size) else {
            // The picture keeps its proportions, so that the side that is not named does not bind it.
            let named = self.rows.is_some() || self.columns.is_some();
            return named.then(|| format!("{},{}", self.columns.unwrap_or(MAX_SIDE), self.rows.unwrap_or(MAX_SIDE)));
        };
        let (rows, columns) = (f64::from(rows), f64::from(columns));
        let (width, height) = ((right - left) * columns, (bottom - top) * rows);
        // Of the region as it is, unless somebody says how large.
        let side = |named: Option<u32>, other: Option<u32>, own: f64| match (named, other) {
            (Some(side), _) => side.to_string(),
            (None, Some(_)) => MAX_SIDE.to_string(),
            (None, None) => format!("{:.0}", own.ceil().clamp(1.0, f64::from(MAX_SIDE))),
        };
        let view = (side(self.columns, self.rows, width), side(self.rows, self.columns, height));
        Some(format!("{},{},{},{},{width},{height}", view.0, view.1, left * columns, top * rows))
    }
}

/// Left, top, right and bottom, from 0 to 1 (§9.1.2.2.4).
fn region(text: &str) -> Result<[f64; 4], Problem> {
    let sentence = "The parameter region is left,top,right,bottom, each from 0.0 to 1.0 of the picture's side.";
    let sides: Vec<f64> = text.split(',').filter_map(|side| side.trim().parse().ok()).collect();
    match <[f64; 4]>::try_from(sides) {
        Ok(sides @ [left, top, right, bottom])
            if sides.iter().all(|side| (0.0..=1.0).contains(side)) && left < right && top < bottom =>
        {
            Ok(sides)
        }
        _ => Err(refused(sentence)),
    }
}

/// The same request in other words.
fn said(mut parts: Parts, path: &str, query: &[(&str, String)], accept: &str) -> Result<Parts, Problem> {
    let mut text = path.to_owned();
    if !query.is_empty() {
        let mut coded = url::form_urlencoded::Serializer::new(String::new());
        coded.extend_pairs(query);
        text = format!("{text}?{}", coded.finish());
    }
    let mut uri = parts.uri.into_parts();
    uri.path_and_query = Some(text.parse().map_err(|_| Problem::not_found())?);
    parts.uri = Uri::from_parts(uri).map_err(|_| Problem::not_found())?;
    let accept = HeaderValue::from_str(accept).map_err(|_| wado::not_acceptable(FORMS))?;
    parts.headers.insert(header::ACCEPT, accept);
    Ok(parts)
}

fn refused(sentence: impl Into<String>) -> Problem {
    Problem::new(Fault::BadInput, "parameter", sentence)
}

/// What is read of a query; the rest is for others (§8.3.1).
const PARAMETERS: [&str; 18] = [
    "requestType",
    "studyUID",
    "seriesUID",
    "objectUID",
    "contentType",
    "charset",
    "anonymize",
    "transferSyntax",
    "frameNumber",
    "rows",
    "columns",
    "region",
    "windowCenter",
    "windowWidth",
    "imageQuality",
    "annotation",
    "presentationUID",
    "presentationSeriesUID",
];
const JPEG: &str = "image/jpeg";
const PNG: &str = "image/png";
const DICOM: &str = "application/dicom";
const PDF: &str = "application/pdf";
const EXPLICIT_LE: &str = "1.2.840.10008.1.2.1";
/// Columns and rows of a picture.
const MAX_SIDE: u32 = 8_192;

const FORMS: &str =
    "An instance is served as application/dicom, as image/jpeg or image/png, a document as application/pdf.";

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::Request;

    const ONE: &str = "requestType=WADO&studyUID=1.2&seriesUID=1.3&objectUID=1.4";

    fn asked(more: &str) -> Asked {
        Asked::read(&format!("{ONE}{more}")).unwrap()
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (query, code) in [
            ("studyUID=1.2&seriesUID=1.3&objectUID=1.4", "parameter"),
            ("requestType=WADO&studyUID=1.2&seriesUID=1.3", "parameter"),
            ("requestType=XDS&studyUID=1.2&seriesUID=1.3&objectUID=1.4", "parameter"),
            (&format!("{ONE}&studyUID=1.2"), "parameter"),
            (&format!("{ONE}&anonymize=yes"), "not-anonymised"),
            (&format!("{ONE}&presentationUID=1.5"), "parameter"),
            (&format!("{ONE}&charset=latin1"), "not-acceptable"),
            (&format!("{ONE}&windowCenter=40"), "parameter"),
            (&format!("{ONE}&rows=0"), "parameter"),
            (&format!("{ONE}&columns=99999"), "parameter"),
            (&format!("{ONE}&frameNumber=1,2"), "parameter"),
            (&format!("{ONE}&frameNumber=0"), "parameter"),
            (&format!("{ONE}&region=0,0,1"), "parameter"),
            (&format!("{ONE}&region=0.5,0,0.4,1"), "parameter"),
            (&format!("{ONE}&region=0,0,2,1"), "parameter"),
            (&format!("{ONE}&transferSyntax=jpeg"), "parameter"),
        ] {
            let problem = Asked::read(query).unwrap_err();
            assert!(format!("{problem:?}").contains(&format!("{code:?}")), "{query}: {problem:?}");
        }
        assert!(asked("&frameNumber=2").no_picture().is_err());
        assert!(asked("&anonymize=no&charset=UTF-8&annotation=patient").no_picture().is_ok());
    }

    #[test]
    fn the_form_is_what_the_query_says_and_then_the_header() {
        let form = |more: &str, accept: Option<&str>| {
            let mut request = Request::builder().uri("/wado");
            if let Some(accept) = accept {
                request = request.header("accept", accept);
            }
            asked(more).form(&request.body(()).unwrap().into_parts().0).map_err(|_| "406")
        };
        for (more, accept, expected) in [
            ("", None, Ok(None)),
            ("", Some("*/*"), Ok(None)),
            ("", Some("image/png"), Ok(Some(PNG))),
            ("&contentType=application/dicom", Some("image/png"), Ok(Some(DICOM))),
            ("&contentType=application%2Fdicom", None, Ok(Some(DICOM))),
            ("&contentType=image/png,image/jpeg", None, Ok(Some(JPEG))),
            ("&contentType=image/png,image/jpeg;q=0.5", None, Ok(Some(PNG))),
            ("&contentType=image/*", None, Ok(Some(JPEG))),
            ("&contentType=application/pdf", None, Ok(Some(PDF))),
            ("&contentType=text/html", None, Err("406")),
            ("&contentType=image/gif", None, Err("406")),
        ] {
            assert_eq!(form(more, accept), expected, "{more} {accept:?}");
        }
    }

    #[test]
    fn sizes_and_regions_become_viewports() {
        for (more, expected) in [
            ("", None),
            ("&rows=100", Some("8192,100")),
            ("&columns=50", Some("50,8192")),
            ("&rows=100&columns=50", Some("50,100")),
            ("&region=0.25,0,0.75,1", Some("100,100,50,0,100,100")),
            ("&region=0.25,0.5,0.75,1&rows=300", Some("8192,300,50,50,100,50")),
        ] {
            assert_eq!(asked(more).viewport(Some((100, 200))).as_deref(), expected, "{more}");
        }
    }

    #[test]
    fn the_request_is_said_in_the_words_of_wado_rs() {
        let request = Request::builder().uri("https://vault.test:8443/wado?x=1").header("accept", "*/*");
        let parts = request.body(()).unwrap().into_parts().0;
        let asked = asked("&frameNumber=2");
        let query = [("window", "40,400,linear".to_owned())];
        let said = said(parts, &asked.path("/frames/2/rendered"), &query, PNG).unwrap();
        let path = "/dicomweb/studies/1.2/series/1.3/instances/1.4/frames/2/rendered?window=40%2C400%2Clinear";
        assert_eq!(said.uri.to_string(), format!("https://vault.test:8443{path}"));
        assert_eq!(said.headers[header::ACCEPT], PNG);
        assert!(asked.dicom().starts_with("application/dicom; transfer-syntax=1.2.840.10008.1.2.1, "));
    }
}
