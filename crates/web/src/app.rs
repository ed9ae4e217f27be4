//! The routes, what they share, and who is asking.

use crate::{
    DeviceDesk, Origins, Problem, Renderer, SignInProviders, admin, audit, breach, care, cases, deidentify, devices,
    erase, export, front, head, health, keyhost, letters, openapi, origin, pages, people, places, qido, rectify,
    refusals, rendered, retention, session, small, stow, tokens, trace, upload, wado, wado_uri,
};
use axum::{
    Router,
    extract::{DefaultBodyLimit, FromRequestParts},
    http::{HeaderMap, header, request::Parts},
    middleware,
    routing::{delete, get, post, put},
};
use leadglass_engine::{Engine, Refusals, Rooms};
use leadglass_identity::People;
use leadglass_model::{ActorRef, Administer, Permit, Read, Search, Store};
use leadglass_policy::Principal;
use leadglass_records::{Bearer, Sessions, TokenGrant, Tokens, Use};
use metrics_exporter_prometheus::PrometheusHandle;
use std::sync::Arc;
use tower_http::catch_panic::CatchPanicLayer;

/// What every handler may use.
#[derive(Clone)]
pub struct App {
    /// The use cases.
    pub engine: Engine,
    /// Bearer tokens.
    pub tokens: Arc<Tokens>,
    /// Browsers that are signed in.
    pub sessions: Sessions,
    /// Whether a bearer token signs a browser in.
    pub sign_in_by_token: bool,
    /// Who works here.
    pub people: People,
    /// Who vouches for people.
    pub providers: Arc<dyn SignInProviders>,
    /// Who may send.
    pub devices: Arc<dyn DeviceDesk>,
    /// Who was turned away.
    pub refusals: Refusals,
    /// Where browsers find this.
    pub origins: Arc<Origins>,
    /// Makes pictures.
    pub renderer: Renderer,
    /// Room for decoded frames on their way out, in KiB.
    pub decoded: Arc<Rooms<ActorRef>>,
    /// Renders the metrics page.
    pub metrics: PrometheusHandle,
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("App").finish_non_exhaustive()
    }
}

