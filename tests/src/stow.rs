//! STOW-RS by hand: bodies, what an answer says, and HTTP/1.1 over TLS as it goes over the wire.

#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    clippy::missing_errors_doc,
    reason = "helpers of tests end where they fail"
)]

use crate::fixture::Fixture;
use crate::http::{Answer, Ask};
use crate::vault::Vault;
use crate::wire::{self, Came};
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use serde_json::Value;
use std::fs;
use std::io::{self, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

/// Of a [`body`].
pub const DICOM_PARTS: &str = "multipart/related; type=\"application/dicom\"; boundary=b-1";

/// As the first clinician.
#[must_use]
pub fn ask(vault: &Vault) -> Ask<'_> {
    Ask { token: Some(&vault.up.token), accept: None, range: None }
}

/// Where STOW-RS goes.
#[must_use]
pub fn studies(vault: &Vault) -> String {
    format!("{}/studies", vault.up.http.dicomweb)
}

/// A body of these files.
#[must_use]
pub fn body<'a>(files: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut out = Vec::new();
    for file in files {
        out.extend_from_slice(b"--b-1\r\nContent-Type: application/dicom\r\n\r\n");
        out.extend_from_slice(file);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"--b-1--\r\n");
    out
}

/// Sends a body by HTTP/2.
#[must_use]
pub fn post(vault: &Vault, url: &str, content_type: &str, body: Vec<u8>) -> Answer {
    vault.http().send_stream(url, ask(vault), content_type, [body].into_iter()).0
}

/// A file of a data set under a head of our own.
#[must_use]
pub fn file_of(f: &Fixture, data_set: &[u8]) -> Vec<u8> {
    let mut head = f.bytes();
    head.truncate(f.data_set_offset);
    let original = Fixture::named(&f.file);
    let at = head.windows(f.instance.len()).position(|w| w == original.instance.as_bytes()).unwrap();
    head[at..at + f.instance.len()].copy_from_slice(f.instance.as_bytes());
    [head.as_slice(), data_set].concat()
}

/// What an answer says of one kind of outcome: (SOP Instance UID, failure reason).
#[must_use]
pub fn told(answer: &Value, tag: &str) -> Vec<(String, u64)> {
    let items = answer[tag]["Value"].as_array().cloned().unwrap_or_default();
    let text = |item: &Value, tag: &str| item[tag]["Value"][0].as_str().unwrap_or_default().to_owned();
    items.iter().map(|i| (text(i, "00081155"), i["00081197"]["Value"][0].as_u64().unwrap_or_default())).collect()
}

/// Referenced SOP Sequence.
pub const STORED: &str = "00081199";
/// Failed SOP Sequence.
pub const FAILED: &str = "00081198";
/// Other Failures Sequence.
pub const OTHER: &str = "0008119A";

/// HTTP/1.1 over TLS, written by hand.
#[derive(Debug)]
pub struct Wire(rustls::StreamOwned<rustls::ClientConnection, TcpStream>);

impl Wire {
    /// A connection to the vault.
    pub fn open(vault: &Vault) -> Self {
        let mut roots = rustls::RootCertStore::empty();
        let pem = fs::read(&vault.up.ca).unwrap();
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            roots.add(certificate.unwrap()).unwrap();
        }
        let mut config =
            rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
                .with_protocol_versions(&[&rustls::version::TLS13])
                .unwrap()
                .with_root_certificates(roots)
                .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let place = vault.up.http.base.strip_prefix("https://").unwrap();
        let host = place.split(':').next().unwrap().to_owned();
        let connection = rustls::ClientConnection::new(Arc::new(config), ServerName::try_from(host).unwrap()).unwrap();
        let socket = TcpStream::connect(place).unwrap();
        socket.set_nodelay(true).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        socket.set_write_timeout(Some(Duration::from_secs(60))).unwrap();
        Self(rustls::StreamOwned::new(connection, socket))
    }

    /// The request line and the headers; `headers` are lines of their own.
    pub fn head(&mut self, vault: &Vault, path: &str, headers: &str) -> io::Result<()> {
        let host = vault.up.http.base.strip_prefix("https://").unwrap();
        let token = &vault.up.token;
        let head = format!(
            "POST /dicomweb{path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n{headers}\r\n"
        );
        self.send(head.as_bytes())
    }

    /// These bytes.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)?;
        self.0.flush()
    }

    /// These bytes as a chunk; none end the body.
    pub fn chunk(&mut self, bytes: &[u8]) -> io::Result<()> {
        let framed = [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat();
        self.send(&framed)
    }

    /// What came back.
    #[must_use]
    pub fn answer(mut self) -> Came {
        self.try_answer().unwrap()
    }

    /// What came back, if anything did.
    pub fn try_answer(&mut self) -> io::Result<Came> {
        wire::read(&mut self.0)
    }
}

/// Its body as JSON.
#[must_use]
pub fn json(came: &Came) -> Value {
    serde_json::from_slice(&came.body)
        .unwrap_or_else(|_| panic!("{} {}", came.status, String::from_utf8_lossy(&came.body)))
}
