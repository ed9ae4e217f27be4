//! The form, part by part (RFC 7578): texts first, then files.

use super::{body::Incoming, outcome::Refusal};
use crate::{Problem, pace::BodyError};
use axum::http::StatusCode;
use bytes::{Bytes, BytesMut};
use leadglass_model::{Fault, Phi};
use multer::{Field, Multipart};
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A form that is being read.
pub(super) struct Form {
    parts: Multipart<'static>,
    incoming: Incoming,
    files: usize,
    fields: usize,
}

/// What comes next.
pub(super) enum Next {
    /// A field.
    Text {
        /// Its name, which the sender chose.
        name: String,
        /// What was typed.
        value: Phi<String>,
    },
    /// A file, or why it cannot be taken. Its name is not looked at: names of files name patients.
    File(Result<Held, Refusal>),
    /// The form is complete.
    End,
}

/// A file in memory, and the room it takes.
pub(super) struct Held {
    pub(super) bytes: Bytes,
    room: Option<OwnedSemaphorePermit>,
}

impl Form {
    /// A form with this Content-Type; `None` when it is none.
    pub(super) fn new(content_type: &str, incoming: Incoming) -> Option<Self> {
        let boundary = multer::parse_boundary(content_type).ok().filter(|b| (1..=MAX_BOUNDARY).contains(&b.len()))?;
        let parts = Multipart::new(incoming.clone(), boundary);
        Some(Self { parts, incoming, files: 0, fields: 0 })
    }

    /// The next part. An error is final.
    ///
    /// Cancel safety: none; drop the form with the future.
    pub(super) async fn next(&mut self, room: &Arc<Semaphore>) -> Result<Next, Problem> {
        let field = match self.parts.next_field().await {
            Ok(Some(field)) => field,
            Ok(None) => return Ok(Next::End),
            Err(_) => return Err(self.broken()),
        };
        let name = field.name().unwrap_or_default().to_owned();
        if field.file_name().is_none() && name != "file" {
            self.fields += 1;
            if self.fields > MAX_FIELDS {
                return Err(bad("too-many-fields", "The form has more fields than there are."));
            }
            return self.text(name, field).await;
        }
        self.files += 1;
        if self.files > MAX_FILES {
            return Err(bad("too-many-files", "Send at most 100 files at a time."));
        }
        self.file(field, room).await.map(Next::File)
    }

    async fn text(&mut self, name: String, mut field: Field<'static>) -> Result<Next, Problem> {
        let mut value = Vec::new();
        while let Some(piece) = field.chunk().await.map_err(|_| self.broken())? {
            self.incoming.used(piece.len());
            if value.len() + piece.len() > MAX_TEXT_BYTES {
                return Err(bad("field-too-long", "A field of the form is longer than any field is."));
            }
            value.extend_from_slice(&piece);
        }
        let value = String::from_utf8(value).map_err(|_| bad("field", "A field of the form is no UTF-8 text."))?;
        Ok(Next::Text { name, value: Phi::new(value) })
    }

    async fn file(
        &mut self,
        mut field: Field<'static>,
        room: &Arc<Semaphore>,
    ) -> Result<Result<Held, Refusal>, Problem> {
        let mut bytes = BytesMut::new();
        let mut taken: Option<OwnedSemaphorePermit> = None;
        let mut refusal = None;
        while let Some(piece) = field.chunk().await.map_err(|_| self.broken())? {
            self.incoming.used(piece.len());
            // The rest of a file that is not taken is passed over: the next one may be.
            if refusal.is_some() {
                continue;
            }
            let len = bytes.len() + piece.len();
            if len > MAX_FILE_BYTES {
                refusal = Some(Refusal::FILE_TOO_LONG);
            } else if let Err(full) = grow(&mut taken, len.div_ceil(MIB), room) {
                refusal = Some(full);
            } else {
                bytes.extend_from_slice(&piece);
            }
            if refusal.is_some() {
                (bytes, taken) = (BytesMut::new(), None);
            }
        }
        Ok(match refusal {
            Some(refusal) => Err(refusal),
            None if bytes.is_empty() => Err(Refusal::EMPTY_FILE),
            None => Ok(Held { bytes: bytes.freeze(), room: taken }),
        })
    }

    /// What a form that cannot be read says. No byte of it is repeated.
    fn broken(&self) -> Problem {
        match self.incoming.error() {
            Some(BodyError::Stalled) => {
                let sentence = "The upload did not get on; send it again.";
                Problem::with_status(StatusCode::REQUEST_TIMEOUT, "stalled", sentence)
            }
            Some(BodyError::Broken) => bad("broken-off", "The upload broke off before its end; send it again."),
            Some(BodyError::Wrapping) | None => bad("form", "The form cannot be read as multipart/form-data."),
        }
    }
}

