//! Identity providers (OpenID Connect Core 1.0, authorization code with PKCE): whoever comes back with a good word is vouched for.
//!
//! A departure is kept in memory for ten minutes and is good once: state, nonce and verifier are random, and belong to one browser. A
//! provider's discovery document and keys are read over TLS, within bounds, and read again when a word does not fit them.

use crate::config::{Config, Oidc};
use anyhow::Context;
use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use leadglass_identity::Vouched;
use leadglass_model::{Clock, Entropy, SystemClock, SystemEntropy, TenantId, UnixMillis};
use leadglass_web::{Departure, ProviderError, ProviderView, Return, SignInProviders};
use openidconnect::{
    AdditionalClaims, AuthenticationContextClass, AuthenticationFlow, AuthorizationCode, Client, ClientId,
    ClientSecret, CsrfToken, EmptyExtraTokenFields, HttpRequest, HttpResponse, IdTokenClaims, IdTokenFields, IssuerUrl,
    Nonce, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, Scope, StandardErrorResponse, StandardTokenResponse,
    TokenResponse,
    core::{
        CoreAuthDisplay, CoreAuthPrompt, CoreErrorResponseType, CoreGenderClaim, CoreJsonWebKey,
        CoreJweContentEncryptionAlgorithm, CoreJwsSigningAlgorithm, CoreProviderMetadata, CoreResponseType,
        CoreRevocableToken, CoreRevocationErrorResponse, CoreTokenIntrospectionResponse, CoreTokenType,
    },
};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};
use zeroize::Zeroizing;

/// The configured providers, and who is on the way.
pub struct Providers {
    all: Vec<Provider>,
    away: Mutex<HashMap<String, Away>>,
}

struct Provider {
    config: Oidc,
    tenant: TenantId,
    issuer: IssuerUrl,
    secret: Option<ClientSecret>,
    http: reqwest::Client,
    /// What it said of itself, and when.
    known: Mutex<Option<(UnixMillis, Arc<CoreProviderMetadata>)>>,
}

/// Somebody who was sent to a provider.
struct Away {
    provider: usize,
    nonce: Nonce,
    verifier: PkceCodeVerifier,
    redirect: RedirectUrl,
    /// Of what the browser's cookie says.
    secret: [u8; 32],
    ends: UnixMillis,
}

/// Claims beyond the standard's.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Others(#[serde(default)] BTreeMap<String, serde_json::Value>);

impl AdditionalClaims for Others {}

type Fields = IdTokenFields<
    Others,
    EmptyExtraTokenFields,
    CoreGenderClaim,
    CoreJweContentEncryptionAlgorithm,
    CoreJwsSigningAlgorithm,
>;
type Here<A, B, C, D, E, F> = Client<
    Others,
    CoreAuthDisplay,
    CoreGenderClaim,
    CoreJweContentEncryptionAlgorithm,
    CoreJsonWebKey,
    CoreAuthPrompt,
    StandardErrorResponse<CoreErrorResponseType>,
    StandardTokenResponse<Fields, CoreTokenType>,
    CoreTokenIntrospectionResponse,
    CoreRevocableToken,
    CoreRevocationErrorResponse,
    A,
    B,
    C,
    D,
    E,
    F,
>;

impl Providers {
    /// Those of a configuration.
    pub fn of(config: &Config) -> anyhow::Result<Self> {
        let first = config.tenants.first().context("no tenant")?.id;
        let all = config.oidc.iter().map(|oidc| Provider::of(oidc, first)).collect::<anyhow::Result<_>>()?;
        Ok(Self { all, away: Mutex::default() })
    }

    /// Keeps a departure; whoever left first makes room.
    fn keep(&self, state: String, away: Away, now: UnixMillis) {
        let mut all = self.away.lock();
        all.retain(|_, away| now < away.ends);
        if all.len() >= MOST_AWAY
            && let Some(oldest) = all.iter().min_by_key(|(_, away)| away.ends).map(|(state, _)| state.clone())
        {
            all.remove(&oldest);
        }
        all.insert(state, away);
    }
}

impl std::fmt::Debug for Providers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Providers").field("all", &self.all.len()).finish_non_exhaustive()
    }
}

#[async_trait]
impl SignInProviders for Providers {
    fn list(&self) -> Vec<ProviderView> {
        let view = |p: &Provider| ProviderView { id: p.config.id.clone(), name: p.config.name.clone() };
        self.all.iter().map(view).collect()
    }

