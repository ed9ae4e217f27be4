//! Brings instances to another house by STOW-RS (PS3.18 §10.5): some at a time, as files, straight from where they are
//! read into the request. What became of each is read from the answer.

use crate::config::Peer;
use anyhow::Context;
use bytes::Bytes;
use futures::{FutureExt, StreamExt, TryStreamExt, future::BoxFuture, stream};
use leadglass_engine::{Brought, CourierError, ExportError, Parcel, ParcelPieces};
use leadglass_model::{Entropy, SystemEntropy};
use parking_lot::Mutex;
use reqwest::{
    Body, Client, Response, StatusCode, Url,
    header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue},
};
use serde_json::Value;
use std::{
    collections::HashMap,
    error::Error as _,
    ops::Range,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::mpsc;
use zeroize::Zeroizing;

/// The way to a peer's studies.
pub(super) struct Stow {
    client: Client,
    address: Url,
    authorization: Option<HeaderValue>,
}

/// Why a request did not get the answer it is for.
enum Ended {
    /// The way, or a peer without time: it may be better the next time.
    Way(String),
    /// It was too much for one request.
    TooLong,
    /// It will not be better: the peer does not let us in, or what is brought cannot be read.
    Over(String),
}

impl Stow {
    /// Reads what the peer needs: authorities, our certificate, the token that it gave us.
    pub(super) fn new(peer: &Peer, address: Url) -> anyhow::Result<Self> {
        let _installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let read = |path: &Path| std::fs::read(path).with_context(|| format!("cannot read {}", path.display()));
        let mut builder =
            Client::builder().redirect(reqwest::redirect::Policy::none()).connect_timeout(CONNECT_TIME).no_proxy();
        builder = builder.https_only(address.scheme() == "https");
        if let Some(ca) = &peer.ca {
            builder = builder.tls_certs_only(reqwest::Certificate::from_pem_bundle(&read(ca)?)?);
        }
        if let (Some(chain), Some(key)) = (&peer.certificate, &peer.key) {
            let both = Zeroizing::new([read(chain)?, b"\n".to_vec(), read(key)?].concat());
            builder = builder.identity(reqwest::Identity::from_pem(&both)?);
        }
        let authorization = match &peer.token {
            None => None,
            Some(token) => {
                let text = Zeroizing::new(read(&token.file)?);
                let text = std::str::from_utf8(&text).context("the token is no text")?;
                let mut value = HeaderValue::from_str(&format!("Bearer {}", text.trim()))?;
                value.set_sensitive(true);
                Some(value)
            }
        };
        Ok(Self { client: builder.build()?, address, authorization })
    }

    /// One request after the other; what got no answer is sent again, in smaller requests.
    pub(super) async fn bring(&self, parcel: Arc<Parcel>, told: &mpsc::Sender<Brought>) -> Result<(), CourierError> {
        let (mut next, mut tries, mut most) = (0, 0, MAX_INSTANCES);
        while next < parcel.len() {
            let batch = batch(&parcel, next, most);
            let (len, end) = (batch.len(), batch.end);
            match self.post(&parcel, batch).await {
                Ok(outcomes) => {
                    for brought in outcomes {
                        let _ = told.send(brought).await;
                    }
                    (next, tries, most) = (end, 0, MAX_INSTANCES);
                }
                Err(Ended::TooLong) if len > 1 => most = len / 2,
                Err(Ended::TooLong) => {
                    let refused = Some("it takes nothing as long".to_owned());
                    let _ = told.send(Brought { number: next, refused }).await;
                    next = end;
                }
                Err(Ended::Way(words)) => {
                    tries += 1;
                    if tries >= TRIES {
                        return Err(CourierError(words));
                    }
                    most = (len / 2).max(1);
                    tokio::time::sleep(PAUSE * tries).await;
                }
                Err(Ended::Over(words)) => return Err(CourierError(words)),
            }
        }
        Ok(())
    }

    /// One request, and what the peer says about each of its instances.
    async fn post(&self, parcel: &Arc<Parcel>, batch: Range<usize>) -> Result<Vec<Brought>, Ended> {
        let boundary = boundary();
        let (head, last) =
            (Bytes::from(format!("--{boundary}{PART_HEAD}")), Bytes::from(format!("--{boundary}--\r\n")));
        let around = (head.len() + PART_END.len()) as u64;
        let files = batch.clone().map(|number| parcel.file_len(number).map(|len| len + around));
        let files: Option<u64> = files.sum();
        let nameless = || Ended::Over("an instance has no name that fits".to_owned());
        let len = files.ok_or_else(nameless)? + last.len() as u64;
        let (moved, unread) = (Arc::new(AtomicU64::new(0)), Arc::new(Mutex::new(None)));
        let parts = {
            let (parcel, moved, unread) = (parcel.clone(), moved.clone(), unread.clone());
            let parts = stream::iter(batch.clone()).then(move |number| part(parcel.clone(), number, head.clone()));
            let parts = parts.try_flatten().chain(stream::iter([Ok(last)]));
            let parts = parts.inspect_ok(move |piece| {
                moved.fetch_add(piece.len() as u64, Ordering::Relaxed);
            });
            parts
                .inspect_err(move |error| *unread.lock() = Some(format!("an instance cannot be read: {error}")))
                .boxed()
        };
        let kind = format!("multipart/related; type=\"application/dicom\"; boundary={boundary}");
        let mut request = self.client.post(self.address.clone());
        request = request.header(CONTENT_TYPE, kind).header(CONTENT_LENGTH, len).header(ACCEPT, ANSWER_KIND);
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization.clone());
        }
        let exchange = async {
            let mut answer = request.body(Body::wrap_stream(parts)).send().await?;
            let body = read(&mut answer).await?;
            Ok::<_, reqwest::Error>((answer.status(), body))
        };
        let answered = tokio::select! {
            () = stalled(&moved) => return Err(Ended::Way("it does not go on".to_owned())),
            answered = exchange => answered,
        };
        if let Some(words) = unread.lock().take() {
            return Err(Ended::Over(words));
        }
        let (status, body) = answered.map_err(|error| Ended::Way(words_of(&error)))?;
        judge(status, &body, parcel, batch)
    }
}

