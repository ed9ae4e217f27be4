//! CSV (RFC 4180) that a spreadsheet cannot take for formulas.

use super::words;
use leadglass_audit::EntryLine;

/// The first line.
pub(super) const HEAD: &str = "seq,time,event,event_name,outcome,entry,tenant,actor,client,role,purpose,subject,study,key,\
studies,instances,frames,bytes,related,reason";

/// An entry's line.
pub(super) fn line(entry: &EntryLine) -> String {
    let numbers = [entry.studies, entry.instances, entry.frames, entry.bytes].map(|n| n.to_string());
    let [studies, instances, frames, bytes] = numbers;
    let (seq, event) = (entry.seq.to_string(), entry.event.to_string());
    let at = words::time(entry.time_ms);
    let fields: [&str; 20] = [
        &seq,
        &at,
        &event,
        words::event(entry.event),
        &entry.outcome,
        &entry.entry_id,
        &entry.tenant,
        &entry.actor,
        &entry.client,
        &entry.role,
        &entry.purpose,
        &entry.subject,
        &entry.study,
        &entry.key,
        &studies,
        &instances,
        &frames,
        &bytes,
        &entry.related,
        &entry.code,
    ];
    fields.map(field).join(",")
}

/// A field: quoted where it must be, and text behind an apostrophe where a spreadsheet would calculate (OWASP CSV injection).
pub(crate) fn field(text: &str) -> String {
    let dangerous = text.starts_with(CALCULATES);
    let text: String = text.chars().map(|c| if is_unseen(c) { '\u{FFFD}' } else { c }).collect();
    let text = if dangerous { format!("'{text}") } else { text };
    if text.contains(['"', ',', '\n', '\r', ';', '\t']) || dangerous {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text
    }
}

/// What controls others and is not seen itself: control characters, and those that turn the direction of a line (UAX #9).
fn is_unseen(c: char) -> bool {
    let turns = matches!(c, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}');
    turns || (c.is_control() && !matches!(c, '\t' | '\n' | '\r'))
}

/// A cell that begins so is calculated, the wide forms in some places, too.
const CALCULATES: [char; 13] =
    ['=', '+', '-', '@', '\t', '\r', '\n', '|', '%', '\u{FF1D}', '\u{FF0B}', '\u{FF0D}', '\u{FF20}'];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_field_is_a_formula() {
        assert_eq!(field("=HYPERLINK(\"x\")"), "\"'=HYPERLINK(\"\"x\"\")\"");
        for bad in ["@SUM(1)", "+1", "-1", "\t=1", "|cmd", "%x", "\u{FF1D}1"] {
            assert!(field(bad).starts_with("\"'"), "{bad}");
        }
        assert_eq!(field("care"), "care");
        assert_eq!(field("a\u{202E}\0b"), "a\u{FFFD}\u{FFFD}b");
        assert_eq!(field("a,b"), "\"a,b\"");
    }
}
