//! The report in words.

use serde_json::Value;
use std::fmt::Write;

/// What was done, for people. It names nobody.
pub(super) fn text(report: &Value) -> String {
    let word = |field: &str| report[field].as_str().unwrap_or("-").to_owned();
    let list = |field: &str| report[field].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut out = format!(
        "De-identified by PS3.15 Annex E\n\nJob     {}\nMade    {}\nPreset  {}\nTable   {}\n\nMethods (PS3.16 CID 7050)\n",
        word("job"),
        crate::audit::time(report["made_ms"].as_u64().unwrap_or(0)),
        word("preset"),
        word("table"),
    );
    for method in list("methods") {
        let text = |field: &str| method[field].as_str().unwrap_or("-").to_owned();
        let _ = writeln!(out, "  {}  {}", text("code"), text("meaning"));
    }
    let instances = list("instances");
    let count = |field: &str| instances.iter().filter(|line| line[field] == true).count();
    let total = |field: &str| instances.iter().filter_map(|line| line["done"][field].as_u64()).sum::<u64>();
    let _ = write!(
        out,
        "\n{} instances: {} with regions blanked (113101), {} looked at by a person\n\nIn all of them\n",
        instances.len(),
        count("blanked"),
        count("reviewed"),
    );
    for (field, words) in DONE {
        let _ = writeln!(out, "  {:>9}  {words}", total(field));
    }
    if let Some(left) = report["left_out"].as_object().filter(|left| !left.is_empty()) {
        let _ = writeln!(out, "\nLeft out");
        for (why, count) in left {
            let _ = writeln!(out, "  {count:>9}  {why}");
        }
    }
    out.push_str(
        "\nUIDs, pseudonyms and days follow from a key that was forgotten with the job. No procedure finds everything: what\n\
         people write where nobody expects it may be left. Whoever receives this must not try to find out who it is.\n\nFiles\n",
    );
    for line in instances {
        let text = |field: &str| line[field].as_str().unwrap_or("-").to_owned();
        let _ = writeln!(out, "  {}  {}", text("file"), text("sop_instance"));
    }
    out
}

const DONE: [(&str, &str); 8] = [
    ("removed", "attributes removed"),
    ("unknown", "private or unknown attributes, curves and overlays removed"),
    ("emptied", "emptied"),
    ("replaced", "made up"),
    ("uids", "UIDs made others"),
    ("moved", "dates and times that stayed, dates moved"),
    ("cleaned", "descriptions cleaned"),
    ("segments", "text segments of compressed pixels blanked"),
];
