//! A correction for people.

use crate::{admin::print, audit::time};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

/// What would change, study by study.
pub(super) fn preview(preview: &Value) {
    let studies = preview["studies"].as_array().map_or(&[][..], Vec::as_slice);
    let splits = preview["splits"] == true;
    for study in studies {
        let what = if splits { "a part becomes a study of its own" } else { "all of it" };
        print(&format!("study {}: {} instances, {what}", text(study, "study"), study["instances"]));
        for change in study["changes"].as_array().into_iter().flatten() {
            let of = |field: &str| match text(change, field) {
                "" => "(nothing)".to_owned(),
                text => text.to_owned(),
            };
            print(&format!("  {:<25} {}  ->  {}", text(change, "attribute"), of("old"), of("new")));
        }
        for name in study["recipients"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            print(&format!("  copies are with {name}: tell them (GDPR Art. 19)"));
        }
    }
}

/// One, for a list.
pub(super) fn line(order: &Value) -> String {
    let state = match (order["done_at_ms"].is_null(), order["why"].is_null()) {
        (false, _) => "done",
        (true, true) => "under way",
        (true, false) => "stopped",
    };
    let at = time(order["ordered_at_ms"].as_u64().unwrap_or(0));
    format!("{}  {at}  {state:<9}  {} studies, {} instances", text(order, "id"), order["studies"], order["instances"])
}

/// One, by itself.
pub(super) fn order(order: &Value) {
    print(&line(order));
    if let Some(study) = order["new_study"].as_str() {
        print(&format!("new study {study}"));
    }
    if let (Some(why), false) = (order["why"].as_str(), order["done_at_ms"].is_null()) {
        print(why);
    } else if let Some(why) = order["why"].as_str() {
        print(&format!("stopped: {why}; leadglass rectify run {}", text(order, "id")));
    }
}

pub(super) fn bar(instances: u64) -> ProgressBar {
    let bar = ProgressBar::new(instances);
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} instances");
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or("")
}
