//! A sender of our own over a blocking socket: bytes go out as given, nothing is parsed or re-encoded (PS3.7, PS3.8 §9.3).
//!
//! The honest half is used to store; its parts (`request_pdu`, `pdata`, `pdv`, `element`) are public so that hostile tests can bend them.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Verification SOP Class.
pub const VERIFICATION: &str = "1.2.840.10008.1.1";
/// Implicit VR little endian.
pub const IMPLICIT_LE: &str = "1.2.840.10008.1.2";
/// Explicit VR little endian.
pub const EXPLICIT_LE: &str = "1.2.840.10008.1.2.1";
/// DICOM's application context.
pub const APPLICATION_CONTEXT: &str = "1.2.840.10008.3.1.1.1";
/// The test's own implementation class, under the UUID root.
const IMPLEMENTATION: &str = "2.25.329800735698586629295641978511506172918";
/// No answer within this time is a failure of the test, not a measurement.
const PATIENCE: Duration = Duration::from_secs(120);
/// Largest PDU sent to a peer that names no limit, in bytes of its length field.
const OWN_MAX_PDU: u32 = 131_072;

/// Whom a request calls and who it says it is.
#[derive(Clone, Debug)]
pub struct Callers {
    /// Calling AE title.
    pub calling: String,
    /// Called AE title.
    pub called: String,
}

/// Why there is no association.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// A-ASSOCIATE-RJ with result, source, reason (PS3.8 §9.3.4).
    Rejected(u8, u8, u8),
    /// A-ABORT with source, reason.
    Aborted(u8, u8),
    /// The connection closed without a word.
    Closed,
}

/// An open association.
#[derive(Debug)]
pub struct Association {
    stream: TcpStream,
    max_pdu: u32,
    /// (context id, abstract syntax, accepted transfer syntax).
    contexts: Vec<(u8, String, Option<String>)>,
    message: u16,
}

/// The answer to one request.
#[derive(Clone, Debug)]
pub struct Response {
    /// (0000,0900).
    pub status: u16,
    /// The whole command set, for those who look what an answer gives away.
    pub command: Vec<u8>,
}

impl Association {
    /// Asks for one presentation context per (abstract syntax, transfer syntax).
    ///
    /// # Errors
    /// When the socket fails; the inner result tells a refusal.
    pub fn open(peer: SocketAddr, who: &Callers, wanted: &[(&str, &str)]) -> io::Result<Result<Self, Refused>> {
        let mut stream = connect(peer)?;
        stream.write_all(&request_pdu(who, wanted))?;
        let (kind, body) = match read_pdu(&mut stream) {
            Ok(pdu) => pdu,
            Err(e) if closed(&e) => return Ok(Err(Refused::Closed)),
            Err(e) => return Err(e),
        };
        match kind {
            0x02 => {}
            0x03 => return Ok(Err(Refused::Rejected(byte(&body, 1), byte(&body, 2), byte(&body, 3)))),
            0x07 => return Ok(Err(Refused::Aborted(byte(&body, 2), byte(&body, 3)))),
            other => return Err(bad(format!("PDU type {other:02x} answers A-ASSOCIATE-RQ"))),
        }
        let mut contexts: Vec<(u8, String, Option<String>)> =
            wanted.iter().enumerate().map(|(i, (sop, _))| (context_id(i), (*sop).to_owned(), None)).collect();
        let mut max_pdu = 0;
        for (item, value) in items(body.get(68..).unwrap_or_default()) {
            match item {
                0x21 if byte(value, 2) == 0 => {
                    for (sub, ts) in items(value.get(4..).unwrap_or_default()) {
                        if sub == 0x40
                            && let Some(c) = contexts.iter_mut().find(|c| c.0 == byte(value, 0))
                        {
                            c.2 = Some(String::from_utf8_lossy(ts).trim_end_matches('\0').to_owned());
                        }
                    }
                }
                0x50 => {
                    for (sub, v) in items(value) {
                        if sub == 0x51 && v.len() == 4 {
                            max_pdu = u32::from_be_bytes([v[0], v[1], v[2], v[3]]);
                        }
                    }
                }
                _ => {}
            }
        }
        let max_pdu = if max_pdu == 0 { OWN_MAX_PDU } else { max_pdu.min(OWN_MAX_PDU) };
        Ok(Ok(Self { stream, max_pdu, contexts, message: 0 }))
    }

    /// The context that was accepted for this class and syntax.
    #[must_use]
    pub fn context(&self, sop_class: &str, syntax: &str) -> Option<u8> {
        self.contexts.iter().find(|c| c.1 == sop_class && c.2.as_deref() == Some(syntax)).map(|c| c.0)
    }

    /// C-ECHO.
    ///
    /// # Errors
    /// When the socket fails or the peer ends the association.
    pub fn echo(&mut self) -> io::Result<Response> {
        let context = self
            .contexts
            .iter()
            .find(|c| c.1 == VERIFICATION && c.2.is_some())
            .map(|c| c.0)
            .ok_or_else(|| bad("verification was not accepted".to_owned()))?;
        self.message += 1;
        let rq = command(&[
            (0x0002, &padded(VERIFICATION)),
            (0x0100, &0x0030u16.to_le_bytes()),
            (0x0110, &self.message.to_le_bytes()),
            (0x0800, &0x0101u16.to_le_bytes()),
        ]);
        self.stream.write_all(&pdata(&[pdv(context, true, true, &rq)]))?;
        self.response()
    }

