//! What it takes to know whose a request is: a session's reference is looked up, 1,000 sessions at hand.
//!
//! `cargo run --release -p leadglass-records --example session`

#![allow(clippy::print_stdout, reason = "a measurement prints")]

use leadglass_model::{Role, SessionTimes, SystemClock, SystemEntropy, TenantId};
use leadglass_records::{NewToken, Records, Use};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

const SESSIONS: usize = 1_000;
const CHECKS: usize = 200_000;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let records = Records::open(&dir.path().join("records.redb"), Arc::new(SystemClock), Arc::new(SystemEntropy))?;
    let (tokens, sessions) = (records.tokens(), records.sessions()?);
    let tenant = TenantId::from_bytes([1; 16]);
    let times = SessionTimes {
        lock: Duration::from_secs(300),
        idle: Duration::from_secs(900),
        absolute: Duration::from_secs(36_000),
    };
    let mut references = Vec::with_capacity(SESSIONS);
    for _ in 0..SESSIONS {
        let new = NewToken { tenant, role: Role::Clinician, label: "a person".to_owned(), expires: None };
        let (token, _) = tokens.issue(new).await?;
        let begun = sessions.begin(token.reveal(), |_| Some(times)).await?;
        references.push(begun.ok_or("the token signs nobody in")?.0.reveal().to_owned());
    }
    let mut took: Vec<Duration> = Vec::with_capacity(CHECKS);
    for reference in references.iter().cycle().take(CHECKS) {
        let begun = Instant::now();
        let found = sessions.resolve(reference, Use::Counts)?;
        took.push(begun.elapsed());
        if found.is_none() {
            return Err("a session is gone".into());
        }
    }
    took.sort_unstable();
    println!(
        "session check: median {:?}, p99 {:?}, most {:?}",
        took[CHECKS / 2],
        took[CHECKS * 99 / 100],
        took[CHECKS - 1]
    );
    Ok(())
}
