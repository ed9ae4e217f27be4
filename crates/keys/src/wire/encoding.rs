//! Bytes as text, and JSON with a bound.

use super::WireError;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::DeserializeOwned, de::Error};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Reads a JSON message of at most `max` bytes.
///
/// # Errors
/// Too many bytes, or JSON that does not fit; the message is not repeated in the error.
pub fn json_from<T: DeserializeOwned>(bytes: &[u8], max: usize) -> Result<T, WireError> {
    if bytes.len() > max {
        return Err(WireError::TooLong { len: bytes.len(), max });
    }
    serde_json::from_slice(bytes).map_err(|e| WireError::Json { line: e.line(), column: e.column() })
}

/// Writes a JSON message into a buffer that is wiped when it goes (a MAC's input or a passphrase may stand in it).
pub fn json_to<T: Serialize>(message: &T) -> Zeroizing<Vec<u8>> {
    // A vector that grows would leave its old bytes behind: the length is counted first.
    let mut room = Count(0);
    serde_json::to_writer(&mut room, message).expect("wire types have string keys and no failing serializer");
    let mut out = Zeroizing::new(Vec::with_capacity(room.0));
    serde_json::to_writer(&mut *out, message).expect("wire types have string keys and no failing serializer");
    out
}

/// Counts bytes.
struct Count(usize);

impl std::io::Write for Count {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 = self.0.saturating_add(bytes.len());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// 32 bytes that are no secret (a digest, a nonce, a MAC); 64 lower-case hexadecimal digits on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hex32(pub [u8; 32]);

impl Serialize for Hex32 {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&hex::encode(self.0))
    }
}

impl<'de> Deserialize<'de> for Hex32 {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(d)?;
        text.parse().map_err(D::Error::custom)
    }
}

impl std::str::FromStr for Hex32 {
    type Err = WireError;
    fn from_str(text: &str) -> Result<Self, WireError> {
        let mut bytes = [0; 32];
        match hex::decode_to_slice(text, &mut bytes) {
            Ok(()) if !text.bytes().any(|b| b.is_ascii_uppercase()) => Ok(Self(bytes)),
            _ => Err(WireError::Field { field: "64 hexadecimal digits" }),
        }
    }
}

impl std::fmt::Display for Hex32 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// At most `MAX` bytes; base64 (RFC 4648 §4) on the wire. Wiped when it goes, `Debug` shows the length only.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Base64Bytes<const MAX: usize>(Vec<u8>);

impl<const MAX: usize> Base64Bytes<MAX> {
    /// The bytes, if they are few enough.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        (bytes.len() <= MAX).then(|| Self(bytes.to_vec()))
    }

    /// Reads the bytes.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl<const MAX: usize> std::fmt::Debug for Base64Bytes<MAX> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "‹{} bytes›", self.0.len())
    }
}

impl<const MAX: usize> Serialize for Base64Bytes<MAX> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&Zeroizing::new(STANDARD.encode(&self.0)))
    }
}

impl<'de, const MAX: usize> Deserialize<'de> for Base64Bytes<MAX> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = Zeroizing::new(String::deserialize(d)?);
        if text.len() > MAX.div_ceil(3).saturating_mul(4) {
            return Err(D::Error::custom("too many bytes"));
        }
        let bytes = STANDARD.decode(text.as_bytes()).map_err(|_| D::Error::custom("not base64"))?;
        if bytes.len() > MAX {
            return Err(D::Error::custom("too many bytes"));
        }
        Ok(Self(bytes))
    }
}

/// `ActorRef` as 32 hexadecimal digits; use with `#[serde(with)]`.
pub(super) mod actor {
    use leadglass_model::ActorRef;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(in super::super) fn serialize<S: Serializer>(actor: &ActorRef, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(actor)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<ActorRef, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(d)?;
        let mut bytes = [0; 16];
        hex::decode_to_slice(text.as_ref(), &mut bytes)
            .map_err(|_| D::Error::custom("an actor is 32 hexadecimal digits"))?;
        Ok(ActorRef(bytes))
    }
}
