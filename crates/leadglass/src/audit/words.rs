//! The log's words as people read them.

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// Milliseconds since 1970 as RFC 3339 in UTC, to the second.
pub(crate) fn time(ms: u64) -> String {
    let seconds = i64::try_from(ms / 1000).unwrap_or(i64::MAX);
    OffsetDateTime::from_unix_timestamp(seconds)
        .ok()
        .and_then(|at| at.format(&Rfc3339).ok())
        .unwrap_or_else(|| "unknown".to_owned())
}

/// A date (`2026-11-23`) or a moment (RFC 3339) as milliseconds since 1970.
pub(crate) fn moment(text: &str) -> Result<u64, String> {
    let whole = if text.len() == 10 { format!("{text}T00:00:00Z") } else { text.to_owned() };
    let at = OffsetDateTime::parse(&whole, &Rfc3339)
        .map_err(|_| "a date such as 2026-11-23, or a moment such as 2026-11-23T08:00:00Z".to_owned())?;
    u64::try_from(at.unix_timestamp_nanos() / 1_000_000).map_err(|_| "before 1970".to_owned())
}

/// What an event is called.
pub(super) const fn event(code: u32) -> &'static str {
    match code {
        110_100 => "Application Activity",
        110_101 => "Audit Log Used",
        110_102 => "Begin Transferring DICOM Instances",
        110_103 => "DICOM Instances Accessed",
        110_104 => "DICOM Instances Transferred",
        110_105 => "DICOM Study Deleted",
        110_106 => "Export",
        110_107 => "Import",
        110_108 => "Network Entry",
        110_109 => "Order Record",
        110_110 => "Patient Record",
        110_111 => "Procedure Record",
        110_112 => "Query",
        110_113 => "Security Alert",
        110_114 => "User Authentication",
        1_000_001 => "End of an access",
        1_000_015 => "Budget used up",
        1_000_017 => "Integrity alarm",
        1_000_018 => "Log alarm",
        1_000_019 => "Quarantined",
        1_000_020 => "Quarantine decision",
        1_000_021 => "Break-glass",
        1_000_022 => "Erasure",
        1_000_025 => "Enrolment change",
        1_000_033 => "Check of the store",
        _ => "Other",
    }
}

/// What somebody opened a study for.
pub(super) fn purpose(word: &str) -> &str {
    match word {
        "care" => "treatment",
        "ingest" => "taking in",
        "subject-request" => "request of the patient",
        "legal-claim" => "legal claim",
        "quality" => "quality assurance",
        "storage-check" => "check of the store",
        "break-glass" => "EMERGENCY (break-glass)",
        other => other,
    }
}

/// Text for XML and HTML. What XML 1.0 does not allow becomes U+FFFD.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\t' | '\n' | '\r' => out.push(' '),
            c if (c as u32) < 0x20 || matches!(c as u32, 0x7f..=0x9f | 0xfffe | 0xffff) => out.push('\u{fffd}'),
            // Overrides of direction would let a name rewrite the line that it stands in.
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_and_back() {
        assert_eq!(moment("1970-01-02"), Ok(86_400_000));
        assert_eq!(time(moment("2026-11-23T08:15:00Z").unwrap()), "2026-11-23T08:15:00Z");
        assert!(moment("yesterday").is_err());
    }

    #[test]
    fn markup_and_control_characters_do_not_get_through() {
        assert_eq!(escape("<a href='x'>\u{0}\u{202e}&"), "&lt;a href=&#39;x&#39;&gt;\u{fffd}\u{fffd}&amp;");
    }
}
