//! Where what was found can be retrieved: Retrieve URL (0008,1190).

use axum::http::{HeaderMap, Uri, header, request::Parts};
use leadglass_model::{SeriesUid, SopInstanceUid, StudyUid};

/// Marks what came over the plain listener: from a proxy on the same host.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plain;

/// The address of the service as the caller sees it.
#[derive(Debug)]
pub(crate) struct Place(String);

impl Place {
    /// From the request: its host, and the scheme it came with. What a proxy says of that is believed where only a proxy can
    /// speak. Without a host, which only old programs leave out, addresses are relative to the host, as PS3.5 §6.2 (UR) allows.
    pub(crate) fn of(parts: &Parts) -> Self {
        let host = authority(&parts.uri, &parts.headers).filter(|host| is_host(host));
        let forwarded = || parts.headers.get("x-forwarded-proto").is_some_and(|value| value == "https");
        let scheme = if parts.extensions.get::<Plain>().is_none() || forwarded() { "https" } else { "http" };
        Self(host.map_or_else(|| ROOT.to_owned(), |host| format!("{scheme}://{host}{ROOT}")))
    }

    /// Where the service begins, without a slash at its end.
    pub(crate) fn root(&self) -> &str {
        &self.0
    }

    pub(crate) fn study(&self, study: &StudyUid) -> String {
        format!("{}/studies/{}", self.0, study.expose())
    }

    pub(crate) fn series(&self, study: &StudyUid, series: &SeriesUid) -> String {
        format!("{}/series/{}", self.study(study), series.expose())
    }

    pub(crate) fn instance(&self, study: &StudyUid, series: &SeriesUid, instance: &SopInstanceUid) -> String {
        format!("{}/instances/{}", self.series(study, series), instance.expose())
    }
}

/// HTTP/2 names the host in the address, HTTP/1.1 in a header.
fn authority<'p>(uri: &'p Uri, headers: &'p HeaderMap) -> Option<&'p str> {
    uri.authority().map(|a| a.as_str()).or_else(|| headers.get(header::HOST)?.to_str().ok())
}

fn is_host(host: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':' | b'[' | b']');
    (1..=255).contains(&host.len()) && host.bytes().all(allowed)
}

/// Where the service begins.
const ROOT: &str = "/dicomweb";

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::Request;

    #[test]
    fn addresses_are_those_that_the_caller_used() {
        type Headers = &'static [(&'static str, &'static str)];
        let (tls, plain) = (false, true);
        let table: &[(bool, &str, Headers, &str)] = &[
            (tls, "/dicomweb/studies", &[("host", "vault.example:8443")], "https://vault.example:8443/dicomweb"),
            (tls, "https://vault.example/dicomweb/studies", &[], "https://vault.example/dicomweb"),
            (plain, "http://[::1]:8080/x", &[], "http://[::1]:8080/dicomweb"),
            (plain, "/x", &[("host", "localhost:8080")], "http://localhost:8080/dicomweb"),
            (
                plain,
                "/x",
                &[("host", "vault.example"), ("x-forwarded-proto", "https")],
                "https://vault.example/dicomweb",
            ),
            // Over TLS anybody may say so.
            (tls, "/x", &[("host", "vault.example"), ("x-forwarded-proto", "http")], "https://vault.example/dicomweb"),
            (tls, "/x", &[("host", "a\"><script>")], "/dicomweb"),
            (tls, "/x", &[], "/dicomweb"),
        ];
        for (is_plain, uri, headers, expected) in table {
            let mut request = Request::builder().uri(*uri);
            for (name, value) in *headers {
                request = request.header(*name, *value);
            }
            let (mut parts, ()) = request.body(()).unwrap().into_parts();
            if *is_plain {
                parts.extensions.insert(Plain);
            }
            let place = Place::of(&parts);
            assert_eq!(place.root(), *expected, "{uri}");
            assert_eq!(place.study(&StudyUid::parse("1.2").unwrap()), format!("{expected}/studies/1.2"));
        }
    }
}
