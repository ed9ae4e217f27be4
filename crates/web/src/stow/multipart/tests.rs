//! Laws of the parser: whatever the pieces, the same parts.

use super::*;
use proptest::prelude::*;

type Parts = Vec<(PartHead, Vec<u8>)>;

fn read(boundary: &str, pieces: &[&[u8]]) -> Result<Parts, MultipartError> {
    let mut reader = Multipart::new(boundary)?;
    let (mut parts, mut open) = (Parts::new(), false);
    for piece in pieces {
        reader.push(Bytes::copy_from_slice(piece));
        while let Some(event) = reader.next()? {
            match event {
                Event::Part(head) => {
                    assert!(!open);
                    open = true;
                    parts.push((head, Vec::new()));
                }
                Event::Data(data) => {
                    assert!(open && !data.is_empty());
                    parts.last_mut().unwrap().1.extend_from_slice(&data);
                }
                Event::End => open = false,
            }
        }
    }
    reader.finish()?;
    assert!(!open);
    Ok(parts)
}

fn bodies(parts: &Parts) -> Vec<&[u8]> {
    parts.iter().map(|(_, body)| body.as_slice()).collect()
}

#[test]
fn parts_come_out_byte_for_byte() {
    let body = b"--b\r\nContent-Type: application/dicom\r\n\r\none\r\n\r\n--b\r\ncontent-type: x/y; a=b\r\nContent-Location: bulk/1\r\n\r\n\r\n--b--\r\n";
    let parts = read("b", &[body]).unwrap();
    assert_eq!(bodies(&parts), [b"one\r\n".as_slice(), b""]);
    assert_eq!(parts[0].0.content_type, "application/dicom");
    assert_eq!(parts[1].0.location.as_ref().unwrap().expose(), "bulk/1");
}

#[test]
fn line_ends_are_taken_as_real_senders_write_them() {
    let unix = b"--b\nContent-Type: application/dicom\n\none\n--b\n\ntwo\r\n--b--";
    assert_eq!(bodies(&read("b", &[unix]).unwrap()), [b"one".as_slice(), b"two\r"]);
    let begins_empty = b"\r\n--b\r\nA: b\r\n\r\none\r\n--b--";
    assert_eq!(bodies(&read("b", &[begins_empty]).unwrap()), [b"one"]);
    let spaced = b"some words\r\n--b \t\r\nA: b\r\n\r\none\r\n--b--\r\nmore words";
    assert_eq!(bodies(&read("b", &[spaced]).unwrap()), [b"one"]);
    assert!(read("b", &[b"--b--"]).unwrap().is_empty());
}

#[test]
fn a_lone_line_feed_before_a_lookalike_is_data_for_whoever_writes_crlf() {
    let body = b"--b\r\n\r\none\n--b\ntwo\r\n--b--";
    assert_eq!(bodies(&read("b", &[body]).unwrap()), [b"one\n--b\ntwo"]);
}

#[test]
fn folded_headers_are_one() {
    let body = b"--b\r\nContent-Type: application/dicom;\r\n\ttransfer-syntax=1.2\r\n\r\n\r\n--b--";
    assert_eq!(read("b", &[body]).unwrap()[0].0.content_type, "application/dicom; transfer-syntax=1.2");
}

