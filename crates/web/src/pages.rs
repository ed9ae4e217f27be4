//! The house's own pages: sign-in, list of studies, viewer, and the files they are made of.
//!
//! A page is the same for everybody and holds nobody's data; what it shows it fetches, as the one who is signed in. Nothing
//! comes from elsewhere, no script stands in a page, and the files are those that were built in: a name that is not in the
//! table is absent.

use crate::Problem;
use axum::{
    extract::Path,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use std::hash::{DefaultHasher, Hash, Hasher};

/// `GET /`
pub(crate) async fn sign_in() -> Response {
    page(include_str!("../pages/signin.html"))
}

/// `GET /studies`
pub(crate) async fn studies() -> Response {
    page(include_str!("../pages/studies.html"))
}

/// `GET /view/{study}`: the page finds the study in its own address.
pub(crate) async fn view() -> Response {
    page(include_str!("../pages/view.html"))
}

/// `GET /invitation`: what is behind the link's `#` the page sends itself.
pub(crate) async fn invitation() -> Response {
    page(include_str!("../pages/invitation.html"))
}

/// `GET /people`: who works here, for whoever manages that.
pub(crate) async fn people() -> Response {
    page(include_str!("../pages/people.html"))
}

/// `GET /devices`: what may send, for whoever decides about that.
pub(crate) async fn devices() -> Response {
    page(include_str!("../pages/devices.html"))
}

/// `GET /provider`: the way back from a practice's own sign-in service.
pub(crate) async fn provider() -> Response {
    page(include_str!("../pages/provider.html"))
}

/// `GET /account`
pub(crate) async fn account() -> Response {
    page(include_str!("../pages/account.html"))
}

/// `GET /approve`: which job stands behind the address's `#`.
pub(crate) async fn approve() -> Response {
    page(include_str!("../pages/approve.html"))
}

/// `GET /assets/{file}`
pub(crate) async fn asset(Path(name): Path<String>, headers: HeaderMap) -> Result<Response, Problem> {
    let (_, text) = ASSETS.iter().find(|(known, _)| *known == name).ok_or_else(Problem::not_found)?;
    let tag = tag_of(text);
    let known = headers.get(header::IF_NONE_MATCH).is_some_and(|value| value.as_bytes() == tag.as_bytes());
    let kind = match name.rsplit_once('.') {
        Some((_, "css")) => "text/css; charset=utf-8",
        Some((_, "svg")) => "image/svg+xml",
        _ => "text/javascript; charset=utf-8",
    };
    let mut answer = if known { StatusCode::NOT_MODIFIED.into_response() } else { (*text).into_response() };
    let out = answer.headers_mut();
    out.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    // They say nothing about anybody, and may be kept as long as they are asked for.
    out.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    out.insert(header::ETAG, tag);
    Ok(answer)
}

fn page(text: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
        (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
    ];
    (headers, text).into_response()
}

/// Another text has another tag. Nobody gains by two of our own texts with one tag.
fn tag_of(text: &str) -> HeaderValue {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    HeaderValue::from_str(&format!("\"{:016x}\"", hasher.finish())).expect("hexadecimal digits")
}

/// `blob:` shows pictures and opens documents that were fetched as the one who is signed in.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; \
     form-action 'none'; base-uri 'none'; frame-ancestors 'none'";

/// Every file that the pages ask for.
const ASSETS: &[(&str, &str)] = &[
    ("base.css", include_str!("../pages/base.css")),
    ("icon.svg", include_str!("../pages/icon.svg")),
    ("desk.js", include_str!("../pages/desk.js")),
    ("devices.js", include_str!("../pages/devices.js")),
    ("dom.js", include_str!("../pages/dom.js")),
    ("dicom.js", include_str!("../pages/dicom.js")),
    ("server.js", include_str!("../pages/server.js")),
    ("account.js", include_str!("../pages/account.js")),
    ("approve.js", include_str!("../pages/approve.js")),
    ("invitation.js", include_str!("../pages/invitation.js")),
    ("lock.js", include_str!("../pages/lock.js")),
    ("next.js", include_str!("../pages/next.js")),
    ("passkey.js", include_str!("../pages/passkey.js")),
    ("people.js", include_str!("../pages/people.js")),
    ("provider.js", include_str!("../pages/provider.js")),
    ("session.js", include_str!("../pages/session.js")),
    ("signin.js", include_str!("../pages/signin.js")),
    ("studies.js", include_str!("../pages/studies.js")),
    ("viewer.css", include_str!("../pages/viewer/viewer.css")),
    ("frame.js", include_str!("../pages/viewer/frame.js")),
    ("image.js", include_str!("../pages/viewer/image.js")),
    ("loader.js", include_str!("../pages/viewer/loader.js")),
    ("multipart.js", include_str!("../pages/viewer/multipart.js")),
    ("pane.js", include_str!("../pages/viewer/pane.js")),
    ("paper.js", include_str!("../pages/viewer/paper.js")),
    ("pixels.js", include_str!("../pages/viewer/pixels.js")),
    ("reason.js", include_str!("../pages/viewer/reason.js")),
    ("report.js", include_str!("../pages/viewer/report.js")),
    ("series.js", include_str!("../pages/viewer/series.js")),
    ("stack.js", include_str!("../pages/viewer/stack.js")),
    ("tools.js", include_str!("../pages/viewer/tools.js")),
    ("view.js", include_str!("../pages/viewer/view.js")),
    ("window.js", include_str!("../pages/viewer/window.js")),
];

#[cfg(test)]
mod tests {
    use super::*;

    const PAGES: [&str; 9] = [
        include_str!("../pages/account.html"),
        include_str!("../pages/approve.html"),
        include_str!("../pages/devices.html"),
        include_str!("../pages/invitation.html"),
        include_str!("../pages/people.html"),
        include_str!("../pages/provider.html"),
        include_str!("../pages/signin.html"),
        include_str!("../pages/studies.html"),
        include_str!("../pages/view.html"),
    ];

    #[test]
    fn no_page_holds_a_script_a_style_or_an_address_of_its_own() {
        for page in PAGES {
            for word in ["<style", " style=", "onclick", "onload", "javascript:", "http://", "https://"] {
                assert!(!page.contains(word), "{word}");
            }
            assert_eq!(page.matches("<script").count(), 1);
            assert!(page.contains("<script type=\"module\" src=\"/assets/"));
        }
    }

    #[test]
    fn no_script_makes_code_or_markup_out_of_text() {
        for (name, text) in ASSETS.iter().filter(|(name, _)| name.ends_with(".js")) {
            for word in
                ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", "http://"]
            {
                assert!(!text.contains(word), "{name}: {word}");
            }
        }
    }

    /// What a page or a file asks for is there, and nothing is there that nobody asks for.
    #[test]
    fn every_file_is_asked_for_and_every_file_that_is_asked_for_is_there() {
        let mut asked = std::collections::BTreeSet::new();
        for text in PAGES.iter().copied().chain(ASSETS.iter().map(|(_, text)| *text)) {
            for mark in ["\"/assets/", "from \"./", "import(\"./"] {
                for rest in text.split(mark).skip(1) {
                    asked.insert(rest.split('"').next().unwrap());
                }
            }
        }
        let there: std::collections::BTreeSet<&str> = ASSETS.iter().map(|(name, _)| *name).collect();
        assert_eq!(asked, there);
    }
}
