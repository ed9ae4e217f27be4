//! Who may have how much in work at one time: all together, and each of them.
//!
//! Nobody takes more than a part of the places, however slowly it comes or reads: the others of the house, and of other
//! houses, are served beside it. Whoever has a token or is signed in is counted by that, wherever it comes from; the rest
//! by address.

use crate::{App, Problem, app::grant_of, doorman::neighbourhood, session::cookie};
use axum::{
    extract::{ConnectInfo, Request, State},
    http::HeaderMap,
    middleware::Next,
    response::{IntoResponse, Response},
};
use leadglass_engine::Rooms;
use leadglass_model::Fault;
use leadglass_records::Use;
use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

/// Who a request is counted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Who {
    /// A token, or a sign-in.
    Session([u8; 16]),
    /// Nobody known, from there.
    Address(IpAddr),
}

/// Requests in work at one time, of one listener.
#[derive(Debug, Clone)]
pub(crate) struct AtWork {
    app: App,
    places: Arc<Rooms<Who>>,
}

impl AtWork {
    pub(crate) fn new(app: App) -> Self {
        Self { app, places: Arc::new(Rooms::new(MAX_REQUESTS)) }
    }
}

/// Lets a request in when there is a place for it.
pub(crate) async fn enter(State(at_work): State<AtWork>, request: Request, next: Next) -> Response {
    let address = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(address)| address.ip());
    let (who, share) = match known(&at_work.app, request.headers()) {
        Some(session) => (Who::Session(session), REQUESTS_OF_ONE),
        None => {
            let address = neighbourhood(address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)));
            let share = if address.is_loopback() { REQUESTS_FROM_THIS_HOST } else { REQUESTS_OF_ONE };
            (Who::Address(address), share)
        }
    };
    let share = at_work.places.share(who, share);
    match at_work.places.take(&share, 1).await {
        Some(_place) => next.run(request).await,
        None => Problem::new(Fault::Busy, "busy", "Too many of your requests are in work; send this one again later.")
            .into_response(),
    }
}

/// Whose valid token or sign-in a request bears. Whether it counts here is another question, which is asked later.
fn known(app: &App, headers: &HeaderMap) -> Option<[u8; 16]> {
    if let Ok(grant) = grant_of(headers, app) {
        return Some(grant.actor.0);
    }
    Some(app.sessions.resolve(cookie::read(headers)?, Use::Peek).ok()??.session)
}

/// Requests of one listener in work at one time.
const MAX_REQUESTS: usize = 512;
/// Of those, of one caller.
const REQUESTS_OF_ONE: usize = 64;
/// Of those, of nobody known on this host: behind a proxy, all who are not signed in yet.
const REQUESTS_FROM_THIS_HOST: usize = 256;