    async fn depart(&self, provider: &str, here: &str) -> Result<Departure, ProviderError> {
        let at = self.all.iter().position(|p| p.config.id == provider).ok_or(ProviderError::Unknown)?;
        let provider = &self.all[at];
        let redirect = RedirectUrl::new(format!("https://{here}/provider")).map_err(|_| ProviderError::Refused)?;
        let known = provider.known(Age::Any).await?;
        let client: Here<_, _, _, _, _, _> = Client::from_provider_metadata(
            (*known).clone(),
            ClientId::new(provider.config.client_id.clone()),
            provider.secret.clone(),
        );
        let client = client.set_redirect_uri(redirect.clone());
        let (state, nonce, secret) = (random(), Nonce::new(random().to_string()), random());
        let verifier = PkceCodeVerifier::new(random().to_string());
        let (state_sent, nonce_sent) = (state.to_string(), nonce.clone());
        let mut ask = client
            .authorize_url(
                AuthenticationFlow::<CoreResponseType>::AuthorizationCode,
                move || CsrfToken::new(state_sent),
                move || nonce_sent,
            )
            .add_scope(Scope::new("profile".to_owned()))
            .set_pkce_challenge(PkceCodeChallenge::from_code_verifier_sha256(&verifier));
        for scope in &provider.config.scopes {
            ask = ask.add_scope(Scope::new(scope.clone()));
        }
        for class in provider.config.acr.iter().chain(&provider.config.strong_acr) {
            ask = ask.add_auth_context_value(AuthenticationContextClass::new(class.clone()));
        }
        let (address, _, _) = ask.url();
        let now = SystemClock.now();
        let hash = Sha256::digest(secret.as_bytes()).into();
        let away = Away { provider: at, nonce, verifier, redirect, secret: hash, ends: now.plus_secs(AWAY_S) };
        self.keep(state.to_string(), away, now);
        Ok(Departure { address: address.to_string(), secret })
    }

    async fn arrive(&self, back: Return) -> Result<Vouched, ProviderError> {
        let found = self.away.lock().remove(&back.state);
        let away = found.filter(|away| SystemClock.now() < away.ends).ok_or(ProviderError::Refused)?;
        let hash: [u8; 32] = Sha256::digest(back.secret.as_bytes()).into();
        let provider = &self.all[away.provider];
        let other_issuer = back.issuer.as_deref().is_some_and(|issuer| issuer != provider.issuer.as_str());
        if hash != away.secret || other_issuer {
            return Err(ProviderError::Refused);
        }
        provider.vouch(away, &back.code).await
    }
}

/// How old what is known of a provider may be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Age {
    Any,
    Fresh,
}

impl Provider {
    fn of(config: &Oidc, first: TenantId) -> anyhow::Result<Self> {
        let _installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let mut builder = reqwest::Client::builder()
            .https_only(!config.is_here())
            .redirect(reqwest::redirect::Policy::none())
            .timeout(CALL_TIME);
        if config.is_here() {
            builder = builder.no_proxy();
        }
        if let Some(ca) = &config.ca {
            let pem = std::fs::read(ca).with_context(|| format!("cannot read {}", ca.display()))?;
            builder = builder.tls_certs_only(reqwest::Certificate::from_pem_bundle(&pem)?);
        }
        let secret = match &config.client_secret {
            Some(secret) => {
                let file = &secret.file;
                let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
                Some(ClientSecret::new(Zeroizing::new(text).trim().to_owned()))
            }
            None => None,
        };
        Ok(Self {
            tenant: config.tenant.unwrap_or(first),
            issuer: IssuerUrl::new(config.issuer.clone())?,
            secret,
            http: builder.build()?,
            known: Mutex::default(),
            config: config.clone(),
        })
    }

    /// What the provider says of itself: its addresses and keys.
    async fn known(&self, age: Age) -> Result<Arc<CoreProviderMetadata>, ProviderError> {
        let now = SystemClock.now();
        let most_ms = if age == Age::Any { KNOWN_FOR_MS } else { FRESH_FOR_MS };
        if let Some((at, known)) = &*self.known.lock()
            && now.millis_since(*at) < most_ms
        {
            return Ok(known.clone());
        }
        let http = |request| fetch(self.http.clone(), request);
        let found = CoreProviderMetadata::discover_async(self.issuer.clone(), &http).await.map_err(|error| {
            tracing::warn!(provider = self.config.id, %error, "an identity provider does not say who it is");
            ProviderError::Away
        })?;
        // Whoever is sent there types a password.
        let scheme = found.authorization_endpoint().url().scheme();
        if scheme != "https" && !self.config.is_here() {
            tracing::warn!(provider = self.config.id, "an identity provider asks for passwords without TLS");
            return Err(ProviderError::Away);
        }
        let found = Arc::new(found);
        *self.known.lock() = Some((now, found.clone()));
        Ok(found)
    }

