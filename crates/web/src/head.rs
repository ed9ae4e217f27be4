//! What a request's head may be: not too long, and for a host that this vault is.
//!
//! HTTP/2 bounds the list of header fields itself. Of HTTP/1.1 the library bounds the memory only, so a head is measured here.
//! `Host` is whatever the sender wrote: a page of another site whose name leads here (DNS rebinding) would be taken for our
//! own. Where the configuration names the hosts, no other is served (RFC 9110 §7.4, §15.5.20).

use crate::{App, Problem, qido::place::Door};
use axum::{
    extract::{Request, State},
    http::{StatusCode, header, request::Parts, uri::Authority},
    middleware::Next,
    response::{IntoResponse, Response},
};

/// The names under which browsers and programs find this vault; ports do not matter. None: any.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hosts(Vec<String>);

impl Hosts {
    /// Names or addresses, without a port. `None` where one of them is no host.
    pub fn parse(names: &[String]) -> Option<Self> {
        let host = |name: &String| {
            let authority: Authority = name.parse().ok()?;
            let whole = authority.host().len() == name.len();
            whole.then(|| normal(name))
        };
        names.iter().map(host).collect::<Option<Vec<_>>>().map(Self)
    }

    fn has(&self, parts: &Parts) -> bool {
        if self.0.is_empty() {
            return true;
        }
        let mut named = parts.headers.get_all(header::HOST).iter();
        let host = named.next().map(|value| value.to_str().ok().and_then(|text| text.parse::<Authority>().ok()));
        let known = |authority: &Authority| self.0.contains(&normal(authority.host()));
        // Both where there are both: whoever looks at one of them only must not be told otherwise by the other.
        let by_uri = parts.uri.authority().map(known);
        let by_host = host.map(|host| host.as_ref().is_some_and(known));
        named.next().is_none()
            && (by_uri.is_some() || by_host.is_some())
            && by_uri != Some(false)
            && by_host != Some(false)
    }
}

/// Names are alike in either case, and with the dot of the root behind them.
fn normal(host: &str) -> String {
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

/// Refuses a head that is too long: around everything.
pub(crate) async fn bounded(request: Request, next: Next) -> Response {
    let target = request.uri().path().len() + request.uri().query().map_or(0, str::len);
    let fields: usize = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if target + fields > MAX_HEAD_BYTES {
        let sentence = "The head of the request is longer than 16 KiB.";
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        return Problem::with_status(status, "head-too-large", sentence).into_response();
    }
    next.run(request).await
}

/// Refuses a host that is not ours: around what speaks for somebody.
pub(crate) async fn ours(State(app): State<App>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    // Whoever named the hosts also knows what stands before them.
    if !app.origins.hosts.0.is_empty() {
        parts.extensions.remove::<Door>();
    }
    if !app.origins.hosts.has(&parts) {
        let sentence = "This vault does not answer for that host. Use the address that you were given.";
        return Problem::with_status(StatusCode::MISDIRECTED_REQUEST, "misdirected", sentence).into_response();
    }
    next.run(Request::from_parts(parts, body)).await
}

/// Bytes of target and header fields.
pub(crate) const MAX_HEAD_BYTES: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use axum::{body::Body, http::Request as Made, middleware, routing::get};
    use tower::ServiceExt as _;

    fn parts(uri: &str, hosts: &[&str]) -> Parts {
        let mut request = Made::builder().uri(uri);
        for host in hosts {
            request = request.header(header::HOST, *host);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn only_the_hosts_that_are_named_are_ours() {
        let hosts =
            Hosts::parse(&["Vault.Example".to_owned(), "10.0.0.5".to_owned(), "[2001:db8::1]".to_owned()]).unwrap();
        for (uri, named) in [
            ("/", &["vault.example"][..]),
            ("/", &["VAULT.example.:8443"]),
            ("/", &["10.0.0.5:443"]),
            ("/", &["[2001:DB8::1]:443"]),
            ("https://vault.example/", &[]),
            ("https://vault.example/", &["vault.example"]),
        ] {
            assert!(hosts.has(&parts(uri, named)), "{uri} {named:?}");
        }
        for (uri, named) in [
            ("/", &[][..]),
            ("/", &["evil.example"]),
            ("/", &["vault.example.evil.example"]),
            ("/", &["vault.example", "vault.example"]),
            ("/", &["vault.example@evil.example"]),
            ("/", &["not a host"]),
            ("https://evil.example/", &["vault.example"]),
            ("https://vault.example/", &["evil.example"]),
        ] {
            assert!(!hosts.has(&parts(uri, named)), "{uri} {named:?}");
            assert!(Hosts::default().has(&parts(uri, named)), "nothing is named, so any will do");
        }
        for bad in ["https://vault.example", "vault.example:443", "vault.example/", "", "a b", "me@vault.example"] {
            assert_eq!(Hosts::parse(&[bad.to_owned()]), None, "{bad}");
        }
    }

    #[tokio::test]
    async fn a_head_of_more_than_16_kib_is_refused() {
        for (long, status) in [(15_000, 200), (17_000, 431)] {
            let routes = axum::Router::new().fallback(get(|| async {})).layer(middleware::from_fn(bounded));
            let asked = Made::builder().uri("/").header("x-long", "x".repeat(long)).body(Body::empty()).unwrap();
            assert_eq!(routes.clone().oneshot(asked).await.unwrap().status().as_u16(), status);
            let asked = Made::builder().uri(format!("/?{}", "x".repeat(long))).body(Body::empty()).unwrap();
            assert_eq!(routes.oneshot(asked).await.unwrap().status().as_u16(), status);
        }
    }
}
