//! Metadata on their way out: one JSON array, or one XML part an instance; compressed for whoever asks.
//!
//! A `BulkDataURI` of the prepared metadata is a path below the instance. It leaves as an absolute address (PS3.18 §F.2.6
//! allows both, and a relative one means something else in the metadata of a series than of an instance).

use crate::coding::Coding;
use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use leadglass_engine::{Document, RetrieveError};
use memchr::memmem::Finder;

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
    coding: Option<Coding>,
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
                    written(document, &base, &finder, &mut out);
                }
                Joined::Parts(boundary) => {
                    let mut json = Vec::new();
                    written(document, &base, &finder, &mut json);
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
    match coding {
        // Memory that takes bytes has no way to fail.
        Some(coding) => coding.pieces(plain, |_| RetrieveError::NoMetadata).left_stream(),
        None => plain.right_stream(),
    }
}

/// Writes one document: what was prepared, and Available Transfer Syntax UID (0008,3002), which is how it is stored.
fn written(document: &Document, base: &str, finder: &Finder<'_>, out: &mut Vec<u8>) {
    let json = document.json.expose();
    let (front, back) = json.split_at(place_of_syntax(json));
    absolute(front, base, finder, out);
    if !back.starts_with(SYNTAX_NAME) {
        let syntax = document.syntax.as_str();
        // In front stands the opening, a comma, or the last attribute of the object.
        let before = if front.ends_with(b"}") { "," } else { "" };
        let behind = if back.starts_with(b"\"") { "," } else { "" };
        let attribute = format!("{before}\"00083002\":{{\"vr\":\"UI\",\"Value\":[\"{syntax}\"]}}{behind}");
        out.extend_from_slice(attribute.as_bytes());
    }
    absolute(back, base, finder, out);
}

/// Where among the names of the object, which ascend, its own would stand; in front of it where it is there.
fn place_of_syntax(json: &[u8]) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while let Some(byte) = json.get(at) {
        match byte {
            b'"' => {
                let rest = &json[at..];
                if depth == 1
                    && rest.get(..SYNTAX_NAME.len()).is_some_and(|name| name[9] == b'"' && name >= SYNTAX_NAME)
                {
                    return at;
                }
                // To behind the string: a quote inside is escaped.
                at += 1;
                while let Some(byte) = json.get(at) {
                    match byte {
                        b'\\' => at += 1,
                        b'"' => break,
                        _ => {}
                    }
                    at += 1;
                }
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth == 1 => return at,
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        at += 1;
    }
    json.len()
}

/// Copies a part of a document; its references get the address of its instance.
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

/// A reference as the metadata hold it.
const REFERENCE: &[u8] = b"\"BulkDataURI\":\"bulkdata/";
/// Available Transfer Syntax UID.
const SYNTAX_NAME: &[u8] = b"\"00083002\":";
/// Where the address goes in front of.
const PATH: &[u8] = b"bulkdata/";
/// What the addresses of a document add.
const ROOM_BYTES: usize = 1 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::read::GzDecoder;
    use futures::TryStreamExt;
    use leadglass_model::{Phi, SeriesUid, SopInstanceUid, TransferSyntaxUid};
    use std::io::Read as _;

    fn document(instance: &str, json: &str) -> Document {
        Document {
            series: SeriesUid::parse("1.2").unwrap(),
            instance: SopInstanceUid::parse(instance).unwrap(),
            syntax: TransferSyntaxUid::parse("1.2.840.10008.1.2.5").unwrap(),
            json: Phi::new(json.as_bytes().to_vec()),
        }
    }

    fn written(coding: Option<Coding>) -> Vec<u8> {
        let documents = [
            vec![
                document("1", r#"{"00100020":{"vr":"LO","Value":["\"BulkDataURI\":\"bulkdata/x"]}}"#),
                document("2", r#"{"7FE00010":{"vr":"OW","BulkDataURI":"bulkdata/7FE00010"}}"#),
            ],
            vec![document("3", "{}")],
        ];
        let batches = stream::iter(documents).map(Ok);
        let base = |document: &Document| format!("https://v/instances/{}", document.instance.expose());
        let pieces = body(batches, base, Joined::Array, coding);
        futures::executor::block_on(pieces.try_collect::<Vec<_>>()).unwrap().concat()
    }

    #[test]
    fn documents_are_joined_and_references_become_addresses() {
        let expected = concat!(
            r#"[{"00083002":{"vr":"UI","Value":["1.2.840.10008.1.2.5"]},"00100020":{"vr":"LO","Value":["\"BulkDataURI\":\"bulkdata/x"]}},"#,
            r#"{"00083002":{"vr":"UI","Value":["1.2.840.10008.1.2.5"]},"#,
            r#""7FE00010":{"vr":"OW","BulkDataURI":"https://v/instances/2/bulkdata/7FE00010"}},"#,
            r#"{"00083002":{"vr":"UI","Value":["1.2.840.10008.1.2.5"]}}]"#
        );
        assert_eq!(String::from_utf8(written(None)).unwrap(), expected);
        let mut inflated = String::new();
        GzDecoder::new(written(Some(Coding::Gzip)).as_slice()).read_to_string(&mut inflated).unwrap();
        assert_eq!(inflated, expected);
    }

    #[test]
    fn the_syntax_stands_among_the_names_where_it_belongs() {
        let syntax = r#""00083002":{"vr":"UI","Value":["1.2.840.10008.1.2.5"]}"#;
        let low = r#""00080018":{"vr":"UI","Value":["1.2\"} 3"]}"#;
        let nested = r#""00081140":{"vr":"SQ","Value":[{"00083002":{"vr":"UI"},"00100020":{"vr":"LO"}},{}]}"#;
        let high = r#""00100020":{"vr":"LO"}"#;
        for (json, expected) in [
            ("{}".to_owned(), format!("{{{syntax}}}")),
            (format!("{{{low}}}"), format!("{{{low},{syntax}}}")),
            (format!("{{{high}}}"), format!("{{{syntax},{high}}}")),
            (format!("{{{low},{nested},{high}}}"), format!("{{{low},{nested},{syntax},{high}}}")),
            (format!("{{{low},{nested}}}"), format!("{{{low},{nested},{syntax}}}")),
            (format!("{{{low},{syntax},{high}}}"), format!("{{{low},{syntax},{high}}}")),
        ] {
            let mut out = Vec::new();
            super::written(&document("1", &json), "b", &Finder::new(REFERENCE), &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}
