//! The rows of people: who may approve with a passkey. No name stands here but the words that the key host chose.

use leadglass_model::{TenantId, UnixMillis};
use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

/// For what a person approves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
#[cbor(index_only)]
pub enum PersonRole {
    /// The data protection officer: destruction, and opening in bulk for a person, an erasure, research, quality, a claim.
    #[n(0)]
    Dpo,
    /// Whoever runs the vault: rebuilding, checking, rehearsing, moving.
    #[n(1)]
    Admin,
}

/// Somebody who may approve. The row's name is his id: 16 random bytes.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct PersonRow {
    /// Whose jobs.
    #[n(0)]
    pub tenant: TenantId,
    /// Which of them.
    #[n(1)]
    pub role: PersonRole,
    /// What the key host calls him.
    #[n(2)]
    pub label: String,
    /// When he was added, milliseconds since 1970.
    #[n(3)]
    pub added_at_ms: u64,
    /// SHA-256 of the enrolment code; empty once it was used.
    #[n(4)]
    #[cbor(with = "minicbor::bytes")]
    pub code_hash: Vec<u8>,
    /// Until when the code is good.
    #[n(5)]
    pub code_until_ms: u64,
    /// His passkey.
    #[n(6)]
    pub credential: Option<Credential>,
    /// When the key host confirmed it; 0: not yet, and it approves nothing.
    #[n(7)]
    pub confirmed_at_ms: u64,
    /// The sign counter that was seen last.
    #[n(8)]
    pub counter: u32,
    /// When he approved last; 0: never.
    #[n(9)]
    pub last_ms: u64,
}

/// A passkey, as it came with a code.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Credential {
    /// What the authenticator calls it.
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    pub id: Vec<u8>,
    /// COSE_Key, byte for byte as it came: the fingerprint is over it.
    #[n(1)]
    #[cbor(with = "minicbor::bytes")]
    pub public_key: Vec<u8>,
    /// The relying party.
    #[n(2)]
    pub rp_id: String,
    /// When it came.
    #[n(3)]
    pub enrolled_at_ms: u64,
    /// Through which client: the first half of its key's hash.
    #[n(4)]
    #[cbor(with = "minicbor::bytes")]
    pub through: [u8; 16],
}

impl PersonRow {
    /// Whether an enrolment code is his, and still good.
    pub fn takes_code(&self, hash: &[u8; 32], now: UnixMillis) -> bool {
        self.credential.is_none() && self.code_hash == hash && now.0 < self.code_until_ms
    }

    /// Where he stands: `invited`, `unconfirmed`, `confirmed`.
    pub const fn state(&self) -> &'static str {
        match (&self.credential, self.confirmed_at_ms) {
            (None, _) => "invited",
            (Some(_), 0) => "unconfirmed",
            (Some(_), _) => "confirmed",
        }
    }

    /// What is compared at the key host.
    pub fn fingerprint(&self) -> Option<String> {
        let credential = self.credential.as_ref()?;
        Some(leadglass_keys::wire::passkey_fingerprint(&credential.id, &credential.public_key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written by hand from the field numbers above: what is at rest stays readable.
    #[test]
    fn a_row_comes_back_and_stands_as_it_is_written_down() {
        let row = PersonRow {
            tenant: TenantId::from_bytes([1; 16]),
            role: PersonRole::Admin,
            label: "operations".into(),
            added_at_ms: 7,
            code_hash: Vec::new(),
            code_until_ms: 8,
            credential: Some(Credential {
                id: vec![1, 2],
                public_key: vec![3],
                rp_id: "vault.test".into(),
                enrolled_at_ms: 9,
                through: [4; 16],
            }),
            confirmed_at_ms: 10,
            counter: 11,
            last_ms: 12,
        };
        let bytes = minicbor::to_vec(&row).unwrap();
        assert_eq!(minicbor::decode::<PersonRow>(&bytes).unwrap(), row);
        let credential = ["a5", "00420102", "014103", "026a7661756c742e74657374", "0309", "0450", &"04".repeat(16)];
        let ones = "01".repeat(16);
        let written = [
            "aa",
            "0050",
            &ones,
            "0101",
            "026a6f7065726174696f6e73",
            "0307",
            "0440",
            "0508",
            "06",
            &credential.concat(),
        ];
        assert_eq!(hex::encode(bytes), written.concat() + "070a" + "080b" + "090c");
    }
}