/// An instance as a part of a request: its head, the file, what stands behind it.
fn part(parcel: Arc<Parcel>, number: usize, head: Bytes) -> BoxFuture<'static, Result<ParcelPieces, ExportError>> {
    async move {
        let (_, pieces) = parcel.file(number).await?;
        let end = stream::iter([Ok(Bytes::from_static(PART_END))]);
        Ok(stream::iter([Ok(head)]).chain(pieces).chain(end).boxed())
    }
    .boxed()
}

/// The next instances that go in one request: not too many, not too long, at least one.
fn batch(parcel: &Parcel, next: usize, most: usize) -> Range<usize> {
    let (mut end, mut bytes) = (next, 0);
    while end < parcel.len() && end - next < most {
        bytes += parcel.file_len(end).unwrap_or(0);
        if end > next && bytes > MAX_BYTES {
            break;
        }
        end += 1;
    }
    next..end
}

/// What an answer means for the instances of a request (PS3.18 §10.5.3 and Table 10.5.3-1).
fn judge(status: StatusCode, body: &[u8], parcel: &Parcel, batch: Range<usize>) -> Result<Vec<Brought>, Ended> {
    let listed = match status.as_u16() {
        200 | 202 | 409 => serde_json::from_slice::<Value>(body).ok(),
        413 => return Err(Ended::TooLong),
        408 | 425 | 429 | 500.. => return Err(Ended::Way(format!("it answered {}", status.as_u16()))),
        400 | 415 => None,
        _ => return Err(Ended::Over(format!("it answered {}", status.as_u16()))),
    };
    let said = listed.as_ref().map(outcomes).unwrap_or_default();
    let refused = |number: usize| {
        let Some(named) = parcel.announced(number) else { return Some("an instance has no name that fits".to_owned()) };
        match (said.get(named.sop_instance.expose()), &listed) {
            (Some(outcome), _) => outcome.clone(),
            (None, Some(_)) => Some("its answer does not name it".to_owned()),
            (None, None) => Some(format!("it answered {}", status.as_u16())),
        }
    };
    Ok(batch.map(|number| Brought { number, refused: refused(number) }).collect())
}

