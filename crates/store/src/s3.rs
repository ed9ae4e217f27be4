//! An S3 bucket under the objects.
//!
//! One client, without retries of its own: [`Steady`](crate::steady) repeats requests, because it knows which of them may be.
//! Over https a body is not hashed for the signature (the sealed bytes carry their own proof, and SHA-256 costs several times
//! what AES-GCM does); over plain http, which is for a server on this very host or on a network of
//! its own, it is.
//!
//! What the bucket's keys must be allowed: `GetObject`, `PutObject`, `DeleteObject`, `ListBucket`, `AbortMultipartUpload`,
//! `ListBucketMultipartUploads`. The server must honour `If-None-Match: *` on `PutObject` (Amazon S3 API Reference,
//! "Conditional writes").

mod credentials;
mod listing;
mod uploads;
mod versions;

pub use credentials::{Credentials, CredentialsError};

use crate::{Backing, StoreError, patience::Patience, steady::Steady};
use object_store::{
    Certificate, ClientOptions, RetryConfig,
    aws::{AmazonS3Builder, S3ConditionalPut},
    client::{HttpConnector, ReqwestConnector},
    path::Path,
};
use std::{fmt, net::IpAddr, path::PathBuf, sync::Arc, time::Duration};
use uploads::Uploads;

/// Where a bucket is and how it is spoken to.
#[derive(Clone)]
pub struct S3 {
    /// `https://host[:port]`; `http` for an address of this very host, and beyond it only on a
    /// [trusted network](S3::trusted_network). `None`: Amazon's, by region.
    pub endpoint: Option<String>,
    /// The region that requests are signed for.
    pub region: String,
    /// The bucket.
    pub bucket: String,
    /// Before every name, such as `vault-1`; empty for none.
    pub prefix: String,
    /// Where the bucket's name stands in an address.
    pub style: Style,
    /// PEM of the authorities to trust, and no other. `None`: the system's.
    pub ca: Option<Vec<u8>>,
    /// Allows `http` to another host: what is sent is sealed, but names, lengths and the key's id are not.
    pub trusted_network: bool,
    /// As whom.
    pub credentials: Credentials,
    /// How many bytes of an upload go in one part: at least [`PART_BYTES_MIN`].
    pub part_bytes: usize,
    /// For how long a request is repeated.
    pub patience: Patience,
    /// How long one request may wait for the server.
    pub timeout: Duration,
}

/// Where the bucket's name stands in an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// `https://host/bucket/name`.
    Path,
    /// `https://bucket.host/name`.
    Host,
}

/// Why a bucket cannot be spoken to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum S3Error {
    /// The endpoint is no address.
    #[error("the endpoint is not https://host[:port]")]
    Endpoint,
    /// The endpoint is plain http and not this host.
    #[error("the endpoint is plain http and not on this host: credentials and names would cross the network in clear")]
    Plain,
    /// The authorities' file.
    #[error("the CA file holds no PEM certificate")]
    Ca,
    /// The prefix.
    #[error("the prefix holds what cannot stand in a name")]
    Prefix,
    /// The size of parts.
    #[error("a part of {0} bytes: S3 takes parts of {PART_BYTES_MIN} bytes to 5 GiB")]
    PartBytes(usize),
    /// The client.
    #[error("the S3 client cannot be made")]
    Client(#[source] StoreError),
}

impl S3 {
    /// What can be said without asking anybody.
    pub fn check(&self) -> Result<(), S3Error> {
        if self.part_bytes < PART_BYTES_MIN || self.part_bytes as u64 > PART_BYTES_MAX {
            return Err(S3Error::PartBytes(self.part_bytes));
        }
        Path::parse(&self.prefix).map_err(|_| S3Error::Prefix)?;
        self.bucket_endpoint().map(drop)
    }

    /// The store behind it. Nothing is asked of the server yet. `ledger` is a file of this machine in a folder that exists.
    pub fn backing(&self, ledger: PathBuf) -> Result<Backing, S3Error> {
        self.check()?;
        let prefix = Path::parse(&self.prefix).map_err(|_| S3Error::Prefix)?;
        let options = self.client_options()?;
        let none = RetryConfig { max_retries: 0, ..RetryConfig::default() };
        let mut builder = AmazonS3Builder::new()
            .with_client_options(options.clone())
            .with_retry(none)
            .with_region(&self.region)
            .with_bucket_name(&self.bucket)
            .with_credentials(self.credentials.provider())
            .with_conditional_put(S3ConditionalPut::ETagMatch)
            .with_disable_bulk_delete(true)
            .with_virtual_hosted_style_request(self.style == Style::Host)
            .with_unsigned_payload(!self.is_plain());
        if let Some(endpoint) = self.bucket_endpoint()? {
            builder = builder.with_endpoint(endpoint);
        }
        let client = |e: object_store::Error| S3Error::Client(e.into());
        let s3 = Arc::new(builder.build().map_err(client)?);
        let http = ReqwestConnector::default().connect(&options).map_err(client)?;
        let unfinished = Arc::new(Uploads::new(s3.clone(), http));
        let steady = Steady::new(s3, unfinished, prefix, self.patience, self.to_string());
        Ok(Backing::steady(steady, ledger, self.part_bytes))
    }

    fn is_plain(&self) -> bool {
        self.endpoint.as_deref().is_some_and(|endpoint| endpoint.starts_with("http://"))
    }

