//! Where sealed objects lie: `[store.local]` or `[store.s3]`.

use anyhow::{Context, ensure};
use leadglass_store::{
    Patience,
    s3::{self, Credentials, S3},
};
use serde::{Deserialize, Serialize};
use std::{path::PathBuf, time::Duration};

/// Where sealed objects lie.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum Store {
    /// A directory of a local disk; every object is synced before it counts.
    Local {
        /// The directory.
        path: PathBuf,
        /// When a sender is told "stored": `journal` unless given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ack: Option<Ack>,
    },
    /// A bucket of an S3 server.
    S3(Box<Bucket>),
}

/// When a sender is told "stored".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ack {
    /// When it is durable in this node's journal; the object follows. Losing this node's disk loses what has not followed.
    Journal,
    /// When its object is durable in the store, too.
    Store,
}

/// A bucket. The server must honour `If-None-Match: *`, as Amazon's, MinIO's, Ceph's and SeaweedFS's do.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bucket {
    /// `https://host[:port]`. Left out: Amazon's, by region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// The region that requests are signed for.
    #[serde(default = "default_region")]
    pub region: String,
    /// Its name.
    pub bucket: String,
    /// Before every object's name, such as `vault-1`. Two nodes that share a bucket need two.
    #[serde(default)]
    pub prefix: String,
    /// Where the bucket's name stands: `path` (https://host/bucket) or `host` (https://bucket.host).
    #[serde(default)]
    pub style: Style,
    /// The authorities that the server's certificate may come from, PEM, and no others. Left out: the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// Allows an `http` endpoint that is not on this host: for a network that nobody else is on, such as one of containers.
    /// What lies in the bucket is sealed all the same; names and lengths are not.
    #[serde(default)]
    pub trusted_network: bool,
    /// Access keys.
    pub credentials: AccessKeys,
    /// How many bytes of a long object go in one part, 5 MiB to 5 GiB. Each sender of one holds up to three of them in memory.
    #[serde(default = "default_part_bytes")]
    pub part_bytes: usize,
    /// For how long a request that fails is repeated before a sender is told to come back.
    #[serde(default = "default_retry_for", with = "humantime_serde")]
    pub retry_for: Duration,
    /// How long one request may stand still.
    #[serde(default = "default_timeout", with = "humantime_serde")]
    pub timeout: Duration,
    /// When a sender is told "stored": `store` unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ack: Option<Ack>,
}

/// Where the bucket's name stands in an address.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Style {
    /// In the path.
    #[default]
    Path,
    /// In the host's name.
    Host,
}

/// Where access keys come from: a file, or variables of the environment. They never stand in this file.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccessKeys {
    /// In the format of the AWS tools. Read again every minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// Which section of it.
    #[serde(default = "default_profile")]
    pub profile: String,
    /// Names of variables.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<Variables>,
}

/// Names of variables of the environment.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variables {
    /// That holds the access key's id.
    pub key: String,
    /// That holds its secret.
    pub secret: String,
    /// That holds a session token, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

impl Store {
    /// A directory, with what is usual there.
    pub fn local(path: PathBuf) -> Self {
        Self::Local { path, ack: None }
    }

    /// When a sender is told "stored".
    pub fn ack(&self) -> Ack {
        match self {
            Self::Local { ack, .. } => ack.unwrap_or(Ack::Journal),
            Self::S3(bucket) => bucket.ack.unwrap_or(Ack::Store),
        }
    }

    /// What must hold beyond the types.
    pub fn check(&self) -> anyhow::Result<()> {
        let Self::S3(bucket) = self else { return Ok(()) };
        ensure!(!bucket.bucket.is_empty(), "store.s3.bucket is empty");
        let keys = &bucket.credentials;
        ensure!(
            keys.file.is_some() != keys.environment.is_some(),
            "store.s3.credentials wants either a file or the names of variables"
        );
        let nobody = Credentials::given(String::new(), String::new(), None);
        bucket.place(nobody, None).check().context("store.s3")
    }
}

impl Bucket {
    /// As the store's adapter has it. Reads the files that are named, and the environment.
    pub fn open(&self) -> anyhow::Result<S3> {
        let ca = match &self.ca {
            Some(path) => Some(std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?),
            None => None,
        };
        Ok(self.place(self.credentials.open()?, ca))
    }

