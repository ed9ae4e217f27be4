//! What a remote store said when it failed, without what must not be repeated.
//!
//! `object_store` puts the whole answer into its error, and an S3 server may quote the request in it: the access key, the
//! string that was signed, a session token. From here on there is a status, the server's own word for it and, when there was
//! no answer, the lowest cause.

use object_store::client::HttpError;
use std::{error::Error, fmt};

/// How a request to a remote store failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The HTTP status, if there was one.
    pub status: Option<u16>,
    /// The server's word: `SlowDown`, `NoSuchBucket`.
    pub code: Option<String>,
    /// What went wrong when there was no answer.
    cause: Option<String>,
}

impl Told {
    /// Of an error that came from a remote store; nothing of any other.
    pub(crate) fn of(error: &object_store::Error) -> Option<Self> {
        let remote = matches!(error, object_store::Error::Generic { store: REMOTE, .. });
        let mut lowest: &(dyn Error + 'static) = error;
        let mut transport = false;
        let mut at = error.source();
        while let Some(error) = at {
            // `RequestError` of `object_store`, which has no public name; a test against a server keeps an eye on it.
            let words = error.to_string();
            if let Some(answer) = words.strip_prefix(ANSWERED) {
                return Some(Self {
                    status: answer.get(..3).and_then(|s| s.parse().ok()),
                    code: code(&words),
                    cause: None,
                });
            }
            if words.starts_with(ANSWERED_200) {
                return Some(Self { status: None, code: code(&words), cause: None });
            }
            if let Some(told) = error.downcast_ref::<Self>() {
                return Some(told.clone());
            }
            transport |= error.is::<HttpError>();
            lowest = error;
            at = error.source();
        }
        // Without an answer nothing can be quoted but what this machine says: connections, names, certificates.
        (remote || transport).then(|| Self { status: None, code: None, cause: Some(harmless(&lowest.to_string())) })
    }

    /// An answer with that status, and this text.
    pub(crate) fn answered(status: u16, text: &[u8]) -> Self {
        Self { status: Some(status), code: code(&String::from_utf8_lossy(text)), cause: None }
    }

    /// Whether it says that we may not.
    pub(crate) fn refuses(&self) -> bool {
        matches!(self.status, Some(401 | 403))
    }

    /// A failure in words of our own.
    pub(crate) fn because(cause: &str) -> Self {
        Self { status: None, code: None, cause: Some(cause.to_owned()) }
    }

    /// Whether it says that there is no such bucket; an object that is not there is another matter.
    pub(crate) fn is_about_the_bucket(&self) -> bool {
        self.code.as_deref() == Some("NoSuchBucket")
    }

    /// Whether the same request may succeed a moment later.
    pub(crate) fn passing(&self) -> bool {
        match self.status {
            None | Some(408 | 429 | 500 | 502..=599) => true,
            // Requests that were cut on their way are answered so.
            Some(400 | 409) => self.code.as_deref().is_some_and(|code| CUT_SHORT.contains(&code)),
            Some(_) => false,
        }
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.status, &self.code, &self.cause) {
            (Some(status), Some(code), _) => write!(f, "the store answered {status} {code}"),
            (Some(status), None, _) => write!(f, "the store answered {status}"),
            (None, Some(code), _) => write!(f, "the store answered {code}"),
            (None, None, Some(cause)) => write!(f, "no answer from the store: {cause}"),
            (None, None, None) => write!(f, "no answer from the store"),
        }
    }
}

impl Error for Told {}

/// `<Code>` of an S3 error (Amazon S3 API Reference, "Error Responses").
fn code(answer: &str) -> Option<String> {
    let (_, rest) = answer.split_once("<Code>")?;
    let (code, _) = rest.split_once("</Code>")?;
    let fit = (1..=64).contains(&code.len()) && code.bytes().all(|b| b.is_ascii_alphanumeric());
    fit.then(|| code.to_owned())
}

/// Words of a lowest cause, unless they hold more than a cause.
fn harmless(words: &str) -> String {
    if words.len() > CAUSE_MAX || words.contains("://") || words.contains('<') {
        return "a failed request".to_owned();
    }
    words.to_owned()
}

const REMOTE: &str = "S3";
const ANSWERED: &str = "Server returned non-2xx status code: ";
const ANSWERED_200: &str = "Server returned error response: ";
const CAUSE_MAX: usize = 200;
const CUT_SHORT: [&str; 7] = [
    "RequestTimeout",
    "IncompleteBody",
    "BadDigest",
    "XAmzContentSHA256Mismatch",
    "InvalidDigest",
    "ConditionalRequestConflict",
    "OperationAborted",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_a_word_and_nothing_else() {
        assert_eq!(code("x<Code>SlowDown</Code>").as_deref(), Some("SlowDown"));
        for bad in [
            "SlowDown",
            "<Code></Code>",
            "<Code>AKIA secret</Code>",
            "<Code>a",
            &format!("<Code>{}</Code>", "a".repeat(65)),
        ] {
            assert_eq!(code(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_may_pass_is_tried_again_and_nothing_else_is() {
        let told = |status, code: &str| Told { status: Some(status), code: Some(code.to_owned()), cause: None };
        for passing in [
            told(500, "InternalError"),
            told(503, "SlowDown"),
            told(400, "IncompleteBody"),
            told(409, "OperationAborted"),
            Told::because("reset"),
        ] {
            assert!(passing.passing(), "{passing}");
        }
        for lasting in [
            told(400, "InvalidRequest"),
            told(403, "AccessDenied"),
            told(404, "NoSuchBucket"),
            told(416, "InvalidRange"),
            told(501, "NotImplemented"),
        ] {
            assert!(!lasting.passing(), "{lasting}");
        }
    }

    #[test]
    fn what_a_server_quotes_is_not_repeated() {
        assert_eq!(harmless("Connection refused (os error 111)"), "Connection refused (os error 111)");
        for quoted in ["http://x/?X-Amz-Signature=1", "<StringToSign>", &"a".repeat(201)] {
            assert_eq!(harmless(quoted), "a failed request");
        }
    }
}
