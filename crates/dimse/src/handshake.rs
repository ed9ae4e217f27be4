//! Why a TLS handshake failed, as far as it helps a person.

use std::io;
use tokio_rustls::rustls::{CertificateError, Error};

/// What was wrong with a peer that did not get through the TLS handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeFailure {
    /// It showed no certificate.
    #[error("it showed no certificate")]
    NoCertificate,
    /// Its certificate is past its end.
    #[error("its certificate has ended")]
    Expired,
    /// Its certificate is not valid yet.
    #[error("its certificate is not valid yet")]
    NotYetValid,
    /// Nobody we trust issued its certificate.
    #[error("its certificate is of no authority that is trusted here")]
    UnknownIssuer,
    /// Its certificate is not for clients, or malformed, or it did not prove the key.
    #[error("its certificate is not good for this")]
    BadCertificate,
    /// It speaks TLS 1.1 or older, or has no cipher suite in common with us.
    #[error("it offers no TLS version or cipher suite that is taken here")]
    NothingInCommon,
    /// What it sent is no TLS.
    #[error("what it sent is no TLS")]
    NotTls,
    /// It ended the handshake: it does not trust our certificate, for example.
    #[error("it ended the handshake")]
    EndedByPeer,
}

impl HandshakeFailure {
    /// Reads what the TLS library said.
    pub(crate) fn of(error: &io::Error) -> Self {
        let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) else {
            return Self::EndedByPeer;
        };
        match error {
            Error::NoCertificatesPresented => Self::NoCertificate,
            Error::InvalidCertificate(certificate) => match certificate {
                CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::Expired,
                CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => Self::NotYetValid,
                CertificateError::UnknownIssuer => Self::UnknownIssuer,
                _ => Self::BadCertificate,
            },
            Error::PeerIncompatible(_) => Self::NothingInCommon,
            Error::AlertReceived(_) => Self::EndedByPeer,
            _ => Self::NotTls,
        }
    }

    /// The word in audit entries and metrics.
    pub const fn word(self) -> &'static str {
        match self {
            Self::NoCertificate => "no-certificate",
            Self::Expired => "certificate-expired",
            Self::NotYetValid => "certificate-not-yet-valid",
            Self::UnknownIssuer => "certificate-unknown-issuer",
            Self::BadCertificate => "certificate-bad",
            Self::NothingInCommon => "tls-nothing-in-common",
            Self::NotTls => "no-tls",
            Self::EndedByPeer => "tls-ended-by-peer",
        }
    }
}
