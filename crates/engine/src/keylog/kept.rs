//! What was seen of the key service's log, between two looks and across starts.

use super::Unwrap;
use leadglass_audit::{Disk, FollowError, Follower, Hash, PublicKey, ReadError, TreeHead};
use leadglass_keys::ServiceError;
use leadglass_model::Fault;
use serde::{Deserialize, Serialize};
use std::{io, sync::Arc};

/// Where what was seen of the key service's log is kept: a folder of its own.
#[derive(Clone)]
pub struct KeyLogPort(pub Arc<dyn Disk>);

impl std::fmt::Debug for KeyLogPort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyLogPort")
    }
}

/// Why the key service's log could not be followed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyLogError {
    /// It shows another history than before.
    #[error("the key service's log is not the one that was seen before")]
    Follow(#[from] FollowError),
    /// The call failed.
    #[error("the key service's log cannot be asked for")]
    Service(#[from] ServiceError),
    /// An answer that makes no sense.
    #[error("the key service's answer cannot be used")]
    Answer,
    /// What was seen cannot be read or written.
    #[error("what was seen of the key service's log cannot be kept")]
    Disk(#[source] io::Error),
    /// The own log does not read.
    #[error("the own log does not read")]
    Read(#[from] ReadError),
    /// The node stops.
    #[error("the node is stopping")]
    Stopping,
}

impl KeyLogError {
    /// The kind of failure.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Follow(error) => error.fault(),
            Self::Service(error) => error.fault(),
            Self::Answer => Fault::Broken,
            Self::Disk(_) => Fault::Broken,
            Self::Read(error) => error.fault(),
            Self::Stopping => Fault::Busy,
        }
    }
}

/// The file's content.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Kept {
    pub(super) log_key: String,
    pub(super) witness_key: String,
    pub(super) size: u64,
    pub(super) peaks: Vec<String>,
    pub(super) checkpoint: String,
    /// Unwraps that no entry accounted for when they were seen.
    pub(super) waiting: Vec<Unwrap>,
}

/// What is held between two looks.
#[derive(Debug)]
pub(crate) struct KeyLog {
    pub(super) port: KeyLogPort,
    pub(super) state: tokio::sync::Mutex<Option<State>>,
    pub(super) seen: parking_lot::Mutex<(u64, u64)>,
    pub(super) told: parking_lot::Mutex<Option<String>>,
    /// What the file holds.
    pub(super) written: parking_lot::Mutex<Vec<u8>>,
}

#[derive(Debug, Clone)]
pub(super) struct State {
    pub(super) follower: Follower,
    pub(super) kept: Kept,
}

impl KeyLog {
    pub(crate) fn new(port: KeyLogPort) -> Self {
        Self {
            port,
            state: tokio::sync::Mutex::default(),
            seen: parking_lot::Mutex::default(),
            told: parking_lot::Mutex::default(),
            written: parking_lot::Mutex::default(),
        }
    }

    /// Entries seen, and when it was last looked, milliseconds since 1970.
    pub(crate) fn seen(&self) -> (u64, u64) {
        *self.seen.lock()
    }

    /// Which log is followed, and how far it was seen.
    pub(crate) async fn followed(&self) -> Option<(PublicKey, TreeHead)> {
        let state = self.state.lock().await;
        state.as_ref().map(|state| (state.follower.key().clone(), state.follower.head()))
    }

    pub(super) fn read(&self) -> Result<Option<State>, KeyLogError> {
        let Some(bytes) = self.port.0.read(FILE).map_err(KeyLogError::Disk)? else { return Ok(None) };
        let kept: Kept = serde_json::from_slice(&bytes).map_err(|_| FollowError::Kept)?;
        let key = PublicKey::parse(&kept.log_key).map_err(|_| FollowError::Kept)?;
        let peaks: Option<Vec<Hash>> = kept.peaks.iter().map(|text| hash(text)).collect();
        let follower = Follower::resume(key, kept.size, peaks.ok_or(FollowError::Kept)?)?;
        Ok(Some(State { follower, kept }))
    }

    pub(super) async fn write(&self, state: &mut State) -> Result<(), KeyLogError> {
        state.kept.size = state.follower.head().size;
        state.kept.peaks = state.follower.peaks().iter().map(ToString::to_string).collect();
        let bytes = serde_json::to_vec(&state.kept).map_err(|_| KeyLogError::Answer)?;
        if *self.written.lock() == bytes {
            return Ok(());
        }
        let (disk, whole) = (self.port.0.clone(), bytes.clone());
        let written = tokio::task::spawn_blocking(move || disk.replace(FILE, &whole)).await;
        written.map_err(|_| KeyLogError::Stopping)?.map_err(KeyLogError::Disk)?;
        *self.written.lock() = bytes;
        Ok(())
    }
}

fn hash(text: &str) -> Option<Hash> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(text, &mut bytes).ok()?;
    Some(Hash(bytes))
}

const FILE: &str = "key-log.json";
