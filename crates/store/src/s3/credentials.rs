//! As whom the bucket is asked.

use crate::told::Told;
use async_trait::async_trait;
use object_store::{
    CredentialProvider,
    aws::{AwsCredential, AwsCredentialProvider},
};
use parking_lot::Mutex;
use std::{
    fmt, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

/// Access keys. They never stand in a configuration.
#[derive(Clone)]
pub struct Credentials(Whence);

#[derive(Clone)]
enum Whence {
    File { path: PathBuf, profile: String },
    Given(Arc<AwsCredential>),
}

/// Why a credentials file is of no use. The file's text is not repeated.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialsError {
    /// It cannot be read.
    #[error("the credentials file cannot be read")]
    Read(#[from] io::Error),
    /// There is no such section.
    #[error("the credentials file has no profile [{0}]")]
    NoProfile(String),
    /// The section lacks a field.
    #[error("profile [{profile}] of the credentials file has no {field}")]
    NoField {
        /// Which section.
        profile: String,
        /// Which field.
        field: &'static str,
    },
}

impl Credentials {
    /// A file in the format of the AWS tools (`[profile]`, `aws_access_key_id`, `aws_secret_access_key`,
    /// `aws_session_token`). Read again every minute, so that keys may be changed while we run.
    pub fn file(path: PathBuf, profile: String) -> Result<Self, CredentialsError> {
        read(&path, &profile)?;
        Ok(Self(Whence::File { path, profile }))
    }

    /// These.
    pub fn given(key_id: String, secret_key: String, token: Option<String>) -> Self {
        Self(Whence::Given(Arc::new(AwsCredential { key_id, secret_key, token })))
    }

    /// The file, if others than its owner can read it.
    pub fn open_to_others(&self) -> Option<&Path> {
        let Whence::File { path, .. } = &self.0 else { return None };
        let open = std::fs::metadata(path).is_ok_and(|file| file.permissions().mode() & 0o077 != 0);
        open.then_some(path)
    }

    pub(super) fn provider(&self) -> AwsCredentialProvider {
        match &self.0 {
            Whence::Given(credential) => {
                Arc::new(Provider { file: None, held: Mutex::new(Some((credential.clone(), None))) })
            }
            Whence::File { path, profile } => {
                Arc::new(Provider { file: Some((path.clone(), profile.clone())), held: Mutex::default() })
            }
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Whence::File { path, profile } => {
                f.debug_struct("File").field("path", path).field("profile", profile).finish()
            }
            Whence::Given(_) => f.write_str("Given"),
        }
    }
}

/// The keys of this minute.
type Held = Option<(Arc<AwsCredential>, Option<Instant>)>;

struct Provider {
    file: Option<(PathBuf, String)>,
    held: Mutex<Held>,
}

#[async_trait]
impl CredentialProvider for Provider {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        if let Some((credential, read_at)) = &*self.held.lock()
            && read_at.is_none_or(|at| at.elapsed() < READ_EVERY)
        {
            return Ok(credential.clone());
        }
        let Some((path, profile)) = self.file.clone() else { return Err(unusable("there are no credentials")) };
        let read = tokio::task::spawn_blocking(move || read(&path, &profile)).await;
        match read {
            Ok(Ok(credential)) => {
                let credential = Arc::new(credential);
                *self.held.lock() = Some((credential.clone(), Some(Instant::now())));
                Ok(credential)
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, "Could not read the store's credentials again");
                // The old ones may still do; if not, the server says so.
                let held = self.held.lock().as_ref().map(|(credential, _)| credential.clone());
                held.ok_or_else(|| unusable("the credentials file is of no use"))
            }
            Err(_) => Err(unusable("this node is stopping")),
        }
    }
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Provider")
    }
}

fn unusable(why: &'static str) -> object_store::Error {
    object_store::Error::Generic { store: "S3", source: Box::new(Told::because(why)) }
}

fn read(path: &Path, profile: &str) -> Result<AwsCredential, CredentialsError> {
    parse(&std::fs::read_to_string(path)?, profile)
}

fn parse(text: &str, profile: &str) -> Result<AwsCredential, CredentialsError> {
    let (mut here, mut found) = (false, false);
    let (mut key_id, mut secret_key, mut token) = (None, None, None);
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';'])) {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            here = name.trim() == profile;
            found |= here;
        } else if here && let Some((field, value)) = line.split_once('=') {
            let value = Some(value.trim().to_owned()).filter(|value| !value.is_empty());
            match field.trim().to_ascii_lowercase().as_str() {
                "aws_access_key_id" => key_id = value,
                "aws_secret_access_key" => secret_key = value,
                "aws_session_token" => token = value,
                _ => {}
            }
        }
    }
    if !found {
        return Err(CredentialsError::NoProfile(profile.to_owned()));
    }
    let missing = |field| CredentialsError::NoField { profile: profile.to_owned(), field };
    Ok(AwsCredential {
        key_id: key_id.ok_or_else(|| missing("aws_access_key_id"))?,
        secret_key: secret_key.ok_or_else(|| missing("aws_secret_access_key"))?,
        token,
    })
}

const READ_EVERY: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# ours\n[default]\naws_access_key_id = A\naws_secret_access_key=B==\n\n[ vault ]\n\
                        AWS_ACCESS_KEY_ID=C\naws_secret_access_key = D\nregion = x\naws_session_token = E\n";

    #[test]
    fn a_profile_is_read_and_no_other() {
        let default = parse(TEXT, "default").unwrap();
        assert_eq!((default.key_id.as_str(), default.secret_key.as_str(), default.token), ("A", "B==", None));
        let vault = parse(TEXT, "vault").unwrap();
        assert_eq!((vault.key_id.as_str(), vault.secret_key.as_str(), vault.token.as_deref()), ("C", "D", Some("E")));
        assert!(matches!(parse(TEXT, "other"), Err(CredentialsError::NoProfile(_))));
        for half in [
            "[p]\naws_access_key_id=A",
            "[p]\naws_secret_access_key=B",
            "[p]\naws_access_key_id=\naws_secret_access_key=B",
        ] {
            assert!(matches!(parse(half, "p"), Err(CredentialsError::NoField { .. })), "{half}");
        }
    }

    #[test]
    fn a_file_that_others_may_read_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("credentials");
        std::fs::write(&path, TEXT).unwrap();
        let credentials = Credentials::file(path.clone(), "vault".to_owned()).unwrap();
        for (mode, open) in [(0o644, true), (0o640, true), (0o600, false), (0o400, false)] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(credentials.open_to_others().is_some(), open, "{mode:o}");
        }
    }

    #[tokio::test]
    async fn keys_that_became_unreadable_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("credentials");
        std::fs::write(&path, TEXT).unwrap();
        let provider = Provider { file: Some((path.clone(), "vault".to_owned())), held: Mutex::default() };
        assert_eq!(provider.get_credential().await.unwrap().key_id, "C");
        std::fs::remove_file(&path).unwrap();
        assert_eq!(provider.get_credential().await.unwrap().key_id, "C");
        if let Some((_, read_at)) = &mut *provider.held.lock() {
            *read_at = Instant::now().checked_sub(READ_EVERY);
        }
        assert_eq!(provider.get_credential().await.unwrap().key_id, "C");
    }
}
