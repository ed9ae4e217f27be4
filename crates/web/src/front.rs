//! Who asks, where a proxy stands in front: behind one, every connection comes from the proxy's address, and what is counted
//! by address (attempts to sign in, refusals, places) would be counted together.
//!
//! A proxy that the configuration names is believed what it says in `X-Forwarded-For`; of whoever else that header is not
//! looked at, because anybody can write it. Addresses are read from the right, where the nearest proxy wrote; the first
//! that is no proxy of ours is the sender.

use crate::Origins;
use axum::{
    extract::{ConnectInfo, Request, State},
    http::HeaderMap,
    middleware::Next,
    response::Response,
};
use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

/// The proxies in front, by address.
#[derive(Debug, Clone, Default)]
pub struct Fronts(Vec<IpAddr>);

impl Fronts {
    /// Those at these addresses.
    pub fn new(addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        Self(addresses.into_iter().map(|address| address.to_canonical()).collect())
    }

    fn has(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }

    /// Who sent a request that came from `peer`.
    fn sender(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut sender = peer;
        let lines = headers.get_all(FORWARDED_FOR).iter().rev();
        let named = lines.flat_map(|line| line.to_str().unwrap_or(UNREADABLE).rsplit(','));
        for name in named.take(MAX_FRONTS) {
            // What is not an address was not written by a proxy of ours: the one before it is the last that is known.
            let Some(address) = address(name.trim()).filter(|_| self.has(sender)) else { break };
            sender = address;
        }
        sender
    }
}

/// Puts the sender's address in the place of the proxy's.
pub(crate) async fn see(State(origins): State<Arc<Origins>>, mut request: Request, next: Next) -> Response {
    let fronts = &origins.fronts;
    if let Some(&ConnectInfo::<SocketAddr>(peer)) = request.extensions().get()
        && fronts.has(peer.ip())
    {
        let sender = fronts.sender(peer.ip(), request.headers());
        request.extensions_mut().insert(ConnectInfo(SocketAddr::new(sender, peer.port())));
    }
    next.run(request).await
}

/// An address with or without a port.
fn address(text: &str) -> Option<IpAddr> {
    text.parse().ok().or_else(|| text.parse().ok().map(|address: SocketAddr| address.ip()))
}

const FORWARDED_FOR: &str = "x-forwarded-for";
/// Stands for a line that is no text; no address.
const UNREADABLE: &str = "?";
/// Proxies behind each other.
const MAX_FRONTS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use axum::{
        Router,
        body::{Body, to_bytes},
        http::HeaderValue,
        middleware,
        routing::get,
    };
    use tower::ServiceExt;

    fn sender(peer: &str, lines: &[&str]) -> String {
        let fronts = Fronts::new(["127.0.0.1", "10.0.0.7"].map(|address| address.parse().unwrap()));
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(FORWARDED_FOR, HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        fronts.sender(peer.parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn a_proxy_that_is_named_is_believed_and_nobody_else() {
        for (peer, lines, who) in [
            ("127.0.0.1", &["203.0.113.9"][..], "203.0.113.9"),
            ("::ffff:127.0.0.1", &["203.0.113.9"], "203.0.113.9"),
            ("127.0.0.1", &["203.0.113.9:4711"], "203.0.113.9"),
            ("127.0.0.1", &["[2001:db8::1]:4711"], "2001:db8::1"),
            ("127.0.0.1", &["2001:db8::1"], "2001:db8::1"),
            // Through two of ours; what stands before the sender was written by the sender.
            ("127.0.0.1", &["198.51.100.1, 203.0.113.9, 10.0.0.7"], "203.0.113.9"),
            ("127.0.0.1", &["198.51.100.1", "203.0.113.9"], "203.0.113.9"),
            ("127.0.0.1", &["198.51.100.1, nobody"], "127.0.0.1"),
            ("127.0.0.1", &["198.51.100.1", "\u{e9}"], "127.0.0.1"),
            ("127.0.0.1", &[], "127.0.0.1"),
            ("203.0.113.5", &["198.51.100.1"], "203.0.113.5"),
        ] {
            assert_eq!(sender(peer, lines), who, "{peer} {lines:?}");
        }
        let many = vec!["10.0.0.7"; 2 * MAX_FRONTS].join(",");
        assert_eq!(sender("127.0.0.1", &["198.51.100.1", &many]), "10.0.0.7");
    }

    #[tokio::test]
    async fn handlers_see_the_sender_in_the_place_of_the_proxy() {
        let origins = Arc::new(Origins { fronts: Fronts::new(["127.0.0.1".parse().unwrap()]), ..Origins::default() });
        let who = |ConnectInfo(address): ConnectInfo<SocketAddr>| async move { address.ip().to_string() };
        let routes = Router::new().route("/", get(who)).layer(middleware::from_fn_with_state(origins, see));
        for (peer, who) in [("127.0.0.1:5", "203.0.113.9"), ("192.0.2.1:5", "192.0.2.1")] {
            let mut request = Request::builder().header(FORWARDED_FOR, "203.0.113.9").body(Body::empty()).unwrap();
            request.extensions_mut().insert(ConnectInfo(peer.parse::<SocketAddr>().unwrap()));
            let answer = routes.clone().oneshot(request).await.unwrap();
            assert_eq!(to_bytes(answer.into_body(), 64).await.unwrap(), who);
        }
    }
}
