//! What was stored and what was not, by status.

use super::{Came, Gathered, Sent};
use leadglass_dimse::send::Outcome;
use serde::Serialize;
use std::{collections::BTreeMap, fmt::Write, path::PathBuf, process::ExitCode, time::Duration};

/// The summary.
#[derive(Debug, Default, Serialize)]
pub(super) struct Report {
    /// Files that the receiver has.
    stored: usize,
    /// Files that it has not, or may not have.
    not_stored: usize,
    /// Files that are no DICOM.
    skipped: usize,
    /// Bytes of the data sets that were stored.
    bytes: u64,
    /// Seconds.
    duration_s: f64,
    /// What was not stored, by reason.
    failures: Vec<Failure>,
}

/// Files that share a fate.
#[derive(Debug, Serialize)]
struct Failure {
    /// A DIMSE status in four hexadecimal digits, or a word where there was none.
    status: String,
    /// The receiver's words, or ours.
    comment: String,
    /// The files.
    files: Vec<PathBuf>,
}

impl Report {
    pub(super) fn of(gathered: Gathered, sent: impl Iterator<Item = Sent>, took: Duration) -> Self {
        let mut report = Self { skipped: gathered.skipped, duration_s: took.as_secs_f64(), ..Self::default() };
        let mut failures: BTreeMap<(String, String), Vec<PathBuf>> = BTreeMap::new();
        for Sent { file, came } in sent {
            let (status, comment) = match came {
                Came::Tried(outcome) if outcome.is_stored() => {
                    report.stored += 1;
                    report.bytes += file.data_set_bytes;
                    continue;
                }
                Came::Tried(outcome) => reason(outcome),
                Came::NoWay(why) => ("no-association".to_owned(), why),
            };
            failures.entry((status, comment)).or_default().push(file.path);
        }
        for (path, why) in gathered.unreadable {
            failures.entry(("unreadable".to_owned(), why)).or_default().push(path);
        }
        report.not_stored = failures.values().map(Vec::len).sum();
        report.failures =
            failures.into_iter().map(|((status, comment), files)| Failure { status, comment, files }).collect();
        report
    }

    /// For people.
    pub(super) fn words(&self) -> String {
        let mut words = String::new();
        #[allow(clippy::cast_precision_loss, reason = "a rate for people")]
        let megabytes = self.bytes as f64 / 1e6;
        let rate = if self.duration_s > 0.0 { megabytes / self.duration_s } else { 0.0 };
        // Writing to a String does not fail.
        let _ = write!(
            words,
            "{} stored ({megabytes:.1} MB in {:.1} s, {rate:.1} MB/s), {} not stored, {} skipped as not DICOM",
            self.stored, self.duration_s, self.not_stored, self.skipped
        );
        for failure in &self.failures {
            let _ = write!(words, "\n\n{}  {} files  {}", failure.status, failure.files.len(), failure.comment);
            for file in failure.files.iter().take(NAMED_FILES) {
                let _ = write!(words, "\n  {}", file.display());
            }
            if failure.files.len() > NAMED_FILES {
                let _ = write!(words, "\n  and {} more; --json names them all", failure.files.len() - NAMED_FILES);
            }
        }
        words
    }

    pub(super) fn exit_code(&self) -> ExitCode {
        ExitCode::from(match (self.stored, self.not_stored) {
            (0, _) => 1,
            (_, 0) => 0,
            _ => 3,
        })
    }
}

fn reason(outcome: Outcome) -> (String, String) {
    let own = |status: &str, words: &str| (status.to_owned(), words.to_owned());
    match outcome {
        Outcome::Answered(answer) => {
            // A peer's text goes to a terminal: nothing that steers one.
            let comment = answer.comment.unwrap_or_default();
            (answer.status.to_string(), comment.chars().filter(|c| !c.is_control()).collect())
        }
        Outcome::NotAccepted => {
            own("not-accepted", "the receiver does not take this SOP class in this transfer syntax")
        }
        Outcome::Unreadable(error) => ("unreadable".to_owned(), error.to_string()),
        _ => own("unknown", "the association ended before the answer; sending it again does no harm"),
    }
}

/// Files named under one reason.
const NAMED_FILES: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;
    use leadglass_dimse::{
        Status,
        send::{Outgoing, StoreAnswer},
    };
    use leadglass_model::{SopClassUid, SopInstanceUid, TransferSyntaxUid};

    fn sent(path: &str, came: Came) -> Sent {
        let file = Outgoing {
            sop_class: SopClassUid::parse("1.2.3").unwrap(),
            sop_instance: SopInstanceUid::parse("1.2.4").unwrap(),
            transfer_syntax: TransferSyntaxUid::parse("1.2.840.10008.1.2.1").unwrap(),
            data_set_offset: 0,
            data_set_bytes: 1_000_000,
            path: path.into(),
        };
        Sent { file, came }
    }

    fn answered(status: u16, comment: Option<&str>) -> Came {
        Came::Tried(Outcome::Answered(StoreAnswer { status: Status(status), comment: comment.map(str::to_owned) }))
    }

    fn report(sent: Vec<Sent>) -> Report {
        Report::of(Gathered::default(), sent.into_iter(), Duration::from_secs(1))
    }

    fn code(report: &Report) -> String {
        format!("{:?}", report.exit_code())
    }

    #[test]
    fn failures_stand_together_by_status_and_comment() {
        let report = report(vec![
            sent("a", answered(0, None)),
            sent("b", answered(0xA700, Some("full\u{1b}[2J"))),
            sent("c", answered(0xA700, Some("full\u{1b}[2J"))),
            sent("d", Came::Tried(Outcome::NotAccepted)),
            sent("e", answered(0xB000, None)),
        ]);
        assert_eq!((report.stored, report.not_stored, report.failures.len()), (2, 3, 2));
        assert_eq!(report.failures[0].files, [PathBuf::from("b"), PathBuf::from("c")]);
        assert_eq!(report.failures[0].comment, "full[2J", "nothing that steers a terminal");
        let words = report.words();
        assert!(words.contains("A700  2 files") && words.contains("not-accepted  1 files"), "{words}");
        assert_eq!(code(&report), format!("{:?}", ExitCode::from(3)));
    }

    #[test]
    fn the_exit_code_says_how_it_ended() {
        let all = report(vec![sent("a", answered(0, None))]);
        assert_eq!(code(&all), format!("{:?}", ExitCode::SUCCESS));
        let none = report(vec![sent("a", Came::NoWay("refused".to_owned()))]);
        assert_eq!(code(&none), format!("{:?}", ExitCode::from(1)));
    }
}