/// All routes of the house.
pub fn routes(app: App) -> Router {
    let stow = stow::Door::new();
    let routes = reading()
        .route("/dicomweb/studies", stow.route())
        .route("/dicomweb/studies/{study}", stow.route())
        .route("/api/v1/openapi.json", get(openapi::show))
        .route("/api/v1/status", get(admin::status))
        .route("/api/v1/quarantine", get(admin::list))
        .route("/api/v1/quarantine/{case}", post(admin::decide))
        .route("/api/v1/verify", post(admin::verify))
        .route("/api/v1/retention/rules", get(retention::rules).put(retention::put_rule))
        .route("/api/v1/retention/rules/{rule}", delete(retention::drop_rule))
        .route("/api/v1/retention/rules/{rule}/confirm", post(retention::confirm))
        .route("/api/v1/retention/seeds", post(retention::seed))
        .route("/api/v1/retention/due", get(retention::due))
        .route("/api/v1/holds", get(retention::holds).post(retention::hold))
        .route("/api/v1/holds/{hold}", delete(retention::lift))
        .route("/api/v1/cases", get(cases::list).post(cases::open))
        .route("/api/v1/cases/{request}", get(cases::show).delete(cases::expire))
        .route("/api/v1/cases/{request}/identity", post(cases::identity))
        .route("/api/v1/cases/{request}/extension", post(cases::extend))
        .route("/api/v1/cases/{request}/decisions", post(cases::decide))
        .route("/api/v1/cases/{request}/links", post(cases::link))
        .route("/api/v1/cases/{request}/notes", post(cases::note))
        .route("/api/v1/cases/{request}/letter", get(cases::letter))
        .route("/api/v1/cases/{request}/close", post(cases::close))
        .route("/api/v1/letters", get(letters::list))
        .route("/api/v1/letters/{letter}/{language}", get(letters::show).put(letters::put).delete(letters::reset))
        .route("/api/v1/erasures", get(erase::list).post(erase::order))
        .route("/api/v1/erasures/{erasure}", get(erase::show).delete(erase::withdraw))
        .route("/api/v1/erasures/{erasure}/approve", post(erase::approve))
        .route("/api/v1/erasures/{erasure}/run", post(erase::run))
        .route("/api/v1/erasures/{erasure}/certificate", get(erase::certificate))
        .route("/api/v1/erasures/{erasure}/recipients", get(erase::recipients).put(erase::tell))
        .route("/api/v1/rectifications", get(rectify::list).post(rectify::order))
        .route("/api/v1/rectifications/preview", post(rectify::preview))
        .route("/api/v1/rectifications/{rectification}", get(rectify::show).delete(rectify::give_up))
        .route("/api/v1/rectifications/{rectification}/run", post(rectify::run))
        .route("/api/v1/exports", get(export::list).post(export::begin))
        .route("/api/v1/exports/{export}", get(export::show).delete(export::take_back))
        .route("/api/v1/exports/{export}/content", get(export::content))
        .route("/api/v1/exports/{export}/deliver", post(export::deliver))
        .route("/api/v1/deidentifications", post(deidentify::begin))
        .route("/api/v1/deidentifications/{job}", delete(deidentify::forget))
        .route("/api/v1/deidentifications/{job}/instances/{number}", get(deidentify::instance))
        .route("/api/v1/deidentifications/{job}/deliver", post(deidentify::deliver))
        .route("/api/v1/audit/keys", get(audit::keys))
        .route("/api/v1/audit/report", post(audit::report))
        .route("/api/v1/audit/reconcile", post(audit::reconcile))
        .route("/api/v1/audit/entries", get(audit::entries))
        .route("/api/v1/breach/scope", post(breach::scope))
        .route("/api/v1/studies/{study}/origin", get(origin::show))
        .route("/api/v1/devices", get(devices::list).post(devices::add))
        .route("/api/v1/devices/{id}", delete(devices::revoke))
        .route("/api/v1/devices/{id}/bounds", put(devices::bound))
        .route("/api/v1/devices/{id}/certificate", post(devices::certify))
        .route("/api/v1/uploads", upload::Desk::new().route())
        .route("/api/v1/session", get(session::look).post(session::begin).put(session::turn).delete(session::end))
        .route("/api/v1/session/passkey", post(session::begin_passkey))
        .route("/api/v1/tokens", get(tokens::list))
        .route("/api/v1/tokens/{token}", delete(tokens::revoke))
        .route("/api/v1/session/providers", get(session::providers))
        .route("/api/v1/session/providers/{provider}", post(session::depart))
        .route("/api/v1/session/proof", post(session::begin_proof))
        .route("/api/v1/people", get(people::list).post(people::invite))
        .route("/api/v1/people/{id}", get(people::person).delete(people::leave))
        .route("/api/v1/people/{id}/invitation", post(people::invite_again))
        .route("/api/v1/people/{id}/role", put(people::change_role))
        .route("/api/v1/people/{id}/lost", post(people::lost))
        .route("/api/v1/invitation", post(people::invitation))
        .route("/api/v1/invitation/passkey", post(people::join_with_passkey))
        .route("/api/v1/invitation/accept", post(people::accept))
        .route("/api/v1/account", get(people::account))
        .route("/api/v1/account/passkeys", post(people::add_passkey))
        .route("/api/v1/account/passkeys/{passkey}", delete(people::remove_passkey))
        .route("/api/v1/account/codes", post(people::codes))
        .route("/api/v1/account/tokens", post(people::issue_token))
        .route("/api/v1/account/tokens/{token}", delete(people::revoke_token))
        .route("/api/v1/account/lost", post(people::own_lost))
        .route("/api/v1/keyhost/approvals", post(keyhost::lodge))
        .route("/api/v1/keyhost/approvals/{approval}", get(keyhost::show).put(keyhost::answer))
        .route("/api/v1/keyhost/approvals/{approval}/passkey", post(keyhost::begin))
        .route("/api/v1/keyhost/passkeys", post(keyhost::enrol))
        .route("/api/v1/care/reason", post(care::state_reason))
        .route("/api/v1/care/emergency", post(care::break_glass))
        .route("/api/v1/care/emergency/passkey", post(care::begin_break_glass))
        .route("/api/v1/care/relations", get(care::relations).post(care::assign))
        .route("/api/v1/care/relations/{person}/{matter}", delete(care::unassign))
        .route("/api/v1/reviews", get(care::reviews))
        .route("/api/v1/reviews/{review}", post(care::close_review))
        .route("/api/v1/restrictions", get(care::restrictions).post(care::restrict))
        .route("/api/v1/restrictions/lift", post(care::lift))
        .route("/", get(pages::sign_in))
        .route("/invitation", get(pages::invitation))
        .route("/devices", get(pages::devices))
        .route("/people", get(pages::people))
        .route("/provider", get(pages::provider))
        .route("/account", get(pages::account))
        .route("/approve", get(pages::approve))
        .route("/studies", get(pages::studies))
        .route("/view/{study}", get(pages::view))
        .route("/assets/{file}", get(pages::asset))
        .route("/photo", get(upload::page::photo))
        .route("/assets/upload.js", get(upload::page::script))
        .route("/assets/upload.css", get(upload::page::style))
        .fallback(|| async { Problem::not_found() });
    // Whoever asks how we are is answered however much there is to do.
    let health = Router::new()
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(health::metrics));
    layered(routes, health, app)
}

