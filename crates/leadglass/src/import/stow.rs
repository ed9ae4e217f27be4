//! One thing on its way into the vault: a STOW-RS request for DICOM, a form for a photo or a PDF, and what the answer means.
//!
//! Source: PS3.18 §10.5 (Store transaction), §10.5.3 (200, 202, 409 and the Store Instances Response), PS3.3 §C.12.1.1.1
//! and PS3.4 Table B.2-1 (Failure Reason); RFC 7578 (forms); RFC 9110 §10.2.3 (Retry-After).

use super::{
    destination::Destination,
    item::{Pieces, SourceError},
    kind::Kind,
    patient::Patient,
};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use leadglass_model::{Entropy, Phi, SopInstanceUid, SystemEntropy};
use parking_lot::Mutex;
use reqwest::{Body, RequestBuilder, Response, StatusCode, header};
use serde_json::Value;
use std::{borrow::Cow, fmt::Write, sync::Arc, time::Duration};

/// Why a run ends before its sources do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Ending {
    /// 401.
    #[error("The vault does not know this token. Ask for one of the role device or clinician")]
    Unauthenticated,
    /// 403.
    #[error("This token may not store. It takes one of the role device or clinician")]
    Denied,
    /// 404, 405, or a success that says nothing of what was sent: a portal, a proxy, a web site.
    #[error("This is no vault: it takes no images by STOW-RS or as uploads, or does not say what became of them")]
    NoService,
    /// Nobody answered for as long as was waited.
    #[error("The vault does not answer")]
    Away,
    /// It said "not now" for as long as was waited.
    #[error("The vault takes nothing more: its disk or its store is full, or its key service is away")]
    Full,
    /// The ledger failed.
    #[error("The ledger cannot be written: is the disk full?")]
    Ledger,
    /// The source ended.
    #[error("The source does not answer any more")]
    Source,
    /// Somebody wanted it.
    #[error("Stopped")]
    Stopped,
}

impl Ending {
    /// For reports.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Unauthenticated => "unauthenticated",
            Self::Denied => "not-allowed",
            Self::NoService => "no-stow-service",
            Self::Away => "vault-away",
            Self::Full => "vault-full",
            Self::Ledger => "ledger",
            Self::Source => "source-away",
            Self::Stopped => "stopped",
        }
    }

    /// Waiting may help.
    pub const fn passes(self) -> bool {
        matches!(self, Self::Away | Self::Full)
    }
}

/// What came of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Acknowledged: it is durable.
    Stored,
    /// Refused for what it is; trying again changes nothing.
    Refused(String),
    /// Not now.
    Later {
        /// As the vault said.
        after: Option<Duration>,
        /// Whether nobody answered, or the vault said "not now".
        why: Ending,
    },
    /// A defect on the vault's side; a few tries are worth it.
    Broken(String),
    /// The way broke while the request was under way.
    CutOff,
    /// Reading failed.
    Source(SourceError),
    /// Nothing will go in.
    Ends(Ending),
}

/// What is known of a thing that is sent.
#[derive(Debug, Clone, Copy)]
pub struct Letter<'a> {
    /// What it is.
    pub kind: Kind,
    /// Whose it is; it goes in as an upload.
    pub patient: Option<&'a Patient>,
    /// What the vault knows the upload by when it is sent again.
    pub key: Option<&'a str>,
    /// The instance that its file meta announces.
    pub instance: Option<&'a SopInstanceUid>,
    /// Its length, about.
    pub bytes: u64,
}

/// What is sent.
pub enum Load {
    /// All of it.
    Whole(Bytes),
    /// Piece by piece.
    Streamed(Pieces),
}

/// What went by while it was sent.
#[derive(Debug, Clone, Copy)]
pub struct Passed {
    /// BLAKE3.
    pub digest: blake3::Hash,
    /// Length.
    pub bytes: u64,
}

#[derive(Default)]
struct Watch {
    hasher: blake3::Hasher,
    bytes: u64,
    /// The source ended, not the request.
    whole: bool,
    error: Option<SourceError>,
}

