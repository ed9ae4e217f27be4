//! A reader over HTTPS that trusts the vault's own CA and nobody else; one request at a time, blocking.

use reqwest::Method;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use std::sync::Arc;
use std::time::Duration;

/// No answer within this time is a failure of the test.
const PATIENCE: Duration = Duration::from_secs(180);

/// An HTTP client with its own small runtime.
#[derive(Debug)]
pub struct Http {
    runtime: tokio::runtime::Runtime,
    client: reqwest::Client,
    /// Speaks HTTP/2 where the peer does, as browsers and their like do.
    modern: reqwest::Client,
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Content-Type, or nothing.
    pub content_type: String,
    /// All headers as text, for those who look what an answer gives away.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// What a request may carry.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ask<'a> {
    /// Bearer token.
    pub token: Option<&'a str>,
    /// Accept header.
    pub accept: Option<&'a str>,
    /// Range header.
    pub range: Option<&'a str>,
}

impl Http {
    /// Trusts the certificates in this PEM, or only plain HTTP without one.
    ///
    /// # Panics
    /// When the PEM holds no certificate.
    #[must_use]
    pub fn trusting(ca_pem: Option<&[u8]>) -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = rustls::RootCertStore::empty();
        if let Some(pem) = ca_pem {
            for certificate in CertificateDer::pem_slice_iter(pem) {
                roots.add(certificate.expect("a certificate")).expect("a certificate that can be a root");
            }
            assert!(!roots.is_empty(), "the CA file holds no certificate");
        }
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("the provider knows TLS 1.3")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let build = |alpn: &[&[u8]]| {
            let mut tls = tls.clone();
            tls.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
            reqwest::Client::builder()
                .tls_backend_preconfigured(tls)
                .no_proxy()
                .redirect(reqwest::redirect::Policy::none())
                .timeout(PATIENCE)
                // Between two requests nothing polls a kept connection, so its end would be noticed by the next request only.
                .pool_max_idle_per_host(0)
                .build()
                .expect("a client")
        };
        let (client, modern) = (build(&[]), build(&[b"h2", b"http/1.1"]));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        Self { runtime, client, modern }
    }

    /// GET; `None` when the peer could not be reached or broke off.
    #[must_use]
    pub fn try_get(&self, url: &str, ask: Ask<'_>) -> Option<Answer> {
        self.try_send(Method::GET, url, ask, None).ok()
    }

    /// POST of a whole body; `None` when the peer could not be reached or broke off.
    #[must_use]
    pub fn try_post(&self, url: &str, ask: Ask<'_>, content_type: &str, body: Vec<u8>) -> Option<Answer> {
        self.runtime.block_on(async {
            let request = self.request(Method::POST, url, ask).header("content-type", content_type).body(body);
            Self::whole(request.send().await.ok()?).await.ok()
        })
    }

    /// GET.
    ///
    /// # Panics
    /// When the peer could not be reached or broke off.
    #[must_use]
    pub fn get(&self, url: &str, ask: Ask<'_>) -> Answer {
        self.try_send(Method::GET, url, ask, None).unwrap_or_else(|e| panic!("GET: {e:?}"))
    }

    /// GET with further headers.
    ///
    /// # Panics
    /// When the peer could not be reached or broke off.
    #[must_use]
    pub fn get_with(&self, url: &str, ask: Ask<'_>, headers: &[(&str, &str)]) -> Answer {
        self.runtime.block_on(async {
            let mut request = self.request(Method::GET, url, ask);
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let answer = request.send().await.unwrap_or_else(|e| panic!("GET: {e:?}"));
            Self::whole(answer).await.unwrap_or_else(|e| panic!("GET: {e:?}"))
        })
    }

    /// Any method, with a body.
    ///
    /// # Panics
    /// When the peer could not be reached or broke off.
    #[must_use]
    pub fn send(&self, method: &str, url: &str, ask: Ask<'_>, body: Vec<u8>) -> Answer {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        self.try_send(method, url, ask, Some(body)).unwrap_or_else(|e| panic!("{e:?}"))
    }

    /// Any method, with headers as a browser sends them, and a body.
    ///
    /// # Panics
    /// When the peer could not be reached or broke off.
    #[must_use]
    pub fn send_with(&self, method: &str, url: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Answer {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        self.runtime.block_on(async {
            let mut request = self.client.request(method, url).body(body);
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let answer = request.send().await.unwrap_or_else(|e| panic!("{e:?}"));
            Self::whole(answer).await.unwrap_or_else(|e| panic!("{e:?}"))
        })
    }

    /// GET whose body goes to `sink` piece by piece; gives the status.
    ///
    /// # Panics
    /// When the peer could not be reached or broke off.
    pub fn stream(&self, url: &str, ask: Ask<'_>, mut sink: impl FnMut(&[u8])) -> u16 {
        self.runtime.block_on(async {
            let mut answer = self.request(Method::GET, url, ask).send().await.expect("an answer");
            let status = answer.status().as_u16();
            while let Some(piece) = answer.chunk().await.expect("the body comes whole") {
                sink(&piece);
            }
            status
        })
    }

    /// POST of a body that is made while it is sent, by HTTP/2 over TLS: the answer, and the version it came in.
    ///
    /// # Panics
    /// When the peer could not be reached or broke off.
    #[must_use]
    pub fn send_stream(
        &self,
        url: &str,
        ask: Ask<'_>,
        content_type: &str,
        pieces: impl Iterator<Item = Vec<u8>> + Send + 'static,
    ) -> (Answer, reqwest::Version) {
        let pieces = futures::stream::iter(pieces.map(Ok::<_, std::convert::Infallible>));
        let request = Self::asking(self.modern.post(url), ask).header("content-type", content_type);
        // A runtime of its own: with it the connection ends, which HTTP/2 would keep open unheeded.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let answer = request.body(reqwest::Body::wrap_stream(pieces)).send().await.expect("an answer");
            let version = answer.version();
            (Self::whole(answer).await.expect("the answer comes whole"), version)
        })
    }

    fn request(&self, method: Method, url: &str, ask: Ask<'_>) -> reqwest::RequestBuilder {
        Self::asking(self.client.request(method, url), ask)
    }

    fn asking(mut request: reqwest::RequestBuilder, ask: Ask<'_>) -> reqwest::RequestBuilder {
        if let Some(token) = ask.token {
            request = request.bearer_auth(token);
        }
        if let Some(accept) = ask.accept {
            request = request.header("accept", accept);
        }
        if let Some(range) = ask.range {
            request = request.header("range", range);
        }
        request
    }

    fn try_send(&self, method: Method, url: &str, ask: Ask<'_>, body: Option<Vec<u8>>) -> reqwest::Result<Answer> {
        self.runtime.block_on(async {
            let mut request = self.request(method, url, ask);
            if let Some(body) = body {
                request = request.body(body);
            }
            Self::whole(request.send().await?).await
        })
    }

    async fn whole(answer: reqwest::Response) -> reqwest::Result<Answer> {
        let status = answer.status().as_u16();
        let headers: Vec<(String, String)> = answer
            .headers()
            .iter()
            .map(|(k, v)| (k.to_string(), String::from_utf8_lossy(v.as_bytes()).into_owned()))
            .collect();
        let content_type =
            headers.iter().find(|(k, _)| k == "content-type").map(|(_, v)| v.clone()).unwrap_or_default();
        Ok(Answer { status, content_type, headers, body: answer.bytes().await?.to_vec() })
    }
}