    /// Exchanges what the browser brought for the provider's word, and checks it.
    async fn vouch(&self, away: Away, code: &str) -> Result<Vouched, ProviderError> {
        let known = self.known(Age::Any).await?;
        let id = ClientId::new(self.config.client_id.clone());
        let client: Here<_, _, _, _, _, _> =
            Client::from_provider_metadata((*known).clone(), id.clone(), self.secret.clone());
        let client = client.set_redirect_uri(away.redirect);
        let http = |request| fetch(self.http.clone(), request);
        let exchange =
            client.exchange_code(AuthorizationCode::new(code.to_owned())).map_err(|_| ProviderError::Away)?;
        let answer = exchange.set_pkce_verifier(away.verifier).request_async(&http).await;
        let answer = answer.map_err(|error| {
            // It may repeat what it was sent: its kind is enough.
            let refused = matches!(error, openidconnect::RequestTokenError::ServerResponse(_));
            tracing::warn!(provider = self.config.id, refused, "an identity provider gave no word for a code");
            if refused { ProviderError::Refused } else { ProviderError::Away }
        })?;
        let word = answer.id_token().ok_or(ProviderError::Refused)?;
        let checked = |known: &CoreProviderMetadata| {
            let client: Here<_, _, _, _, _, _> =
                Client::from_provider_metadata(known.clone(), id.clone(), self.secret.clone());
            let verifier = client.id_token_verifier().set_allowed_algs(SIGNED_WITH.iter().cloned());
            word.claims(&verifier, &away.nonce).cloned().map_err(|error| error.to_string())
        };
        let claims = match checked(&known) {
            Ok(claims) => claims,
            // It may have other keys since.
            Err(_) => checked(&*self.known(Age::Fresh).await?).map_err(|error| {
                tracing::warn!(provider = self.config.id, error, "an identity provider's word is not good");
                ProviderError::Refused
            })?,
        };
        self.meaning(&claims)
    }

    /// Whom the word means here.
    fn meaning(&self, claims: &IdTokenClaims<Others, CoreGenderClaim>) -> Result<Vouched, ProviderError> {
        let methods = claims.auth_method_refs().map_or(&[][..], Vec::as_slice);
        let says = |acr: &[String], amr: &[String]| {
            claims.auth_context_ref().is_some_and(|class| acr.iter().any(|wanted| *wanted == **class))
                || methods.iter().any(|method| amr.iter().any(|wanted| *wanted == **method))
        };
        let config = &self.config;
        let strong = says(&config.strong_acr, &config.strong_amr);
        let asked_for = !(config.acr.is_empty() && config.amr.is_empty());
        // Who shows what stands for a passkey has shown a second factor.
        if asked_for && !strong && !says(&config.acr, &config.amr) {
            tracing::warn!(provider = self.config.id, "somebody came without the second factor that is asked for");
            return Err(ProviderError::Refused);
        }
        let groups = match claims.additional_claims().0.get(&self.config.groups_claim) {
            Some(serde_json::Value::Array(all)) => all.iter().filter_map(serde_json::Value::as_str).collect(),
            Some(serde_json::Value::String(one)) => vec![one.as_str()],
            _ => Vec::new(),
        };
        let role =
            self.config.roles.iter().find(|given| groups.contains(&given.group.as_str())).map(|given| given.role);
        let name = claims.name().and_then(|names| names.get(None)).map(|name| name.to_string());
        Ok(Vouched {
            tenant: self.tenant,
            issuer: self.issuer.to_string(),
            subject: claims.subject().to_string(),
            login: claims.preferred_username().map(|login| login.to_string()),
            name,
            role,
            strong,
        })
    }
}

/// Why a provider was not heard.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("no connection, or it broke off")]
    Http(#[from] reqwest::Error),
    #[error("the answer is longer than {MOST_BYTES} bytes")]
    TooLong,
    #[error("the answer is none")]
    Form(#[from] openidconnect::http::Error),
}

/// One call, with its answer in memory, which is bounded.
async fn fetch(client: reqwest::Client, request: HttpRequest) -> Result<HttpResponse, FetchError> {
    let request = reqwest::Request::try_from(request).map_err(|error| error.without_url())?;
    let mut answer = client.execute(request).await.map_err(reqwest::Error::without_url)?;
    let mut whole = openidconnect::http::Response::builder().status(answer.status());
    for (name, value) in answer.headers() {
        whole = whole.header(name, value);
    }
    let mut body = Vec::new();
    while let Some(piece) = answer.chunk().await.map_err(reqwest::Error::without_url)? {
        if body.len() + piece.len() > MOST_BYTES {
            return Err(FetchError::TooLong);
        }
        body.extend_from_slice(&piece);
    }
    Ok(whole.body(body)?)
}

/// 256 random bits as text.
fn random() -> Zeroizing<String> {
    let mut bytes = Zeroizing::new([0; 32]);
    SystemEntropy.fill(&mut bytes[..]);
    Zeroizing::new(URL_SAFE_NO_PAD.encode(&bytes[..]))
}

/// A provider's own signature; one under the client's secret could be made by whoever reads our configuration.
const SIGNED_WITH: [CoreJwsSigningAlgorithm; 8] = [
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha384,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha512,
    CoreJwsSigningAlgorithm::RsaSsaPssSha256,
    CoreJwsSigningAlgorithm::RsaSsaPssSha384,
    CoreJwsSigningAlgorithm::RsaSsaPssSha512,
    CoreJwsSigningAlgorithm::EcdsaP256Sha256,
    CoreJwsSigningAlgorithm::EdDsa,
];
const CALL_TIME: Duration = Duration::from_secs(10);
const MOST_BYTES: usize = 256 * 1024;
/// Departures at one time.
const MOST_AWAY: usize = 2_000;
const AWAY_S: u64 = 10 * 60;
const KNOWN_FOR_MS: u64 = 60 * 60 * 1_000;
/// A word that does not fit makes us ask again, and not more often than that.
const FRESH_FOR_MS: u64 = 10_000;
