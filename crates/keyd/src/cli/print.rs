//! Output: data to stdout, words to stderr.

use serde_json::Value;
use std::io::{self, Write};

/// How answers are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// For people.
    Words,
    /// One JSON value.
    Json,
}

/// Prints an answer.
pub(super) fn answer(form: Form, value: &Value) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match form {
        Form::Json => writeln!(out, "{value}"),
        Form::Words => {
            let mut text = String::new();
            words(value, 0, &mut text);
            out.write_all(text.as_bytes())
        }
    }
}

/// Prints words for a person.
pub(super) fn say(text: &str) {
    // A closed stderr is no reason to stop.
    let _closed = writeln!(io::stderr().lock(), "{text}");
}

fn words(value: &Value, depth: usize, out: &mut String) {
    let indent = "  ".repeat(depth);
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                match field {
                    Value::Object(_) | Value::Array(_) => {
                        out.push_str(&format!("{indent}{name}:\n"));
                        words(field, depth + 1, out);
                    }
                    plain => out.push_str(&format!("{indent}{name}: {}\n", shown(plain))),
                }
            }
        }
        Value::Array(items) if items.is_empty() => out.push_str(&format!("{indent}none\n")),
        Value::Array(items) => {
            for item in items {
                match item {
                    Value::Object(_) => {
                        words(item, depth, out);
                        out.push('\n');
                    }
                    plain => out.push_str(&format!("{indent}{}\n", shown(plain))),
                }
            }
        }
        plain => out.push_str(&format!("{indent}{}\n", shown(plain))),
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "none".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn words_show_names_values_and_lists() {
        let mut out = String::new();
        words(&json!({"a": 1, "list": [{"b": "x"}], "none": []}), 0, &mut out);
        assert_eq!(out, "a: 1\nlist:\n  b: x\n\nnone:\n  none\n");
    }
}