/// Sends one thing.
///
/// Cancel safety: safe; a request that is dropped leaves nothing, or the whole: an instance that is sent again is a copy to
/// the vault, an upload is one by its key.
pub async fn send(to: &Destination, letter: Letter<'_>, load: Load) -> (Verdict, Passed) {
    let Letter { kind, patient, key, instance, bytes: about } = letter;
    let watch = Arc::new(Mutex::new(Watch::default()));
    let boundary = boundary();
    let (path, form, head, tail) = match patient {
        None => ("/dicomweb/studies", related(&boundary), part(&boundary), format!("\r\n--{boundary}--\r\n")),
        Some(patient) => (
            "/api/v1/uploads",
            format!("multipart/form-data; boundary={boundary}"),
            fields(&boundary, patient, key, kind),
            format!("\r\n--{boundary}--\r\n"),
        ),
    };
    let request = to.http.post(format!("{}{path}", to.base)).bearer_auth(to.token.as_str());
    let request = request
        .header(header::CONTENT_TYPE, form)
        .header(header::ACCEPT, if patient.is_none() { "application/dicom+json" } else { "application/json" })
        .timeout(LEAST_TIME + Duration::from_secs(about / LEAST_BYTES_PER_SECOND))
        .body(body(head.into_exposed(), load, tail, &watch));
    let proof = if patient.is_some() { Proof::Upload } else { Proof::Instance(instance) };
    let verdict = judge(request, proof).await;
    let seen = watch.lock();
    let passed = Passed { digest: seen.hasher.finalize(), bytes: seen.bytes };
    let verdict = match (verdict, seen.error) {
        // The request broke because the source did; what the vault says about the half is of no matter.
        (_, Some(error)) => Verdict::Source(error),
        // An answer that came before the end cannot speak for the whole.
        (Verdict::Stored, None) if !seen.whole => Verdict::CutOff,
        (verdict, None) => verdict,
    };
    (verdict, passed)
}

/// Head, bytes and tail as a body; the bytes are watched as they leave.
fn body(head: String, load: Load, tail: String, watch: &Arc<Mutex<Watch>>) -> Body {
    match load {
        Load::Whole(bytes) => {
            let mut seen = watch.lock();
            seen.hasher.update(&bytes);
            (seen.bytes, seen.whole) = (bytes.len() as u64, true);
            drop(seen);
            Body::from([head.as_bytes(), &bytes, tail.as_bytes()].concat())
        }
        Load::Streamed(pieces) => {
            let (watching, ending) = (watch.clone(), watch.clone());
            let watched = pieces.map(move |piece| {
                let mut seen = watching.lock();
                match &piece {
                    Ok(bytes) => {
                        seen.hasher.update(bytes);
                        seen.bytes += bytes.len() as u64;
                    }
                    Err(error) => seen.error = Some(*error),
                }
                piece
            });
            let end = stream::once(async move {
                ending.lock().whole = true;
                Ok(Bytes::from(tail))
            });
            Body::wrap_stream(stream::once(async move { Ok(Bytes::from(head)) }).chain(watched).chain(end))
        }
    }
}

fn related(boundary: &str) -> String {
    format!("multipart/related; type=\"application/dicom\"; boundary={boundary}")
}

fn part(boundary: &str) -> Phi<String> {
    Phi::new(format!("--{boundary}\r\nContent-Type: application/dicom\r\n\r\n"))
}

/// The fields of the form, then the head of its file.
fn fields(boundary: &str, patient: &Patient, key: Option<&str>, kind: Kind) -> Phi<String> {
    let mut form = String::new();
    for (name, value) in std::iter::once(("key", key)).chain(about(patient).iter().map(|(n, v)| (*n, v.as_deref()))) {
        let Some(value) = value else { continue };
        // Values hold no control characters: rules and GDT refuse them.
        let _ = write!(form, "--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
    }
    let (name, media) = (kind.form_name(), kind.media_type());
    let _ = write!(
        form,
        "--{boundary}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\nContent-Type: {media}\r\n\r\n"
    );
    Phi::new(form)
}

/// What a form says of a patient, field by field.
pub fn about(patient: &Patient) -> [(&'static str, Option<Cow<'_, str>>); 6] {
    // A name tells a day and no time.
    let taken_at = patient.taken_at.as_ref().and_then(|day| {
        let day = day.expose();
        Some(Cow::Owned(format!("{}-{}-{}T00:00", day.get(..4)?, day.get(4..6)?, day.get(6..)?)))
    });
    [
        ("patient_id", Some(Cow::Borrowed(patient.id.expose().as_str()))),
        ("patient_name", patient.name.as_ref().map(|v| Cow::Borrowed(v.expose().as_str()))),
        ("birth_date", patient.birth_date.as_ref().map(|v| Cow::Borrowed(v.expose().as_str()))),
        ("sex", patient.sex.map(|sex| Cow::Borrowed(sex.letter()))),
        ("description", patient.description.as_ref().map(|v| Cow::Borrowed(v.expose().as_str()))),
        ("taken_at", taken_at),
    ]
}

/// What an answer must say before what was sent counts as stored: a status alone is said by any web site.
#[derive(Debug, Clone, Copy)]
enum Proof<'a> {
    /// The first file of the form is stored.
    Upload,
    /// This instance is referenced; any, where the file does not say which it is.
    Instance(Option<&'a SopInstanceUid>),
}

impl Proof<'_> {
    fn is_in(self, answer: &Value) -> bool {
        match self {
            Self::Upload => answer["files"][0]["outcome"] == "stored",
            Self::Instance(sent) => {
                let answer = if answer.is_array() { &answer[0] } else { answer };
                // Referenced SOP Sequence (0008,1199), Referenced SOP Instance UID (0008,1155).
                let items = answer["00081199"]["Value"].as_array();
                items.into_iter().flatten().filter_map(|item| item["00081155"]["Value"][0].as_str()).any(|uid| {
                    let uid = uid.trim_end_matches(['\0', ' ']);
                    sent.map_or(!uid.is_empty(), |sent| sent.expose() == uid)
                })
            }
        }
    }
}

