//! What this DICOMweb service can do (PS3.18 §8.9): one table, as WADL or as JSON.

use super::wanted;
use crate::{
    Problem,
    accept::{Offer, Wrapping},
    app::Caller,
};
use axum::{
    http::{HeaderValue, header, request::Parts},
    response::{IntoResponse, Response},
};
use serde_json::json;
use std::fmt::Write as _;

/// `OPTIONS /` and `GET /` of the service.
pub(crate) async fn capabilities(_caller: Caller, parts: Parts) -> Result<Response, Problem> {
    let offer = wanted(&parts, &OFFERS, FORMS)?;
    let body = if offer.kind == JSON { list() } else { wadl() };
    let mut answer = body.into_response();
    let out = answer.headers_mut();
    out.insert(header::CONTENT_TYPE, HeaderValue::from_static(offer.kind));
    out.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD, OPTIONS"));
    Ok(answer)
}

/// A resource under the service's root.
struct Resource {
    path: &'static str,
    methods: &'static [Method],
}

/// What can be done with it.
struct Method {
    name: &'static str,
    id: &'static str,
    /// Media types of the request, for POST.
    takes: &'static [&'static str],
    /// Media types of the answer.
    gives: &'static [&'static str],
}

const fn get(id: &'static str, gives: &'static [&'static str]) -> Method {
    Method { name: "GET", id, takes: &[], gives }
}

const STORE: Method = Method { name: "POST", id: "StoreInstances", takes: &STORED, gives: &FOUND };

const STORED: [&str; 3] = [
    "multipart/related; type=\"application/dicom\"",
    "multipart/related; type=\"application/dicom+json\"",
    "multipart/related; type=\"application/dicom+xml\"",
];
const FOUND: [&str; 2] = ["application/dicom+json", "multipart/related; type=\"application/dicom+xml\""];
const WHOLE: [&str; 1] = ["multipart/related; type=\"application/dicom\"; transfer-syntax=*"];
const ALONE: [&str; 2] =
    ["multipart/related; type=\"application/dicom\"; transfer-syntax=*", "application/dicom; transfer-syntax=*"];
const PIXELS: [&str; 4] = [
    "multipart/related; type=\"application/octet-stream\"; transfer-syntax=*",
    "multipart/related; type=\"image/*\"; transfer-syntax=*",
    "application/octet-stream; transfer-syntax=*",
    "image/*; transfer-syntax=*",
];
const BULK: [&str; 3] = [
    "multipart/related; type=\"application/octet-stream\"; transfer-syntax=*",
    "application/octet-stream; transfer-syntax=*",
    "application/pdf",
];

/// The first is the default (PS3.18 Table 8.7.4-1).
const PICTURES: [&str; 2] = ["multipart/related; type=\"image/jpeg\"", "multipart/related; type=\"image/png\""];
const PICTURE: [&str; 5] = [
    "image/jpeg",
    "image/png",
    "application/pdf",
    "multipart/related; type=\"image/jpeg\"",
    "multipart/related; type=\"image/png\"",
];
const SMALL: [&str; 2] = ["image/jpeg", "image/png"];

const RESOURCES: [Resource; 22] = [
    Resource { path: "studies", methods: &[get("SearchForStudies", &FOUND), STORE] },
    Resource { path: "series", methods: &[get("SearchForSeries", &FOUND)] },
    Resource { path: "instances", methods: &[get("SearchForInstances", &FOUND)] },
    Resource { path: "studies/{study}", methods: &[get("RetrieveStudy", &WHOLE), STORE] },
    Resource { path: "studies/{study}/metadata", methods: &[get("RetrieveStudyMetadata", &FOUND)] },
    Resource { path: "studies/{study}/series", methods: &[get("SearchForStudySeries", &FOUND)] },
    Resource { path: "studies/{study}/instances", methods: &[get("SearchForStudyInstances", &FOUND)] },
    Resource { path: "studies/{study}/series/{series}", methods: &[get("RetrieveSeries", &WHOLE)] },
    Resource { path: "studies/{study}/series/{series}/metadata", methods: &[get("RetrieveSeriesMetadata", &FOUND)] },
    Resource { path: "studies/{study}/series/{series}/instances", methods: &[get("SearchForSeriesInstances", &FOUND)] },
    Resource {
        path: "studies/{study}/series/{series}/instances/{instance}",
        methods: &[get("RetrieveInstance", &ALONE)],
    },
    Resource {
        path: "studies/{study}/series/{series}/instances/{instance}/metadata",
        methods: &[get("RetrieveInstanceMetadata", &FOUND)],
    },
    Resource {
        path: "studies/{study}/series/{series}/instances/{instance}/frames/{frames}",
        methods: &[get("RetrieveFrames", &PIXELS)],
    },
    Resource {
        path: "studies/{study}/series/{series}/instances/{instance}/bulkdata/{bulkdata}",
        methods: &[get("RetrieveBulkdata", &BULK)],
    },
    Resource { path: "studies/{study}/rendered", methods: &[get("RetrieveRenderedStudy", &PICTURES)] },
    Resource { path: "studies/{study}/thumbnail", methods: &[get("RetrieveStudyThumbnail", &SMALL)] },
    Resource { path: "studies/{study}/series/{series}/rendered", methods: &[get("RetrieveRenderedSeries", &PICTURES)] },
    Resource { path: "studies/{study}/series/{series}/thumbnail", methods: &[get("RetrieveSeriesThumbnail", &SMALL)] },
    Resource {
        path: "studies/{study}/series/{series}/instances/{instance}/rendered",
        methods: &[get("RetrieveRenderedInstance", &PICTURE)],
    },
    Resource {
        path: "studies/{study}/series/{series}/instances/{instance}/thumbnail",
        methods: &[get("RetrieveInstanceThumbnail", &SMALL)],
    },
    Resource {
        path: "studies/{study}/series/{series}/instances/{instance}/frames/{frames}/rendered",
        methods: &[get("RetrieveRenderedFrames", &PICTURE)],
    },
    Resource {
        path: "studies/{study}/series/{series}/instances/{instance}/frames/{frames}/thumbnail",
        methods: &[get("RetrieveFrameThumbnail", &SMALL)],
    },
];

/// The table as WADL (PS3.18 §8.9.3).
fn wadl() -> String {
    let mut out = String::from(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<application xmlns=\"http://wadl.dev.java.net/2009/02\">\n\
         <resources base=\"/dicomweb\">\n",
    );
    let kinds = |out: &mut String, kinds: &[&str]| {
        for kind in kinds {
            let _never_fails = write!(out, "<representation mediaType=\"{}\"/>", kind.replace('"', "&quot;"));
        }
    };
    for Resource { path, methods } in &RESOURCES {
        let _never_fails = writeln!(out, "<resource path=\"{path}\">");
        for Method { name, id, takes, gives } in *methods {
            // An id stands once in a document: storing has two places.
            let id = if *name == "POST" && path.contains('{') { "StoreStudyInstances" } else { id };
            let _never_fails = write!(out, "<method name=\"{name}\" id=\"{id}\">");
            if !takes.is_empty() {
                out.push_str("<request>");
                kinds(&mut out, takes);
                out.push_str("</request>");
            }
            out.push_str("<response status=\"200\">");
            kinds(&mut out, gives);
            out.push_str("</response></method>\n");
        }
        out.push_str("</resource>\n");
    }
    out.push_str("</resources>\n</application>\n");
    out
}

/// The same as JSON.
fn list() -> String {
    let resources: Vec<_> = RESOURCES
        .iter()
        .map(|resource| {
            let methods: Vec<_> = resource
                .methods
                .iter()
                .map(|m| json!({ "name": m.name, "id": m.id, "takes": m.takes, "gives": m.gives }))
                .collect();
            json!({ "path": resource.path, "methods": methods })
        })
        .collect();
    json!({ "base": "/dicomweb", "resources": resources }).to_string()
}

const JSON: &str = "application/json";
const OFFERS: [Offer; 3] = [
    Offer::plain(Wrapping::Single, "application/vnd.sun.wadl+xml"),
    Offer::plain(Wrapping::Single, "application/xml"),
    Offer::plain(Wrapping::Single, JSON),
];

const FORMS: &str = "What the service can do is told as application/vnd.sun.wadl+xml or as application/json.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_what_is_routed() {
        let routes = include_str!("../app.rs");
        for resource in &RESOURCES {
            let path = resource.path.replace("{bulkdata}", "{*path}");
            assert!(routes.contains(&format!("\"/dicomweb/{path}\"")), "{path} is told and not routed");
        }
        for path in routes.split("\"/dicomweb/").skip(1).filter_map(|rest| rest.split('"').next()) {
            let path = path.replace("{*path}", "{bulkdata}");
            assert!(path.is_empty() || RESOURCES.iter().any(|told| told.path == path), "{path} is routed and not told");
        }
        let wadl = wadl();
        assert_eq!(wadl.matches("<resource ").count(), RESOURCES.len());
        assert_eq!(wadl.matches("<method ").count(), RESOURCES.iter().map(|r| r.methods.len()).sum::<usize>());
        let mut reader = quick_xml::Reader::from_str(&wadl);
        while reader.read_event().unwrap() != quick_xml::events::Event::Eof {}
        let list: serde_json::Value = serde_json::from_str(&list()).unwrap();
        assert_eq!(list["resources"][12]["methods"][0]["id"], "RetrieveFrames");
    }
}
