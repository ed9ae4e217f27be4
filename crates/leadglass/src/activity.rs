//! What happened to this node itself: said to the log before anybody is let in, and while it runs.

use crate::{config::Config, files};
use anyhow::Context;
use leadglass_engine::{Activity, Engine};
use leadglass_model::{Clock, SystemClock, UnixMillis};
use leadglass_records::{TokenInfo, Tokens};
use std::{
    fs,
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

/// Records the start, and what was done since the last entry: a token that was issued or ended, another configuration, a clock
/// that is behind. Tokens are issued and ended while the vault does not run, so what is younger than the log's last entry is news.
pub async fn begun(engine: &Engine, tokens: &Tokens, config: &Config) -> anyhow::Result<()> {
    let last = engine.last_entry_before_start();
    let mut news = vec![Activity::Started];
    if last.is_some_and(|last| last.0 > SystemClock.now().0.saturating_add(STEP_MS)) {
        tracing::warn!("the clock is behind the log's last entry");
        news.push(Activity::ClockBack);
    }
    let all = tokens.list(None).await.context("the tokens cannot be read")?;
    news.extend(all.iter().flat_map(|token| since(token, last)));
    let digest = blake3::hash(toml::to_string(config)?.as_bytes()).to_hex();
    let seen = config.data.join(SEEN);
    let before = fs::read_to_string(&seen).ok();
    if before.as_deref() != Some(digest.as_str()) {
        news.push(Activity::ConfigChanged);
    }
    engine.record_activity(&news).await.context("the start cannot be recorded, so nobody is let in")?;
    // Behind the entry: who dies in between says it once more.
    files::write(&seen, digest.as_bytes())
}

/// What an operator did to a token since then.
fn since(token: &TokenInfo, last: Option<UnixMillis>) -> Vec<Activity> {
    let is_news = |at: UnixMillis| last.is_none_or(|last| last < at);
    let grant = &token.grant;
    let mut news = Vec::new();
    // What a person makes for himself is recorded when he does.
    if token.seat.is_some() {
        return news;
    }
    if is_news(token.issued) {
        news.push(Activity::TokenIssued(grant.tenant, grant.actor, grant.role));
    }
    if token.revoked.is_some_and(is_news) {
        news.push(Activity::TokenRevoked(grant.tenant, grant.actor, grant.role));
    }
    news
}

/// Notices when the clock was set: it is held against one that nobody sets.
pub async fn watch_clock(engine: Engine, stop: CancellationToken) {
    let (mut tick, mut last) = (tokio::time::interval(LOOK_EVERY), (SystemClock.now(), Instant::now()));
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => {}
        }
        let now = (SystemClock.now(), Instant::now());
        if let Some(step) = stepped(now.0.0.checked_sub(last.0.0), now.1 - last.1) {
            tracing::warn!("the clock was set, or the machine slept: {step:?}");
            if let Err(error) = engine.record_activity(&[step]).await {
                tracing::warn!(%error, "that the clock was set could not be recorded");
            }
        }
        last = now;
    }
}

/// Whether the clock went otherwise than time did. `by_clock`: milliseconds; `None` where it went back.
fn stepped(by_clock: Option<u64>, by_time: Duration) -> Option<Activity> {
    let by_time = u64::try_from(by_time.as_millis()).unwrap_or(u64::MAX);
    match by_clock {
        None => Some(Activity::ClockBack),
        Some(by_clock) if by_clock > by_time.saturating_add(STEP_MS) => Some(Activity::ClockForward),
        Some(by_clock) if by_clock.saturating_add(STEP_MS) < by_time => Some(Activity::ClockBack),
        Some(_) => None,
    }
}

/// A file of the data directory: BLAKE3 of the configuration at the last start.
const SEEN: &str = "config.seen";
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// A clock that is kept right by slewing never goes so far in between two looks.
const STEP_MS: u64 = 2_000;

#[cfg(test)]
mod tests {
    use super::*;
    use leadglass_model::{ActorRef, Role, TenantId};
    use leadglass_records::TokenGrant;

    #[test]
    fn a_clock_that_is_set_is_noticed_and_one_that_is_slewed_is_not() {
        let ten = Duration::from_secs(10);
        for (by_clock, step) in [
            (Some(10_000), None),
            (Some(10_900), None),
            (Some(8_500), None),
            (Some(13_000), Some(Activity::ClockForward)),
            (Some(7_000), Some(Activity::ClockBack)),
            (None, Some(Activity::ClockBack)),
        ] {
            assert_eq!(stepped(by_clock, ten), step, "{by_clock:?}");
        }
    }

    #[test]
    fn what_is_younger_than_the_last_entry_is_news() {
        let grant = TokenGrant {
            actor: ActorRef([1; 16]),
            tenant: TenantId::from_bytes([2; 16]),
            role: Role::Dpo,
            label: "export".to_owned(),
        };
        let token = TokenInfo { grant, issued: UnixMillis(5), expires: None, revoked: Some(UnixMillis(9)), seat: None };
        let (issued, revoked) = (
            Activity::TokenIssued(TenantId::from_bytes([2; 16]), ActorRef([1; 16]), Role::Dpo),
            Activity::TokenRevoked(TenantId::from_bytes([2; 16]), ActorRef([1; 16]), Role::Dpo),
        );
        assert_eq!(since(&token, None), [issued, revoked]);
        assert_eq!(since(&token, Some(UnixMillis(4))), [issued, revoked]);
        assert_eq!(since(&token, Some(UnixMillis(5))), [revoked]);
        assert_eq!(since(&token, Some(UnixMillis(9))), []);
    }
}
