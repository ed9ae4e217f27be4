//! Whoever is refused is recorded: no valid token (401), or one that does not include this (403).

use crate::{App, app::grant_of, session::cookie};
use axum::{
    extract::{ConnectInfo, Request, State},
    http::{HeaderMap, Method, StatusCode},
    middleware::Next,
    response::Response,
};
use leadglass_engine::Refused;
use leadglass_model::Phi;
use leadglass_records::Use;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Runs the request and looks at its answer.
pub(crate) async fn watch(State(app): State<App>, request: Request, next: Next) -> Response {
    let address = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(address)| address.ip());
    let headers = request.headers().clone();
    let signs_in = matches!(
        (request.method(), request.uri().path()),
        (&Method::POST, "/api/v1/session" | "/api/v1/invitation/accept") | (&Method::PUT, "/api/v1/session")
    );
    let answer = next.run(request).await;
    match answer.status() {
        StatusCode::UNAUTHORIZED if signs_in => note(&app, address, "sign-in-refused", None),
        StatusCode::UNAUTHORIZED => note(&app, address, "http-unauthenticated", None),
        StatusCode::FORBIDDEN => note(&app, address, "http-not-allowed", Some(&headers)),
        _ => {}
    }
    answer
}

fn note(app: &App, address: Option<IpAddr>, reason: &'static str, headers: Option<&HeaderMap>) {
    let signed_in =
        |headers| app.sessions.resolve(cookie::read(headers)?, Use::Peek).ok()?.map(|session| session.grant);
    let grant = headers.and_then(|headers| grant_of(headers, app).ok().or_else(|| signed_in(headers)));
    app.refusals.note(Refused {
        tenant: grant.as_ref().map(|grant| grant.tenant),
        actor: grant.map(|grant| grant.actor),
        address: address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        calling: Phi::new(String::new()),
        reason,
    });
}
