//! A reader that sees what came over the socket, not what a client library makes of it: plain HTTP/1.1, one request, one answer.
//!
//! An answer that breaks off is told from one that ended (RFC 9112 §8): what was given out before it broke is kept.

use std::io::{self, Write as _};
use std::net::TcpStream;
use std::time::Duration;

/// A peer that says nothing for so long fails the test.
const PATIENCE: Duration = Duration::from_secs(60);

/// What came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Came {
    /// Status code; 0 when the connection ended before there was one.
    pub status: u16,
    /// Bytes of the body, without framing.
    pub body: Vec<u8>,
    /// The body came to the end that its framing announced.
    pub whole: bool,
}

/// Asks for `path` (with everything behind the host) at `http://host:port`.
///
/// # Errors
/// When the peer cannot be reached or says nothing.
///
/// # Panics
/// When `base` is no plain HTTP address.
pub fn get(base: &str, path: &str, headers: &[(&str, &str)]) -> io::Result<Came> {
    let place = base.strip_prefix("http://").expect("a plain address");
    let (host, root) = place.split_once('/').map_or((place, String::new()), |(h, r)| (h, format!("/{r}")));
    let mut stream = TcpStream::connect(host)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut request = format!("GET {root}{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    stream.write_all(request.as_bytes())?;
    read(&mut stream)
}

/// Reads an answer to the end of its connection.
///
/// # Errors
/// When the peer says nothing for too long.
pub fn read(stream: &mut impl io::Read) -> io::Result<Came> {
    let mut all = Vec::new();
    // A reset ends the answer as a close does, and so does a TLS connection cut without a farewell; what came counts.
    if let Err(e) = stream.read_to_end(&mut all)
        && !matches!(
            e.kind(),
            io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionAborted
        )
    {
        return Err(e);
    }
    Ok(parse(&all).unwrap_or(Came { status: 0, body: Vec::new(), whole: false }))
}

fn parse(all: &[u8]) -> Option<Came> {
    let end = all.windows(4).position(|w| w == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&all[..end]).into_owned();
    let rest = &all[end + 4..];
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let field = |name: &str| {
        head.lines()
            .find_map(|l| l.split_once(':').filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.trim()))
    };
    let (body, whole) = match (field("content-length"), field("transfer-encoding")) {
        (_, Some(coding)) if coding.eq_ignore_ascii_case("chunked") => unchunked(rest),
        (Some(length), _) => (rest.to_vec(), length.parse::<usize>().ok()? == rest.len()),
        // Ended by closing: nothing tells whether it is whole, so it never counts as that, unless no body is meant to be.
        _ => (rest.to_vec(), matches!(status, 204 | 304)),
    };
    Some(Came { status, body, whole })
}

/// RFC 9112 §7.1.
fn unchunked(mut rest: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    loop {
        let Some(line) = rest.windows(2).position(|w| w == b"\r\n") else { return (body, false) };
        let size = std::str::from_utf8(&rest[..line]).ok().and_then(|s| usize::from_str_radix(s, 16).ok());
        let Some(size) = size else { return (body, false) };
        rest = &rest[line + 2..];
        if size == 0 {
            return (body, rest == b"\r\n");
        }
        let here = size.min(rest.len());
        body.extend_from_slice(&rest[..here]);
        match rest.get(size..size + 2) {
            Some(b"\r\n") => rest = &rest[size + 2..],
            _ => return (body, false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn came(text: &str) -> (u16, Vec<u8>, bool) {
        let came = parse(text.as_bytes()).unwrap();
        (came.status, came.body, came.whole)
    }

    #[test]
    fn an_answer_that_breaks_off_is_not_a_short_one() {
        assert_eq!(came("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"), (200, b"abc".to_vec(), true));
        assert_eq!(came("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabc"), (200, b"abc".to_vec(), false));
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(came(&format!("{head}3\r\nabc\r\n0\r\n\r\n")), (200, b"abc".to_vec(), true));
        assert_eq!(came(&format!("{head}3\r\nabc\r\n")), (200, b"abc".to_vec(), false));
        assert_eq!(came(&format!("{head}5\r\nabc")), (200, b"abc".to_vec(), false));
        assert_eq!(parse(b"HTTP/1.1 200"), None);
    }
}
