//! How sure the vault is who delivers.

use std::{fmt, str::FromStr};

/// What a device had to show when it was let in. It travels with every instance as provenance: a level below
/// [`Certificate`](Self::Certificate) means that somebody on the device's network could have sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EnrolmentLevel {
    /// 0: nothing that is worth anything: any address. Refused unless the configuration allows it.
    Open,
    /// 1: its network address, its AE title and, if it has one of its own, the port.
    Address,
    /// 2: a relay beside it proved a key; what stands behind the relay says only its AE title.
    SideCar,
    /// 3: it proved its own key under TLS.
    Certificate,
}

impl EnrolmentLevel {
    /// Every level, the weakest first.
    pub const ALL: [Self; 4] = [Self::Open, Self::Address, Self::SideCar, Self::Certificate];

    /// 0 to 3.
    pub const fn number(self) -> u8 {
        match self {
            Self::Open => 0,
            Self::Address => 1,
            Self::SideCar => 2,
            Self::Certificate => 3,
        }
    }

    /// The word in configuration, requests and audit details.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Address => "address",
            Self::SideCar => "side-car",
            Self::Certificate => "certificate",
        }
    }

    /// Whether somebody has to prove a key.
    pub const fn wants_certificate(self) -> bool {
        matches!(self, Self::SideCar | Self::Certificate)
    }
}

impl fmt::Display for EnrolmentLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for EnrolmentLevel {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|level| level.as_str() == text || level.number().to_string() == text)
            .ok_or("not a level: open, address, side-car or certificate")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_comes_back_from_its_word_and_its_number() {
        for level in EnrolmentLevel::ALL {
            assert_eq!(level.as_str().parse(), Ok(level));
            assert_eq!(level.number().to_string().parse(), Ok(level));
            assert_eq!(serde_json::to_string(&level).unwrap(), format!("\"{level}\""));
        }
        assert!(EnrolmentLevel::Certificate > EnrolmentLevel::Address);
    }
}
