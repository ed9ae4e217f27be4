//! The papers of an export in forms for people: the same pages that `leadglass audit report` writes.

use crate::audit;
use leadglass_audit::report::{self, AccessReport};
use leadglass_engine::Printer;

/// Writes them.
#[derive(Debug, Clone, Copy)]
pub struct Papers;

impl Printer for Papers {
    fn report(&self, report: &AccessReport) -> Vec<(String, Vec<u8>)> {
        // What does not hold is not handed on in words; the JSON says what there is.
        let Ok(summary) = report::verify(report, None, None) else { return Vec::new() };
        let pdf = audit::pdf(&audit::report_lines(report, &summary));
        vec![
            ("REPORT.HTM".to_owned(), audit::report_page(report, &summary).into_bytes()),
            ("REPORT.PDF".to_owned(), pdf),
        ]
    }

    fn pdf(&self, lines: &[String]) -> Vec<u8> {
        audit::pdf(lines)
    }
}
