//! What a certificate or a signing request says: the hash of its key, its end. Nothing else of it is believed here; that a
//! certificate is good is the TLS handshake's affair.

use leadglass_model::UnixMillis;
use sha2::{Digest, Sha256};
use x509_parser::{
    certification_request::X509CertificationRequest, pem::parse_x509_pem, prelude::FromDer, public_key::PublicKey,
    x509::SubjectPublicKeyInfo,
};

/// The part of a certificate that devices are told apart by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shown {
    /// SHA-256 of its SubjectPublicKeyInfo (RFC 5280 §4.1.2.7).
    pub sha256: [u8; 32],
    /// When it ends.
    pub ends: UnixMillis,
}

/// Reads a certificate; `None` for bytes that are none.
pub fn shown(der: &[u8]) -> Option<Shown> {
    let (_, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
    let seconds = certificate.validity().not_after.timestamp().max(0).unsigned_abs();
    let sha256 = Sha256::digest(certificate.tbs_certificate.subject_pki.raw).into();
    Some(Shown { sha256, ends: UnixMillis(seconds.saturating_mul(1000)) })
}

/// Reads the first certificate of a PEM text.
pub fn shown_pem(pem: &str) -> Option<Shown> {
    let (_, block) = parse_x509_pem(pem.as_bytes()).ok()?;
    shown(&block.contents)
}

/// The SubjectPublicKeyInfo of a signing request (PKCS#10, PEM) that its owner signed; `None` for what is none, or is over
/// a key that is too weak.
pub fn requested_key(pem: &str) -> Option<Vec<u8>> {
    let (_, block) = parse_x509_pem(pem.as_bytes()).ok()?;
    let (_, request) = X509CertificationRequest::from_der(&block.contents).ok()?;
    request.verify_signature().ok()?;
    let key = &request.certification_request_info.subject_pki;
    is_strong(key).then(|| key.raw.to_vec())
}

fn is_strong(key: &SubjectPublicKeyInfo<'_>) -> bool {
    match key.parsed() {
        Ok(PublicKey::RSA(rsa)) => rsa.key_size() >= MIN_RSA_BITS,
        // An elliptic curve that the issuer does not know is refused there.
        Ok(_) => true,
        Err(_) => false,
    }
}

/// RFC 9325 §4.5.
const MIN_RSA_BITS: usize = 2048;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_taken_only_with_its_owners_signature() {
        let key = rcgen::KeyPair::generate().unwrap();
        let request = rcgen::CertificateParams::default().serialize_request(&key).unwrap();
        let taken = requested_key(&request.pem().unwrap()).unwrap();
        let certificate = rcgen::CertificateParams::default().self_signed(&key).unwrap();
        assert_eq!(shown(certificate.der()).unwrap().sha256, <[u8; 32]>::from(Sha256::digest(taken)));

        let mut forged = request.der().to_vec();
        *forged.last_mut().unwrap() ^= 1;
        assert!(requested_key(&pem_of(&forged)).is_none());
        assert!(requested_key("no request").is_none() && shown(b"no certificate").is_none());
    }

    fn pem_of(der: &[u8]) -> String {
        use std::fmt::Write as _;
        let mut text = "-----BEGIN CERTIFICATE REQUEST-----\n".to_owned();
        for chunk in base64_of(der).as_bytes().chunks(64) {
            writeln!(text, "{}", std::str::from_utf8(chunk).unwrap()).unwrap();
        }
        text + "-----END CERTIFICATE REQUEST-----\n"
    }

    fn base64_of(bytes: &[u8]) -> String {
        const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut out = String::new();
        for three in bytes.chunks(3) {
            let word = three.iter().fold(0_u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
            for at in 0..4 {
                let digit = DIGITS[(word >> (18 - 6 * at) & 63) as usize] as char;
                out.push(if at <= three.len() { digit } else { '=' });
            }
        }
        out
    }
}