async fn judge(request: RequestBuilder, proof: Proof<'_>) -> Verdict {
    let answer = match request.send().await {
        Ok(answer) => answer,
        Err(error) if error.is_connect() => return Verdict::Later { after: None, why: Ending::Away },
        Err(_) => return Verdict::CutOff,
    };
    let status = answer.status();
    let after = retry_after(&answer);
    let Ok(body) = read(answer).await else { return Verdict::CutOff };
    let answer: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let said = || answer["code"].as_str().map_or_else(|| format!("http-{}", status.as_u16()), plain);
    match status {
        StatusCode::UNAUTHORIZED => Verdict::Ends(Ending::Unauthenticated),
        StatusCode::FORBIDDEN => Verdict::Ends(Ending::Denied),
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => Verdict::Ends(Ending::NoService),
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS | StatusCode::INSUFFICIENT_STORAGE => {
            Verdict::Later { after, why: Ending::Full }
        }
        StatusCode::REQUEST_TIMEOUT => Verdict::CutOff,
        StatusCode::PAYLOAD_TOO_LARGE => Verdict::Refused("too-large".to_owned()),
        StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT => Verdict::Later { after, why: Ending::Away },
        // An instance that waits in quarantine is stored.
        _ if status.is_success() || status == StatusCode::CONFLICT => match failure(&answer) {
            Some(reason) if is_busy(reason) => Verdict::Later { after, why: Ending::Full },
            Some(reason) => Verdict::Refused(format!("failure-{reason:04X}")),
            None if !status.is_success() => Verdict::Refused(said()),
            None if proof.is_in(&answer) => Verdict::Stored,
            None => Verdict::Ends(Ending::NoService),
        },
        _ if status.is_client_error() => Verdict::Refused(said()),
        _ => Verdict::Broken(said()),
    }
}

/// The Failure Reason (0008,1197) of the first item of a Failed SOP Sequence (0008,1198) or Other Failures Sequence
/// (0008,119A).
fn failure(answer: &Value) -> Option<u16> {
    let answer = if answer.is_array() { &answer[0] } else { answer };
    let item = ["00081198", "0008119A"].iter().find_map(|tag| answer[tag]["Value"].as_array()?.first())?;
    // A failure without a reason is one: 0110H, processing failure.
    Some(item["00081197"]["Value"][0].as_u64().and_then(|reason| u16::try_from(reason).ok()).unwrap_or(0x0110))
}

/// A7xxH: out of resources (PS3.4 Table B.2-1); 0213H: resource limitation (PS3.7 Annex C).
const fn is_busy(reason: u16) -> bool {
    reason >> 8 == 0xA7 || reason == 0x0213
}

/// A code as it may stand in a report, whoever sent it.
fn plain(code: &str) -> String {
    code.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(MAX_CODE_BYTES).collect()
}

fn retry_after(answer: &Response) -> Option<Duration> {
    let seconds = answer.headers().get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(LONGEST_RETRY_AFTER))
}

async fn read(answer: Response) -> Result<Vec<u8>, ()> {
    let mut body = Vec::new();
    let mut pieces = answer.bytes_stream();
    while let Some(piece) = pieces.try_next().await.map_err(|_| ())? {
        if body.len() + piece.len() > MAX_ANSWER_BYTES {
            return Err(());
        }
        body.extend_from_slice(&piece);
    }
    Ok(body)
}

/// 128 random bits: no image holds them by accident (RFC 2046 §5.1.1).
fn boundary() -> String {
    let mut random = [0; 16];
    SystemEntropy.fill(&mut random);
    format!("leadglass-{}", hex::encode(random))
}

