//! Where what was found can be retrieved: Retrieve URL (0008,1190).

use axum::http::{HeaderMap, Uri, header, request::Parts};
use leadglass_model::{SeriesUid, SopInstanceUid, StudyUid};

/// The address of the service as the caller sees it.
#[derive(Debug)]
pub(crate) struct Place(String);

impl Place {
    /// From the request: its host, and the scheme that it or a proxy before us names. Without a host, which only old
    /// programs leave out, addresses are relative to the host, as PS3.5 §6.2 (UR) allows.
    pub(crate) fn of(parts: &Parts) -> Self {
        let host = authority(&parts.uri, &parts.headers).filter(|host| is_host(host));
        let forwarded = parts.headers.get("x-forwarded-proto").and_then(|value| value.to_str().ok());
        // Only a caller on this machine can speak without TLS, and for it alone the answer is.
        let scheme = match forwarded.or(parts.uri.scheme_str()) {
            Some("http") => "http",
            _ => "https",
        };
        Self(host.map_or_else(|| ROOT.to_owned(), |host| format!("{scheme}://{host}{ROOT}")))
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
        let table: &[(&str, Headers, &str)] = &[
            ("/dicomweb/studies", &[("host", "vault.example:8443")], "https://vault.example:8443/dicomweb/studies/1.2"),
            ("https://vault.example/dicomweb/studies", &[], "https://vault.example/dicomweb/studies/1.2"),
            ("http://[::1]:8080/x", &[], "http://[::1]:8080/dicomweb/studies/1.2"),
            (
                "/x",
                &[("host", "localhost:8080"), ("x-forwarded-proto", "http")],
                "http://localhost:8080/dicomweb/studies/1.2",
            ),
            ("/x", &[("host", "a\"><script>")], "/dicomweb/studies/1.2"),
            ("/x", &[], "/dicomweb/studies/1.2"),
        ];
        for (uri, headers, expected) in table {
            let mut request = Request::builder().uri(*uri);
            for (name, value) in *headers {
                request = request.header(*name, *value);
            }
            let (parts, ()) = request.body(()).unwrap().into_parts();
            assert_eq!(Place::of(&parts).study(&StudyUid::parse("1.2").unwrap()), *expected, "{uri}");
        }
    }
}
