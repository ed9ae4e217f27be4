//! What came in and what did not, by numbers and codes; no names of files or patients.

use super::{carry::Outcome, kind::Kind, source::Passed, stow::Ending};
use serde::Serialize;
use std::{collections::BTreeMap, fmt::Write, process::ExitCode, time::Duration};

/// The report. Scripts rely on these names.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// Nothing was sent on purpose.
    pub dry_run: bool,
    /// All sources were walked to their end.
    pub complete: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_by: Option<&'static str>,
    /// Things that were looked at.
    pub found: u64,
    /// What the vault acknowledged in this run.
    pub stored: u64,
    /// Their bytes.
    pub stored_bytes: u64,
    /// What would be sent.
    pub would_store: u64,
    /// Their bytes.
    pub would_store_bytes: u64,
    /// What an earlier run had brought in.
    pub known: u64,
    /// What has the same bytes as something that is in the vault.
    pub duplicates: u64,
    /// Photos and PDF files that nobody says the patient of.
    pub without_patient: u64,
    /// What the vault refused, by code.
    pub refused: BTreeMap<String, u64>,
    /// What could not be read, by code.
    pub unreadable: BTreeMap<String, u64>,
    /// What is no DICOM, by what it is.
    pub not_dicom: BTreeMap<String, u64>,
    /// Hidden files.
    pub hidden: u64,
    /// Links, which are not followed.
    pub links: u64,
    /// Pipes, sockets and devices.
    pub special: u64,
    /// Seconds.
    pub duration_s: f64,
    #[serde(skip)]
    ending: Option<Ending>,
}

impl Report {
    /// Of a run that begins.
    pub fn begin(dry_run: bool) -> Self {
        Self { dry_run, ..Self::default() }
    }

    /// Takes in what came of one thing.
    pub fn add(&mut self, outcome: &Outcome) {
        let one_more = |codes: &mut BTreeMap<String, u64>, code: &str| *codes.entry(code.to_owned()).or_default() += 1;
        if !matches!(outcome, Outcome::Ended(_)) {
            self.found += 1;
        }
        match outcome {
            Outcome::Stored(carried) => {
                self.stored += 1;
                self.stored_bytes += carried.bytes;
            }
            Outcome::Known(_) => self.known += 1,
            Outcome::Duplicate(_) => self.duplicates += 1,
            Outcome::Would(_, bytes) => {
                self.would_store += 1;
                self.would_store_bytes += bytes;
            }
            Outcome::Passed(kind) => one_more(&mut self.not_dicom, word(*kind)),
            Outcome::NoPatient(_, kind, _) => {
                self.without_patient += 1;
                one_more(&mut self.not_dicom, word(*kind));
            }
            Outcome::Refused(_, _, code) => one_more(&mut self.refused, code),
            Outcome::Unreadable(error) => one_more(&mut self.unreadable, error.code()),
            Outcome::Ended(ending) => self.end(*ending),
        }
    }

    /// Takes in something that was not looked at.
    pub fn pass(&mut self, passed: Passed) {
        match passed {
            Passed::Hidden => self.hidden += 1,
            Passed::Link => self.links += 1,
            Passed::Special => self.special += 1,
        }
    }

    /// Takes in something that could not be looked at.
    pub fn unreadable(&mut self, code: &str) {
        self.found += 1;
        *self.unreadable.entry(code.to_owned()).or_default() += 1;
    }

    /// The run ends early; the first reason counts, unless it is only that somebody was told to stop.
    pub fn end(&mut self, ending: Ending) {
        if self.ending.is_none_or(|known| known == Ending::Stopped) {
            self.ending = Some(ending);
            self.ended_by = Some(ending.code());
        }
    }

    /// Nothing more will come.
    pub fn close(&mut self, took: Duration) {
        self.duration_s = took.as_secs_f64();
        self.complete = self.ending.is_none();
    }

    /// For people.
    pub fn words(&self) -> String {
        let mut words = String::new();
        // Writing to a String does not fail.
        let mut line = |text: String| {
            let _ = writeln!(words, "{text}");
        };
        let sum = |codes: &BTreeMap<String, u64>| codes.values().sum::<u64>();
        if self.dry_run {
            line(format!("{:>9}  would be sent ({})", self.would_store, megabytes(self.would_store_bytes)));
        } else {
            #[allow(clippy::cast_precision_loss, reason = "a rate for people")]
            let rate = if self.duration_s > 0.0 { self.stored_bytes as f64 / 1e6 / self.duration_s } else { 0.0 };
            let bytes = megabytes(self.stored_bytes);
            line(format!("{:>9}  stored ({bytes} in {:.1} s, {rate:.1} MB/s)", self.stored, self.duration_s));
        }
        for (count, what) in [
            (self.known, "were there from an earlier run"),
            (self.duplicates, "are copies of what is there"),
            (
                self.without_patient,
                "photos and PDF files that nothing says the patient of: --patient-from, or a GDT file",
            ),
            (sum(&self.not_dicom).saturating_sub(self.without_patient), "are no DICOM"),
            (self.hidden, "are hidden"),
            (self.links, "are links, which are not followed"),
            (self.special, "are no files"),
        ] {
            if count > 0 {
                line(format!("{count:>9}  {what}"));
            }
        }
        if let Some(count) = self.not_dicom.get(word(Kind::Archive)) {
            line(format!("{:>9}  of them ZIP archives: name them as sources to import what they hold", count));
        }
        for (codes, what) in [(&self.refused, "refused"), (&self.unreadable, "not read")] {
            for (code, count) in codes {
                line(format!("{count:>9}  {what}: {code}{}", advice(code)));
            }
        }
        if let Some(ending) = self.ending {
            line(format!("{ending}. The same command goes on where this one ended."));
        }
        words.truncate(words.trim_end().len());
        words
    }

