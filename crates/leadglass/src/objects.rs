//! The store of sealed objects, as the configuration has it.

use crate::{
    config::{Config, Store},
    files,
};
use anyhow::Context;
use leadglass_model::{Fault, ObjectId};
use leadglass_store::{Objects, StoreError};
use std::time::Duration;

/// Opens it. Of a bucket's server nothing is asked yet.
pub fn open(config: &Config) -> anyhow::Result<Objects> {
    match &config.store {
        Store::Local { path, .. } => {
            files::make_dir(path)?;
            Objects::local(path).context("cannot open the object store")
        }
        Store::S3(bucket) => {
            let s3 = bucket.open()?;
            if let Some(path) = s3.credentials.open_to_others() {
                tracing::warn!("others than its owner can read {}: chmod 600", path.display());
            }
            tracing::info!(acknowledge = ?config.store.ack(), "objects lie in {s3}");
            let backing = s3.backing(config.data.join("uploads.lgl")).context("cannot open the object store")?;
            Objects::over(backing).context("cannot open the list of uploads")
        }
    }
}

/// Waits until it answers. What a refusal says is said at once.
pub async fn reach(objects: &Objects) -> anyhow::Result<()> {
    let mut told = false;
    loop {
        // Any name will do: the answer is that it is not there.
        match objects.len(ObjectId::from_bytes([0; 16])).await {
            Ok(_) | Err(StoreError::Missing) => return Ok(()),
            Err(error) if error.fault() == Fault::Busy => {
                if !told {
                    tracing::warn!(error = &error as &dyn std::error::Error, "waiting for the object store");
                    told = true;
                }
                tokio::time::sleep(ASK_AGAIN).await;
            }
            Err(error) => return Err(error).context("the object store does not work"),
        }
    }
}

const ASK_AGAIN: Duration = Duration::from_secs(1);
