//! Metadata on their way out: one JSON array, or one XML part an instance; compressed for whoever asks.
//!
//! A `BulkDataURI` of the prepared metadata is a path below the instance. It leaves as an absolute address (PS3.18 §F.2.6
//! allows both, and a relative one means something else in the metadata of a series than of an instance).

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use futures::{Stream, StreamExt, stream};
use leadglass_engine::{Document, RetrieveError};
use memchr::memmem::Finder;
use std::io::Write as _;

/// How documents are joined.
#[derive(Debug, Clone)]
pub(super) enum Joined {
    /// As an array.
    Array,
    /// As parts of a multipart body with this boundary.
    Parts(String),
}

/// A body of documents. `base` gives the address of a document's instance.
pub(super) fn body(
    batches: impl Stream<Item = Result<Vec<Document>, RetrieveError>> + Send + 'static,
    base: impl Fn(&Document) -> String + Send + 'static,
    joined: Joined,
    gzip: bool,
) -> impl Stream<Item = Result<Bytes, RetrieveError>> + Send + 'static {
    let finder = Finder::new(REFERENCE);
    let mut first = true;
    let (open, close) = match &joined {
        Joined::Array => (Bytes::from_static(b"["), Bytes::from_static(b"]")),
        Joined::Parts(boundary) => (Bytes::new(), Bytes::from(format!("--{boundary}--\r\n"))),
    };
    let batches = batches.map(move |batch| {
        let batch = batch?;
        let bytes: usize = batch.iter().map(|document| document.json.expose().len() + ROOM_BYTES).sum();
        let mut out = Vec::with_capacity(bytes);
        for document in &batch {
            let base = base(document);
            match &joined {
                Joined::Array => {
                    if !std::mem::take(&mut first) {
                        out.push(b',');
                    }
                    absolute(document.json.expose(), &base, &finder, &mut out);
                }
                Joined::Parts(boundary) => {
                    let mut json = Vec::new();
                    absolute(document.json.expose(), &base, &finder, &mut json);
                    let head = format!("--{boundary}\r\nContent-Type: application/dicom+xml\r\n\r\n");
                    out.extend_from_slice(head.as_bytes());
                    out.extend_from_slice(super::xml::document(&json).ok_or(RetrieveError::NoMetadata)?.as_bytes());
                    out.extend_from_slice(b"\r\n");
                }
            }
        }
        Ok(Bytes::from(out))
    });
    // The opening goes with the first batch, so that an answer begins with what was really read.
    let mut open = Some(open);
    let batches = batches.map(move |piece| {
        let piece: Bytes = piece?;
        Ok(match open.take().filter(|open| !open.is_empty()) {
            Some(open) => [open, piece].concat().into(),
            None => piece,
        })
    });
    let plain = batches.chain(stream::once(async move { Ok(close) }));
    if gzip { compressed(plain).left_stream() } else { plain.right_stream() }
}

