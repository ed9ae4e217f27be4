//! How long a browser stays signed in at most, and by what.

use anyhow::ensure;
use leadglass_model::SessionTimes;
use serde::{Deserialize, Serialize};
use std::{ops::RangeInclusive, time::Duration};

/// `[sessions]`. Each role has times of its own, shorter for whoever decides about others; these only shorten them.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sessions {
    /// Without use: then a person shows once more who he is.
    #[serde(with = "humantime_serde")]
    pub lock: Duration,
    /// Without use: then it ends.
    #[serde(with = "humantime_serde")]
    pub idle: Duration,
    /// In any case.
    #[serde(with = "humantime_serde")]
    pub absolute: Duration,
    /// Whether a bearer token signs a browser in. No, unless it is said: a token is one secret, without a second factor, and
    /// whoever has it would be signed in as an administrator. A person has a login; programs send the token with each request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_tokens: Option<bool>,
}

impl Default for Sessions {
    fn default() -> Self {
        Self { lock: *BOUNDS.end(), idle: *BOUNDS.end(), absolute: *BOUNDS.end(), from_tokens: None }
    }
}

impl Sessions {
    /// Whether a bearer token signs a browser in.
    pub fn take_tokens(&self) -> bool {
        self.from_tokens.unwrap_or(false)
    }

    /// What must hold beyond the types.
    pub fn check(&self) -> anyhow::Result<()> {
        for (name, time) in [("lock", self.lock), ("idle", self.idle), ("absolute", self.absolute)] {
            ensure!(BOUNDS.contains(&time), "sessions.{name}: 1s to 24h");
        }
        Ok(())
    }
}

impl From<&Sessions> for SessionTimes {
    fn from(sessions: &Sessions) -> Self {
        Self { lock: sessions.lock, idle: sessions.idle, absolute: sessions.absolute }
    }
}

/// Below a second nobody could use what he signed in for; no role's session lasts longer than a day.
const BOUNDS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(24 * 60 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_bounded() {
        let checked = |text: &str| toml::from_str::<Sessions>(text).unwrap().check().map_err(|error| error.to_string());
        assert_eq!(checked(""), Ok(()));
        assert_eq!(checked("lock = '2m'\nidle = '5m'\nabsolute = '8h'"), Ok(()));
        for bad in ["lock = '500ms'", "idle = '500ms'", "absolute = '25h'"] {
            assert!(checked(bad).is_err_and(|error| error.ends_with("1s to 24h")), "{bad}");
        }
    }
}
