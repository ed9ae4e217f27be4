//! Ends what is being given out to those whose token was revoked or has expired: a download may last for hours, and a token
//! is asked for at its beginning only.

use leadglass_engine::Engine;
use leadglass_model::{Clock, SystemClock, UnixMillis};
use leadglass_records::Tokens;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Looks every two seconds at whoever reads, until `stop`.
pub async fn patrol(engine: Engine, tokens: Tokens, stop: CancellationToken) {
    let mut tick = tokio::time::interval(LOOK_EVERY);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => {}
        }
        let readers = engine.readers();
        if readers.is_empty() {
            continue;
        }
        match tokens.over(readers).await {
            Ok(over) => {
                for actor in over {
                    let accesses = engine.end_actor(actor);
                    tracing::info!(%actor, accesses, "a token is over: what it was being given stops");
                }
            }
            Err(error) => tracing::warn!(%error, "the tokens of those who read cannot be looked up"),
        }
        // One that a person made for a program ends without him.
        let then = UnixMillis(SystemClock.now().0.saturating_sub(LOOKED_BACK_MS));
        match tokens.over_since(then).await {
            Ok(over) => over.into_iter().for_each(|session| engine.end_session(session)),
            Err(error) => tracing::warn!(%error, "the tokens of people cannot be looked up"),
        }
    }
}

/// More than two looks: one may be late.
const LOOKED_BACK_MS: u64 = 60_000;
/// With the few MiB that are under way a download ends within five seconds.
const LOOK_EVERY: Duration = Duration::from_secs(2);
