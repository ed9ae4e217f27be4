//! Whether a request comes from a page of the very origin it goes to.
//!
//! A cookie is sent by every page of the same *site*: another port of this host, a sister host. So a request that comes with
//! one is believed only when the browser says that a page of this *origin* made it: by `Sec-Fetch-Site` (Fetch Metadata), by
//! `Origin` (RFC 6454) where there is no such header, by both where there are both. What says neither may read and not change.
//!
//! The own origin is the authority that the request names. A proxy in front has to hand `Host` on as it came.

use axum::http::{HeaderMap, HeaderName, Method, header, request::Parts};

/// Whether a request with a cookie may be answered in that cookie's name.
pub(crate) fn is_own(parts: &Parts) -> bool {
    let is_safe = matches!(parts.method, Method::GET | Method::HEAD | Method::OPTIONS);
    match (site(&parts.headers), from_own_page(parts)) {
        (Site::SameOrigin, from) => from != Some(false),
        // Typed into the address bar, or a bookmark.
        (Site::Nobody, from) => is_safe && from.is_none(),
        (Site::Other, _) => false,
        (Site::Unsaid, from) => from.unwrap_or(is_safe),
    }
}

/// Whether a request may sign its browser in: a foreign page could sign somebody in as somebody else.
pub(crate) fn may_sign_in(parts: &Parts) -> bool {
    let site = site(&parts.headers);
    matches!(site, Site::SameOrigin | Site::Unsaid) && from_own_page(parts) != Some(false)
}

enum Site {
    SameOrigin,
    Nobody,
    Other,
    Unsaid,
}

fn site(headers: &HeaderMap) -> Site {
    match headers.get(HeaderName::from_static("sec-fetch-site")).map(|value| value.as_bytes()) {
        None => Site::Unsaid,
        Some(b"same-origin") => Site::SameOrigin,
        Some(b"none") => Site::Nobody,
        Some(_) => Site::Other,
    }
}

/// What `Origin` says; nothing if it is not there.
fn from_own_page(parts: &Parts) -> Option<bool> {
    let mut origins = parts.headers.get_all(header::ORIGIN).iter();
    let origin = origins.next()?;
    if origins.next().is_some() {
        return Some(false);
    }
    let host = parts.headers.get(header::HOST).and_then(|value| value.to_str().ok());
    let own = parts.uri.authority().map(|authority| authority.as_str()).or(host);
    let from =
        origin.to_str().ok().and_then(|text| text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")));
    Some(match (own, from) {
        (Some(own), Some(from)) => own.eq_ignore_ascii_case(from),
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::Request;

    fn parts(method: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().method(method).uri("/api/v1/session").header("host", "vault.test:8443");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    const OWN: (&str, &str) = ("origin", "https://vault.test:8443");
    const SAME: (&str, &str) = ("sec-fetch-site", "same-origin");

    #[test]
    fn a_page_of_this_origin_is_believed() {
        for (method, headers) in [
            ("GET", &[][..]),
            ("GET", &[("sec-fetch-site", "none")][..]),
            ("GET", &[SAME][..]),
            ("GET", &[OWN][..]),
            ("DELETE", &[OWN][..]),
            ("POST", &[SAME, OWN][..]),
            ("POST", &[SAME][..]),
            ("POST", &[("origin", "https://VAULT.test:8443")][..]),
        ] {
            assert!(is_own(&parts(method, headers)), "{method} {headers:?}");
        }
    }

    #[test]
    fn no_other_page_is() {
        for (method, headers) in [
            // Another port of the host, a sister host, a page that hides, a page of another scheme's name.
            ("GET", &[("sec-fetch-site", "same-site")][..]),
            ("GET", &[("sec-fetch-site", "cross-site")][..]),
            ("GET", &[("origin", "https://vault.test:8444")][..]),
            ("GET", &[("sec-fetch-site", "new-word")][..]),
            ("POST", &[][..]),
            ("POST", &[("sec-fetch-site", "none")][..]),
            ("POST", &[("origin", "null")][..]),
            ("POST", &[("origin", "https://vault.test:8443.evil.test")][..]),
            ("POST", &[("origin", "https://vault.test")][..]),
            ("POST", &[SAME, ("origin", "https://vault.test:8444")][..]),
            ("POST", &[OWN, ("origin", "https://evil.test")][..]),
            ("DELETE", &[("sec-fetch-site", "same-site"), OWN][..]),
        ] {
            assert!(!is_own(&parts(method, headers)), "{method} {headers:?}");
        }
    }

    #[test]
    fn no_foreign_page_signs_anybody_in_and_a_program_may() {
        for headers in [&[][..], &[SAME][..], &[OWN][..], &[SAME, OWN][..]] {
            assert!(may_sign_in(&parts("POST", headers)), "{headers:?}");
        }
        for headers in [
            &[("sec-fetch-site", "cross-site")][..],
            &[("sec-fetch-site", "same-site")][..],
            &[("sec-fetch-site", "none")][..],
            &[("origin", "null")][..],
            &[SAME, ("origin", "https://evil.test")][..],
        ] {
            assert!(!may_sign_in(&parts("POST", headers)), "{headers:?}");
        }
    }

    #[test]
    fn in_http_2_the_authority_is_the_own_origin() {
        let request = Request::builder().method("POST").uri("https://vault.test:8443/x").header("origin", OWN.1);
        assert!(is_own(&request.body(()).unwrap().into_parts().0));
    }
}