    fn place(&self, credentials: Credentials, ca: Option<Vec<u8>>) -> S3 {
        S3 {
            endpoint: self.endpoint.clone(),
            region: self.region.clone(),
            bucket: self.bucket.clone(),
            prefix: self.prefix.clone(),
            style: match self.style {
                Style::Path => s3::Style::Path,
                Style::Host => s3::Style::Host,
            },
            ca,
            trusted_network: self.trusted_network,
            credentials,
            part_bytes: self.part_bytes,
            patience: Patience(self.retry_for),
            timeout: self.timeout,
        }
    }
}

impl AccessKeys {
    fn open(&self) -> anyhow::Result<Credentials> {
        if let Some(path) = &self.file {
            let credentials = Credentials::file(path.clone(), self.profile.clone());
            return credentials.with_context(|| format!("store.s3.credentials: {}", path.display()));
        }
        let names = self.environment.as_ref().context("store.s3.credentials wants a file or the names of variables")?;
        let token = names.token.as_deref().map(variable).transpose()?;
        Ok(Credentials::given(variable(&names.key)?, variable(&names.secret)?, token))
    }
}

/// The configuration names it: that is the one way in which the environment counts.
fn variable(name: &str) -> anyhow::Result<String> {
    let value = std::env::var_os(name).with_context(|| format!("store.s3.credentials: {name} is not set"))?;
    value.into_string().ok().with_context(|| format!("store.s3.credentials: {name} is no text"))
}

fn default_region() -> String {
    "us-east-1".to_owned()
}

fn default_profile() -> String {
    "default".to_owned()
}

fn default_part_bytes() -> usize {
    s3::PART_BYTES
}

fn default_retry_for() -> Duration {
    Duration::from_secs(30)
}

fn default_timeout() -> Duration {
    Duration::from_secs(30)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct File {
        store: Store,
    }

    fn store(text: &str) -> anyhow::Result<Store> {
        let store = toml::from_str::<File>(text)?.store;
        store.check().map(|()| store)
    }

    #[test]
    fn a_directory_is_what_it_was() {
        let store = store("[store.local]\npath = \"/x\"").unwrap();
        assert_eq!(store.ack(), Ack::Journal);
        assert!(matches!(store, Store::Local { path, .. } if path == std::path::Path::new("/x")));
    }

    #[test]
    fn the_sample_in_deploy_is_a_bucket_with_the_defaults() {
        let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/vault.toml");
        let text = std::fs::read_to_string(sample).unwrap();
        let lines = text.lines().skip_while(|line| *line != "# [store.s3]").take_while(|line| !line.is_empty());
        let lines: Vec<&str> = lines.map(|line| line.strip_prefix("# ").unwrap()).collect();
        let Store::S3(bucket) = store(&lines.join("\n")).unwrap() else { panic!("it is a bucket") };
        assert_eq!((bucket.part_bytes, bucket.retry_for), (default_part_bytes(), default_retry_for()));
        assert_eq!((bucket.timeout, bucket.ack), (default_timeout(), Some(Ack::Store)));
        assert!(bucket.credentials.file.is_some() && !bucket.trusted_network);
    }

    #[test]
    fn a_bucket_has_defaults_and_no_secrets() {
        let head = "[store.s3]\nbucket = \"b\"\n";
        let file = "[store.s3.credentials]\nfile = \"/run/x\"\n";
        let bucket = store(&format!("{head}{file}")).unwrap();
        assert_eq!(bucket.ack(), Ack::Store);
        assert_eq!(store(&format!("{head}ack = \"journal\"\n{file}")).unwrap().ack(), Ack::Journal);
        for bad in [
            head.to_owned(),
            format!("{head}[store.s3.credentials]\n"),
            format!("{head}{file}[store.s3.credentials.environment]\nkey = \"K\"\nsecret = \"S\"\n"),
            format!("{head}{file}secret = \"never here\"\n"),
            format!("{head}part_bytes = 1000\n{file}"),
            format!("{head}endpoint = \"http://192.0.2.1:9000\"\n{file}"),
            format!("[store.s3]\nbucket = \"\"\n{file}"),
        ] {
            assert!(store(&bad).is_err(), "{bad}");
        }
        let trusted = format!("{head}endpoint = \"http://192.0.2.1:9000\"\ntrusted_network = true\n{file}");
        assert!(store(&trusted).is_ok());
    }
}
