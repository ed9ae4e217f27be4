//! The key service as witness of this node's log.
//!
//! Every checkpoint that the log makes is shown to the key service, which signs it if it continues what it saw before and
//! refuses otherwise. So an older disk that somebody put back is found at the next start, before anybody is let in, and a
//! log that was written anew is found while the node runs. While the key service is away the node goes on and says how
//! old the newest cosignature is.

use crate::{AlarmKind, Shared, StartError};
use leadglass_audit::{AppendError, PublicKey, ReadError};
use leadglass_keys::{
    ServiceError,
    wire::{CosignRequest, Few, Hex32, LogHead, ProblemCode},
};
use parking_lot::Mutex;
use std::{sync::Arc, time::Duration};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// What this node knows of its witness.
#[derive(Debug, Default)]
pub(crate) struct Witnessed {
    newest: Mutex<Newest>,
    /// A batch's worth of entries is not cosigned yet.
    many: Notify,
    /// One at a time: the second would start from where the first no longer is.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default, Clone)]
struct Newest {
    /// Entries under the newest cosignature.
    size: u64,
    /// When that was, milliseconds since 1970.
    at_ms: u64,
    /// The size that the witness refused last: one refusal, one alarm.
    refused: Option<u64>,
    /// The witness's key, once it was heard.
    key: Option<PublicKey>,
}

/// Why there is no cosignature.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WitnessError {
    /// The witness says that this is not the log it knows.
    #[error("the witness has seen {seen} entries and refuses the log that now shows {shown}")]
    Refused { seen: u64, shown: LogHead },
    /// The call failed.
    #[error("the witness cannot be asked")]
    Service(#[from] ServiceError),
    /// What it gave is not its signature.
    #[error("the witness's answer carries no valid signature")]
    Signature,
    /// The own log does not read.
    #[error("the log does not read")]
    Read(#[from] ReadError),
    /// The cosignature cannot be written down.
    #[error("the cosignature cannot be kept")]
    Keep(#[from] AppendError),
    /// A task was dropped.
    #[error("the node is stopping")]
    Stopping,
}

impl Witnessed {
    /// Entries under the newest cosignature, and when it was made, milliseconds since 1970. Zero: none yet.
    pub(crate) fn newest(&self) -> (u64, u64) {
        let newest = self.newest.lock();
        (newest.size, newest.at_ms)
    }

    /// Whether the witness refused what the log shows.
    pub(crate) fn is_refused(&self) -> bool {
        self.newest.lock().refused.is_some()
    }

    /// The witness's key was heard.
    pub(crate) fn learn_key(&self, key: PublicKey) {
        self.newest.lock().key = Some(key);
    }

    /// The witness's key, if it was heard.
    pub(crate) fn key(&self) -> Option<PublicKey> {
        self.newest.lock().key.clone()
    }

    /// The tree has grown to `size`.
    pub(crate) fn grown(&self, size: u64) {
        if size.saturating_sub(self.newest.lock().size) >= MANY {
            self.many.notify_one();
        }
    }
}

impl Shared {
    /// Before anything is written: the log must be the one that the witness knows. A witness that is away is not waited for.
    pub(crate) async fn check_with_witness(self: &Arc<Self>) -> Result<(), StartError> {
        let kept = self.log.cosigned();
        if let Some(head) = kept.as_deref().and_then(|note| self.log.public_key().verify_checkpoint(note).ok()) {
            self.witness.newest.lock().size = head.head.size;
        }
        match self.cosign().await {
            Ok(()) => Ok(()),
            Err(WitnessError::Refused { seen, shown }) => Err(StartError::Witness { seen, shown }),
            Err(error) => {
                tracing::warn!(%error, "the audit log starts without a cosignature");
                Ok(())
            }
        }
    }

    /// Has the newest checkpoint cosigned.
    ///
    /// Cancel safety: yes; what the witness signed meanwhile it says at the next call.
    pub(crate) async fn cosign(self: &Arc<Self>) -> Result<(), WitnessError> {
        let _turn = self.witness.turn.lock().await;
        let log = self.log.clone();
        let head = log.head();
        let mut shown = LogHead { size: head.size, root: Hex32(head.root.0) };
        if shown.size == 0 {
            return Ok(());
        }
        let mut from = self.witness.newest.lock().size.min(shown.size);
        for _ in 0..ATTEMPTS {
            let reader = log.clone();
            let asked = tokio::task::spawn_blocking(move || {
                let checkpoint = reader.checkpoint();
                let head = reader.public_key().verify_checkpoint(&checkpoint).map_or(head, |signed| signed.head);
                let proof = reader.prove_consistency(from, head.size)?;
                Ok::<_, ReadError>((checkpoint, head, proof))
            });
            let (checkpoint, head, proof) = asked.await.map_err(|_| WitnessError::Stopping)??;
            shown = LogHead { size: head.size, root: Hex32(head.root.0) };
            let proof = Few::new(proof.into_iter().map(|hash| Hex32(hash.0)).collect()).unwrap_or_default();
            let request = CosignRequest { checkpoint: checkpoint.clone(), old_size: from, proof };
            match self.keys.service().cosign(&request).await {
                Ok(answer) => return self.keep(checkpoint, answer.cosignature, shown.size).await,
                Err(ServiceError::Refused { problem }) if problem.code == ProblemCode::Conflict => {
                    match problem.known_size {
                        Some(known) if known <= shown.size && known != from => from = known,
                        known => return Err(WitnessError::Refused { seen: known.unwrap_or(from), shown }),
                    }
                }
                Err(ServiceError::Refused { problem }) if problem.code == ProblemCode::Fork => {
                    return Err(WitnessError::Refused { seen: problem.known_size.unwrap_or(from), shown });
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(WitnessError::Refused { seen: from, shown })
    }

    async fn keep(&self, checkpoint: String, line: String, size: u64) -> Result<(), WitnessError> {
        let now = self.clock.now();
        if let Some(key) = self.witness.key()
            && key.cosigned_at(&format!("{checkpoint}{line}")).is_none()
        {
            return Err(WitnessError::Signature);
        }
        let log = self.log.clone();
        let kept = tokio::task::spawn_blocking(move || log.keep_cosignature(&checkpoint, &line)).await;
        kept.map_err(|_| WitnessError::Stopping)??;
        let mut newest = self.witness.newest.lock();
        newest.size = size;
        newest.at_ms = now.0;
        newest.refused = None;
        Ok(())
    }

    /// Cosigns, and says what came of it; a refusal is an alarm, once.
    pub(crate) async fn cosign_and_tell(self: &Arc<Self>) {
        match self.cosign().await {
            Ok(()) => {}
            Err(WitnessError::Refused { seen, shown }) => {
                let before = self.witness.newest.lock().refused.replace(seen);
                if before != Some(seen) {
                    tracing::error!(seen, %shown, "the witness has seen {seen} entries and refuses the log; after a restore, started again, this node says what to \
                         approve on the key host"
                    );
                    self.alarm(AlarmKind::Fork, None);
                }
            }
            Err(error @ WitnessError::Signature) => {
                tracing::error!(%error, "the audit log is not cosigned");
                self.alarm(AlarmKind::Log, None);
            }
            Err(error) => tracing::debug!(%error, "the audit log is not cosigned now"),
        }
    }

    /// Cosigns every 10 s or 256 entries if there is something new, and now and then if there is not, until `stop`.
    pub(crate) async fn be_witnessed(self: Arc<Self>, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(EVERY) => {}
                // Not more often than this, however fast it grows.
                () = async { tokio::join!(self.witness.many.notified(), tokio::time::sleep(LEAST)); } => {}
            }
            let (size, at_ms) = self.witness.newest();
            let old = self.clock.now().0.saturating_sub(at_ms) >= FRESH_MS;
            if self.log.head().size != size || old {
                self.cosign_and_tell().await;
            }
        }
    }
}

/// How old a cosignature of a growing log may be.
const EVERY: Duration = Duration::from_secs(10);
/// The least between two.
const LEAST: Duration = Duration::from_secs(1);
/// Entries that do not wait for the time.
const MANY: u64 = 256;
/// How old a cosignature of a log that does not grow may be, milliseconds.
const FRESH_MS: u64 = 5 * 60 * 1000;
/// Where the proof starts is known after the first.
const ATTEMPTS: usize = 3;