/// What a supervisor on this very host asks for, without a token: `/healthz`, `/readyz` with all it knows, `/metrics`.
pub fn monitor_routes(app: App) -> Router {
    let health = Router::new()
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readiness))
        .route("/metrics", get(health::page));
    layered(Router::new().fallback(|| async { Problem::not_found() }), health, app)
}

/// DICOMweb, as far as it changes nothing.
pub(crate) fn reading() -> Router<App> {
    Router::new()
        .route("/dicomweb/studies", get(qido::studies))
        .route("/dicomweb/studies/{study}", get(wado::instances))
        .route("/dicomweb/studies/{study}/series", get(qido::series))
        .route("/dicomweb/studies/{study}/instances", get(qido::instances))
        .route("/dicomweb/series", get(qido::all_series))
        .route("/dicomweb/instances", get(qido::all_instances))
        .route("/dicomweb/studies/{study}/series/{series}", get(wado::instances))
        .route("/dicomweb/studies/{study}/series/{series}/instances", get(qido::instances_of_series))
        .route("/dicomweb/studies/{study}/series/{series}/instances/{instance}", get(wado::instances))
        .route("/wado", get(wado_uri::object))
        .route("/dicomweb", get(wado::capabilities).options(wado::capabilities))
        .route("/dicomweb/", get(wado::capabilities).options(wado::capabilities))
        .route("/dicomweb/studies/{study}/metadata", get(wado::metadata))
        .route("/dicomweb/studies/{study}/series/{series}/metadata", get(wado::metadata))
        .route("/dicomweb/studies/{study}/series/{series}/instances/{instance}/metadata", get(wado::metadata))
        .route("/dicomweb/studies/{study}/series/{series}/instances/{instance}/frames/{frames}", get(wado::frames))
        .route("/dicomweb/studies/{study}/rendered", get(rendered::many))
        .route("/dicomweb/studies/{study}/thumbnail", get(rendered::study_thumbnail))
        .route("/dicomweb/studies/{study}/series/{series}/rendered", get(rendered::many))
        .route("/dicomweb/studies/{study}/series/{series}/thumbnail", get(rendered::series_thumbnail))
        .route("/dicomweb/studies/{study}/series/{series}/instances/{instance}/rendered", get(rendered::instance))
        .route(
            "/dicomweb/studies/{study}/series/{series}/instances/{instance}/thumbnail",
            get(rendered::instance_thumbnail),
        )
        .route(
            "/dicomweb/studies/{study}/series/{series}/instances/{instance}/frames/{frames}/rendered",
            get(rendered::frames),
        )
        .route(
            "/dicomweb/studies/{study}/series/{series}/instances/{instance}/frames/{frames}/thumbnail",
            get(rendered::frame_thumbnail),
        )
        .route("/dicomweb/studies/{study}/series/{series}/instances/{instance}/bulkdata/{*path}", get(wado::bulkdata))
}

