//! Trying again.

use crate::told::Told;
use object_store::{Error, Result, path::Path};
use std::time::Duration;
use tokio::time::Instant;

/// For how long a request to a remote store is repeated before it counts as failed. The bytes are the same every time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience(pub Duration);

/// The waits of one request.
pub(crate) struct Waits {
    patience: Patience,
    until: Instant,
    tried: u32,
    /// Two nodes that failed together do not come back together: the object's random name says who waits longer.
    spread: u32,
}

impl Patience {
    /// Begins a request for that object.
    pub(crate) fn waits(self, name: &Path) -> Waits {
        let digest = blake3::hash(name.as_ref().as_bytes());
        let spread = u32::from(digest.as_bytes()[0]);
        Waits { patience: self, until: Instant::now() + self.0, tried: 0, spread }
    }

    /// Does `work` until it succeeds, fails for good, or has been tried for long enough.
    ///
    /// Cancel safety: that of `work`.
    pub(crate) async fn keep<T, F: Future<Output = Result<T>>>(
        self,
        name: &Path,
        mut work: impl FnMut() -> F,
    ) -> Result<T> {
        let mut waits = self.waits(name);
        loop {
            match work().await {
                Ok(done) => return Ok(done),
                Err(error) => waits.after(error).await?,
            }
        }
    }
}

impl Waits {
    /// Waits before the next attempt, or gives the error back if there is to be none.
    pub(crate) async fn after(&mut self, error: Error) -> Result<()> {
        let wait = FIRST.saturating_mul(1 << self.tried.min(10)).min(LONGEST);
        let wait = wait.mul_f64(0.5 + f64::from((self.spread + 97 * self.tried) % 256) / 512.0);
        if !passing(&error) || Instant::now() + wait > self.until {
            return Err(error);
        }
        self.tried += 1;
        tokio::time::sleep(wait).await;
        Ok(())
    }

    /// Something came: as patient as at the beginning.
    pub(crate) fn refresh(&mut self) {
        self.until = Instant::now() + self.patience.0;
        self.tried = 0;
    }
}

fn passing(error: &Error) -> bool {
    match error {
        Error::NotFound { .. } | Error::Precondition { .. } | Error::NotModified { .. } => false,
        Error::NotImplemented { .. } | Error::InvalidPath { .. } | Error::NotSupported { .. } => false,
        // 409 says either that the name is taken or that somebody is at it right now.
        Error::AlreadyExists { .. } => Told::of(error).is_some_and(|told| told.status == Some(409) && told.passing()),
        other => Told::of(other).is_none_or(|told| told.passing()),
    }
}

const FIRST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    fn broken() -> Error {
        Error::Generic { store: "test", source: "broken".into() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_is_repeated_until_patience_ends() {
        let name = Path::from("o/ab/abcd");
        let (began, mut tries) = (Instant::now(), 0);
        let outcome: Result<()> = Patience(Duration::from_secs(20))
            .keep(&name, || {
                tries += 1;
                async { Err(broken()) }
            })
            .await;
        assert!(outcome.is_err());
        assert!(began.elapsed() <= Duration::from_secs(20) && began.elapsed() > Duration::from_secs(17));
        assert!((14..40).contains(&tries), "{tries}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_certain_is_not_repeated() {
        let name = Path::from("o/ab/abcd");
        let mut tries = 0;
        let outcome: Result<()> = Patience(Duration::from_secs(20))
            .keep(&name, || {
                tries += 1;
                async { Err(Error::NotFound { path: String::new(), source: "gone".into() }) }
            })
            .await;
        assert!(matches!(outcome, Err(Error::NotFound { .. })));
        assert_eq!(tries, 1);
    }
}
