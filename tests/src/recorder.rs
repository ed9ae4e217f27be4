//! A receiver that accepts everything and keeps what came, byte for byte: the witness for what a foreign sender really sends.
//!
//! dcmtk and Orthanc re-encode data sets while sending (sequence lengths, for one), so a fixture's own bytes are not what the vault
//! sees. The same sender sends to this recorder and to the vault; both must have got the same.

use crate::scu::{command, field, item, items, pdata, pdu, pdv, read_pdu};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// What arrived for one SOP instance.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// Transfer syntax of the context it came in.
    pub transfer_syntax: String,
    /// The data set's bytes.
    pub data_set: Vec<u8>,
}

/// A listening recorder; its threads end with the process.
#[derive(Debug)]
pub struct Recorder {
    address: SocketAddr,
    kept: Arc<Mutex<BTreeMap<String, Recorded>>>,
}

impl Recorder {
    /// Listens on a free port of the loopback address.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn listen() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let kept: Arc<Mutex<BTreeMap<String, Recorded>>> = Arc::default();
        let keep = Arc::clone(&kept);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let keep = Arc::clone(&keep);
                thread::spawn(move || serve(stream, &keep));
            }
        });
        Self { address, kept }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What came for this instance.
    ///
    /// # Panics
    /// When a thread of the recorder died holding the lock.
    #[must_use]
    pub fn of(&self, instance: &str) -> Option<Recorded> {
        self.kept.lock().expect("no recorder thread panics").get(instance).cloned()
    }
}

fn serve(mut stream: TcpStream, kept: &Mutex<BTreeMap<String, Recorded>>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (kind, request) = read_pdu(&mut stream)?;
    if kind != 0x01 {
        return Ok(());
    }
    let mut body = request.get(..68).unwrap_or_default().to_vec();
    body.extend(item(0x10, crate::scu::APPLICATION_CONTEXT.as_bytes()));
    let mut syntaxes = BTreeMap::new();
    for (kind, value) in items(request.get(68..).unwrap_or_default()) {
        if kind == 0x20
            && let Some((_, syntax)) = items(value.get(4..).unwrap_or_default()).find(|(k, _)| *k == 0x40)
        {
            syntaxes.insert(value[0], String::from_utf8_lossy(syntax).trim_end_matches('\0').to_owned());
            let mut accepted = vec![value[0], 0, 0, 0];
            accepted.extend(item(0x40, syntax));
            body.extend(item(0x21, &accepted));
        }
    }
    let mut user = item(0x51, &65_536u32.to_be_bytes());
    user.extend(item(0x52, b"2.25.1"));
    body.extend(item(0x50, &user));
    stream.write_all(&pdu(0x02, &body))?;

    let (mut rq, mut data) = (Vec::new(), Vec::new());
    loop {
        let (kind, body) = read_pdu(&mut stream)?;
        match kind {
            0x04 => {}
            0x05 => return stream.write_all(&pdu(0x06, &[0; 4])),
            _ => return Ok(()),
        }
        let mut at = 0;
        while let Some(head) = body.get(at..at + 6) {
            let len = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
            let value = body.get(at + 6..at + 4 + len).unwrap_or_default();
            at += 4 + len;
            let (context, flags) = (head[4], head[5]);
            if flags & 1 == 1 {
                rq.extend_from_slice(value)
            } else {
                data.extend_from_slice(value)
            }
            let echo = flags == 3 && field(&rq, 0x0100) == Some(&[0x30, 0]);
            if flags != 2 && !echo {
                continue;
            }
            let text = |n| String::from_utf8_lossy(field(&rq, n).unwrap_or_default()).trim_end_matches('\0').to_owned();
            if !echo {
                let transfer_syntax = syntaxes.get(&context).cloned().unwrap_or_default();
                kept.lock()
                    .expect("no recorder thread panics")
                    .insert(text(0x1000), Recorded { transfer_syntax, data_set: std::mem::take(&mut data) });
            }
            let kind: u16 = if echo { 0x8030 } else { 0x8001 };
            let answer = command(&[
                (0x0002, field(&rq, 0x0002).unwrap_or_default()),
                (0x0100, &kind.to_le_bytes()),
                (0x0120, field(&rq, 0x0110).unwrap_or_default()),
                (0x0800, &0x0101u16.to_le_bytes()),
                (0x0900, &0u16.to_le_bytes()),
                (0x1000, field(&rq, 0x1000).unwrap_or_default()),
            ]);
            stream.write_all(&pdata(&[pdv(context, true, true, &answer)]))?;
            rq.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::Fixture;
    use crate::scu::{Association, Callers};

    #[test]
    fn our_sender_sends_every_fixture_as_it_stands() {
        let recorder = Recorder::listen();
        let who = Callers { calling: "SENDER".to_owned(), called: "RECORDER".to_owned() };
        for f in Fixture::all() {
            let mut association =
                Association::open(recorder.address(), &who, &[(&f.sop_class, &f.transfer_syntax)]).unwrap().unwrap();
            let answer =
                association.store(&f.sop_class, &f.instance, &f.transfer_syntax, &mut f.data_set().as_slice()).unwrap();
            assert_eq!(answer.status, 0, "{}", f.file);
            association.release().unwrap();
            assert_eq!(recorder.of(&f.instance).unwrap().data_set, f.data_set(), "{}", f.file);
        }
    }
}