    /// What the client is told: with the bucket in the host's name if that is the style.
    fn bucket_endpoint(&self) -> Result<Option<String>, S3Error> {
        let Some(endpoint) = &self.endpoint else { return Ok(None) };
        let (scheme, host) = endpoint.split_once("://").ok_or(S3Error::Endpoint)?;
        let host = host.strip_suffix('/').unwrap_or(host);
        let name = host_of(host);
        if name.is_empty() || host.contains(['/', '@', '?', '#', ' ']) {
            return Err(S3Error::Endpoint);
        }
        match scheme {
            "https" => {}
            "http" if self.trusted_network || is_this_host(name) => {}
            "http" => return Err(S3Error::Plain),
            _ => return Err(S3Error::Endpoint),
        }
        Ok(Some(match self.style {
            Style::Path => format!("{scheme}://{host}"),
            Style::Host => format!("{scheme}://{}.{host}", self.bucket),
        }))
    }

    fn client_options(&self) -> Result<ClientOptions, S3Error> {
        // A body may take as long as it moves; a standstill ends it.
        let mut options = ClientOptions::new()
            .with_allow_http(self.is_plain())
            .with_timeout_disabled()
            .with_read_timeout(self.timeout)
            .with_connect_timeout(CONNECT_TIME.min(self.timeout))
            .with_pool_max_idle_per_host(IDLE_CONNECTIONS)
            .with_pool_idle_timeout(IDLE_TIME);
        if let Some(pem) = &self.ca {
            let certificates = Certificate::from_pem_bundle(pem).map_err(|_| S3Error::Ca)?;
            if certificates.is_empty() {
                return Err(S3Error::Ca);
            }
            options = certificates.into_iter().fold(options, ClientOptions::with_root_certificate);
            options = options.with_no_system_certificates(true);
        }
        Ok(options)
    }
}

/// `host:port` without the port.
fn host_of(authority: &str) -> &str {
    match authority.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map_or("", |(host, _)| host),
        None => authority.split_once(':').map_or(authority, |(host, _)| host),
    }
}

fn is_this_host(name: &str) -> bool {
    name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

impl fmt::Display for S3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let endpoint = self.endpoint.as_deref().unwrap_or("Amazon S3");
        write!(f, "bucket {} of {endpoint}, region {}", self.bucket, self.region)
    }
}

impl fmt::Debug for S3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("S3").field(&self.to_string()).finish()
    }
}

/// The smallest part S3 takes, but for the last (Amazon S3 User Guide, "Multipart upload limits").
pub const PART_BYTES_MIN: usize = 5 << 20;
/// The largest.
const PART_BYTES_MAX: u64 = 5 << 30;
/// What is used unless somebody says otherwise.
pub const PART_BYTES: usize = 8 << 20;
const CONNECT_TIME: Duration = Duration::from_secs(5);
const IDLE_CONNECTIONS: usize = 64;
const IDLE_TIME: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(endpoint: &str, style: Style) -> S3 {
        S3 {
            endpoint: Some(endpoint.to_owned()),
            region: "eu-central-1".to_owned(),
            bucket: "images".to_owned(),
            prefix: String::new(),
            style,
            ca: None,
            trusted_network: false,
            credentials: Credentials::given("AKIA".to_owned(), "a-secret".to_owned(), None),
            part_bytes: PART_BYTES,
            patience: Patience(Duration::from_secs(1)),
            timeout: Duration::from_secs(1),
        }
    }

    #[test]
    fn the_bucket_stands_where_the_style_says() {
        let endpoint = |at: S3| at.bucket_endpoint().map(Option::unwrap);
        assert_eq!(endpoint(at("https://s3.example:9000", Style::Path)).unwrap(), "https://s3.example:9000");
        assert_eq!(endpoint(at("https://s3.example/", Style::Host)).unwrap(), "https://images.s3.example");
    }

    #[test]
    fn plain_http_stays_on_this_host() {
        for here in ["http://127.0.0.1:1", "http://localhost:1", "http://[::1]:1"] {
            assert!(at(here, Style::Path).bucket_endpoint().is_ok(), "{here}");
        }
        for there in ["http://192.0.2.1:1", "http://s3.example", "http://127.0.0.1.example"] {
            assert!(matches!(at(there, Style::Path).bucket_endpoint(), Err(S3Error::Plain)), "{there}");
        }
        for bad in
            ["s3.example", "ftp://s3.example", "https://", "https://key:secret@s3.example", "https://s3.example/x"]
        {
            assert!(matches!(at(bad, Style::Path).bucket_endpoint(), Err(S3Error::Endpoint)), "{bad}");
        }
    }

    #[test]
    fn no_secret_is_shown() {
        let s3 = at("https://s3.example", Style::Path);
        let dir = tempfile::tempdir().unwrap();
        let objects = crate::Objects::over(s3.backing(dir.path().join("uploads.lgl")).unwrap()).unwrap();
        for shown in [format!("{s3:?}"), format!("{s3}"), format!("{:?}", s3.credentials), format!("{objects:?}")] {
            assert!(!shown.contains("secret") && !shown.contains("AKIA"), "{shown}");
        }
    }

    #[test]
    fn what_cannot_work_is_refused_before_anybody_is_asked() {
        let refused = |s3: S3| s3.backing("uploads.lgl".into()).unwrap_err();
        let good = at("https://s3.example", Style::Path);
        assert!(matches!(refused(S3 { part_bytes: 1 << 20, ..good.clone() }), S3Error::PartBytes(1_048_576)));
        assert!(matches!(refused(S3 { ca: Some(b"none".to_vec()), ..good.clone() }), S3Error::Ca));
        assert!(matches!(refused(S3 { prefix: "a//b".to_owned(), ..good }), S3Error::Prefix));
    }
}
