//! All instances of an Orthanc, over its REST interface.
//!
//! The list is asked for page by page. An Orthanc that goes on receiving shifts its pages, so it is walked again until a
//! walk brings nothing new.
//!
//! Source: Orthanc Book, "REST API of Orthanc": `/instances?since=…&limit=…&expand`, `/instances/{id}/file`, `/statistics`.

use super::{Found, Totals};
use crate::import::item::{Item, Origin, OrthancInstance, Pieces, SourceError};
use anyhow::{Context, bail, ensure};
use futures::{StreamExt, TryStreamExt};
use reqwest::{Client, StatusCode, Url};
use serde::{Deserialize, de::DeserializeOwned};
use std::{collections::HashSet, path::PathBuf, sync::Arc, time::Duration};
use tokio::sync::mpsc;
use zeroize::Zeroizing;

/// How to get in.
#[derive(Default)]
pub struct Access {
    /// User name.
    pub user: Option<String>,
    /// Password.
    pub password: Option<Zeroizing<String>>,
    /// The authority of its certificate, PEM.
    pub ca: Option<PathBuf>,
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Access(‹secret›)")
    }
}

/// An Orthanc that answers.
pub struct Orthanc {
    http: Client,
    base: String,
    access: Access,
}

impl std::fmt::Debug for Orthanc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Orthanc").finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct System {
    api_version: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Statistics {
    count_instances: u64,
    total_disk_size: String,
}

#[derive(Deserialize)]
struct Listed {
    #[serde(rename = "ID")]
    id: String,
    #[serde(rename = "FileSize", default)]
    bytes: u64,
    #[serde(rename = "FileUuid", default)]
    uuid: String,
}

impl Orthanc {
    /// Asks the server at `address` who it is.
    ///
    /// Cancel safety: safe.
    pub async fn connect(address: &str, access: &Access) -> anyhow::Result<Self> {
        let url = Url::parse(address).context("the source's address does not parse")?;
        ensure!(
            url.username().is_empty() && url.password().is_none(),
            "an address with a password can be read by everybody on this machine: give --user and put the password into the environment"
        );
        if url.scheme() == "http" && !crate::import::destination::is_loopback(&url) {
            tracing::warn!(
                "The source is asked in clear: images and password can be read on the way. Use https where it can be had."
            );
        }
        let mut builder =
            Client::builder().connect_timeout(CONNECT_TIME).no_proxy().redirect(reqwest::redirect::Policy::none());
        if let Some(ca) = &access.ca {
            let pem = std::fs::read(ca).with_context(|| format!("cannot read {}", ca.display()))?;
            builder = builder.tls_certs_only(reqwest::Certificate::from_pem_bundle(&pem)?);
        }
        let access = Access { user: access.user.clone(), password: access.password.clone(), ca: None };
        let me = Self { http: builder.build()?, base: address.trim_end_matches('/').to_owned(), access };
        match me.ask("/system").await {
            Ok(answer) if answer.status() == StatusCode::UNAUTHORIZED => {
                bail!("the source wants a user and a password: --user NAME, and the password in {PASSWORD_VARIABLE}")
            }
            Ok(answer) if answer.status().is_success() => {
                let system = read::<System>(answer).await.ok().context("the source is no Orthanc")?;
                ensure!(system.api_version >= 1, "the source is no Orthanc");
                Ok(me)
            }
            Ok(answer) => bail!("the source is no Orthanc: it answers {}", answer.status()),
            Err(_) => bail!("the source does not answer"),
        }
    }

    /// Its address.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// How many instances it has.
    pub async fn totals(&self) -> Result<Totals, SourceError> {
        let Statistics { count_instances, total_disk_size } = self.read_patiently("/statistics").await?;
        Ok(Totals { items: count_instances, bytes: total_disk_size.parse().unwrap_or(0) })
    }

    /// Tells all instances.
    pub async fn list(self: Arc<Self>, tell: mpsc::Sender<Found>) -> Result<(), SourceError> {
        let mut seen: HashSet<[u8; 16]> = HashSet::new();
        for _ in 0..MAX_WALKS {
            let (mut since, mut fresh) = (0_u64, 0_u64);
            loop {
                let page: Vec<Listed> =
                    self.read_patiently(&format!("/instances?since={since}&limit={PAGE}&expand")).await?;
                if page.is_empty() {
                    break;
                }
                since += page.len() as u64;
                for Listed { id, bytes, uuid } in page {
                    // The id becomes part of an address.
                    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
                    if id.len() > MAX_ID_BYTES || !id.chars().all(plain) {
                        return Err(SourceError::Away);
                    }
                    let digest = blake3::hash(format!("{id}/{uuid}").as_bytes());
                    if !seen.insert(crate::import::ledger::short(&digest)) {
                        continue;
                    }
                    fresh += 1;
                    let instance = OrthancInstance { id, file_uuid: uuid };
                    let item = Item { origin: Origin::Instance(self.clone(), instance), bytes };
                    if tell.send(Found::Item(item)).await.is_err() {
                        return Ok(());
                    }
                }
            }
            if fresh == 0 {
                break;
            }
        }
        Ok(())
    }

    /// An instance's file.
    pub async fn pieces(&self, id: &str) -> Result<Pieces, SourceError> {
        let answer = self.ask(&format!("/instances/{id}/file")).await.map_err(|_| SourceError::Away)?;
        match answer.status() {
            status if status.is_success() => Ok(answer.bytes_stream().map_err(|_| SourceError::Away).boxed()),
            StatusCode::NOT_FOUND => Err(SourceError::Gone),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(SourceError::Denied),
            _ => Err(SourceError::Away),
        }
    }

    async fn ask(&self, path: &str) -> reqwest::Result<reqwest::Response> {
        let mut request = self.http.get(format!("{}{path}", self.base)).timeout(CALL_TIME);
        if let Some(user) = &self.access.user {
            request = request.basic_auth(user, self.access.password.as_ref().map(|p| p.as_str()));
        }
        request.send().await
    }

    async fn read_patiently<T: DeserializeOwned>(&self, path: &str) -> Result<T, SourceError> {
        for pause in PAUSES {
            if let Ok(answer) = self.ask(path).await
                && answer.status().is_success()
                && let Ok(value) = read(answer).await
            {
                return Ok(value);
            }
            tokio::time::sleep(pause).await;
        }
        Err(SourceError::Away)
    }
}

/// A JSON answer of bounded length.
async fn read<T: DeserializeOwned>(answer: reqwest::Response) -> Result<T, SourceError> {
    let mut body = Vec::new();
    let mut pieces = answer.bytes_stream();
    while let Some(piece) = pieces.try_next().await.map_err(|_| SourceError::Away)? {
        if body.len() + piece.len() > MAX_ANSWER_BYTES {
            return Err(SourceError::Away);
        }
        body.extend_from_slice(&piece);
    }
    serde_json::from_slice(&body).map_err(|_| SourceError::Away)
}

/// The environment variable that holds the source's password.
pub const PASSWORD_VARIABLE: &str = "LEADGLASS_SOURCE_PASSWORD";
const CONNECT_TIME: Duration = Duration::from_secs(10);
/// A large instance takes its time.
const CALL_TIME: Duration = Duration::from_secs(3600);
const PAUSES: [Duration; 6] = [
    Duration::from_millis(250),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::from_secs(20),
];
/// Instances of a page; each has about 1 KiB.
const PAGE: u64 = 200;
const MAX_ANSWER_BYTES: usize = 16 << 20;
const MAX_ID_BYTES: usize = 64;
const MAX_WALKS: usize = 8;