    /// C-STORE of `data`, read to its end and sent as it comes.
    ///
    /// # Errors
    /// When the context was not accepted, the socket fails, or the peer ends the association.
    pub fn store(
        &mut self,
        sop_class: &str,
        instance: &str,
        syntax: &str,
        data: &mut dyn Read,
    ) -> io::Result<Response> {
        self.begin_store(sop_class, instance, syntax)?;
        let context = self.context(sop_class, syntax).expect("begin_store found it");
        let piece = self.max_pdu as usize - 6;
        let (mut now, mut next) = (vec![0; piece], vec![0; piece]);
        let mut held = fill(data, &mut now)?;
        loop {
            let following = fill(data, &mut next)?;
            self.write_or_answer(&pdata(&[pdv(context, false, following == 0, &now[..held])]))?;
            if following == 0 {
                return self.response();
            }
            std::mem::swap(&mut now, &mut next);
            held = following;
        }
    }

    /// Sends the C-STORE-RQ alone.
    ///
    /// # Errors
    /// When the context was not accepted or the socket fails.
    pub fn begin_store(&mut self, sop_class: &str, instance: &str, syntax: &str) -> io::Result<()> {
        let context = self.context(sop_class, syntax).ok_or_else(|| {
            io::Error::new(io::ErrorKind::Unsupported, format!("{sop_class} in {syntax} was not accepted"))
        })?;
        self.message += 1;
        let rq = store_request(self.message, sop_class, instance);
        self.write_or_answer(&pdata(&[pdv(context, true, true, &rq)]))
    }

    /// A peer that refuses early answers and closes while we still write: its answer counts, not our broken pipe.
    fn write_or_answer(&mut self, pdu: &[u8]) -> io::Result<()> {
        self.stream.write_all(pdu)
    }

    /// Reads one command set.
    ///
    /// # Errors
    /// When the socket fails or the peer aborts.
    pub fn response(&mut self) -> io::Result<Response> {
        let mut command = Vec::new();
        loop {
            let (kind, body) = read_pdu(&mut self.stream)?;
            if kind != 0x04 {
                return Err(io::Error::new(
                    io::ErrorKind::ConnectionAborted,
                    format!("PDU type {kind:02x} instead of an answer"),
                ));
            }
            let mut at = 0;
            while let Some(head) = body.get(at..at + 6) {
                let len = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
                command.extend_from_slice(
                    body.get(at + 6..at + 4 + len).ok_or_else(|| bad("a PDV longer than its PDU".to_owned()))?,
                );
                at += 4 + len;
                if head[5] & 3 == 3 {
                    let status = field(&command, 0x0900)
                        .filter(|v| v.len() == 2)
                        .ok_or_else(|| bad("an answer without a status".to_owned()))?;
                    return Ok(Response { status: u16::from_le_bytes([status[0], status[1]]), command });
                }
            }
        }
    }

    /// Orderly release.
    ///
    /// # Errors
    /// When the peer does not answer A-RELEASE-RP.
    pub fn release(mut self) -> io::Result<()> {
        self.stream.write_all(&[5, 0, 0, 0, 0, 4, 0, 0, 0, 0])?;
        match read_pdu(&mut self.stream)?.0 {
            0x06 => Ok(()),
            other => Err(bad(format!("PDU type {other:02x} answers A-RELEASE-RQ"))),
        }
    }

    /// The socket, for tests that leave the protocol.
    pub fn socket(&mut self) -> &mut TcpStream {
        &mut self.stream
    }
}

