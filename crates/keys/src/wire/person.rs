//! `/v1/people/enrol`: a person's passkey comes to the key service, which does not count it before its host confirms it.

use super::{Base64Bytes, Word};
use serde::{Deserialize, Serialize};

/// The longest enrolment code that is read, in bytes.
pub const MAX_ENROLMENT_CODE_BYTES: usize = 64;
/// The longest name of a relying party, in bytes: that of a host (RFC 1035 §2.3.4).
pub const MAX_RP_ID_BYTES: usize = 253;
/// The longest COSE key, in bytes: RSA with 4,096 bits has about 530.
pub const MAX_PUBLIC_KEY_BYTES: usize = 1024;

/// Brings a passkey, with the code that `leadglass-keyd people add` printed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnrolPerson {
    /// The code; good once.
    pub code: Base64Bytes<MAX_ENROLMENT_CODE_BYTES>,
    /// What the authenticator calls the credential.
    pub credential_id: Base64Bytes<1024>,
    /// Its public key: a COSE_Key (RFC 9052 §7) for ES256, EdDSA or RS256.
    pub public_key: Base64Bytes<MAX_PUBLIC_KEY_BYTES>,
    /// The relying party that it was made for, in UTF-8.
    pub rp_id: Base64Bytes<MAX_RP_ID_BYTES>,
}

/// The passkey waits for the key host's confirmation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrolled {
    /// The person, as `leadglass-keyd people` names him.
    pub id: Word,
    /// What is compared at the key host: [`passkey_fingerprint`].
    pub fingerprint: String,
}

/// Eight groups of four hexadecimal digits: the first half of SHA-256("leadglass passkey v1" ‖ 00 ‖ length of the credential
/// id[2] ‖ credential id ‖ public key).
pub fn passkey_fingerprint(credential_id: &[u8], public_key: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    let mut hash = Sha256::new();
    hash.update(b"leadglass passkey v1\0");
    hash.update(u16::try_from(credential_id.len()).unwrap_or(u16::MAX).to_be_bytes());
    hash.update(credential_id);
    hash.update(public_key);
    let digest = hash.finalize();
    let groups: Vec<String> = digest.chunks(2).take(8).map(hex::encode).collect();
    groups.join("-")
}