/// Copies one document; its references get the address of its instance.
fn absolute(json: &[u8], base: &str, finder: &Finder<'_>, out: &mut Vec<u8>) {
    let mut rest = json;
    // Inside of a JSON string every quote is escaped, so that no value can look like this.
    while let Some(at) = finder.find(rest) {
        let (front, back) = rest.split_at(at + REFERENCE.len() - PATH.len());
        out.extend_from_slice(front);
        out.extend_from_slice(base.as_bytes());
        out.push(b'/');
        out.extend_from_slice(PATH);
        rest = back.get(PATH.len()..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
}

/// One gzip member, a piece for each piece.
fn compressed(
    pieces: impl Stream<Item = Result<Bytes, RetrieveError>> + Send + 'static,
) -> impl Stream<Item = Result<Bytes, RetrieveError>> + Send + 'static {
    let encoder = GzEncoder::new(Vec::new(), Compression::fast());
    stream::unfold(Some((Box::pin(pieces), encoder)), |state| async move {
        let (mut pieces, mut encoder) = state?;
        loop {
            match pieces.next().await {
                Some(Ok(piece)) => {
                    encoder.write_all(&piece).expect("a Vec takes every byte");
                    let ready = std::mem::take(encoder.get_mut());
                    if !ready.is_empty() {
                        return Some((Ok(Bytes::from(ready)), Some((pieces, encoder))));
                    }
                }
                Some(Err(error)) => return Some((Err(error), None)),
                None => {
                    let rest = encoder.finish().expect("a Vec takes every byte");
                    return Some((Ok(Bytes::from(rest)), None));
                }
            }
        }
    })
}

/// Whether an `Accept-Encoding` header takes gzip (RFC 9110 §12.5.3).
pub(super) fn takes_gzip(header: Option<&str>) -> bool {
    let mut any = None;
    for coding in header.unwrap_or("").split(',') {
        let mut parts = coding.split(';').map(str::trim);
        let name = parts.next().unwrap_or("");
        let refused = parts
            .find_map(|part| part.strip_prefix("q="))
            .is_some_and(|weight| weight.parse::<f32>().is_ok_and(|weight| weight <= 0.0));
        match name {
            "gzip" | "x-gzip" => return !refused,
            "*" => any = Some(!refused),
            _ => {}
        }
    }
    any.unwrap_or(false)
}

/// A reference as the metadata hold it.
const REFERENCE: &[u8] = b"\"BulkDataURI\":\"bulkdata/";
/// Where the address goes in front of.
const PATH: &[u8] = b"bulkdata/";
/// What the addresses of a document add.
const ROOM_BYTES: usize = 1 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::read::GzDecoder;
    use futures::TryStreamExt;
    use leadglass_model::{Phi, SeriesUid, SopInstanceUid};
    use std::io::Read as _;

    fn document(instance: &str, json: &str) -> Document {
        Document {
            series: SeriesUid::parse("1.2").unwrap(),
            instance: SopInstanceUid::parse(instance).unwrap(),
            json: Phi::new(json.as_bytes().to_vec()),
        }
    }

    fn written(gzip: bool) -> Vec<u8> {
        let documents = [
            vec![
                document("1", r#"{"00100020":{"vr":"LO","Value":["\"BulkDataURI\":\"bulkdata/x"]}}"#),
                document("2", r#"{"7FE00010":{"vr":"OW","BulkDataURI":"bulkdata/7FE00010"}}"#),
            ],
            vec![document("3", "{}")],
        ];
        let batches = stream::iter(documents).map(Ok);
        let base = |document: &Document| format!("https://v/instances/{}", document.instance.expose());
        let pieces = body(batches, base, Joined::Array, gzip);
        futures::executor::block_on(pieces.try_collect::<Vec<_>>()).unwrap().concat()
    }

    #[test]
    fn documents_are_joined_and_references_become_addresses() {
        let expected = concat!(
            r#"[{"00100020":{"vr":"LO","Value":["\"BulkDataURI\":\"bulkdata/x"]}},"#,
            r#"{"7FE00010":{"vr":"OW","BulkDataURI":"https://v/instances/2/bulkdata/7FE00010"}},{}]"#
        );
        assert_eq!(String::from_utf8(written(false)).unwrap(), expected);
        let mut inflated = String::new();
        GzDecoder::new(written(true).as_slice()).read_to_string(&mut inflated).unwrap();
        assert_eq!(inflated, expected);
    }

    #[test]
    fn gzip_is_given_to_whoever_takes_it() {
        for (header, takes) in [
            (None, false),
            (Some(""), false),
            (Some("gzip"), true),
            (Some("br;q=1.0, gzip;q=0.8, *;q=0.1"), true),
            (Some("gzip;q=0, *"), false),
            (Some("*"), true),
            (Some("identity, *;q=0"), false),
            (Some("deflate"), false),
        ] {
            assert_eq!(takes_gzip(header), takes, "{header:?}");
        }
    }
}