#[test]
fn what_is_broken_is_refused() {
    use MultipartError as E;
    let long_head = [b"--b\r\nA: ".as_slice(), &[b'x'; MAX_HEAD_BYTES]].concat();
    let endless_preamble = vec![b'x'; MAX_PREAMBLE_BYTES + 1];
    let epilogue = [b"--b\r\n\r\n\r\n--b--".as_slice(), &[b'x'; MAX_EPILOGUE_BYTES + 1]].concat();
    let parts = [b"--b".to_vec(), b"\r\n\r\n\r\n--b".repeat(MAX_PARTS + 1), b"--".to_vec()].concat();
    let blanks = [b"--b\r\n\r\n\r\n--b".as_slice(), &[b' '; MAX_LINE_BYTES]].concat();
    for (body, error) in [
        (b"".as_slice(), E::NoBeginning),
        (b"--c\r\n\r\n\r\n--c--", E::NoBeginning),
        (&endless_preamble, E::NoBeginning),
        (b"--bc\r\n\r\n", E::Delimiter),
        (b"--b\r\n\r\none\r\n--bc\r\n", E::Delimiter),
        (&blanks, E::Delimiter),
        (b"--b\r\n\r\none", E::Truncated),
        (b"--b\r\n\r\none\r\n--b", E::Truncated),
        (b"--b\r\n\r\none\r\n--b-", E::Truncated),
        (b"--b\r\nno header\r\n\r\n", E::Header),
        (b"--b\r\nContent-Type: Multipart/related; boundary=c\r\n\r\n", E::Nested),
        (&long_head, E::HeadTooLong),
        (&epilogue, E::Epilogue),
        (&parts, E::TooManyParts),
    ] {
        for cut in [1, 7, usize::MAX] {
            let pieces: Vec<&[u8]> = body.chunks(cut).collect();
            assert_eq!(
                read("b", &pieces).unwrap_err(),
                error,
                "{}",
                String::from_utf8_lossy(&body[..body.len().min(60)])
            );
        }
    }
    let long = "x".repeat(MAX_BOUNDARY + 1);
    for boundary in ["", long.as_str(), "a\r\nb", "ends with a blank ", "ü"] {
        assert_eq!(Multipart::new(boundary).unwrap_err(), E::Boundary, "{boundary:?}");
    }
}

#[test]
fn as_many_parts_as_are_taken_are_taken() {
    let body = [b"--b".to_vec(), b"\r\n\r\n\r\n--b".repeat(MAX_PARTS), b"--".to_vec()].concat();
    assert_eq!(read("b", &[&body]).unwrap().len(), MAX_PARTS);
}

#[test]
fn encoded_parts_say_so() {
    let of = |line: &str| {
        let body = format!("--b\r\n{line}\r\n\r\n\r\n--b--");
        read("b", &[body.as_bytes()]).unwrap()[0].0.is_encoded
    };
    assert!(of("Content-Encoding: gzip"));
    assert!(of("Content-Transfer-Encoding: base64"));
    assert!(!of("Content-Transfer-Encoding: Binary"));
}

/// Bytes that are full of almost-delimiters.
fn tricky() -> impl Strategy<Value = Vec<u8>> {
    let bits: Vec<&'static [u8]> =
        vec![b"\r", b"\n", b"-", b"--", b"\r\n--", b"\r\n--b", b"ab", b"x", b"\r\n\r\n--ba\r"];
    proptest::collection::vec(proptest::sample::select(bits), 0..24).prop_map(|bits| bits.concat())
}

proptest! {
    #[test]
    fn any_cut_gives_the_same_parts(
        datas in proptest::collection::vec(tricky(), 0..5),
        unix in any::<bool>(),
        cuts in proptest::collection::vec(0usize..400, 0..40),
    ) {
        let end = if unix { "\n" } else { "\r\n" };
        let delimiter = format!("{end}--bab");
        prop_assume!(datas.iter().all(|d| {
            let whole = [delimiter.as_bytes(), d, delimiter.as_bytes()].concat();
            // Such data would need another boundary.
            memchr::memmem::find(&whole[1..whole.len() - 1], delimiter.as_bytes()).is_none()
        }));
        let mut body = b"--bab".to_vec();
        for data in &datas {
            body.extend(format!("{end}Content-Type: a/b{end}{end}").as_bytes());
            body.extend(data);
            body.extend(delimiter.as_bytes());
        }
        body.extend(b"--");
        if datas.is_empty() {
            body = b"--bab--".to_vec();
        }
        let whole = read("bab", &[&body]).unwrap();
        prop_assert_eq!(bodies(&whole), datas.iter().map(Vec::as_slice).collect::<Vec<_>>());
        let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(body.len())).collect();
        cuts.extend([0, body.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|w| &body[w[0]..w[1]]).collect();
        prop_assert_eq!(&read("bab", &pieces).unwrap(), &whole);
        let single: Vec<&[u8]> = body.chunks(1).collect();
        prop_assert_eq!(&read("bab", &single).unwrap(), &whole);
    }

    #[test]
    fn arbitrary_bytes_never_panic_and_any_cut_ends_alike(body in tricky(), cut in 1usize..9) {
        let body = [b"--b\r\n".as_slice(), &body].concat();
        let whole = read("b", &[&body]);
        let pieces: Vec<&[u8]> = body.chunks(cut).collect();
        prop_assert_eq!(read("b", &pieces), whole);
    }
}
