//! An entry as a syslog message: octet counting (RFC 5425 §4.3), header (RFC 5424 §6.2), DICOM audit message (PS3.15 A.5.1).

use crate::audit::{dicom, words};
use leadglass_audit::EntryLine;
use std::sync::OnceLock;

/// Appends it, counted. The document is UTF-8 and says so by its mark (RFC 5424 §6.4).
pub(super) fn frame(entry: &EntryLine, out: &mut Vec<u8>) {
    let message = format!(
        "<{}>1 {} {} leadglass {} DICOM+RFC3881 - \u{feff}{}",
        FACILITY * 8 + severity(&entry.outcome),
        words::time(entry.time_ms),
        host(),
        std::process::id(),
        dicom::message(entry),
    );
    out.extend_from_slice(format!("{} ", message.len()).as_bytes());
    out.extend_from_slice(message.as_bytes());
}

/// PS3.15 A.6: most are normal but significant (5); what was refused or failed is a warning (4).
fn severity(outcome: &str) -> u8 {
    if outcome == "success" { 5 } else { 4 }
}

/// This machine's name; `-` where it has none that the header may hold.
fn host() -> &'static str {
    static HOST: OnceLock<String> = OnceLock::new();
    HOST.get_or_init(|| {
        let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let name = name.trim();
        let fits = (1..=255).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic());
        if fits { name.to_owned() } else { "-".to_owned() }
    })
}

/// Security and authorisation messages.
const FACILITY: u8 = 10;

#[cfg(test)]
mod tests {
    use super::*;
    use leadglass_audit::{Entry, Event, Log, LogOptions, MemoryDisk, NewEntry, Outcome};
    use leadglass_model::{EntryId, UnixMillis};

    fn line(outcome: Outcome) -> EntryLine {
        let log = Log::open_on(Box::new(MemoryDisk::default()), "x", &[5; 32], LogOptions::default()).unwrap();
        let entry = NewEntry::new(EntryId::from_bytes([7; 16]), UnixMillis(0), Event::InstancesAccessed, outcome);
        log.append(vec![entry], None).unwrap();
        EntryLine::from(&Entry::decode(&log.leaf(0).unwrap()).unwrap())
    }

    #[test]
    fn a_message_is_counted_in_octets_and_has_its_header() {
        let mut bytes = Vec::new();
        frame(&line(Outcome::Success), &mut bytes);
        frame(&line(Outcome::Refused), &mut bytes);
        for pri in ["<85>1 ", "<84>1 "] {
            let space = bytes.iter().position(|byte| *byte == b' ').unwrap();
            let count: usize = std::str::from_utf8(&bytes[..space]).unwrap().parse().unwrap();
            let rest = bytes.split_off(space + 1 + count);
            let message = std::str::from_utf8(&bytes[space + 1..]).unwrap();
            assert!(message.starts_with(&format!("{pri}1970-01-01T00:00:00Z ")), "{message}");
            let document = message.split_once(" DICOM+RFC3881 - \u{feff}").unwrap().1;
            assert!(document.starts_with("<?xml") && document.ends_with("</AuditMessage>"), "{document}");
            assert!(!message.contains('\n'));
            bytes = rest;
        }
        assert!(bytes.is_empty());
    }
}