impl Answer {
    /// The body as text, for messages.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("no JSON ({e}): {}", self.text()))
    }

    /// The parts of a multipart body (RFC 2046 §5.1), without their headers.
    ///
    /// # Panics
    /// When the answer is not multipart, or its framing is broken: a cut answer must not look like a short one.
    #[must_use]
    pub fn parts(&self) -> Vec<Vec<u8>> {
        assert!(self.content_type.starts_with("multipart/related"), "not multipart: {}", self.content_type);
        let boundary = self
            .content_type
            .split(';')
            .find_map(|p| p.trim().strip_prefix("boundary="))
            .unwrap_or_else(|| panic!("no boundary in {}", self.content_type))
            .trim_matches('"');
        let delimiter = format!("\r\n--{boundary}").into_bytes();
        // The first delimiter may stand at the very start, without its line end.
        let body = [b"\r\n", self.body.as_slice()].concat();
        let mut starts = Vec::new();
        let mut at = 0;
        while let Some(found) = position(&body[at..], &delimiter) {
            starts.push(at + found);
            at += found + delimiter.len();
        }
        let last = *starts.last().expect("a delimiter");
        assert!(body[last + delimiter.len()..].starts_with(b"--"), "the closing delimiter is missing");
        starts
            .windows(2)
            .map(|w| {
                let part = &body[w[0] + delimiter.len()..w[1]];
                let head = position(part, b"\r\n\r\n").expect("a part has headers, or at least their end");
                part[head + 4..].to_vec()
            })
            .collect()
    }
}

fn position(hay: &[u8], needle: &[u8]) -> Option<usize> {
    hay.windows(needle.len()).position(|w| w == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(body: &[u8]) -> Answer {
        Answer {
            status: 200,
            content_type: "multipart/related; type=\"application/dicom\"; boundary=\"b-1\"".to_owned(),
            headers: Vec::new(),
            body: body.to_vec(),
        }
    }

    #[test]
    fn parts_come_out_byte_for_byte() {
        let body = b"--b-1\r\nContent-Type: application/dicom\r\n\r\none\r\n\r\n--b-1\r\nContent-Type: x\r\n\r\n\r\n--b-1--\r\n";
        assert_eq!(answer(body).parts(), vec![b"one\r\n".to_vec(), Vec::new()]);
    }

    #[test]
    #[should_panic(expected = "the closing delimiter is missing")]
    fn an_answer_cut_in_the_middle_is_not_a_short_answer() {
        let _ = answer(b"--b-1\r\nContent-Type: x\r\n\r\none\r\n--b-1\r\nContent-Type: x\r\n\r\ntw").parts();
    }
}
