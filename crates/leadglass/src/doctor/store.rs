//! The bucket, where objects lie in one: on which way they go, who can read the access keys, whether it answers.

use super::{Finding, open_to_others};
use crate::{
    config::{Ack, Config, Store},
    files,
};
use anyhow::Context;
use leadglass_model::{ObjectId, SystemEntropy};
use leadglass_store::{Objects, Patience, StoreError, s3::S3};
use std::{path::Path, time::Duration};

/// Nothing where objects lie on a disk of this host: `vault` looks at that.
pub(super) async fn look(config: &Config) -> Vec<Finding> {
    let Store::S3(bucket) = &config.store else { return Vec::new() };
    let mut findings = vec![way(bucket.endpoint.as_deref())];
    findings.extend(bucket.credentials.file.as_deref().map(keys));
    findings.extend((config.store.ack() == Ack::Journal).then(early));
    findings.push(match bucket.open() {
        Ok(s3) => answer(s3).await,
        Err(error) => Finding::red("store-identity", format!("The bucket cannot be used: {error:#}."))
            .why("Without access keys and authority the vault does not start.")
            .fix("[store.s3.credentials] and `ca` in the configuration, as in deploy/vault.toml"),
    });
    findings
}

fn way(endpoint: Option<&str>) -> Finding {
    match endpoint {
        Some(endpoint) if endpoint.starts_with("http://") => {
            Finding::yellow("store-plain-http", format!("Objects go to {endpoint} in clear HTTP."))
                .why("They are sealed; but whoever taps that network sees how many come, when and how large, and can cut them off.")
                .fix("an https endpoint under [store.s3], with `ca` if its authority is your own")
        }
        _ => Finding::green("store-https", "Objects go to the bucket over HTTPS."),
    }
}

fn keys(path: &Path) -> Finding {
    match open_to_others(path) {
        Ok(0) => Finding::green("store-keys-private", format!("{} is its owner's alone.", path.display())),
        Ok(_) => Finding::red("store-keys-readable", format!("Others can read the access keys in {}.", path.display()))
            .why("Who has them can delete every object.")
            .fix(format!("chmod 600 {}", path.display())),
        Err(error) => Finding::red("store-keys-missing", format!("{} cannot be looked at: {error}.", path.display()))
            .why("Without them nothing reaches the bucket.")
            .fix("LoadCredentialEncrypted=s3:…, as in deploy/leadglass.service"),
    }
}

fn early() -> Finding {
    Finding::yellow("store-behind", "A sender is told \"stored\" before its image is in the bucket.")
        .why("If this machine's disk dies, what the journal had not handed on yet is lost.")
        .fix("ack = \"store\" under [store.s3]")
}

async fn answer(s3: S3) -> Finding {
    let place = s3.to_string();
    match ask(s3).await {
        Ok(()) => Finding::green("store", format!("The bucket answers: {place}.")),
        Err(error) => {
            Finding::red("store-away", format!("The bucket does not answer as it should, {place}: {error:#}."))
                .why("Senders are told to wait when the journal is full, and old images cannot be read.")
                .fix("does it run, does a firewall stand between, are bucket, region and access keys right?")
        }
    }
}

/// Whether it says of an object that nobody made that it is not there. The list of uploads, which the vault has in its
/// own directory, is a throw-away here.
async fn ask(s3: S3) -> anyhow::Result<()> {
    let scratch = std::env::temp_dir().join(format!("leadglass-doctor-{}", ObjectId::random(&SystemEntropy)));
    files::make_dir(&scratch)?;
    let asked = async {
        let s3 = S3 { patience: Patience(PATIENCE), timeout: PATIENCE, ..s3 };
        let objects = Objects::over(s3.backing(scratch.join("uploads"))?)?;
        match objects.len(ObjectId::from_bytes([0; 16])).await {
            Ok(_) | Err(StoreError::Missing) => Ok(()),
            Err(error) => Err(error).context("it was asked for the length of an object"),
        }
    };
    let answer = asked.await;
    // What is left in a folder for temporary files is not worth an error.
    let _removed = std::fs::remove_dir_all(&scratch);
    answer
}

/// A bucket that takes longer is as good as away.
const PATIENCE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{doctor::Light, up::tests::vault_config};
    use std::{fs, os::unix::fs::PermissionsExt};

    #[test]
    fn clear_http_is_named() {
        for (endpoint, code) in [
            (None, "store-https"),
            (Some("https://s3.example.org"), "store-https"),
            (Some("http://127.0.0.1:8333"), "store-plain-http"),
        ] {
            assert_eq!(way(endpoint).code, code, "{endpoint:?}");
        }
    }

    #[test]
    fn access_keys_that_others_can_read_are_red() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s3");
        assert_eq!(keys(&path).code, "store-keys-missing");
        fs::write(&path, "secret").unwrap();
        for (bits, code) in [(0o644, "store-keys-readable"), (0o600, "store-keys-private")] {
            fs::set_permissions(&path, fs::Permissions::from_mode(bits)).unwrap();
            assert_eq!(keys(&path).code, code, "{bits:o}");
        }
    }

    #[tokio::test]
    async fn a_bucket_that_is_away_is_red_and_a_directory_is_looked_at_elsewhere() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = vault_config();
        assert_eq!(look(&config).await, []);
        let file = dir.path().join("s3");
        fs::write(&file, "[default]\naws_access_key_id = k\naws_secret_access_key = s\n").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        // Port 1 of loopback: nothing listens there.
        let text = format!(
            "s3 = {{ endpoint = \"http://127.0.0.1:1\", bucket = \"b\", ack = \"journal\", credentials = {{ file = {file:?} }} }}"
        );
        config.store = toml::from_str(&text).unwrap();
        let findings = look(&config).await;
        let codes: Vec<&str> = findings.iter().map(|finding| finding.code.as_str()).collect();
        assert_eq!(codes, ["store-plain-http", "store-keys-private", "store-behind", "store-away"]);
        assert_eq!(findings[3].light, Light::Red);
    }
}