/// A connected socket with this module's patience.
///
/// # Errors
/// When nobody listens.
pub fn connect(peer: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(peer)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// A-ASSOCIATE-RQ with one context per pair, ids 1, 3, 5…
#[must_use]
pub fn request_pdu(who: &Callers, wanted: &[(&str, &str)]) -> Vec<u8> {
    let mut body = vec![0, 1, 0, 0];
    for title in [&who.called, &who.calling] {
        body.extend_from_slice(format!("{title:<16}").as_bytes());
    }
    body.extend_from_slice(&[0; 32]);
    body.extend(item(0x10, APPLICATION_CONTEXT.as_bytes()));
    for (i, (sop, syntax)) in wanted.iter().enumerate() {
        let mut value = vec![context_id(i), 0, 0, 0];
        value.extend(item(0x30, sop.as_bytes()));
        value.extend(item(0x40, syntax.as_bytes()));
        body.extend(item(0x20, &value));
    }
    let mut user = item(0x51, &16_384u32.to_be_bytes());
    user.extend(item(0x52, IMPLEMENTATION.as_bytes()));
    user.extend(item(0x55, b"LEADGLASS_TEST"));
    body.extend(item(0x50, &user));
    pdu(0x01, &body)
}

/// The id of the n-th context.
fn context_id(n: usize) -> u8 {
    u8::try_from((2 * n + 1) % 256).expect("below 256")
}

/// Type, zero, length, value (PS3.8 §9.3.2).
///
/// # Panics
/// When the value is longer than 65,535 bytes.
#[must_use]
pub fn item(kind: u8, value: &[u8]) -> Vec<u8> {
    let mut out = vec![kind, 0];
    out.extend(u16::try_from(value.len()).expect("an item is short").to_be_bytes());
    out.extend_from_slice(value);
    out
}

/// A PDU around a body.
///
/// # Panics
/// When the body is longer than 4 GiB.
#[must_use]
pub fn pdu(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![kind, 0];
    out.extend(u32::try_from(body.len()).expect("a PDU is short").to_be_bytes());
    out.extend_from_slice(body);
    out
}

/// P-DATA-TF of these PDVs.
#[must_use]
pub fn pdata(pdvs: &[Vec<u8>]) -> Vec<u8> {
    pdu(0x04, &pdvs.concat())
}

/// One presentation data value.
///
/// # Panics
/// When the data is longer than 4 GiB.
#[must_use]
pub fn pdv(context: u8, is_command: bool, is_last: bool, data: &[u8]) -> Vec<u8> {
    let mut out = u32::try_from(data.len() + 2).expect("a PDV is short").to_be_bytes().to_vec();
    out.push(context);
    out.push(u8::from(is_command) | u8::from(is_last) << 1);
    out.extend_from_slice(data);
    out
}

/// The command set of a C-STORE-RQ (PS3.7 Table 9.3-1).
#[must_use]
pub fn store_request(message: u16, sop_class: &str, instance: &str) -> Vec<u8> {
    command(&[
        (0x0002, &padded(sop_class)),
        (0x0100, &1u16.to_le_bytes()),
        (0x0110, &message.to_le_bytes()),
        (0x0700, &0u16.to_le_bytes()),
        (0x0800, &0u16.to_le_bytes()),
        (0x1000, &padded(instance)),
    ])
}

/// A command set: group 0000 in implicit VR little endian, its length in front.
///
/// # Panics
/// When a value is longer than 4 GiB.
#[must_use]
pub fn command(fields: &[(u16, &[u8])]) -> Vec<u8> {
    let body: Vec<u8> = fields.iter().flat_map(|(number, value)| element(0, *number, value)).collect();
    let len = u32::try_from(body.len()).expect("a command is short").to_le_bytes();
    [element(0, 0, &len), body].concat()
}

/// One element in implicit VR little endian.
///
/// # Panics
/// When the value is longer than 4 GiB.
#[must_use]
pub fn element(group: u16, number: u16, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(8 + value.len());
    out.extend(group.to_le_bytes());
    out.extend(number.to_le_bytes());
    out.extend(u32::try_from(value.len()).expect("a value is short").to_le_bytes());
    out.extend_from_slice(value);
    out
}

/// A UID with its padding.
#[must_use]
pub fn padded(uid: &str) -> Vec<u8> {
    let mut out = uid.as_bytes().to_vec();
    if out.len() % 2 == 1 {
        out.push(0);
    }
    out
}

/// A field of a command set.
#[must_use]
pub fn field(command: &[u8], number: u16) -> Option<&[u8]> {
    let mut at = 0;
    while let Some(head) = command.get(at..at + 8) {
        let len = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
        let value = command.get(at + 8..at + 8 + len)?;
        if u16::from_le_bytes([head[2], head[3]]) == number {
            return Some(value);
        }
        at += 8 + len;
    }
    None
}

/// Reads one PDU: its type and body. Peers here are ours or under test, so a length over 16 MiB is an error.
///
/// # Errors
/// When the socket fails or closes.
pub fn read_pdu(stream: &mut TcpStream) -> io::Result<(u8, Vec<u8>)> {
    let mut head = [0; 6];
    stream.read_exact(&mut head)?;
    let len = u32::from_be_bytes([head[2], head[3], head[4], head[5]]) as usize;
    if len > 16 << 20 {
        return Err(bad(format!("a PDU of {len} bytes")));
    }
    let mut body = vec![0; len];
    stream.read_exact(&mut body)?;
    Ok((head[0], body))
}

/// Items of a PDU's variable part.
pub fn items(mut rest: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        let len = usize::from(u16::from_be_bytes([*rest.get(2)?, *rest.get(3)?]));
        let out = (*rest.first()?, rest.get(4..4 + len)?);
        rest = &rest[4 + len..];
        Some(out)
    })
}

fn fill(from: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut at = 0;
    while at < buffer.len() {
        match from.read(&mut buffer[at..])? {
            0 => break,
            n => at += n,
        }
    }
    Ok(at)
}

fn byte(body: &[u8], at: usize) -> u8 {
    body.get(at).copied().unwrap_or(0)
}

/// Whether an error says that the peer is gone.
#[must_use]
pub fn closed(e: &io::Error) -> bool {
    matches!(
        e.kind(),
        io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
    )
}

fn bad(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