impl Held {
    /// The file, and what is to be dropped when it is used up.
    pub(super) fn into_parts(self) -> (Bytes, Option<OwnedSemaphorePermit>) {
        (self.bytes, self.room)
    }
}

/// Takes room for so many MiB in all. Nobody waits for room while it holds some: two would wait for each other.
fn grow(taken: &mut Option<OwnedSemaphorePermit>, mib: usize, room: &Arc<Semaphore>) -> Result<(), Refusal> {
    let more = mib.saturating_sub(taken.as_ref().map_or(0, OwnedSemaphorePermit::num_permits));
    if more == 0 {
        return Ok(());
    }
    let more = u32::try_from(more).map_err(|_| Refusal::FILE_TOO_LONG)?;
    let permit = room.clone().try_acquire_many_owned(more).map_err(|_| Refusal::NO_ROOM)?;
    match taken {
        Some(taken) => taken.merge(permit),
        None => *taken = Some(permit),
    }
    Ok(())
}

fn bad(code: &'static str, sentence: &'static str) -> Problem {
    Problem::new(Fault::BadInput, code, sentence)
}

const MIB: usize = 1 << 20;
/// Largest file. The largest pictures of phones have 30 MiB.
const MAX_FILE_BYTES: usize = 64 * MIB;
/// Files of one form.
const MAX_FILES: usize = 100;
/// Fields of one form; there are fifteen.
const MAX_FIELDS: usize = 32;
/// Bytes of a field.
const MAX_TEXT_BYTES: usize = 2_048;
/// RFC 2046 §5.1.1.
const MAX_BOUNDARY: usize = 70;

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;

    const KIND: &str = "multipart/form-data; boundary=b";

    fn part(head: &str, body: &[u8]) -> Vec<u8> {
        [format!("--b\r\nContent-Disposition: form-data; {head}\r\n\r\n").as_bytes(), body, b"\r\n"].concat()
    }

    async fn read(body: Vec<u8>, room: usize) -> Vec<Result<Next, Problem>> {
        let room = Arc::new(Semaphore::new(room));
        let mut form = Form::new(KIND, Incoming::new(Body::from(body))).unwrap();
        let mut out = Vec::new();
        loop {
            let next = form.next(&room).await;
            let last = matches!(next, Ok(Next::End) | Err(_));
            out.push(next);
            if last {
                return out;
            }
        }
    }

    #[tokio::test]
    async fn fields_and_files_come_in_their_order() {
        let body = [
            part("name=\"patient_id\"", "Ä1".as_bytes()),
            part("name=\"file\"; filename=\"x\"", b"\xFF\xD8"),
            b"--b--".to_vec(),
        ];
        let parts = read(body.concat(), 8).await;
        assert!(matches!(&parts[0], Ok(Next::Text { name, value }) if name == "patient_id" && value.expose() == "Ä1"));
        assert!(matches!(&parts[1], Ok(Next::File(Ok(held))) if held.bytes == b"\xFF\xD8"[..]));
        assert!(matches!(parts[2], Ok(Next::End)));
    }

    #[tokio::test]
    async fn a_file_that_is_too_long_or_has_no_room_is_passed_over_and_the_next_is_taken() {
        let large = vec![7; 3 * MIB];
        let file = |bytes: &[u8]| part("name=\"file\"; filename=\"x\"", bytes);
        let body = [file(&large), file(b""), file(b"small"), b"--b--".to_vec()].concat();
        let parts = read(body, 2).await;
        assert!(matches!(&parts[0], Ok(Next::File(Err(refusal))) if refusal.code() == "busy"));
        assert!(matches!(&parts[1], Ok(Next::File(Err(refusal))) if refusal.code() == "empty"));
        assert!(matches!(&parts[2], Ok(Next::File(Ok(_)))));
        let body = [file(&vec![7; MAX_FILE_BYTES + 1]), b"--b--".to_vec()].concat();
        assert!(matches!(&read(body, 256).await[0], Ok(Next::File(Err(refusal))) if refusal.code() == "too-long"));
    }

    #[tokio::test]
    async fn what_is_no_form_ends_with_a_problem() {
        for body in [
            b"no form at all".to_vec(),
            part("name=\"x\"", b"never ends"),
            b"--b\r\n".iter().copied().chain(std::iter::repeat_n(b'a', 3 * MIB)).collect(),
            part("name=\"x\"", &[0xFF; 10]),
            part("name=\"x\"", &[b'a'; 5_000]),
            part("name=\"x\"", b"1").repeat(100),
        ] {
            assert!(matches!(read(body, 8).await.last(), Some(Err(_))));
        }
        for kind in ["", "application/json", "multipart/form-data", "multipart/related; boundary=b"] {
            assert!(Form::new(kind, Incoming::new(Body::empty())).is_none(), "{kind}");
        }
    }
}
