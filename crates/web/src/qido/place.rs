//! Where what was found can be retrieved: Retrieve URL (0008,1190).

use axum::http::{HeaderMap, Uri, header, request::Parts, uri::Authority};
use leadglass_model::{SeriesUid, SopInstanceUid, StudyUid};

/// Marks what came over the plain listener: from a proxy on the same host.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plain;

/// The port of the listener that it came to, where nothing is known to stand in front. A `Host` without a port means the
/// scheme's own, but there are programs that leave it out whatever it is, and would not find what they are pointed at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Door(pub(crate) u16);

/// The address of the service as the caller sees it.
#[derive(Debug)]
pub(crate) struct Place(String);

impl Place {
    /// From the request: its host, and the scheme it came with. What a proxy says of that is believed where only a proxy can
    /// speak. Without a host, which only old programs leave out, addresses are relative to the host, as PS3.5 §6.2 (UR) allows.
    pub(crate) fn of(parts: &Parts) -> Self {
        let host = authority(&parts.uri, &parts.headers).filter(|host| is_host(host));
        let secure = || parts.headers.get("x-forwarded-proto").is_some_and(|value| value == "https");
        let scheme = if parts.extensions.get::<Plain>().is_none() || secure() { "https" } else { "http" };
        let usual = if scheme == "https" { 443 } else { 80 };
        let forwarded = FORWARDED.iter().any(|name| parts.headers.contains_key(*name));
        let door = parts.extensions.get::<Door>().filter(|door| door.0 != usual && !forwarded);
        let port = |host: &str| {
            let named = host.parse::<Authority>().is_ok_and(|authority| authority.port().is_some());
            door.filter(|_| !named).map_or_else(String::new, |door| format!(":{}", door.0))
        };
        Self(host.map_or_else(|| ROOT.to_owned(), |host| format!("{scheme}://{host}{}{ROOT}", port(host))))
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

/// What a proxy adds.
const FORWARDED: [&str; 4] = ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"];
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

    #[test]
    fn who_leaves_the_port_out_is_shown_the_door_that_was_used() {
        for (host, forwarded, expected) in [
            ("vault.example", false, "https://vault.example:8443/dicomweb"),
            ("vault.example:9", false, "https://vault.example:9/dicomweb"),
            ("[::1]", false, "https://[::1]:8443/dicomweb"),
            ("vault.example", true, "https://vault.example/dicomweb"),
        ] {
            let request = Request::builder().uri("/x").header("host", host).extension(Door(8443));
            let request = if forwarded { request.header("x-forwarded-for", "192.0.2.1") } else { request };
            let (parts, ()) = request.body(()).unwrap().into_parts();
            assert_eq!(Place::of(&parts).root(), expected, "{host}");
        }
        let (mut parts, ()) =
            Request::builder().uri("/x").header("host", "vault.example").body(()).unwrap().into_parts();
        parts.extensions.insert(Door(443));
        assert_eq!(Place::of(&parts).root(), "https://vault.example/dicomweb");
    }
}
