//! Who acts, signed by the node's session service: so that whoever holds a node's certificate alone names nobody.
//!
//! 123 bytes: `01 kind[1] tenant[16] actor[16] purpose[1] session[16] expires_ms[8, big-endian] signature[64]`; kind 1 is a person,
//! 2 a token, 3 a device; purpose counts [`Purpose::ALL`] from 0. The signature is Ed25519 over `"leadglass actor v1" ‖ 00 ‖` all before
//! it. On the wire it is hexadecimal. `session` is a hash of the session's name: it links calls and signs nobody in.

use leadglass_model::{ActorRef, Purpose, TenantId, UnixMillis};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::fmt;

use super::Hex32;

/// What acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ActorKind {
    /// Somebody who signed in with an account of his own.
    Person,
    /// A program, or whoever holds its token.
    Token,
    /// Something that sends.
    Device,
}

/// What a proof says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ActorClaim {
    /// What acts.
    pub kind: ActorKind,
    /// Whose.
    pub tenant: TenantId,
    /// Who.
    pub actor: ActorRef,
    /// What for.
    pub purpose: Purpose,
    /// A hash of the session's name.
    pub session: [u8; 16],
    /// Good until then.
    pub expires: UnixMillis,
}

/// A claim with its signature.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ActorProof([u8; LEN]);

/// `POST /v1/actors`: the public half of the key that a node's session service signs with. It is taken once: another one needs
/// somebody on the key host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegisterActors {
    /// Ed25519.
    pub public_key: Hex32,
}

impl ActorClaim {
    /// What is signed.
    pub fn signed_bytes(&self) -> Vec<u8> {
        [CONTEXT, &self.head()].concat()
    }

    /// With its signature, a proof.
    pub fn with_signature(&self, signature: &[u8; 64]) -> ActorProof {
        let mut bytes = [0; LEN];
        let (head, tail) = bytes.split_at_mut(HEAD);
        head.copy_from_slice(&self.head());
        tail.copy_from_slice(signature);
        ActorProof(bytes)
    }

    fn head(&self) -> [u8; HEAD] {
        let kind = match self.kind {
            ActorKind::Person => 1,
            ActorKind::Token => 2,
            ActorKind::Device => 3,
        };
        let purpose = Purpose::ALL.iter().position(|purpose| *purpose == self.purpose);
        let purpose = purpose.and_then(|at| u8::try_from(at).ok()).expect("there are nine purposes");
        let mut head = [0; HEAD];
        let parts: [&[u8]; 7] = [
            &[VERSION],
            &[kind],
            self.tenant.as_bytes(),
            &self.actor.0,
            &[purpose],
            &self.session,
            &self.expires.0.to_be_bytes(),
        ];
        head.copy_from_slice(&parts.concat());
        head
    }
}

impl ActorProof {
    /// What it says, unproven; `None` for what says nothing.
    pub fn claim(&self) -> Option<ActorClaim> {
        let field = |from: usize| -> Option<[u8; 16]> { self.0.get(from..from.saturating_add(16))?.try_into().ok() };
        let kind = match self.0[1] {
            1 => ActorKind::Person,
            2 => ActorKind::Token,
            3 => ActorKind::Device,
            _ => return None,
        };
        (self.0[0] == VERSION).then_some(())?;
        Some(ActorClaim {
            kind,
            tenant: TenantId::from_bytes(field(2)?),
            actor: ActorRef(field(18)?),
            purpose: *Purpose::ALL.get(usize::from(self.0[34]))?,
            session: field(35)?,
            expires: UnixMillis(u64::from_be_bytes(self.0.get(51..HEAD)?.try_into().ok()?)),
        })
    }

    /// The signature.
    pub fn signature(&self) -> &[u8] {
        &self.0[HEAD..]
    }
}

impl fmt::Debug for ActorProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ActorProof").field(&self.claim()).finish()
    }
}

impl Serialize for ActorProof {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&hex::encode(self.0))
    }
}

impl<'de> Deserialize<'de> for ActorProof {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(d)?;
        let mut bytes = [0; LEN];
        hex::decode_to_slice(text.as_bytes(), &mut bytes).map_err(|_| D::Error::custom("not a proof of an actor"))?;
        Ok(Self(bytes))
    }
}

const VERSION: u8 = 1;
const CONTEXT: &[u8] = b"leadglass actor v1\0";
const HEAD: usize = 1 + 1 + 16 + 16 + 1 + 16 + 8;
const LEN: usize = HEAD + 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_says_what_was_claimed_in_these_bytes() {
        let claim = ActorClaim {
            kind: ActorKind::Token,
            tenant: TenantId::from_bytes([3; 16]),
            actor: ActorRef([4; 16]),
            purpose: Purpose::BreakGlass,
            session: [5; 16],
            expires: UnixMillis(0x0102_0304_0506_0708),
        };
        let proof = claim.with_signature(&[9; 64]);
        assert_eq!(proof.claim(), Some(claim));
        let text = serde_json::to_string(&proof).unwrap();
        let (three, four, five) = ("03".repeat(16), "04".repeat(16), "05".repeat(16));
        assert_eq!(text, format!("\"0102{three}{four}08{five}0102030405060708{}\"", "09".repeat(64)));
        assert_eq!(serde_json::from_str::<ActorProof>(&text).unwrap(), proof);
        let mut strange = proof;
        strange.0[34] = 9;
        assert_eq!(strange.claim(), None);
        assert!(serde_json::from_str::<ActorProof>("\"01\"").is_err());
    }
}