/// What a Store Instances Response says of each instance: `None` where it is stored, else the failure's number. The
/// peer's own words may name a patient, so they are not told.
fn outcomes(answer: &Value) -> HashMap<String, Option<String>> {
    let answer = if answer.is_array() { &answer[0] } else { answer };
    let items = |tag: &str| answer[tag]["Value"].as_array().map_or(&[][..], Vec::as_slice);
    let name = |item: &Value| Some(item["00081155"]["Value"][0].as_str()?.trim_end_matches(['\0', ' ']).to_owned());
    let stored = items(REFERENCED).iter().filter_map(|item| Some((name(item)?, None)));
    let failed = items(FAILED).iter().filter_map(|item| {
        // A failure without a reason is one: processing failure.
        let reason = item["00081197"]["Value"][0].as_u64().unwrap_or(0x0110);
        Some((name(item)?, Some(format!("it answered {reason:04X}"))))
    });
    stored.chain(failed).collect()
}

/// The answer, as far as it counts: what is longer is none.
async fn read(answer: &mut Response) -> Result<Vec<u8>, reqwest::Error> {
    let mut body = Vec::new();
    while let Some(piece) = answer.chunk().await? {
        if body.len() + piece.len() > MAX_ANSWER_BYTES {
            return Ok(Vec::new());
        }
        body.extend_from_slice(&piece);
    }
    Ok(body)
}

/// Answers once nothing has moved for a while.
async fn stalled(moved: &AtomicU64) {
    loop {
        let before = moved.load(Ordering::Relaxed);
        tokio::time::sleep(STALL_TIME).await;
        if moved.load(Ordering::Relaxed) == before {
            return;
        }
    }
}

/// What lies at the bottom of an error, without the address.
fn words_of(error: &reqwest::Error) -> String {
    let (mut words, mut cause) = ("the way to it broke off".to_owned(), error.source());
    while let Some(next) = cause {
        (words, cause) = (next.to_string(), next.source());
    }
    words
}

/// No file holds it: 128 random bits.
fn boundary() -> String {
    let mut bytes = [0; 16];
    SystemEntropy.fill(&mut bytes);
    hex::encode(bytes)
}

/// Behind the boundary, before a file.
const PART_HEAD: &str = "\r\nContent-Type: application/dicom\r\n\r\n";
const PART_END: &[u8] = b"\r\n";
const ANSWER_KIND: &str = "application/dicom+json";
/// Referenced SOP Sequence.
const REFERENCED: &str = "00081199";
/// Failed SOP Sequence.
const FAILED: &str = "00081198";
/// Instances of one request.
const MAX_INSTANCES: usize = 64;
/// Bytes of one request, but for an instance that is longer alone.
const MAX_BYTES: u64 = 256 << 20;
/// An answer says some 300 bytes an instance.
const MAX_ANSWER_BYTES: usize = 1 << 20;
/// Attempts without an answer in between.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_secs(1);
const CONNECT_TIME: Duration = Duration::from_secs(10);
/// So long a peer may take nothing and say nothing.
const STALL_TIME: Duration = Duration::from_secs(120);

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_answer_says_of_each_instance_whether_it_is_stored() {
        let item = |uid: &str| json!({ "00081155": { "vr": "UI", "Value": [uid] } });
        let mut failed = item("1.2.4");
        failed["00081197"] = json!({ "vr": "US", "Value": [0xA700] });
        let answer = json!({ REFERENCED: { "vr": "SQ", "Value": [item("1.2.3")] }, FAILED: { "Value": [failed] } });
        for answer in [answer.clone(), json!([answer])] {
            let said = outcomes(&answer);
            assert_eq!(said["1.2.3"], None);
            assert_eq!(said["1.2.4"].as_deref(), Some("it answered A700"));
            assert_eq!(said.len(), 2);
        }
        assert!(outcomes(&json!({})).is_empty() && outcomes(&json!("words")).is_empty());
    }
}