const MAX_ANSWER_BYTES: usize = 1 << 20;
const MAX_CODE_BYTES: usize = 40;
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(60);
/// An answer is waited for so long, and longer by what the slowest way takes for the bytes.
const LEAST_TIME: Duration = Duration::from_secs(120);
const LEAST_BYTES_PER_SECOND: u64 = 50_000;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn failures_are_read_from_both_sequences() {
        let failed = |tag: &str, reason: u64| json!({ tag: { "vr": "SQ", "Value": [{ "00081197": { "vr": "US", "Value": [reason] } }] } });
        assert_eq!(failure(&failed("00081198", 0xA900)), Some(0xA900));
        assert_eq!(failure(&json!([failed("0008119A", 0xC000)])), Some(0xC000));
        assert_eq!(failure(&json!({ "00081198": { "Value": [{}] } })), Some(0x0110));
        assert_eq!(failure(&json!({ "00081199": { "Value": [{}] } })), None);
        assert_eq!(failure(&Value::Null), None);
        assert!(is_busy(0xA700) && is_busy(0x0213) && !is_busy(0xA900));
    }

    #[test]
    fn only_an_answer_that_speaks_of_what_was_sent_is_proof() {
        let sent = SopInstanceUid::parse("1.2.3.4").unwrap();
        let names = |uid: &str| json!({ "00081199": { "vr": "SQ", "Value": [{ "00081155": { "vr": "UI", "Value": [uid] } }] } });
        for (answer, of_sent, of_any) in [
            (names("1.2.3.4"), true, true),
            (json!([names("1.2.3.4")]), true, true),
            (names("1.2.3.5"), false, true),
            (names(""), false, false),
            (json!({ "00081199": { "vr": "SQ", "Value": [{}] } }), false, false),
            (json!({ "00081199": { "vr": "SQ" } }), false, false),
            (json!({}), false, false),
            (Value::Null, false, false),
        ] {
            assert_eq!(Proof::Instance(Some(&sent)).is_in(&answer), of_sent, "{answer}");
            assert_eq!(Proof::Instance(None).is_in(&answer), of_any, "{answer}");
        }
        assert!(Proof::Upload.is_in(&json!({ "files": [{ "file": 1, "outcome": "stored" }] })));
        for answer in [json!({ "files": [{ "outcome": "refused" }] }), json!({ "files": [] }), json!({}), Value::Null] {
            assert!(!Proof::Upload.is_in(&answer), "{answer}");
        }
    }

    #[test]
    fn a_code_in_a_report_is_plain_whoever_sent_it() {
        assert_eq!(plain("too-large\u{1b}[2J <b>"), "too-large2Jb");
        assert_eq!(plain(&"x".repeat(100)).len(), MAX_CODE_BYTES);
    }

    #[tokio::test]
    async fn a_streamed_body_is_framed_and_watched() {
        let watch = Arc::new(Mutex::new(Watch::default()));
        let pieces = stream::iter([Ok(Bytes::from_static(b"ab")), Ok(Bytes::from_static(b"c"))]).boxed();
        let body = body("<".to_owned(), Load::Streamed(pieces), ">".to_owned(), &watch);
        assert!(!watch.lock().whole);
        let sent: Vec<Bytes> = http_pieces(body).await;
        assert_eq!(sent.concat(), b"<abc>");
        let seen = watch.lock();
        assert!(seen.whole && seen.bytes == 3 && seen.hasher.finalize() == blake3::hash(b"abc"));
    }

    async fn http_pieces(body: Body) -> Vec<Bytes> {
        Response::from(http::Response::new(body)).bytes_stream().try_collect().await.unwrap()
    }

    #[test]
    fn a_form_carries_the_patient_and_no_file_name() {
        let patient = Patient {
            id: Phi::new("17".to_owned()),
            name: Some(Phi::new("Doe^Jane".to_owned())),
            sex: Some(super::super::patient::Sex::Female),
            ..Patient::default()
        };
        let form = fields("b", &patient, Some("k1"), Kind::Jpeg).into_exposed();
        assert!(form.starts_with("--b\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\nk1\r\n--b\r\n"));
        assert!(form.contains("name=\"patient_id\"\r\n\r\n17\r\n--b\r\n") && form.contains("Doe^Jane"));
        assert!(form.contains("name=\"sex\"\r\n\r\nF") && !form.contains("birth_date"));
        assert!(form.ends_with("filename=\"upload.jpg\"\r\nContent-Type: image/jpeg\r\n\r\n"));
    }
}