    /// 0 all that can come in is in, 1 it ended early or nothing came in, 3 some did not come in.
    pub fn exit_code(&self) -> ExitCode {
        let failed = !self.refused.is_empty() || !self.unreadable.is_empty();
        let inside = self.stored + self.known + self.duplicates + self.would_store;
        ExitCode::from(match (self.ending, failed) {
            (Some(_), _) => 1,
            (None, true) if inside == 0 => 1,
            (None, true) => 3,
            (None, false) => 0,
        })
    }
}

/// What to do about a code.
fn advice(code: &str) -> &'static str {
    match code {
        "zip-bomb" => " (it grows to more than 200 times its size)",
        "zip-encrypted" => " (unpack it with its password first)",
        "zip-same-name" => " (hidden behind another entry of the same name)",
        "listed-but-missing" => " (the DICOMDIR lists it, the disc has it not)",
        "not-readable" => " (this user may not read it)",
        "changed-while-read" => " (run it again when nobody writes there)",
        "failure-0110" | "failure-C000" => " (the vault does not understand it as DICOM)",
        "failure-0122" => " (the vault does not take this SOP class)",
        "failure-A900" => " (it contradicts what it says it is)",
        _ => "",
    }
}

const fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Dicom => "dicom",
        Kind::Headless | Kind::Other => "other",
        Kind::Directory => "dicomdir",
        Kind::Jpeg => "jpeg",
        Kind::Png => "png",
        Kind::Webp => "webp",
        Kind::Pdf => "pdf",
        Kind::Archive => "zip",
    }
}

fn megabytes(bytes: u64) -> String {
    #[allow(clippy::cast_precision_loss, reason = "a size for people")]
    let megabytes = bytes as f64 / 1e6;
    format!("{megabytes:.1} MB")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::{
        item::SourceError,
        ledger::{ItemKey, Namer},
        patient::NoPatient,
    };

    fn key() -> ItemKey {
        Namer::fleeting(&leadglass_model::SystemEntropy).name(&[])
    }

    fn code(outcomes: &[Outcome]) -> String {
        let mut report = Report::default();
        outcomes.iter().for_each(|outcome| report.add(outcome));
        report.close(Duration::from_secs(1));
        format!("{:?}", report.exit_code())
    }

    #[test]
    fn the_exit_code_says_how_it_ended() {
        let exit = |n: u8| format!("{:?}", ExitCode::from(n));
        let refused = Outcome::Refused(key(), Kind::Dicom, "failure-A900".to_owned());
        let passed = Outcome::Passed(Kind::Other);
        assert_eq!(code(&[Outcome::Known(key()), passed.clone()]), exit(0));
        assert_eq!(code(&[Outcome::Known(key()), refused.clone()]), exit(3));
        assert_eq!(code(std::slice::from_ref(&refused)), exit(1));
        assert_eq!(code(&[Outcome::Known(key()), Outcome::Unreadable(SourceError::Bomb)]), exit(3));
        assert_eq!(code(&[Outcome::Known(key()), Outcome::Ended(Ending::Full)]), exit(1));
    }

    #[test]
    fn the_first_reason_counts_and_a_stop_is_the_weakest() {
        let mut report = Report::default();
        for ending in [Ending::Stopped, Ending::Full, Ending::Away, Ending::Stopped] {
            report.end(ending);
        }
        assert_eq!(report.ended_by, Some("vault-full"));
        assert!(report.words().contains("The same command goes on"), "{}", report.words());
    }

    #[test]
    fn photos_without_a_patient_are_told_apart() {
        let mut report = Report::default();
        report.add(&Outcome::NoPatient(key(), Kind::Jpeg, NoPatient::Unknown));
        report.add(&Outcome::Passed(Kind::Archive));
        report.close(Duration::from_secs(1));
        let words = report.words();
        assert!(
            words.contains("1  photos and PDF") && words.contains("1  are no DICOM") && words.contains("ZIP"),
            "{words}"
        );
        assert_eq!(report.not_dicom["jpeg"], 1);
    }
}
