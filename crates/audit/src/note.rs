//! Checkpoints: signed tree heads as text (C2SP tlog-checkpoint, signed-note).
//!
//! ```text
//! <origin>\n<size, decimal>\n<root, base64>\n
//! \n
//! — <key name> <base64(key id[4] ‖ signature)>\n
//! ```
//! Key id = SHA-256(key name ‖ 0A ‖ type ‖ public key)[0..4]; type 01 is Ed25519 over the text, 04 a witness's timestamped
//! cosignature (C2SP tlog-cosignature). The key's name is the log's origin.

use crate::{Hash, hash::sha256, log::TreeHead};
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use base64::{Engine, engine::general_purpose::STANDARD};
use leadglass_model::Fault;
use std::fmt;

/// The private half of a log's or a witness's key.
pub struct LogKey {
    name: String,
    pair: Ed25519KeyPair,
}

/// The public half: name and Ed25519 key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    name: String,
    key: [u8; 32],
}

/// A checkpoint whose signature was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedHead {
    /// The log's name.
    pub origin: String,
    /// What it says.
    pub head: TreeHead,
}

/// Why a text is not a checkpoint of this log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoteError {
    /// Not a signed note with a checkpoint in it.
    #[error("the text is not a checkpoint")]
    Malformed,
    /// A checkpoint of another log.
    #[error("the checkpoint belongs to another log")]
    OtherLog,
    /// No signature of the key, or a wrong one.
    #[error("the checkpoint does not carry the log's signature")]
    NotSigned,
    /// A name that cannot stand in a note.
    #[error("a key name is 1 to 100 printable ASCII characters without space and plus")]
    BadName,
    /// Not a seed.
    #[error("an Ed25519 seed is 32 bytes")]
    BadSeed,
}

impl NoteError {
    /// The kind of failure.
    pub const fn fault(&self) -> Fault {
        match self {
            Self::Malformed | Self::BadName | Self::BadSeed => Fault::BadInput,
            Self::OtherLog => Fault::Conflict,
            Self::NotSigned => Fault::Corrupt,
        }
    }
}

impl LogKey {
    /// The key with this name (the log's origin, for example `leadglass/vault/9f2c…`) and seed.
    pub fn from_seed(name: &str, seed: &[u8]) -> Result<Self, NoteError> {
        check_name(name)?;
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| NoteError::BadSeed)?;
        Ok(Self { name: name.to_owned(), pair })
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        let mut key = [0; 32];
        key.copy_from_slice(self.pair.public_key().as_ref());
        PublicKey { name: self.name.clone(), key }
    }

    /// The key's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The checkpoint of `head`, signed.
    pub fn sign_checkpoint(&self, head: &TreeHead) -> String {
        let text = checkpoint_text(&self.name, head);
        let signature = self.sign(text.as_bytes());
        format!("{text}\n{}", signature_line(&self.name, self.public().id(ED25519_TYPE), &signature))
    }

    pub(crate) fn sign(&self, message: &[u8]) -> [u8; 64] {
        let mut out = [0; 64];
        out.copy_from_slice(self.pair.sign(message).as_ref());
        out
    }
}

impl fmt::Debug for LogKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogKey").field("name", &self.name).finish_non_exhaustive()
    }
}

impl PublicKey {
    /// The key with this name and these 32 bytes.
    pub fn new(name: &str, key: [u8; 32]) -> Result<Self, NoteError> {
        check_name(name)?;
        Ok(Self { name: name.to_owned(), key })
    }

    /// Reads a verifier key, `<name>+<key id, hex>+<base64(01 ‖ key)>`.
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(NoteError::Malformed);
        };
        let key = STANDARD.decode(key).map_err(|_| NoteError::Malformed)?;
        let Some((&ED25519_TYPE, key)) = key.split_first() else { return Err(NoteError::Malformed) };
        let parsed = Self::new(name, key.try_into().map_err(|_| NoteError::Malformed)?)?;
        if hex::encode(parsed.id(ED25519_TYPE)) == id { Ok(parsed) } else { Err(NoteError::Malformed) }
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The 32 bytes of the key.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.key
    }

    /// Checks a checkpoint of this log. Signatures of other keys (witnesses) are passed over.
    pub fn verify_checkpoint(&self, note: &str) -> Result<SignedHead, NoteError> {
        let (text, lines) = split(note)?;
        let head = parse_checkpoint(text)?;
        if head.origin != self.name {
            return Err(NoteError::OtherLog);
        }
        let good = signatures(lines, &self.name, self.id(ED25519_TYPE)).any(|s| self.verify(text.as_bytes(), &s));
        if good { Ok(head) } else { Err(NoteError::NotSigned) }
    }

    pub(crate) fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.key).verify(message, signature).is_ok()
    }

    pub(crate) fn id(&self, kind: u8) -> [u8; 4] {
        let hash = sha256(&[self.name.as_bytes(), b"\n", &[kind], &self.key]);
        let [a, b, c, d, ..] = hash.0;
        [a, b, c, d]
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut key = vec![ED25519_TYPE];
        key.extend_from_slice(&self.key);
        write!(f, "{}+{}+{}", self.name, hex::encode(self.id(ED25519_TYPE)), STANDARD.encode(key))
    }
}

/// The text of a checkpoint, with its final newline.
pub(crate) fn checkpoint_text(origin: &str, head: &TreeHead) -> String {
    format!("{origin}\n{}\n{}\n", head.size, STANDARD.encode(head.root.0))
}