/// What every route has around it; `always` are those that wait for nobody.
pub(crate) fn layered(routes: Router<App>, always: Router<App>, app: App) -> Router {
    routes
        .layer(DefaultBodyLimit::max(small::MAX_BODY_BYTES))
        .layer(CatchPanicLayer::custom(|_| {
            axum::response::IntoResponse::into_response(Problem::new(
                leadglass_model::Fault::Broken,
                "internal",
                "Something broke on our side. The request's id helps to find it.",
            ))
        }))
        .layer(middleware::from_fn_with_state(app.clone(), refusals::watch))
        .layer(middleware::from_fn_with_state(places::AtWork::new(app.clone()), places::enter))
        .layer(middleware::from_fn_with_state(app.clone(), head::ours))
        .merge(always)
        .layer(middleware::from_fn_with_state(app.origins.clone(), front::see))
        .layer(middleware::from_fn(head::bounded))
        .layer(middleware::from_fn(trace::label))
        .with_state(app)
}

/// Somebody with a valid token, or signed in with a browser. Extracting it answers 401 otherwise.
#[derive(Debug, Clone, Copy)]
pub struct Caller {
    /// Who, in which tenant and role.
    pub principal: Principal,
    /// One token is one session, and so is one sign-in: accesses are counted by it.
    pub session: [u8; 16],
}

impl Caller {
    /// To open studies, for the role's usual purpose.
    pub fn read(&self) -> Result<Permit<Read>, Problem> {
        self.principal.read(self.principal.usual_purpose()).map_err(|r| denied(&r))
    }

    /// To find studies, for the role's usual purpose.
    pub fn search(&self) -> Result<Permit<Search>, Problem> {
        self.principal.search(self.principal.usual_purpose()).map_err(|r| denied(&r))
    }

    /// To bring instances in.
    pub fn store(&self) -> Result<Permit<Store>, Problem> {
        self.principal.store().map_err(|r| denied(&r))
    }

    /// To decide on quarantine and to check the store.
    pub fn administer(&self) -> Result<Permit<Administer>, Problem> {
        self.principal.administer().map_err(|r| denied(&r))
    }
}

pub(crate) fn denied(refusal: &leadglass_policy::Refusal) -> Problem {
    Problem::new(refusal.fault(), "not-allowed", format!("{refusal}."))
}

impl FromRequestParts<App> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let caller = |grant: TokenGrant, session| {
            let principal = Principal { tenant: grant.tenant, actor: grant.actor, role: grant.role };
            Self { principal, session }
        };
        // Who sends both means the token.
        if parts.headers.contains_key(header::AUTHORIZATION) {
            let Bearer { grant, session } = bearer_of(&parts.headers, app)?;
            return Ok(caller(grant, session));
        }
        let session = session::signed_in(parts, app, Use::Counts)?;
        Ok(caller(session.grant, session.session))
    }
}

/// Whom a request's token speaks for.
pub(crate) fn grant_of(headers: &HeaderMap, app: &App) -> Result<TokenGrant, Problem> {
    Ok(bearer_of(headers, app)?.grant)
}

fn bearer_of(headers: &HeaderMap, app: &App) -> Result<Bearer, Problem> {
    let token = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim())
        .ok_or_else(Problem::unauthenticated)?;
    match app.tokens.bearer(token) {
        Ok(bearer) => bearer.ok_or_else(Problem::unauthenticated),
        Err(error) => Err(Problem::new(error.fault(), "records", "Tokens cannot be looked up now.")),
    }
}
