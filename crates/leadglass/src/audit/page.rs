//! The report for people: plain words, one page that prints, nothing fetched from anywhere.

use super::words::{self, escape};
use leadglass_audit::report::{Access, AccessReport, Summary};
use std::fmt::Write as _;

/// The report as one HTML page without scripts.
pub(crate) fn html(report: &AccessReport, summary: &Summary) -> String {
    let mut rows = String::new();
    for (n, access) in report.accesses.iter().enumerate() {
        let cells = cells(report, n, access).map(|cell| format!("<td>{}</td>", escape(&cell))).concat();
        // Writing into a String does not fail.
        let _ = write!(rows, "<tr>{cells}</tr>");
    }
    let heads = HEADS.map(|head| format!("<th>{head}</th>")).concat();
    let mut others = String::new();
    for line in other_lines(report) {
        let _ = write!(others, "<li>{}</li>", escape(&line));
    }
    let words = intro(report, summary).iter().map(|line| format!("<p>{}</p>", escape(line))).collect::<String>();
    let small = proof(report, summary).iter().map(|line| format!("<p>{}</p>", escape(line))).collect::<String>();
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Who opened your images</title><style>\
         @page{{size:A4 landscape;margin:15mm}}body{{font:11pt/1.4 system-ui,sans-serif;max-width:70rem;margin:2rem auto;\
         padding:0 1rem;color:#111}}table{{border-collapse:collapse;width:100%;font-size:9pt}}th,td{{text-align:left;\
         vertical-align:top;padding:.3em .5em;border-bottom:1px solid #bbb}}tr{{break-inside:avoid}}thead{{display:\
         table-header-group}}.small{{font-size:8pt;color:#333;overflow-wrap:anywhere}}</style></head><body>\
         <h1>Who opened your images</h1>{words}<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>\
         <h2>What else happened</h2><ul>{others}</ul><h2>How this can be checked</h2>\
         <div class=\"small\">{small}</div></body></html>\n"
    )
}

/// The report as lines of text, for paper.
pub(crate) fn lines(report: &AccessReport, summary: &Summary) -> Vec<String> {
    let mut lines = vec!["Who opened your images".to_owned(), String::new()];
    lines.extend(intro(report, summary));
    lines.push(String::new());
    for (n, access) in report.accesses.iter().enumerate() {
        let [number, at, who, role, purpose, what, outcome, much] = cells(report, n, access);
        lines.push(format!("{number}.  {at}   {who}, {role}   for: {purpose}   {outcome}"));
        lines.push(format!("      {what}   {much}"));
    }
    lines.extend([String::new(), "What else happened".to_owned(), String::new()]);
    lines.extend(other_lines(report));
    lines.extend([String::new(), "How this can be checked".to_owned(), String::new()]);
    lines.extend(proof(report, summary));
    lines
}

const HEADS: [&str; 8] = ["No.", "When (UTC)", "Who", "Role", "What for", "What", "Outcome", "How much"];

fn cells(report: &AccessReport, n: usize, access: &Access) -> [String; 8] {
    let outcome = match (access.outcome.as_str(), &access.reason) {
        ("success", _) => "opened".to_owned(),
        (_, Some(reason)) => format!("refused: {reason}"),
        _ => "refused".to_owned(),
    };
    let much = if access.closed_by.is_some() {
        format!("{} images, {} frames, {} bytes", access.instances, access.frames, access.bytes)
    } else {
        "not closed when this was made".to_owned()
    };
    [
        (n + 1).to_string(),
        words::time(access.at_ms),
        who(report, &access.actor),
        access.role.clone(),
        words::purpose(&access.purpose).to_owned(),
        report.studies.get(&access.study).cloned().unwrap_or_else(|| format!("study {}", access.study)),
        outcome,
        much,
    ]
}

fn who(report: &AccessReport, actor: &str) -> String {
    match report.people.get(actor) {
        Some(name) => name.clone(),
        None if actor.is_empty() => "the system".to_owned(),
        None => format!("pseudonym {actor}"),
    }
}

fn intro(report: &AccessReport, summary: &Summary) -> Vec<String> {
    let bound = |ms: Option<u64>, open: &str| ms.map_or_else(|| open.to_owned(), words::time);
    vec![
        format!("Patient: {}", report.patient),
        format!("Period: {} to {}", bound(report.from_ms, "the beginning"), bound(report.to_ms, "now")),
        format!("Made: {}; nothing is missing up to {}", words::time(report.made_ms), words::time(summary.up_to_ms)),
        format!(
            "{} accesses, {} of them refused. One access is one opening of a study by one person for one purpose; what is \
             looked at again within it is not counted again.",
            summary.accesses, summary.refused
        ),
    ]
}

fn other_lines(report: &AccessReport) -> Vec<String> {
    let line = |other: &leadglass_audit::report::Other| {
        let (at, what, who) = (words::time(other.at_ms), words::event(other.event), who(report, &other.actor));
        format!("{at}  {what}, by {who}: {}", other.outcome)
    };
    report.others.iter().map(line).collect()
}

fn proof(report: &AccessReport, summary: &Summary) -> Vec<String> {
    let witness = match summary.witnessed_at {
        Some(at) => {
            format!("The key service, which is another machine, signed that state at {}.", words::time(at * 1000))
        }
        None => "The key service had not signed that state when this was made.".to_owned(),
    };
    vec![
        format!(
            "The vault keeps a log in which nothing can be changed or left out without being found. When this was made it \
             held {} entries, {} of them about this patient; each names the one before it, so none is missing in between.",
            summary.log_entries, summary.entries
        ),
        witness,
        "What happened later is not in this report. The file that comes with it holds the proof of every entry; \
         `leadglass audit verify-report` checks it, and so does any program that follows the published form."
            .to_owned(),
        format!("Vault's key: {}", report.vault_key),
        format!("Witness's key: {}", report.witness_key.as_deref().unwrap_or("not known")),
        format!("Checkpoint: {}", report.checkpoint.replace('\n', " ")),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_become_markup() {
        let report = AccessReport {
            format: String::new(),
            made_ms: 0,
            tenant: String::new(),
            subject: String::new(),
            patient: "<script>alert(1)</script>".to_owned(),
            from_ms: None,
            to_ms: None,
            vault_key: String::new(),
            witness_key: None,
            checkpoint: String::new(),
            people: [("aa".to_owned(), "Dr <b>".to_owned())].into(),
            studies: std::collections::BTreeMap::new(),
            accesses: Vec::new(),
            others: Vec::new(),
            entries: Vec::new(),
        };
        let summary = Summary { accesses: 0, refused: 0, entries: 0, up_to_ms: 0, log_entries: 0, witnessed_at: None };
        let page = html(&report, &summary);
        assert!(page.contains("&lt;script&gt;") && !page.contains("<script"));
        assert_eq!(who(&report, "aa"), "Dr <b>");
    }
}