/// One signature line.
pub(crate) fn signature_line(name: &str, id: [u8; 4], signature: &[u8]) -> String {
    let mut bytes = id.to_vec();
    bytes.extend_from_slice(signature);
    format!("— {name} {}\n", STANDARD.encode(bytes))
}

/// The note's text and its signature lines.
pub(crate) fn split(note: &str) -> Result<(&str, &str), NoteError> {
    if note.len() > MAX_NOTE_BYTES {
        return Err(NoteError::Malformed);
    }
    let at = note.rfind("\n\n").ok_or(NoteError::Malformed)?;
    let (text, lines) = (&note[..=at], &note[at + 2..]);
    if lines.is_empty() || !lines.ends_with('\n') { Err(NoteError::Malformed) } else { Ok((text, lines)) }
}

/// The signatures that a key of this name and id made, key ids taken off.
pub(crate) fn signatures<'a>(lines: &'a str, name: &'a str, id: [u8; 4]) -> impl Iterator<Item = Vec<u8>> + 'a {
    lines.lines().filter_map(move |line| {
        let (signer, signature) = line.strip_prefix("— ")?.split_once(' ')?;
        let bytes = STANDARD.decode(signature).ok()?;
        (signer == name).then_some(())?;
        bytes.strip_prefix(&id).map(<[u8]>::to_vec)
    })
}

/// The head in a checkpoint's text. No signature is checked here.
pub(crate) fn parse_checkpoint(text: &str) -> Result<SignedHead, NoteError> {
    let mut lines = text.lines();
    let (Some(origin), Some(size), Some(root)) = (lines.next(), lines.next(), lines.next()) else {
        return Err(NoteError::Malformed);
    };
    let number: u64 = size.parse().map_err(|_| NoteError::Malformed)?;
    let root = STANDARD.decode(root).map_err(|_| NoteError::Malformed)?;
    let root = Hash(root.try_into().map_err(|_| NoteError::Malformed)?);
    if origin.is_empty() || number.to_string() != size {
        return Err(NoteError::Malformed);
    }
    Ok(SignedHead { origin: origin.to_owned(), head: TreeHead { size: number, root } })
}

fn check_name(name: &str) -> Result<(), NoteError> {
    let good = (1..=100).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_graphic() && b != b'+');
    if good { Ok(()) } else { Err(NoteError::BadName) }
}

/// Signature type of a log (signed-note).
const ED25519_TYPE: u8 = 0x01;
/// A checkpoint with a dozen signatures is far smaller.
const MAX_NOTE_BYTES: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> LogKey {
        LogKey::from_seed("leadglass/test", &[7; 32]).unwrap()
    }

    fn head() -> TreeHead {
        TreeHead { size: 70_000, root: Hash([9; 32]) }
    }

    /// The example of the C2SP signed-note page (its text, its key, its signature): the form is not ours alone.
    #[test]
    fn the_example_note_of_the_go_package_verifies() {
        let key = PublicKey::parse("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW").unwrap();
        let note = "If you think cryptography is the answer to your problem,\n\
                    then you don't know what your problem is.\n\n\
                    — PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
        let (text, lines) = split(note).unwrap();
        let good = signatures(lines, key.name(), key.id(ED25519_TYPE)).any(|s| key.verify(text.as_bytes(), &s));
        assert!(good);
        assert_eq!(key.to_string().parse_key(), key);
    }

    trait ParseKey {
        fn parse_key(&self) -> PublicKey;
    }
    impl ParseKey for String {
        fn parse_key(&self) -> PublicKey {
            PublicKey::parse(self).unwrap()
        }
    }

    #[test]
    fn a_checkpoint_comes_back_and_every_changed_character_is_refused() {
        let note = key().sign_checkpoint(&head());
        let public = key().public();
        assert_eq!(public.verify_checkpoint(&note).unwrap().head, head());
        for at in 0..note.len() {
            let mut bytes = note.clone().into_bytes();
            bytes[at] ^= 1;
            if let Ok(changed) = String::from_utf8(bytes) {
                assert!(public.verify_checkpoint(&changed).is_err(), "byte {at}");
            }
        }
    }

    #[test]
    fn a_checkpoint_of_another_log_or_key_is_refused() {
        let note = LogKey::from_seed("leadglass/other", &[7; 32]).unwrap().sign_checkpoint(&head());
        assert_eq!(key().public().verify_checkpoint(&note), Err(NoteError::OtherLog));
        let note = LogKey::from_seed("leadglass/test", &[8; 32]).unwrap().sign_checkpoint(&head());
        assert_eq!(key().public().verify_checkpoint(&note), Err(NoteError::NotSigned));
    }

    #[test]
    fn lines_of_witnesses_are_passed_over() {
        let mut note = key().sign_checkpoint(&head());
        note.push_str(&signature_line("witness", [1, 2, 3, 4], &[5; 72]));
        assert!(key().public().verify_checkpoint(&note).is_ok());
    }

    #[test]
    fn names_and_seeds_are_checked() {
        for bad in ["", "with space", "with+plus", "naïve"] {
            assert_eq!(LogKey::from_seed(bad, &[1; 32]).unwrap_err(), NoteError::BadName);
        }
        assert_eq!(LogKey::from_seed("x", &[1; 31]).unwrap_err(), NoteError::BadSeed);
        assert!(!format!("{:?}", key()).contains('7'));
    }
}
