//! What a value that was held becomes.

use super::Writer;
use crate::{Job, dates, dummy::dummy, profile::Action, words};
use leadglass_tap::{Tag, Vr};
use time::Duration;

impl Writer {
    /// Writes a value that was held.
    pub(super) fn change(&mut self, tag: Tag, vr: Vr, action: Action, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes);
        let text = text.trim_matches([' ', '\0']);
        let counts = &mut self.findings.counts;
        let value = match (action, &vr.0) {
            (Action::Words | Action::SomeWords, _) => {
                counts.cleaned = counts.cleaned.saturating_add(1);
                Some(words::cleaned(bytes)).filter(|words| action == Action::Words || !words.is_empty())
            }
            (Action::Uid, b"UI") => {
                counts.uids = counts.uids.saturating_add(1);
                Some(other_uids(&self.job, text))
            }
            (Action::Keep, b"UI") => text.split('\\').all(is_uid).then(|| text.to_owned()),
            (Action::Move, b"DA") => dates::moved_date(text, self.shift),
            (Action::Move, b"DT") => dates::moved_date_time(text, self.shift),
            (Action::Keep, b"DA") => dates::moved_date(text, Duration::ZERO),
            (Action::Keep, b"DT") => dates::moved_date_time(text, Duration::ZERO),
            (Action::Move | Action::Keep, b"TM" | b"SH") => dates::time(text),
            (Action::Age, _) => age(text),
            _ => None,
        };
        if action == Action::Move && value.is_some() {
            counts.moved = counts.moved.saturating_add(1);
        }
        match value {
            Some(value) => self.write(tag, vr, value.as_bytes()),
            // Not what it should be: it could be anything.
            None => {
                counts.replaced = counts.replaced.saturating_add(1);
                match &vr.0 {
                    b"UI" => self.header(tag, vr, 0),
                    // Timezone Offset From UTC: nothing is better than a made-up one.
                    b"SH" if action == Action::Move => {}
                    _ => self.write(tag, vr, dummy(vr)),
                }
            }
        }
    }
}

/// Each of several UIDs by another one. What the standard itself names stays (PS3.6 Annex A).
fn other_uids(job: &Job, text: &str) -> String {
    let other = |uid: &str| match uid.trim_matches([' ', '\0']) {
        "" => String::new(),
        uid if uid.starts_with(DICOM_ROOT) && is_uid(uid) => uid.to_owned(),
        uid => job.key.uid(uid),
    };
    text.split('\\').map(other).collect::<Vec<_>>().join("\\")
}

fn is_uid(text: &str) -> bool {
    text.len() <= LONGEST_UID && text.bytes().all(|b| b.is_ascii_digit() || b == b'.')
}

/// An age as it is; of the few who are older than 89, no more than that (as 45 CFR 164.514(b)(2)(i)(C) has it).
fn age(text: &str) -> Option<String> {
    let (number, unit) = text.split_at_checked(3)?;
    let years = number.bytes().all(|b| b.is_ascii_digit()).then(|| number.parse::<u16>().ok())??;
    match unit {
        "Y" if years > 89 => Some("090Y".to_owned()),
        "D" | "W" | "M" | "Y" => Some(text.to_owned()),
        _ => None,
    }
}

/// Of the UIDs that the standard names.
const DICOM_ROOT: &str = "1.2.840.10008.";
const LONGEST_UID: usize = 64;
